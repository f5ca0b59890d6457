package main

import (
	"bytes"
	"io"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/cmd/forebay/internal/format"
)

// inputFlags say how text becomes records.
type inputFlags struct {
	keyDelimiter string
	format       string
	key          string
	headers      []string
	timestamp    string
	null         bool
}

func (f *inputFlags) register(flags *pflag.FlagSet) {
	flags.StringVarP(&f.keyDelimiter, "key-delimiter", "K", "", `text between key and payload in a line, such as '\t'`)
	flags.StringVarP(&f.format, "format", "F", "", `format of the input, such as '%k %s\n'`)
	flags.StringVarP(&f.key, "key", "k", "", "key of every record that has none of its own")
	flags.StringArrayVarP(&f.headers, "header", "H", nil, "header of every record as name=value, or name for a null value; may be repeated")
	flags.StringVarP(&f.timestamp, "timestamp", "T", "", "time of every record without its own: ms since 1970 or RFC 3339; default now")
	flags.BoolVarP(&f.null, "null", "Z", false, "make empty keys and payloads null")
}

// input makes records of text.
type input struct {
	layout    *format.Layout
	delimiter []byte // nil unless -K
	key       []byte
	headers   []kgo.RecordHeader
	timestamp time.Time
	null      bool
}

func (f *inputFlags) parse(flags *pflag.FlagSet) (*input, error) {
	in := &input{null: f.null}
	text := `%s\n`
	if flags.Changed("format") {
		if f.keyDelimiter != "" {
			return nil, usageErrorf("give --format or --key-delimiter, not both")
		}
		text = f.format
	}
	var err error
	if in.layout, err = format.Parse(text); err != nil {
		return nil, usageErrorf("--format: %w", err)
	}
	if _, err := format.NewReader(bytes.NewReader(nil), in.layout); err != nil {
		return nil, usageErrorf("--format: %w", err)
	}
	delimiter, err := format.Unescape(f.keyDelimiter)
	if err != nil {
		return nil, usageErrorf("--key-delimiter: %w", err)
	}
	if delimiter != "" {
		in.delimiter = []byte(delimiter)
	}
	if flags.Changed("key") {
		in.key = []byte(f.key)
	}
	for _, h := range f.headers {
		in.headers = append(in.headers, format.ParseHeader(h))
	}
	if f.timestamp != "" {
		if in.timestamp, err = parseTime(f.timestamp); err != nil {
			return nil, usageErrorf("--timestamp: %w", err)
		}
	}
	return in, nil
}

// names reports whether the format has the verb.
func (in *input) names(verb byte) bool { return in.layout.Has(verb) }

// recordReader reads the records of one input.
type recordReader struct {
	*input
	from *format.Reader
}

func (in *input) reader(from io.Reader) (*recordReader, error) {
	r, err := format.NewReader(from, in.layout)
	return &recordReader{in, r}, err
}

// next reads a record into r, and adds what the flags say.
func (rr *recordReader) next(r *kgo.Record) error {
	if err := rr.from.Read(r); err != nil {
		return err
	}
	if rr.delimiter != nil {
		if key, value, ok := bytes.Cut(r.Value, rr.delimiter); ok {
			r.Key, r.Value = key[:len(key):len(key)], value
		}
	}
	if r.Key == nil {
		r.Key = rr.key
	}
	if rr.null {
		r.Key, r.Value = nullIfEmpty(r.Key), nullIfEmpty(r.Value)
	}
	if r.Timestamp.IsZero() {
		r.Timestamp = rr.timestamp
	}
	r.Headers = append(r.Headers, rr.headers...)
	return nil
}

func nullIfEmpty(field []byte) []byte {
	if len(field) == 0 {
		return nil
	}
	return field
}

// parseTime reads milliseconds since 1970 or a time of RFC 3339, whose zone may be
// left out for UTC, as may the time of day.
func parseTime(text string) (time.Time, error) {
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		if ms < 0 {
			return time.Time{}, usageErrorf("%q: a time before 1970", text)
		}
		return time.UnixMilli(ms), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z07", "2006-01-02T15:04:05.999999999", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usageErrorf("%q: want ms since 1970, or a time such as 2026-01-31T12:00:00Z", text)
}
