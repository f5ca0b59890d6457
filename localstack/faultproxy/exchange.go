package faultproxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// maxBody is the largest request that is read, in bytes: more than any object a broker puts.
const maxBody = 256 << 20

// exchange is one request on its way.
type exchange struct {
	p      *Proxy
	w      http.ResponseWriter
	r      *http.Request
	req    *Request
	rule   *armed
	client context.Context // ends when the client goes
}

// serve is the handler of every listener.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, client string) {
	if !p.enter() {
		panic(http.ErrAbortHandler)
	}
	defer p.serving.Done()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		panic(http.ErrAbortHandler) // the client has gone in the middle of it
	}
	x := &exchange{p: p, w: w, r: r, req: newRequest(client, r, body), client: r.Context()}
	if x.rule = p.choose(x.req); x.rule != nil {
		x.rule.Action.do(x)
		return
	}
	x.pass()
}

// pass forwards the request and streams the reply back.
func (x *exchange) pass() {
	resp, err := x.send(x.req.Body, int64(len(x.req.Body)))
	if err != nil {
		x.reset()
	}
	defer resp.Body.Close()
	x.head(resp)
	if _, err := io.Copy(x.w, resp.Body); err != nil {
		x.reset()
	}
	x.p.hasPassed(x.req)
}

// carryOut forwards the request and returns the whole reply.
func (x *exchange) carryOut() (*http.Response, []byte) {
	resp, err := x.send(x.req.Body, int64(len(x.req.Body)))
	if err != nil {
		x.reset()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		x.reset()
	}
	x.p.hasPassed(x.req)
	return resp, body
}

// send forwards the request with a body of so many bytes. The request does not depend on
// the client any more, only on the proxy.
func (x *exchange) send(body []byte, length int64) (*http.Response, error) {
	out := x.r.Clone(x.p.ctx)
	out.RequestURI = ""
	out.URL.Scheme, out.URL.Host = "http", x.p.upstream
	out.Body, out.ContentLength, out.TransferEncoding = http.NoBody, length, nil
	if length > 0 {
		out.Body = io.NopCloser(bytes.NewReader(body))
	}
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header.Set("User-Agent", "") // none, rather than Go's
	}
	for _, name := range []string{"Connection", "Keep-Alive", "Expect"} { // between two hops only
		out.Header.Del(name)
	}
	return x.p.forward.RoundTrip(out)
}

// head passes the status and the header fields of a reply.
func (x *exchange) head(resp *http.Response) {
	for name, values := range resp.Header {
		if name != "Connection" && name != "Keep-Alive" {
			x.w.Header()[name] = values
		}
	}
	if resp.ContentLength >= 0 && x.w.Header().Get("Content-Length") == "" && x.r.Method != http.MethodHead {
		x.w.Header().Set("Content-Length", fmt.Sprint(resp.ContentLength))
	}
	x.w.WriteHeader(resp.StatusCode)
}

// reset closes the client's connection with an RST and ends the handler.
func (x *exchange) reset() {
	if conn, _, err := http.NewResponseController(x.w).Hijack(); err == nil {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // without it the connection ends in a milder way
		}
		conn.Close()
	}
	panic(http.ErrAbortHandler)
}

// answer replies in place of the service.
func (x *exchange) answer(status int, contentType, body string) {
	x.w.Header().Set("Content-Type", contentType)
	x.w.Header().Set("X-Amzn-Requestid", "faultproxy")
	x.w.WriteHeader(status)
	_, _ = io.Copy(x.w, strings.NewReader(body)) // the client may have gone
}

// table reports whether the request is one to a table service.
func (x *exchange) table() bool { return x.req.Operation != "" }
