package rig

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// FunctionURL serves a function as its URL of the auth type AWS_IAM does: it checks who has signed a request, and whether
// that one may call the function, refuses others with 403, and hands the function events of payload format 2.0.
type FunctionURL struct {
	URL    string // without a slash at the end
	server *http.Server
	done   chan struct{}
}

// urlEvent is an event of payload format 2.0.
type urlEvent struct {
	Version    string            `json:"version"`
	RouteKey   string            `json:"routeKey"`
	RawPath    string            `json:"rawPath"`
	RawQuery   string            `json:"rawQueryString"`
	Headers    map[string]string `json:"headers"`
	Context    urlContext        `json:"requestContext"`
	Body       string            `json:"body,omitempty"`
	BodyBase64 bool              `json:"isBase64Encoded"`
}

type urlContext struct {
	AccountID  string         `json:"accountId"`
	APIID      string         `json:"apiId"`
	DomainName string         `json:"domainName"`
	RequestID  string         `json:"requestId"`
	RouteKey   string         `json:"routeKey"`
	Stage      string         `json:"stage"`
	TimeEpoch  int64          `json:"timeEpoch"`
	Authorizer *urlAuthorizer `json:"authorizer,omitempty"`
	HTTP       urlHTTP        `json:"http"`
}

type urlAuthorizer struct {
	IAM urlIAM `json:"iam"`
}

type urlIAM struct {
	AccessKey string `json:"accessKey"`
	AccountID string `json:"accountId"`
	CallerID  string `json:"callerId"`
	UserARN   string `json:"userArn"`
	UserID    string `json:"userId"`
}

type urlHTTP struct {
	Method    string `json:"method"`
	Path      string `json:"path"`
	Protocol  string `json:"protocol"`
	SourceIP  string `json:"sourceIp"`
	UserAgent string `json:"userAgent"`
}

type urlResponse struct {
	StatusCode int               `json:"statusCode"`
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body"`
	BodyBase64 bool              `json:"isBase64Encoded"`
}

// maxURLBody is the largest body of a request to a function URL in bytes.
const maxURLBody = 6 << 20

// FunctionURLConfig says how to serve a function.
type FunctionURLConfig struct {
	Addr  string        // to listen on; a free loopback port if empty
	Limit time.Duration // how long the function may take
	Open  bool          // as with the auth type NONE: it checks nobody, and events tell of no caller
	Known []Identity    // who may have signed a request
}

// ServeURL serves a function, which may take as long as limit, on a free loopback port to those who are known.
func ServeURL(ctx context.Context, f *Lambda, limit time.Duration, open bool, known ...Identity) (*FunctionURL, error) {
	return FunctionURLConfig{Limit: limit, Open: open, Known: known}.Serve(ctx, f)
}

// Serve serves a function until Close.
func (cfg FunctionURLConfig) Serve(ctx context.Context, f *Lambda) (*FunctionURL, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", cmp.Or(cfg.Addr, "127.0.0.1:0"))
	if err != nil {
		return nil, fmt.Errorf("serve a function URL: %w", err)
	}
	u := &FunctionURL{URL: "http://" + l.Addr().String(), done: make(chan struct{})}
	u.server = &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxURLBody))
		if err != nil {
			urlError(w, http.StatusRequestEntityTooLarge, err)
			return
		}
		var caller *Identity
		if !cfg.Open {
			i, err := verify(r, body, cfg.Known, time.Now())
			if err == nil && !i.Allowed {
				err = errUnsigned
			}
			if err != nil {
				urlError(w, http.StatusForbidden, err)
				return
			}
			caller = &i
		}
		var out urlResponse
		if err := f.Invoke(r.Context(), cfg.Limit, eventOf(r, body, caller), &out); err != nil {
			urlError(w, http.StatusBadGateway, errors.New("Internal Server Error")) //nolint:staticcheck // AWS's own words
			return
		}
		out.write(w)
	})}
	go func() {
		defer close(u.done)
		_ = u.server.Serve(l) // returns when Close closes it
	}()
	return u, nil
}

// urlError answers as AWS does when the function was not called, or has failed.
func urlError(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"Message": err.Error()}) // the client is gone
}

func eventOf(r *http.Request, body []byte, caller *Identity) urlEvent {
	ip, _, _ := net.SplitHostPort(r.RemoteAddr)
	e := urlEvent{
		Version: "2.0", RouteKey: "$default", RawPath: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery, Headers: map[string]string{},
		Context: urlContext{
			AccountID: "000000000000", APIID: "local", DomainName: r.Host, RequestID: "local", RouteKey: "$default", Stage: "$default",
			TimeEpoch: time.Now().UnixMilli(),
			HTTP:      urlHTTP{Method: r.Method, Path: r.URL.Path, Protocol: r.Proto, SourceIP: ip, UserAgent: r.UserAgent()},
		},
	}
	for name, values := range r.Header {
		e.Headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	if caller != nil {
		e.Context.Authorizer = &urlAuthorizer{urlIAM{
			AccessKey: caller.AccessKey, AccountID: "000000000000", CallerID: caller.AccessKey, UserARN: caller.ARN, UserID: caller.AccessKey,
		}}
	}
	if e.Body = string(body); !utf8.Valid(body) {
		e.Body, e.BodyBase64 = base64.StdEncoding.EncodeToString(body), true
	}
	return e
}

func (out urlResponse) write(w http.ResponseWriter) {
	body := []byte(out.Body)
	if out.BodyBase64 {
		body, _ = base64.StdEncoding.DecodeString(out.Body) // what cannot be decoded is no body
	}
	for name, value := range out.Headers {
		w.Header().Set(name, value)
	}
	w.WriteHeader(out.StatusCode)
	_, _ = w.Write(body) // the client is gone
}

// Close ends it; requests under way are cut off.
func (u *FunctionURL) Close() error {
	err := u.server.Close()
	<-u.done
	return err
}
