package objstore

import (
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Class is the kind of an HTTP request, as object stores bill them.
type Class uint8

// The classes. A part of a multipart upload is a ClassPut; its start and its end are a ClassPost.
const (
	ClassOther Class = iota
	ClassPut
	ClassGet
	ClassHead
	ClassList
	ClassDelete
	ClassPost
)

var classNames = [...]string{"OTHER", "PUT", "GET", "HEAD", "LIST", "DELETE", "POST"}

// String returns the class as one upper-case word.
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return classNames[ClassOther]
}

// Request is one HTTP request that was sent, as told to an observer. One without a
// body that is sent anew because its connection had just been closed counts once.
type Request struct {
	Class    Class
	Sent     int64         // bytes of the request's body
	Received int64         // bytes of the reply's body
	Duration time.Duration // until the reply's body was read or given up
	Status   int           // of the reply, 0 if there was none
	Err      error         // what broke the exchange; a reply that says no is no Err
}

// observer is a RoundTripper that tells f of every request.
type observer struct {
	next http.RoundTripper
	f    func(Request)
}

// observed returns next with f told of every request, by the goroutines that make them; f may be nil.
func observed(next http.RoundTripper, f func(Request)) http.RoundTripper {
	if f == nil {
		return next
	}
	return &observer{next: next, f: f}
}

// RoundTrip implements http.RoundTripper.
func (o *observer) RoundTrip(req *http.Request) (*http.Response, error) {
	x := &exchange{f: o.f, class: classOf(req), began: time.Now()}
	resp, err := o.next.RoundTrip(x.counting(req))
	if err != nil {
		x.end(err)
		return nil, err
	}
	x.status = resp.StatusCode
	if resp.Body == http.NoBody {
		x.end(nil)
		return resp, nil
	}
	resp.Body = &replyBody{ReadCloser: resp.Body, x: x}
	return resp, nil
}

func classOf(req *http.Request) Class {
	switch req.Method {
	case http.MethodPut:
		return ClassPut
	case http.MethodGet:
		if req.URL.Query().Has("list-type") {
			return ClassList
		}
		return ClassGet
	case http.MethodHead:
		return ClassHead
	case http.MethodDelete:
		return ClassDelete
	case http.MethodPost:
		return ClassPost
	}
	return ClassOther
}

// exchange is a request under way.
type exchange struct {
	f      func(Request)
	class  Class
	began  time.Time
	status int
	once   sync.Once

	sent, received atomic.Int64
}

// counting returns a copy of req whose body is counted.
func (x *exchange) counting(req *http.Request) *http.Request {
	if req.Body == nil || req.Body == http.NoBody {
		return req
	}
	counted := req.WithContext(req.Context())
	counted.Body = &requestBody{ReadCloser: req.Body, sent: &x.sent}
	if req.GetBody != nil { // asked for again only if nothing was sent
		counted.GetBody = func() (io.ReadCloser, error) {
			body, err := req.GetBody()
			return &requestBody{ReadCloser: body, sent: &x.sent}, err
		}
	}
	return counted
}

func (x *exchange) end(err error) {
	x.once.Do(func() {
		x.f(Request{
			Class: x.class, Sent: x.sent.Load(), Received: x.received.Load(),
			Duration: time.Since(x.began), Status: x.status, Err: err,
		})
	})
}

// requestBody counts what is sent.
type requestBody struct {
	io.ReadCloser
	sent *atomic.Int64
}

func (b *requestBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.sent.Add(int64(n))
	return n, err
}

// replyBody counts what is received, and ends the exchange.
type replyBody struct {
	io.ReadCloser
	x *exchange
}

func (b *replyBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.x.received.Add(int64(n))
	switch err {
	case nil:
	case io.EOF:
		b.x.end(nil)
	default:
		b.x.end(err)
	}
	return n, err
}

func (b *replyBody) Close() error {
	err := b.ReadCloser.Close()
	b.x.end(nil)
	return err
}

const (
	// idleConns is how many connections stay open between requests: a broker's WAL, sealers and readers together.
	idleConns = 128
	// connBuffer is the size of a connection's read and write buffer, in bytes.
	connBuffer = 64 << 10
)

// newTransport returns a transport of one store's own. HTTP/1.1 only: many
// connections carry more than one that all requests share.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConnsPerHost: idleConns,
		IdleConnTimeout:     90 * time.Second,
		WriteBufferSize:     connBuffer,
		ReadBufferSize:      connBuffer,
		DisableCompression:  true,
	}
}
