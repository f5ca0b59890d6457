package sink

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/twmb/franz-go/pkg/kgo"
)

// recordType is the type of the event that a record becomes that is none itself.
const recordType = "com.github.forebaylog.record"

// toEvent makes a record a CloudEvent. One that is an event in the binary mode of the Kafka
// binding stays it; every other is wrapped, its key as partitionkey if that is text. The
// extensions kafkatopic, kafkapartition and kafkaoffset say where it was.
func toEvent(r *kgo.Record) event.Event {
	e := event.New()
	if !fromHeaders(&e, r) {
		e = wrap(r)
	}
	e.SetExtension("kafkatopic", r.Topic)
	e.SetExtension("kafkapartition", strconv.Itoa(int(r.Partition)))
	e.SetExtension("kafkaoffset", strconv.FormatInt(r.Offset, 10))
	if r.Value != nil {
		e.DataEncoded, e.DataBase64 = r.Value, isBinary(e.DataContentType(), r.Value)
	}
	return e
}

// fromHeaders takes the attributes of an event out of headers ce_*. It reports false if they are
// those of no valid event.
func fromHeaders(e *event.Event, r *kgo.Record) bool {
	found := false
	for _, h := range r.Headers {
		name, isAttribute := strings.CutPrefix(strings.ToLower(h.Key), "ce_")
		value := string(h.Value)
		switch {
		case strings.EqualFold(h.Key, "content-type") && !printable(value):
			return false
		case strings.EqualFold(h.Key, "content-type"):
			e.SetDataContentType(value)
		case !isAttribute:
		case name == "specversion":
			found = value == event.CloudEventsVersionV1
		case !setAttribute(e, name, value):
			return false
		}
	}
	return found && e.Validate() == nil
}

// printable reports whether a text may be the value of a header of HTTP, which has no control characters. A media type may
// have some at its end and be one all the same.
func printable(text string) bool { return !strings.ContainsFunc(text, unicode.IsControl) }

func setAttribute(e *event.Event, name, value string) bool {
	switch name {
	case "id":
		e.SetID(value)
	case "source":
		e.SetSource(value)
	case "type":
		e.SetType(value)
	case "subject":
		e.SetSubject(value)
	case "dataschema":
		e.SetDataSchema(value)
	case "time":
		at, err := time.Parse(time.RFC3339Nano, value)
		if err != nil {
			return false
		}
		e.SetTime(at)
	case "data": // no attribute: in the JSON format it would be the data
		return false
	default:
		return e.Context.SetExtension(name, value) == nil
	}
	return len(e.FieldErrors) == 0
}

// wrap makes an event around a record that is none.
func wrap(r *kgo.Record) event.Event {
	e := event.New()
	e.SetID(fmt.Sprintf("%d-%d", r.Partition, r.Offset))
	e.SetSource("/topics/" + url.PathEscape(r.Topic))
	e.SetType(recordType)
	e.SetTime(r.Timestamp.UTC())
	if len(r.Key) > 0 && utf8.Valid(r.Key) {
		e.SetExtension("partitionkey", string(r.Key))
	}
	media := "application/octet-stream"
	switch {
	case r.Value == nil:
		return e
	case json.Valid(r.Value):
		media = event.ApplicationJSON
	case utf8.Valid(r.Value):
		media = "text/plain; charset=utf-8"
	}
	for _, h := range r.Headers {
		if strings.EqualFold(h.Key, "content-type") && len(h.Value) > 0 && printable(string(h.Value)) {
			media = string(h.Value)
		}
	}
	e.SetDataContentType(media)
	if e.Validate() != nil { // a media type that is none
		e.SetDataContentType("application/octet-stream")
	}
	return e
}

// isBinary reports whether data must be in base64 in the JSON format.
func isBinary(media string, data []byte) bool {
	media, _, _ = strings.Cut(strings.ToLower(media), ";")
	media = strings.TrimSpace(media)
	if media == "" || media == event.ApplicationJSON || media == event.TextJSON || strings.HasSuffix(media, "+json") {
		return !json.Valid(data)
	}
	return !utf8.Valid(data)
}

// setHeaders gives a request the attributes of an event, in the binary mode of the HTTP binding.
func setHeaders(h http.Header, e event.Event) {
	set := func(name, value string) {
		if value != "" {
			h.Set("Ce-"+name, escape(value))
		}
	}
	set("specversion", e.SpecVersion())
	set("id", e.ID())
	set("source", e.Source())
	set("type", e.Type())
	set("subject", e.Subject())
	set("dataschema", e.DataSchema())
	if t := e.Time(); !t.IsZero() {
		set("time", t.Format(time.RFC3339Nano))
	}
	for name, value := range e.Extensions() {
		set(name, fmt.Sprint(value))
	}
	if media := e.DataContentType(); media != "" {
		h.Set("Content-Type", media)
	}
}

// escape is the percent-encoding of the HTTP binding: everything but printable ASCII, and
// space, double quotes and percent signs.
func escape(value string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(value) {
		c := value[i]
		if c > ' ' && c < 0x7f && c != '"' && c != '%' {
			b.WriteByte(c)
			continue
		}
		b.Write([]byte{'%', digits[c>>4], digits[c&15]})
	}
	return b.String()
}
