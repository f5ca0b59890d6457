package faultproxy

import (
	"bytes"
	"net/http"
	"time"
)

// Action is what is done with a request. The zero value is none; use the functions below.
type Action struct{ do func(*exchange) }

// Delay forwards after a time from low to high.
func Delay(low, high time.Duration) Action {
	return Action{func(x *exchange) {
		x.wait(time.After(x.p.pick(low, high)))
		x.pass()
	}}
}

// Hold keeps the request until release is closed or the rule taken away, and forwards it
// then, whether its client still waits or not.
func Hold(release <-chan struct{}) Action {
	return Action{func(x *exchange) {
		select {
		case <-release:
		case <-x.rule.done:
		case <-x.p.ctx.Done():
		}
		x.pass()
	}}
}

// Reorder keeps the request until a later one that the same rule matches has passed, or
// until the longest wait is over.
func Reorder(longest time.Duration) Action {
	return Action{func(x *exchange) {
		later := x.p.awaitPass(x.rule.Match)
		select {
		case <-later:
		case <-time.After(longest):
		case <-x.rule.done:
		case <-x.p.ctx.Done():
		}
		x.pass()
	}}
}

// Busy answers that there are too many requests, without forwarding: 503 SlowDown as an
// object store does, or ProvisionedThroughputExceededException as a table service does.
func Busy() Action {
	return Action{func(x *exchange) {
		if x.table() {
			x.answer(http.StatusBadRequest, tableJSON,
				`{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"The level of configured provisioned throughput for the table was exceeded."}`)
			return
		}
		x.answer(http.StatusServiceUnavailable, storeXML, storeError("SlowDown", "Please reduce your request rate."))
	}}
}

// Fail answers 500, without forwarding.
func Fail() Action {
	return Action{func(x *exchange) {
		if x.table() {
			x.answer(http.StatusInternalServerError, tableJSON,
				`{"__type":"com.amazonaws.dynamodb.v20120810#InternalServerError","message":"The request processing has failed."}`)
			return
		}
		x.answer(http.StatusInternalServerError, storeXML, storeError("InternalError", "We encountered an internal error. Please try again."))
	}}
}

// Deny answers that the caller has no right to do it, without forwarding, as AWS does.
func Deny() Action {
	return Action{func(x *exchange) {
		if x.table() {
			x.answer(http.StatusBadRequest, tableJSON,
				`{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"User is not authorized to perform: dynamodb:`+x.req.Operation+`"}`)
			return
		}
		x.answer(http.StatusForbidden, storeXML, storeError("AccessDenied", "Access Denied"))
	}}
}

const (
	tableJSON = "application/x-amz-json-1.0"
	storeXML  = "application/xml"
)

func storeError(code, message string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>` + "\n<Error><Code>" + code + "</Code><Message>" + message +
		"</Message><RequestId>faultproxy</RequestId></Error>"
}

// LoseRequest resets the connection; the service never hears of the request.
func LoseRequest() Action { return Action{func(x *exchange) { x.reset() }} }

// LoseReply lets the service carry the request out and resets the connection then.
func LoseReply() Action {
	return Action{func(x *exchange) {
		x.carryOut()
		x.reset()
	}}
}

// LateReply lets the service carry the request out and keeps the reply for a time from low to high.
func LateReply(low, high time.Duration) Action {
	return Action{func(x *exchange) {
		resp, body := x.carryOut()
		x.wait(time.After(x.p.pick(low, high)))
		x.head(resp)
		_, _ = x.w.Write(body) // the client may have gone
	}}
}

// CutReply lets the service carry the request out and resets the connection in the middle of the reply's body.
func CutReply() Action {
	return Action{func(x *exchange) {
		resp, body := x.carryOut()
		if len(body) == 0 {
			x.reset()
		}
		x.head(resp)
		_, _ = x.w.Write(body[:x.p.below(len(body))])
		_ = http.NewResponseController(x.w).Flush() // the connection is reset in any case
		x.reset()
	}}
}

// CutRequest forwards a part of the body and ends both connections.
func CutRequest() Action {
	return Action{func(x *exchange) {
		n := len(x.req.Body)
		resp, err := x.send(x.req.Body[:x.p.below(n)], int64(n)) // fails: the body is shorter than it should be
		if err == nil {
			_ = resp.Body.Close()
		}
		x.reset()
	}}
}

// FlipBit lets the service carry the request out and flips one bit of the reply's body.
func FlipBit() Action {
	return Action{func(x *exchange) {
		resp, body := x.carryOut()
		if len(body) > 0 {
			body = bytes.Clone(body)
			body[x.p.below(len(body))] ^= 1 << x.p.below(8)
		}
		x.head(resp)
		_, _ = x.w.Write(body)
	}}
}

// Silence says nothing, as when packets are dropped, until the rule is taken away or the
// client gives up; the service never hears of the request.
func Silence() Action {
	return Action{func(x *exchange) {
		select {
		case <-x.rule.done:
		case <-x.client.Done():
		case <-x.p.ctx.Done():
		}
		x.reset()
	}}
}

// wait waits for c, but not beyond the proxy's end.
func (x *exchange) wait(c <-chan time.Time) {
	select {
	case <-c:
	case <-x.p.ctx.Done():
	}
}
