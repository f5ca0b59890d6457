package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// mode is one of the content modes of the HTTP binding of CloudEvents.
type mode string

const (
	modeBinary     mode = "binary"
	modeStructured mode = "structured"
	modeBatch      mode = "batch"
)

// modeOf tells the mode of a request, which its media type decides.
func modeOf(h http.Header) (mode, error) {
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	switch {
	case encoded(h):
		return "", newProblem(http.StatusUnsupportedMediaType, "", fmt.Sprintf("Content-Encoding %q is not supported: send the body as it is", h.Get("Content-Encoding")))
	case h.Get("Content-Type") != "" && err != nil:
		return "", newProblem(http.StatusUnsupportedMediaType, "", fmt.Sprintf("Content-Type %q is no media type: %v", h.Get("Content-Type"), err))
	case media == event.ApplicationCloudEventsJSON:
		return modeStructured, nil
	case media == event.ApplicationCloudEventsBatchJSON:
		return modeBatch, nil
	case strings.HasPrefix(media, "application/cloudevents"):
		return "", newProblem(http.StatusUnsupportedMediaType, "", media+" is not supported: use application/cloudevents+json, application/cloudevents-batch+json, or headers ce-*")
	case h.Get("Ce-Specversion") == "":
		return "", invalidEvents([]invalid{{Attribute: "specversion", Detail: "missing: send the headers ce-specversion: 1.0, ce-id, ce-source and ce-type, or the media type application/cloudevents+json"}})
	}
	return modeBinary, nil
}

// encoded reports whether the body is encoded, which would be taken for the data.
func encoded(h http.Header) bool {
	return slices.ContainsFunc(h.Values("Content-Encoding"), func(coding string) bool { return !strings.EqualFold(coding, "identity") })
}

// decode reads the events of a request, at most so many. Its error is a problem: none of the events is valid
// unless all are.
func decode(m mode, h http.Header, body []byte, most int) ([]event.Event, error) {
	var events []event.Event
	switch m {
	case modeBatch:
		raw, err := split(body, most)
		if err != nil {
			return nil, err
		}
		var wrong []invalid
		for i, text := range raw {
			e, bad := decodeJSON(text)
			events, wrong = append(events, e), append(wrong, at(i, bad)...)
		}
		return events, invalidEvents(wrong)
	case modeStructured:
		e, bad := decodeJSON(body)
		return []event.Event{e}, invalidEvents(bad)
	}
	e, bad := decodeBinary(h, body)
	return []event.Event{e}, invalidEvents(bad)
}

// split takes a batch apart. It stops at what is too much, since a small body may have millions of elements.
func split(body []byte, most int) (raw []json.RawMessage, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	begin, err := d.Token()
	if err == nil && begin != json.Delim('[') {
		err = fmt.Errorf("it begins with %v", begin)
	}
	for err == nil && d.More() {
		if len(raw) == most {
			return nil, newProblem(http.StatusRequestEntityTooLarge, "", fmt.Sprintf("a request has more events than it may; send at most %d", most))
		}
		var one json.RawMessage
		err = d.Decode(&one)
		raw = append(raw, one)
	}
	if err == nil {
		_, err = d.Token() // the end of the array
	}
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the array")
		}
	}
	if err != nil {
		return nil, newProblem(http.StatusBadRequest, "", "a batch is a JSON array of CloudEvents: "+err.Error())
	}
	return raw, nil
}

func at(index int, wrong []invalid) []invalid {
	for i := range wrong {
		wrong[i].Index = index
	}
	return wrong
}

// maxInvalid is how many mistakes an answer lists.
const maxInvalid = 100

// invalidEvents is nil if nothing is wrong.
func invalidEvents(wrong []invalid) error {
	if len(wrong) == 0 {
		return nil
	}
	p := newProblem(http.StatusBadRequest, "", "not a CloudEvent of version 1.0, and nothing was written: "+wrong[0].text())
	if len(wrong) > 1 {
		p.Detail += fmt.Sprintf(", and %d more", len(wrong)-1)
	}
	p.Invalid = wrong[:min(len(wrong), maxInvalid)]
	return p
}

func (i invalid) text() string {
	if i.Attribute == "" {
		return i.Detail
	}
	return "attribute " + i.Attribute + ": " + i.Detail
}

// badNames lists the attributes whose names are not of lower-case letters and digits. Names of headers are given in lower case.
func badNames[V any](attributes map[string]V) (wrong []invalid) {
	for _, name := range sortedKeys(attributes) {
		bad := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }
		if name != "data_base64" && (name == "" || strings.ContainsFunc(name, bad)) {
			wrong = append(wrong, invalid{Attribute: name, Detail: "names of attributes consist of lower-case letters and digits"})
		}
	}
	return wrong
}

// decodeBinary reads an event whose attributes are headers.
func decodeBinary(h http.Header, body []byte) (event.Event, []invalid) {
	e := event.New()
	attributes := map[string]string{}
	for name, values := range h {
		attribute, ok := strings.CutPrefix(name, "Ce-")
		decode := unescape
		if name == "Content-Type" { // a header of HTTP's own, which is no text in percent-encoding
			attribute, ok, decode = "datacontenttype", true, strings.TrimSpace
		}
		if !ok {
			continue
		}
		attribute = strings.ToLower(attribute)
		switch _, twice := attributes[attribute]; {
		case twice, len(values) > 1:
			return e, []invalid{{Attribute: attribute, Detail: "the header is given twice"}}
		case attribute == memberData:
			return e, []invalid{{Attribute: attribute, Detail: "the data is the body, and no header"}}
		}
		attributes[attribute] = decode(values[0])
	}
	if wrong := badNames(attributes); wrong != nil {
		return e, wrong
	}
	var wrong []invalid
	for _, name := range sortedKeys(attributes) {
		if err := setAttribute(&e, name, attributes[name]); err != nil {
			wrong = append(wrong, invalid{Attribute: name, Detail: err.Error()})
		}
	}
	if len(wrong) > 0 {
		return e, wrong
	}
	if len(body) > 0 {
		e.DataEncoded = body
	}
	return e, validate(e)
}

// unescape reverses what the HTTP binding encodes: first the double quotes around a value, which older versions of it
// want, with backslashes in it, and then the percent-encoding. A value that is not encoded as
// the binding wants, such as one with a bare "%", is taken as it is.
func unescape(value string) string {
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		value = reQuoted.ReplaceAllString(value[1:n-1], "$1")
	}
	if plain, err := url.PathUnescape(value); err == nil {
		return plain
	}
	return value
}

// reQuoted is a character with a backslash before it.
var reQuoted = regexp.MustCompile(`\\(.)`)

// validate checks what the specification asks for, beyond what can be decoded.
func validate(e event.Event) []invalid {
	if err := e.Validate(); err != nil {
		return wrongAttributes(err)
	}
	for name, value := range e.Extensions() {
		if _, err := types.Format(value); err != nil {
			return []invalid{{Attribute: name, Detail: err.Error()}}
		}
	}
	return nil
}

// wrongAttributes lists what the SDK has found, by attribute if it names them.
func wrongAttributes(err error) []invalid {
	var by event.ValidationError
	if !errors.As(err, &by) || len(by) == 0 {
		return []invalid{{Detail: strings.TrimSpace(err.Error())}}
	}
	var wrong []invalid
	for _, name := range sortedKeys(by) {
		wrong = append(wrong, invalid{Attribute: name, Detail: by[name].Error()})
	}
	return wrong
}
