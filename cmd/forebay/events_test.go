package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The command that the welcome names can be pasted, once there is the topic.
func TestDevTakesEvents(t *testing.T) {
	n := startBroker(t, "--http-addr", "127.0.0.1:0")
	found := n.out.await(t, `events over HTTP on (http://\S+),`)
	succeed(t, "", "topic", "create", "events")
	command := n.out.await(t, `(?m)^  (curl .+)$`)[1]
	require.Contains(t, command, found[1])
	out, err := exec.CommandContext(t.Context(), "sh", "-c", command+" -sS").Output()
	require.NoError(t, err)
	require.JSONEq(t, `{"topic":"events","events":[{"id":"1","partition":0,"offset":0}]}`, string(out))
	require.Equal(t, "hello\n", consumed(t, "events", "--from-beginning"))
	foreign, err := http.NewRequestWithContext(t.Context(), http.MethodPost, found[1]+"/topics/events/events", strings.NewReader("x"))
	require.NoError(t, err)
	foreign.Host = "pages.example.org"
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(foreign)
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusMisdirectedRequest, resp.StatusCode)
	_, metrics := get(t, "http://"+n.admin+"/metrics")
	require.Contains(t, metrics, `forebay_events_requests_total{code="200"} 1`)
	require.Equal(t, exitOK, n.stop(t))
	_, err = http.Post(found[1]+"/topics/events/events", "", strings.NewReader("x")) //nolint:noctx // it fails at once
	require.Error(t, err)
}

// TestEventsOfThoseWithATokenOnly: with a token file the address takes events of those whose tokens may write, on a loopback address too.
func TestEventsOfThoseWithATokenOnly(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	require.NoError(t, os.WriteFile(file, []byte("shop 0123456789abcdef\neve fedcba9876543210 read\n"), 0o600))
	n := startBroker(t, "--http-addr", "127.0.0.1:0", "--http-token-file", file)
	url := n.out.await(t, `events over HTTP on (http://\S+),`)[1] + "/topics/events/events"
	require.Contains(t, n.out.await(t, `(?m)^  (curl .+)$`)[1], "Authorization: Bearer")
	succeed(t, "", "topic", "create", "events")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	send := func(authorization string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("hello"))
		require.NoError(t, err)
		req.Header = http.Header{"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/me"}, "Ce-Type": {"greeting"}, "Authorization": {authorization}}
		resp, err := client.Do(req)
		require.NoError(t, err)
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	for authorization, status := range map[string]int{
		"": http.StatusUnauthorized, "Bearer 0123456789abcdeF": http.StatusUnauthorized, "Basic 0123456789abcdef": http.StatusUnauthorized,
		"Bearer fedcba9876543210": http.StatusForbidden, "bearer 0123456789abcdef": http.StatusOK,
	} {
		resp := send(authorization)
		require.Equal(t, status, resp.StatusCode, authorization)
		if status == http.StatusOK {
			continue
		}
		require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
		require.Equal(t, status == http.StatusUnauthorized, resp.Header.Get("WWW-Authenticate") != "")
	}
	require.NoError(t, os.WriteFile(file, []byte("shop another-token-of-it\n"), 0o600))
	require.Equal(t, http.StatusUnauthorized, send("Bearer 0123456789abcdef").StatusCode, "the file has changed")
	require.Equal(t, http.StatusOK, send("Bearer another-token-of-it").StatusCode)
}

// TestEventsOfEverybody: beyond this machine that is worth a warning.
func TestEventsOfEverybody(t *testing.T) {
	n := startBroker(t, "--http-addr", "0.0.0.0:0")
	n.err.await(t, `give a --http-token-file`)
}
