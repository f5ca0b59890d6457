package format

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// AppendJSON appends r as one line of JSON in kcat's envelope. Text that is not
// UTF-8 has its bad bytes replaced, and the bytes as they are beside it in base64,
// as key_base64 or payload_base64.
func AppendJSON(b []byte, r *kgo.Record) []byte {
	b = appendString(append(b, `{"topic":`...), r.Topic)
	b = strconv.AppendInt(append(b, `,"partition":`...), int64(r.Partition), 10)
	b = strconv.AppendInt(append(b, `,"offset":`...), r.Offset, 10)
	b = appendString(append(b, `,"tstype":`...), timestampType(r))
	b = strconv.AppendInt(append(b, `,"ts":`...), milli(r), 10)
	if len(r.Headers) > 0 {
		b = append(b, `,"headers":[`...)
		for i, h := range r.Headers {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, h.Key)
			b = appendText(append(b, ','), h.Value)
		}
		b = append(b, ']')
	}
	b = appendField(b, "key", r.Key)
	b = appendField(b, "payload", r.Value)
	return append(b, '}', '\n')
}

func timestampType(r *kgo.Record) string {
	switch r.Attrs.TimestampType() {
	case 0:
		return "create"
	case 1:
		return "logappend"
	}
	return "unknown"
}

func appendField(b []byte, name string, field []byte) []byte {
	b = appendString(append(b, ','), name)
	b = appendText(append(b, ':'), field)
	if !utf8.Valid(field) {
		b = appendString(append(b, ','), name+"_base64")
		b = append(append(b, ':', '"'), base64.StdEncoding.EncodeToString(field)...)
		b = append(b, '"')
	}
	return b
}

func appendText(b, field []byte) []byte {
	if field == nil {
		return append(b, "null"...)
	}
	return appendString(b, string(field))
}

// appendString appends a JSON string. Unlike encoding/json it leaves <, > and & alone.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s { // bad bytes come as utf8.RuneError
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r == '\r':
			b = append(b, '\\', 'r')
		case r == '\t':
			b = append(b, '\\', 't')
		case r < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
