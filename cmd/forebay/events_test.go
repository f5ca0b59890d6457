package main

import (
	"net/http"
	"os/exec"
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
