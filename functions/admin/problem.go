package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	core "github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/kv"
)

// Problem is how an operation fails: RFC 9457, with Kafka's error if it has one for it.
type Problem struct {
	Type       string              `json:"type,omitempty" format:"uri-reference" doc:"about:blank: the status says it all"`
	Title      string              `json:"title" doc:"The status in words"`
	Status     int                 `json:"status" doc:"The HTTP status"`
	Detail     string              `json:"detail,omitempty" doc:"What failed, to what it happened and what to do"`
	KafkaError string              `json:"kafka_error,omitempty" doc:"Kafka's name for it" example:"UNKNOWN_TOPIC_OR_PARTITION"`
	KafkaCode  int16               `json:"kafka_code,omitempty" doc:"Kafka's number for it" example:"3"`
	Errors     []*huma.ErrorDetail `json:"errors,omitempty" doc:"What is wrong with the request"`
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is that of problems.
func (p *Problem) ContentType(ct string) string {
	if ct == "application/json" {
		return "application/problem+json"
	}
	return ct
}

func problem(status int, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
}

// writeProblem answers with a problem.
func writeProblem(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // an error: the client is gone
}

// setHuma makes huma answer with Problems, and never with null for a list: settings that it has for a whole process.
var setHuma = sync.OnceFunc(func() {
	huma.DefaultArrayNullable = false
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		p := problem(status, msg)
		for _, err := range errs {
			if d, ok := err.(huma.ErrorDetailer); ok {
				p.Errors = append(p.Errors, d.ErrorDetail())
			} else if err != nil {
				p.Errors = append(p.Errors, &huma.ErrorDetail{Message: err.Error()})
			}
		}
		return p
	}
})

// statusOf maps the Kafka errors that are not the caller's mistake in the request itself, which is 400.
var statusOf = map[string]int{
	"UNKNOWN_TOPIC_OR_PARTITION": http.StatusNotFound,
	"UNKNOWN_TOPIC_ID":           http.StatusNotFound,
	"GROUP_ID_NOT_FOUND":         http.StatusNotFound,
	"BROKER_ID_NOT_REGISTERED":   http.StatusNotFound,
	"RESOURCE_NOT_FOUND":         http.StatusNotFound,

	"TOPIC_ALREADY_EXISTS":           http.StatusConflict,
	"NON_EMPTY_GROUP":                http.StatusConflict,
	"GROUP_SUBSCRIBED_TO_TOPIC":      http.StatusConflict,
	"NO_REASSIGNMENT_IN_PROGRESS":    http.StatusConflict,
	"ELECTION_NOT_NEEDED":            http.StatusConflict,
	"INVALID_UPDATE_VERSION":         http.StatusConflict,
	"UNSUPPORTED_VERSION":            http.StatusConflict,
	"POLICY_VIOLATION":               http.StatusConflict,
	"ELIGIBLE_LEADERS_NOT_AVAILABLE": http.StatusConflict,
	"PREFERRED_LEADER_NOT_AVAILABLE": http.StatusConflict,

	"FEATURE_UPDATE_FAILED":        http.StatusServiceUnavailable,
	"COORDINATOR_NOT_AVAILABLE":    http.StatusServiceUnavailable,
	"COORDINATOR_LOAD_IN_PROGRESS": http.StatusServiceUnavailable,
	"NOT_COORDINATOR":              http.StatusServiceUnavailable,
	"BROKER_NOT_AVAILABLE":         http.StatusServiceUnavailable,
	"REQUEST_TIMED_OUT":            http.StatusGatewayTimeout,
}

// problemOf is what a caller is told of an error. What no caller can help is logged.
func (a *API) problemOf(ctx context.Context, operation string, err error) *Problem {
	var known *Problem
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, core.ErrKeyUsed):
		return problem(http.StatusUnprocessableEntity, err.Error())
	case errors.Is(err, ErrNoCluster), errors.Is(err, errNoBroker):
		return problem(http.StatusServiceUnavailable, err.Error())
	case errors.Is(err, group.ErrNotEmpty):
		return kafkaProblem(err, "NON_EMPTY_GROUP", 68)
	case errors.Is(err, kv.ErrThrottled):
		return problem(http.StatusServiceUnavailable, err.Error())
	}
	if k := core.KafkaError(err); k != nil {
		return kafkaProblem(err, k.Message, k.Code)
	}
	a.cfg.Logger.ErrorContext(ctx, "operation failed", "operation", operation, "err", err)
	return problem(http.StatusInternalServerError, err.Error())
}

func kafkaProblem(err error, name string, code int16) *Problem {
	status, ok := statusOf[name]
	if !ok {
		status = http.StatusBadRequest
	}
	p := problem(status, err.Error())
	p.KafkaError, p.KafkaCode = name, code
	return p
}
