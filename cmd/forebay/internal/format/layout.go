// Package format writes and reads records as text. A layout is made of kcat's
// format verbs and literal text, and is the same in both directions: what Append
// writes by a layout that can be told apart, a Reader reads back.
//
//	%t  topic                %k  key      %K  its length in bytes, -1 for null
//	%p  partition            %s  payload  %S  its length in bytes, -1 for null
//	%o  offset               %v  payload  %R  its length in binary, 4 bytes, big-endian
//	%T  timestamp in ms      %h  headers as name=value,name=value
//	%%  a percent sign       \n \r \t \\ \xHH \OOO as in C
//
// The package does no I/O but through the reader it is given. A Layout is
// read-only and safe for concurrent use; a Reader is for one goroutine.
package format

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrLayout is wrapped by every error about the text of a layout.
var ErrLayout = errors.New("bad format")

// verbs are all there are; %v is %s.
const verbs = "tpoTkKsSRh"

// Layout is a parsed format.
type Layout struct {
	tokens []token
	// Nulls makes Append write NULL for a key or payload that is null.
	Nulls bool
}

// token is a verb, or literal text if verb is 0.
type token struct {
	verb    byte
	literal string
}

// Parse reads the text of a layout.
func Parse(text string) (*Layout, error) {
	l := &Layout{}
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			l.tokens = append(l.tokens, token{literal: literal.String()})
			literal.Reset()
		}
	}
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\\':
			b, n, err := unescape(text[i:])
			if err != nil {
				return nil, err
			}
			literal.WriteByte(b)
			i += n
		case c != '%':
			literal.WriteByte(c)
			i++
		case i+1 == len(text):
			return nil, fmt.Errorf("%w: it ends in a single %%", ErrLayout)
		default:
			verb := text[i+1]
			i += 2
			if verb == '%' {
				literal.WriteByte('%')
				continue
			}
			if verb == 'v' {
				verb = 's'
			}
			if strings.IndexByte(verbs, verb) < 0 {
				return nil, fmt.Errorf("%w: there is no verb %%%c", ErrLayout, verb)
			}
			flush()
			l.tokens = append(l.tokens, token{verb: verb})
		}
	}
	flush()
	return l, nil
}

// Unescape replaces the escapes of a layout, such as \t, in text without verbs.
func Unescape(text string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(text); {
		if text[i] != '\\' {
			out.WriteByte(text[i])
			i++
			continue
		}
		b, n, err := unescape(text[i:])
		if err != nil {
			return "", err
		}
		out.WriteByte(b)
		i += n
	}
	return out.String(), nil
}

// unescape reads the escape that text starts with, and returns its length.
func unescape(text string) (b byte, n int, err error) {
	if len(text) < 2 {
		return 0, 0, fmt.Errorf("%w: it ends in a single backslash", ErrLayout)
	}
	switch c := text[1]; c {
	case 'n':
		return '\n', 2, nil
	case 'r':
		return '\r', 2, nil
	case 't':
		return '\t', 2, nil
	case '\\':
		return '\\', 2, nil
	case 'x':
		return number(text, 2, 2, 16)
	case '0', '1', '2', '3', '4', '5', '6', '7':
		return number(text, 1, 3, 8)
	default:
		return 0, 0, fmt.Errorf("%w: there is no escape \\%c", ErrLayout, c)
	}
}

// number reads up to digits digits of the base from start on.
func number(text string, start, digits, base int) (byte, int, error) {
	end := start
	for end < len(text) && end < start+digits {
		if _, err := strconv.ParseUint(text[end:end+1], base, 8); err != nil {
			break
		}
		end++
	}
	v, err := strconv.ParseUint(text[start:end], base, 8)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: the escape %q is no byte", ErrLayout, text[:end])
	}
	return byte(v), end, nil
}

// Append appends r as the layout says.
func (l *Layout) Append(b []byte, r *kgo.Record) []byte {
	for _, t := range l.tokens {
		switch t.verb {
		case 0:
			b = append(b, t.literal...)
		case 't':
			b = append(b, r.Topic...)
		case 'p':
			b = strconv.AppendInt(b, int64(r.Partition), 10)
		case 'o':
			b = strconv.AppendInt(b, r.Offset, 10)
		case 'T':
			b = strconv.AppendInt(b, milli(r), 10)
		case 'k':
			b = l.appendBytes(b, r.Key)
		case 's':
			b = l.appendBytes(b, r.Value)
		case 'K':
			b = strconv.AppendInt(b, int64(size(r.Key)), 10)
		case 'S':
			b = strconv.AppendInt(b, int64(size(r.Value)), 10)
		case 'R':
			b = binary.BigEndian.AppendUint32(b, uint32(size(r.Value)))
		case 'h':
			b = appendHeaders(b, r.Headers)
		}
	}
	return b
}

func (l *Layout) appendBytes(b, field []byte) []byte {
	if field == nil && l.Nulls {
		return append(b, nullText...)
	}
	return append(b, field...)
}

// nullText stands for null where a length does not say so.
const nullText = "NULL"

func appendHeaders(b []byte, headers []kgo.RecordHeader) []byte {
	for i, h := range headers {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, h.Key...), '=')
		if h.Value == nil {
			b = append(b, nullText...)
		}
		b = append(b, h.Value...)
	}
	return b
}

// size is the length of a field, -1 for null.
func size(field []byte) int {
	if field == nil {
		return -1
	}
	return len(field)
}

// milli is the timestamp of r in milliseconds since 1970, -1 if it has none.
func milli(r *kgo.Record) int64 {
	if r.Timestamp.IsZero() {
		return -1
	}
	return r.Timestamp.UnixMilli()
}

// Has reports whether the layout has the verb.
func (l *Layout) Has(verb byte) bool {
	for _, t := range l.tokens {
		if t.verb == verb {
			return true
		}
	}
	return false
}

// Escape returns text as it stands in a layout for itself.
func Escape(text string) string {
	return strings.NewReplacer(`\`, `\\`, "%", "%%").Replace(text)
}
