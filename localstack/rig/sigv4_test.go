package rig

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestVerify: what is signed is accepted, with any path, query and body, and whatever is changed on the way is not.
func TestVerify(t *testing.T) {
	ada := Identity{AccessKey: "AKADA", Secret: "s1", ARN: "arn:aws:iam::1:user/ada", Allowed: true}
	known := []Identity{ada, {AccessKey: "AKEVE", Secret: "s2"}}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var got Identity
	var failed error
	change := func(*http.Request, *[]byte) {}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		change(r, &body)
		got, failed = verify(r, body, known, now)
	}))
	defer server.Close()
	send := func(i Identity, at time.Time, path, body string) {
		r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+path, strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		resp, err := i.Client(func() time.Time { return at }).Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
	for _, path := range []string{"/v1/topics", "/v1/groups/team%2Fa/offsets?dry_run=true&b=2&a=1", "/v1/topics/a%20b?x=%2F%20"} {
		for _, body := range []string{"", `{"name": "t"}`} {
			send(ada, now, path, body)
			require.NoError(t, failed, path)
			require.Equal(t, ada, got)
		}
	}
	for name, f := range map[string]func(*http.Request, *[]byte){
		"the body":      func(_ *http.Request, b *[]byte) { *b = append(*b, 'x') },
		"the path":      func(r *http.Request, _ *[]byte) { r.URL.Path = "/v1/other" },
		"the query":     func(r *http.Request, _ *[]byte) { r.URL.RawQuery = "dry_run=false" },
		"the method":    func(r *http.Request, _ *[]byte) { r.Method = "PUT" },
		"a header":      func(r *http.Request, _ *[]byte) { r.Header.Set("Content-Type", "text/plain") },
		"the time":      func(r *http.Request, _ *[]byte) { r.Header.Set("X-Amz-Date", "20260102T030406Z") },
		"who signs":     func(r *http.Request, _ *[]byte) { replaceAuth(r, "AKADA", "AKEVE") },
		"the signature": func(r *http.Request, _ *[]byte) { replaceAuth(r, "Signature=", "Signature=0") },
	} {
		change = f
		send(ada, now, "/v1/topics?dry_run=true", "{}")
		require.Error(t, failed, name)
	}
	change = func(*http.Request, *[]byte) {}
	send(Identity{AccessKey: "AKADA", Secret: "wrong"}, now, "/", "")
	require.ErrorIs(t, failed, errSignature)
	send(Identity{AccessKey: "AKNOBODY", Secret: "s1"}, now, "/", "")
	require.ErrorIs(t, failed, errUnknown)
	for _, at := range []time.Time{now.Add(-6 * time.Minute), now.Add(6 * time.Minute)} {
		send(ada, at, "/", "")
		require.ErrorIs(t, failed, errExpired)
	}
	resp, err := http.Get(server.URL)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.ErrorIs(t, failed, errUnsigned)
}

func replaceAuth(r *http.Request, old, with string) {
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), old, with, 1))
}
