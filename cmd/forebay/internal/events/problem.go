package events

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// problem is an answer of RFC 9457, with Kafka's name of the error where there is one.
type problem struct {
	Type       string    `json:"type"`
	Title      string    `json:"title"`
	Status     int       `json:"status"`
	Detail     string    `json:"detail"`
	KafkaError string    `json:"kafka_error,omitempty"`
	Invalid    []invalid `json:"invalid,omitempty"` // of a request whose events are not valid
	Events     []outcome `json:"events,omitempty"`  // of a request that was written in part
}

// invalid is what is wrong with one attribute of one event.
type invalid struct {
	Index     int    `json:"index"` // of the event in its batch
	Attribute string `json:"attribute,omitempty"`
	Detail    string `json:"detail"`
}

// Error makes a problem an error, for what decodes and produces.
func (p *problem) Error() string { return p.Detail }

// retryAfter is what a client that may try again is told to wait, in seconds.
const retryAfter = 1

// newProblem is a problem whose title is the status's.
func newProblem(status int, kafkaError, detail string) *problem {
	return &problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, KafkaError: kafkaError}
}

func (p *problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/problem+json")
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	writeJSON(w, p.Status, p)
}

func writeJSON(w http.ResponseWriter, status int, document any) {
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(document) // a client that has gone away
}

// produceProblem says what a failed produce means to the one who has sent the event.
func produceProblem(topic string, err error) *problem {
	name := ""
	var code *kerr.Error
	if errors.As(err, &code) {
		name = code.Message
	}
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
		return newProblem(http.StatusNotFound, name, "there is no topic "+strconv.Quote(topic)+"; create it first, for example with 'forebay topic create'")
	case errors.Is(err, kerr.InvalidTopicException):
		return newProblem(http.StatusBadRequest, name, strconv.Quote(topic)+" is no name of a topic: use up to 249 of a-z, A-Z, 0-9, '.', '_' and '-'")
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return newProblem(http.StatusRequestEntityTooLarge, kerr.MessageTooLarge.Message, "the event is larger than max.message.bytes of topic "+topic+" allows; send less, or raise it")
	case errors.Is(err, kerr.InvalidRecord):
		return newProblem(http.StatusBadRequest, name, "the broker refuses the record; if the topic is compacted, each event needs the attribute partitionkey, which becomes the key: "+err.Error())
	case errors.Is(err, kerr.InvalidTimestamp), errors.Is(err, kerr.PolicyViolation):
		return newProblem(http.StatusBadRequest, name, "the broker refuses the record: "+err.Error())
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return newProblem(http.StatusForbidden, name, "events may not be written to topic "+topic+": "+err.Error())
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, errOutcomeUnknown):
		name = kerr.RequestTimedOut.Message
	}
	return newProblem(http.StatusServiceUnavailable, name, "the event is not acknowledged, and may be written all the same; send it again: "+err.Error())
}
