package main

import (
	"encoding/base64"
	"fmt"
	"iter"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/tiering/batch"
)

func newInspect() *cobra.Command {
	return newNoun("inspect", "Show what is in the files of a stopped broker, or in the stores of a cluster",
		`Show what is in the files of a broker that is stopped, or in the stores of a cluster,
whose brokers may be running. Nothing is changed. If something is damaged, what can be
read is shown, the damage is named and the exit code is 4. 'forebay verify' checks a
whole data directory.`,
		newInspectSegment(), newInspectIndex(), newInspectPack(), newInspectChain(), newInspectMetalog(),
		newInspectSessions(), newInspectStream())
}

// shownRecord is a record in the output of inspect. A key or value that is not
// UTF-8 is in base64.
type shownRecord struct {
	Offset      int64         `json:"offset"`
	Timestamp   int64         `json:"timestamp"`
	Key         *string       `json:"key"`
	KeyBase64   *string       `json:"key_base64,omitempty"`
	Value       *string       `json:"value"`
	ValueBase64 *string       `json:"value_base64,omitempty"`
	Headers     []shownHeader `json:"headers,omitempty"`
}

type shownHeader struct {
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	ValueBase64 *string `json:"value_base64,omitempty"`
}

// showRecords decodes the records of a batch.
func showRecords(v batch.View) ([]shownRecord, error) {
	var shown []shownRecord
	for r, err := range batch.Decode(v, 0) {
		if err != nil {
			return shown, err
		}
		s := shownRecord{Offset: int64(r.Offset), Timestamp: r.Timestamp}
		s.Key, s.KeyBase64 = showBytes(r.Key)
		s.Value, s.ValueBase64 = showBytes(r.Value)
		for _, h := range r.Headers {
			header := shownHeader{Key: h.Key}
			header.Value, header.ValueBase64 = showBytes(h.Value)
			s.Headers = append(s.Headers, header)
		}
		shown = append(shown, s)
	}
	return shown, nil
}

// showBytes returns text, or base64 if b is not UTF-8, or neither for null.
func showBytes(b []byte) (text, coded *string) {
	if b == nil {
		return nil, nil
	}
	if utf8.Valid(b) {
		s := string(b)
		return &s, nil
	}
	s := base64.StdEncoding.EncodeToString(b)
	return nil, &s
}

// recordTable lists records, keys and values cut to a width that fits a screen.
func recordTable(title string, records []shownRecord) *table {
	t := newTable("OFFSET", "TIME", "KEY", "VALUE")
	t.title = title
	for _, r := range records {
		t.add(r.Offset, showMillis(r.Timestamp), cell(r.Key, r.KeyBase64), cell(r.Value, r.ValueBase64))
	}
	return t
}

const cellWidth = 60

func cell(text, coded *string) string {
	var s string
	switch {
	case text != nil:
		s = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return '·'
			}
			return r
		}, *text)
	case coded != nil:
		s = "base64:" + *coded
	default:
		return "null"
	}
	if r := []rune(s); len(r) > cellWidth {
		return string(r[:cellWidth-1]) + "…"
	}
	return s
}

// showMillis is a time in ms since 1970 for people.
func showMillis(ms int64) string {
	if ms < 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// batches yields the batches that b holds, one after the other.
func batches(b []byte) iter.Seq2[batch.View, error] {
	return func(yield func(batch.View, error) bool) {
		for len(b) > 0 {
			v, rest, err := batch.Parse(b)
			if err == nil {
				err = v.Verify()
			}
			if err != nil {
				yield(nil, fmt.Errorf("read batch: %w", err))
				return
			}
			if !yield(v, nil) {
				return
			}
			b = rest
		}
	}
}
