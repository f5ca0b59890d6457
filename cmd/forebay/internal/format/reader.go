package format

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// MaxField is the most bytes of one field that a Reader takes.
const MaxField = 128 << 20

// ErrInput is wrapped by every error about text that does not fit the layout.
var ErrInput = errors.New("input does not fit the format")

// Reader reads records from text.
type Reader struct {
	in     *bufio.Reader
	tokens []token
	key    int // length announced for the key, unknown if none was
	value  int
}

// unknown is the length of a field that ends at the literal behind it.
const unknown = -2

// NewReader returns a Reader of records in the layout. A field without a length
// before it ends where the literal behind it begins, so it must have one; the last
// one ends with the line. It fails if the fields cannot be told apart.
func NewReader(r io.Reader, l *Layout) (*Reader, error) {
	tokens := l.tokens
	if len(tokens) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrLayout)
	}
	sized := map[byte]bool{}
	for i, t := range tokens {
		switch t.verb {
		case 'K':
			sized['k'] = true
		case 'S', 'R':
			sized['s'] = true
		}
		if t.verb == 0 || t.verb == 'R' || sized[t.verb] {
			continue
		}
		switch {
		case i == len(tokens)-1:
			tokens = append(tokens[:len(tokens):len(tokens)], token{literal: "\n"})
		case tokens[i+1].verb != 0:
			return nil, fmt.Errorf("%w: nothing tells where %%%c ends and %%%c begins; put text between them, or a length before", ErrLayout, t.verb, tokens[i+1].verb)
		}
	}
	return &Reader{in: bufio.NewReaderSize(r, 256<<10), tokens: tokens}, nil
}

// Read reads the next record into r, which must be empty. Its fields own their
// memory. It returns io.EOF at the end of the input, between two records, and
// otherwise an error that wraps ErrInput or is of the reader.
func (r *Reader) Read(rec *kgo.Record) error {
	if _, err := r.in.Peek(1); err != nil {
		return err // io.EOF included
	}
	r.key, r.value = unknown, unknown
	for i := 0; i < len(r.tokens); i++ {
		t := r.tokens[i]
		if t.verb == 0 {
			if err := r.expect(t.literal, i == len(r.tokens)-1); err != nil {
				return err
			}
			continue
		}
		field, delimited, err := r.field(i)
		if err != nil {
			return err
		}
		if err := r.set(rec, t.verb, field); err != nil {
			return err
		}
		if delimited {
			i++ // the literal was read with the field
		}
	}
	return nil
}

// field reads the text of the verb at i, and whether the literal behind it too.
func (r *Reader) field(i int) (field []byte, delimited bool, err error) {
	n := unknown
	switch r.tokens[i].verb {
	case 'k':
		n = r.key
	case 's':
		n = r.value
	case 'R':
		n = 4
	}
	switch {
	case n == -1:
		return nil, false, nil
	case n >= 0:
		field = make([]byte, n)
		if _, err := io.ReadFull(r.in, field); err != nil {
			return nil, false, cut(err)
		}
		return field, false, nil
	}
	field, err = r.until(r.tokens[i+1].literal, i+2 == len(r.tokens))
	return field, true, err
}

// until reads up to and including the delimiter and returns what is before it. The
// last delimiter may be missing at the end of the input.
func (r *Reader) until(delimiter string, last bool) ([]byte, error) {
	end := delimiter[len(delimiter)-1]
	field := []byte{}
	for {
		part, err := r.in.ReadSlice(end)
		field = append(field, part...)
		switch {
		case bytes.HasSuffix(field, []byte(delimiter)) && (err == nil || errors.Is(err, bufio.ErrBufferFull)):
			return field[:len(field)-len(delimiter)], nil
		case len(field) > MaxField:
			return nil, fmt.Errorf("%w: no %q within %d bytes", ErrInput, delimiter, MaxField)
		case err == nil, errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && last:
			return field, nil
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%w: it ends before %q", ErrInput, delimiter)
		default:
			return nil, err
		}
	}
}

// expect reads a literal. The last one may be missing at the end of the input.
func (r *Reader) expect(literal string, last bool) error {
	got := make([]byte, len(literal))
	n, err := io.ReadFull(r.in, got)
	switch {
	case err == nil && string(got) == literal, n == 0 && errors.Is(err, io.EOF) && last:
		return nil
	case err == nil:
		return fmt.Errorf("%w: %q where %q should be", ErrInput, got, literal)
	}
	return cut(err)
}

// cut explains the end of the input within a record.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends within a record", ErrInput)
	}
	return err
}

// set stores a field.
func (r *Reader) set(rec *kgo.Record, verb byte, field []byte) (err error) {
	var n int64
	switch verb {
	case 't':
		rec.Topic = string(field)
	case 'k':
		rec.Key = field
	case 's':
		rec.Value = field
	case 'h':
		rec.Headers = parseHeaders(field)
	case 'p':
		n, err = parseNumber(verb, field, -1, 1<<31-1)
		rec.Partition = int32(n)
	case 'o':
		_, err = parseNumber(verb, field, -1, 1<<63-1) // the broker gives another
	case 'T':
		n, err = parseNumber(verb, field, -1, 1<<63-1)
		if n >= 0 {
			rec.Timestamp = time.UnixMilli(n)
		}
	case 'K':
		n, err = parseNumber(verb, field, -1, MaxField)
		r.key = int(n)
	case 'S':
		n, err = parseNumber(verb, field, -1, MaxField)
		r.value = int(n)
	case 'R':
		r.value = int(int32(binary.BigEndian.Uint32(field)))
		if r.value < -1 || r.value > MaxField {
			err = fmt.Errorf("%w: a length of %d", ErrInput, r.value)
		}
	}
	return err
}

func parseNumber(verb byte, field []byte, least, most int64) (int64, error) {
	n, err := strconv.ParseInt(string(field), 10, 64)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%w: %q for %%%c, want a number from %d to %d", ErrInput, shorten(field), verb, least, most)
	}
	return n, nil
}

func shorten(field []byte) []byte { return field[:min(len(field), 40)] }

// parseHeaders reads name=value,name=value. A name without a value, and the value
// NULL, are null headers.
func parseHeaders(field []byte) []kgo.RecordHeader {
	if len(field) == 0 {
		return nil
	}
	var headers []kgo.RecordHeader
	for text := range strings.SplitSeq(string(field), ",") {
		headers = append(headers, ParseHeader(text))
		if h := &headers[len(headers)-1]; string(h.Value) == nullText {
			h.Value = nil
		}
	}
	return headers
}

// ParseHeader reads name=value; a name alone is a null header.
func ParseHeader(text string) kgo.RecordHeader {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return kgo.RecordHeader{Key: name}
	}
	return kgo.RecordHeader{Key: name, Value: []byte(value)}
}
