package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// What curl brings in goes out to a webhook as it came.
func TestSinkDelivers(t *testing.T) {
	n := startBroker(t)
	succeed(t, "", "topic", "create", "orders")
	succeed(t, "a\nb\nc\n", "produce", "orders")
	got := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.Header.Get("Ce-Type") + " " + r.Header.Get("X-Who") + " " + string(body)
	}))
	defer receiver.Close()
	c := start(t, "sink", "--topic", "orders", "--group", "billing", "--to", receiver.URL, "--header", "X-Who: me", "--concurrency", "1", "--admin-addr", "127.0.0.1:0")
	admin := c.out.await(t, `health and metrics on (http://\S+)\.\n`)[1]
	for _, want := range []string{"a", "b", "c"} {
		require.Equal(t, "com.github.forebaylog.record me "+want, <-got)
	}
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
		code, body := get(t, admin+path)
		require.Equal(t, []any{http.StatusOK, want}, []any{code, body})
	}
	_, metrics := get(t, admin+"/metrics")
	require.Contains(t, metrics, `forebay_sink_requests_total{result="delivered"}`)
	require.Equal(t, exitOK, c.stop(t))
	require.Contains(t, succeed(t, "", "group", "describe", "billing"), "3")
	require.Equal(t, exitOK, n.stop(t))
}

func TestSinkToAFunction(t *testing.T) {
	startBroker(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	succeed(t, "", "topic", "create", "orders")
	succeed(t, "a\nb\n", "produce", "orders")
	var invoked atomic.Int32
	done := make(chan string, 10)
	stand := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if invoked.Add(1) == 1 {
			w.Header().Set("X-Amz-Function-Error", "Unhandled")
			return
		}
		done <- string(body)
	}))
	defer stand.Close()
	c := start(t, "sink", "--topic", "orders", "--group", "lake", "--to", "lambda:orders", "--lambda-endpoint", stand.URL, "--backoff", "1ms")
	require.Contains(t, <-done, `"eventSource":"SelfManagedKafka"`)
	require.Equal(t, exitOK, c.stop(t))
}

func TestSinkRefuses(t *testing.T) {
	startBroker(t)
	succeed(t, "", "topic", "create", "orders")
	good := []string{"sink", "--topic", "orders", "--group", "g", "--to", "http://127.0.0.1:1"}
	tests := []struct {
		args []string
		code int
		says string
	}{
		{[]string{"sink", "--topic", "orders", "--to", "http://x"}, exitUsage, "--group is missing"},
		{append(good, "--to", "orders"), exitUsage, "no http:// or https:// URL"},
		{append(good, "--format", "xml"), exitUsage, "use cloudevents or json"},
		{append(good, "--start", "middle"), exitUsage, "use beginning or end"},
		{append(good, "--batch-size", "-1"), exitUsage, "want 1 or more"},
		{append(good, "--backoff", "0s"), exitUsage, "must be more than zero"},
		{append(good, "--header", "secret"), exitUsage, "want 'Name: value'"},
		{append(good, "--dead-letter-topic", "orders"), exitUsage, "choose another"},
		{append(good, "--topic", "nope"), exitFailed, "look for topic nope"},
		{append(good, "--brokers", freeAddr(t), "--timeout", "2s"), exitUnreachable, "no broker reachable"},
	}
	for _, tt := range tests {
		r := forebay(t, "", tt.args...)
		require.Equal(t, tt.code, r.code, r.err)
		require.Contains(t, r.err, tt.says)
	}
}
