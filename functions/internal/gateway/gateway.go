// Package gateway serves an http.Handler behind a function URL or an HTTP API of Amazon API Gateway (payload format
// 2.0, answers at once): it turns events into requests and responses into answers, and tells who the caller is.
//
// AWS has checked the signature and the caller's rights when an event arrives with an IAM caller in its request context;
// one without is from a URL or a route that checks nobody, and refused. The package owns nothing.
package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"

	"github.com/forebaylog/forebay/functions/admin"
)

// Request is the event of payload format 2.0. Function URLs and HTTP APIs have the same.
type Request = events.LambdaFunctionURLRequest

// Response is the answer to it.
type Response = events.LambdaFunctionURLResponse

type iamKey struct{}

// Serve returns what a Lambda main starts.
func Serve(h http.Handler) func(context.Context, Request) (Response, error) {
	return func(ctx context.Context, event Request) (Response, error) {
		ctx, cancel := inTime(ctx)
		defer cancel()
		r, err := httpRequest(ctx, event)
		if err != nil {
			return refused(err), nil
		}
		w := &recorder{header: http.Header{}, status: http.StatusOK}
		h.ServeHTTP(w, r)
		return w.response(), nil
	}
}

// refused is the answer to what is no request, a problem of RFC 9457 as those of the handler.
func refused(err error) Response {
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	admin.Refuse(w, &admin.Refusal{Status: http.StatusBadRequest, Detail: err.Error()})
	return w.response()
}

// maxSpare is what is left of an invocation's time, at most, for a request to end what it has begun: when the time is over
// Lambda stops the process wherever it is, such as between taking the shard of a group and giving it back.
const maxSpare = 3 * time.Second

// inTime ends a third of the time before ctx does, or maxSpare if that is less.
func inTime(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, deadline.Add(-min(time.Until(deadline)/3, maxSpare)))
}

// httpRequest is the request that an event is of.
func httpRequest(ctx context.Context, event Request) (*http.Request, error) {
	body := []byte(event.Body)
	if event.IsBase64Encoded {
		var err error
		if body, err = base64.StdEncoding.DecodeString(event.Body); err != nil {
			return nil, fmt.Errorf("decode the body: %w", err)
		}
	}
	if event.RequestContext.Authorizer != nil && event.RequestContext.Authorizer.IAM != nil {
		ctx = context.WithValue(ctx, iamKey{}, event.RequestContext.Authorizer.IAM)
	}
	about := event.RequestContext.HTTP
	r, err := http.NewRequestWithContext(ctx, about.Method, "/", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if r.URL, err = pathOf(event.RawPath); err != nil {
		return nil, err
	}
	r.URL.RawQuery = event.RawQueryString
	for name, value := range event.Headers {
		r.Header.Set(name, value)
	}
	if len(event.Cookies) > 0 {
		r.Header.Set("Cookie", strings.Join(event.Cookies, "; "))
	}
	r.Host, r.RemoteAddr, r.RequestURI = event.RequestContext.DomainName, about.SourceIP, r.URL.RequestURI()
	return r, nil
}

// pathOf reads the path of an event, which must be valid when it is decoded. A function URL hands on what the client has
// sent. An HTTP API decodes it and cuts it off at a question mark, so that its clients encode twice what is not to
// be taken for a part of the path; what they have forgotten to encode twice is refused where it shows.
func pathOf(raw string) (*url.URL, error) {
	u, err := url.ParseRequestURI(raw)
	if err != nil || u.RawQuery != "" || u.ForceQuery || !strings.HasPrefix(raw, "/") || !utf8.ValidString(u.Path) {
		return nil, fmt.Errorf("path %q is not encoded as it should be: through an HTTP API encode %%, / and ? in names twice", raw)
	}
	return u, nil
}

// recorder keeps a response.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(b []byte) (int, error) { return w.body.Write(b) }

func (w *recorder) response() Response {
	out := Response{StatusCode: w.status, Headers: map[string]string{}, Cookies: w.header.Values("Set-Cookie")}
	for name, values := range w.header {
		if name != "Set-Cookie" {
			out.Headers[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	if b := w.body.Bytes(); utf8.Valid(b) {
		out.Body = string(b)
	} else {
		out.Body, out.IsBase64Encoded = base64.StdEncoding.EncodeToString(b), true
	}
	return out
}
