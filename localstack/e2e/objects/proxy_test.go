//go:build e2e

package objects

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// badNetwork is a proxy before the server that does harm where told.
type badNetwork struct {
	// damage says whether to change a byte of a request's body.
	damage func(*http.Request) bool
	// lose says whether to break the connection when the server has done what it was asked.
	lose func(*http.Request) bool
}

// start returns the proxy's address.
func (n badNetwork) start(t *testing.T) string {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: server.Addr})
			r.Out.Host = r.In.Host // signed
		},
		ModifyResponse: func(resp *http.Response) error {
			if n.lose != nil && n.lose(resp.Request) {
				panic(http.ErrAbortHandler)
			}
			return nil
		},
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.damage != nil && n.damage(r) {
			body, err := io.ReadAll(r.Body)
			if err != nil || len(body) == 0 {
				panic(http.ErrAbortHandler)
			}
			body[len(body)/2] ^= 1
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	address, ok := strings.CutPrefix(web.URL, "http://")
	require.True(t, ok)
	return address
}
