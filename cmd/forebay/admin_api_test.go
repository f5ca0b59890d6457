package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/functions/admin"
)

func TestWhoAsks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(file, []byte("# who may\n\nada 0123456789abcdef\neve fedcba9876543210 read\n"), 0o600))
	for _, tc := range []struct {
		name, method, from, host, auth, origin, proxied, tokens string
		status                                                  int // 0: served
		principal                                               string
		writes                                                  bool
	}{
		{name: "from this machine", method: "POST", from: "127.0.0.1:5", host: "localhost:8080", principal: "User:ANONYMOUS", writes: true},
		{name: "over IPv6", method: "POST", from: "[::1]:5", host: "[::1]:8080", principal: "User:ANONYMOUS", writes: true},
		{name: "reading from elsewhere", method: "GET", from: "192.0.2.1:5", host: "broker:8080", principal: "User:ANONYMOUS"},
		{name: "writing from elsewhere", method: "POST", from: "192.0.2.1:5", host: "localhost:8080", status: http.StatusForbidden},
		{name: "a name that was made to be here", method: "POST", from: "127.0.0.1:5", host: "evil.example:8080", status: http.StatusForbidden},
		{name: "a page of another site", method: "POST", from: "127.0.0.1:5", host: "localhost:8080", origin: "https://evil.example", status: http.StatusForbidden},
		{name: "reading by a name that was made to be here", method: "GET", from: "127.0.0.1:5", host: "evil.example:8080", status: http.StatusForbidden},
		{name: "by a proxy on this machine", method: "POST", from: "127.0.0.1:5", host: "localhost:8080", proxied: "192.0.2.1", status: http.StatusForbidden},
		{name: "reading by a proxy", method: "GET", from: "127.0.0.1:5", host: "localhost:8080", proxied: "192.0.2.1", principal: "User:ANONYMOUS"},
		{name: "no token", method: "GET", from: "127.0.0.1:5", host: "localhost", tokens: file, status: http.StatusUnauthorized},
		{name: "another token", method: "GET", from: "127.0.0.1:5", host: "localhost", tokens: file, auth: "Bearer 0123456789abcdeF", status: http.StatusUnauthorized},
		{name: "a file that is not there", method: "GET", from: "127.0.0.1:5", host: "localhost", tokens: file + ".new", auth: "Bearer 0123456789abcdef", status: http.StatusServiceUnavailable},
		{name: "a token", method: "POST", from: "192.0.2.1:5", host: "broker", tokens: file, auth: "Bearer 0123456789abcdef", principal: "User:ada", writes: true},
		{name: "a token for reading", method: "GET", from: "192.0.2.1:5", host: "broker", tokens: file, auth: "Bearer fedcba9876543210", principal: "User:eve"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest(tc.method, "/v1/cluster", nil)
			r.RemoteAddr, r.Host = tc.from, tc.host
			for name, value := range map[string]string{"Authorization": tc.auth, "Origin": tc.origin, "X-Forwarded-For": tc.proxied} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			c, err := whoAsks(r, tokenFile{"--admin-token-file", tc.tokens})
			if tc.status != 0 {
				var refusal *admin.Refusal
				require.ErrorAs(t, err, &refusal)
				require.Equal(t, tc.status, refusal.Status)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.principal, c.Principal)
			require.Equal(t, tc.writes, c.Writes)
		})
	}
}

func TestParseTokens(t *testing.T) {
	for _, text := range []string{"ada", "ada short", "ada 0123456789abcdef write", "ada 0123456789abcdef read more"} {
		_, err := parseTokens(strings.NewReader(text))
		require.ErrorIs(t, err, errTokens, text)
	}
}

// TestAdminAPI: a node serves the admin API on its admin address.
func TestAdminAPI(t *testing.T) {
	n := startBroker(t)
	call := func(method, path, body string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.admin+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(b)
	}
	status, body := call("POST", "/v1/topics", `{"name": "made-by-http", "partitions": 2}`)
	require.Equal(t, http.StatusOK, status, body)
	require.Contains(t, succeed(t, "", "topic", "list"), "made-by-http")
	status, body = call("GET", "/v1/cluster", "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, `"brokers_alive":1`)
	status, body = call("DELETE", "/v1/topics/none", "")
	require.Equal(t, http.StatusNotFound, status)
	require.Contains(t, body, "UNKNOWN_TOPIC_OR_PARTITION")
}
