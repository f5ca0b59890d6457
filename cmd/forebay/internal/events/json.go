package events

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
)

// The members of the JSON format that hold the data.
const (
	memberData   = "data"
	memberBase64 = "data_base64"
)

// decodeJSON reads one event in the JSON format of CloudEvents. The SDK's own decoders cannot be given what
// comes from outside: they panic on some of it, and do not say which attribute is wrong.
func decodeJSON(text []byte) (event.Event, []invalid) {
	e := event.New()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return e, []invalid{{Detail: "not a JSON object: " + err.Error()}}
	}
	for name, raw := range members {
		if string(raw) == "null" { // the same as to leave it out
			delete(members, name)
		}
	}
	if wrong := badNames(members); wrong != nil {
		return e, wrong
	}
	if _, ok := members["specversion"]; !ok {
		return e, []invalid{{Attribute: "specversion", Detail: `missing: it is "1.0"`}}
	}
	var wrong []invalid
	for _, name := range sortedKeys(members) {
		if err := setMember(&e, name, members[name]); err != nil {
			wrong = append(wrong, invalid{Attribute: name, Detail: err.Error()})
		}
	}
	if err := setData(&e, members); err != nil {
		wrong = append(wrong, invalid{Attribute: memberData, Detail: err.Error()})
	}
	if len(wrong) > 0 {
		return e, wrong
	}
	return e, validate(e)
}

func stringOf(raw json.RawMessage) (text string, err error) {
	if json.Unmarshal(raw, &text) != nil {
		return "", errors.New("must be a string")
	}
	return text, nil
}

// setMember sets an attribute or an extension.
func setMember(e *event.Event, name string, raw json.RawMessage) error {
	if name == memberData || name == memberBase64 {
		return nil
	}
	text, err := stringOf(raw)
	switch {
	case err == nil:
		return setAttribute(e, name, text)
	case isAttribute(name):
		return err
	}
	return setExtension(e, name, raw)
}

func isAttribute(name string) bool {
	switch name {
	case "specversion", "id", "source", "type", "subject", "dataschema", "datacontenttype", "time":
		return true
	}
	return false
}

// setAttribute sets an attribute or an extension to a text.
func setAttribute(e *event.Event, name, text string) error {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return errors.New("must be text in UTF-8 without control characters")
	}
	c := e.Context
	switch name {
	case "specversion":
		if text != event.CloudEventsVersionV1 {
			return fmt.Errorf(`%q is not supported: it is "1.0"`, text)
		}
		return nil
	case "id":
		return c.SetID(text)
	case "source":
		return c.SetSource(text)
	case "type":
		return c.SetType(text)
	case "subject":
		return c.SetSubject(text)
	case "dataschema":
		return c.SetDataSchema(text)
	case "datacontenttype":
		return c.SetDataContentType(text)
	case "time":
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return fmt.Errorf("%q is no time of RFC 3339", text)
		}
		return c.SetTime(t)
	}
	return c.SetExtension(name, text)
}

// setExtension sets an extension that is no text.
func setExtension(e *event.Event, name string, raw json.RawMessage) error {
	var value any
	var number int32
	switch err := json.Unmarshal(raw, &number); {
	case err == nil:
		value = number
	case json.Unmarshal(raw, &value) != nil:
		return errors.New("cannot be read")
	}
	switch value.(type) {
	case bool, int32:
		return e.Context.SetExtension(name, value)
	}
	return errors.New("must be a string, a boolean or an integer of 32 bits")
}

// setData sets the data: JSON as it is written, text as such, or bytes from base64.
func setData(e *event.Event, members map[string]json.RawMessage) error {
	data, hasData := members[memberData]
	encoded, hasBytes := members[memberBase64]
	switch {
	case hasData && hasBytes:
		return errors.New("give data or data_base64")
	case hasBytes:
		text, err := stringOf(encoded)
		if err != nil {
			return fmt.Errorf("data_base64: %w", err)
		}
		if e.DataEncoded, err = base64.StdEncoding.DecodeString(text); err != nil {
			return fmt.Errorf("data_base64: %w", err)
		}
		e.DataBase64 = true
	case hasData && isJSON(e.DataContentType()):
		e.DataEncoded = data
	case hasData:
		text, err := stringOf(data)
		if err != nil {
			return fmt.Errorf("must be a string, as datacontenttype %s is not JSON", e.DataContentType())
		}
		e.DataEncoded = []byte(text)
	}
	return nil
}

// isJSON reports whether data of a media type is JSON, which no media type says too.
func isJSON(media string) bool {
	if media == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(media)
	return err == nil && (media == event.ApplicationJSON || media == event.TextJSON || strings.HasSuffix(media, "+json"))
}
