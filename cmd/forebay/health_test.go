package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHealth(t *testing.T) {
	n := startDev(t, "--memory")
	require.Equal(t, "ready\n", succeed(t, "", "health", "--admin-addr", n.admin))
	_, port, err := net.SplitHostPort(n.admin)
	require.NoError(t, err)
	t.Setenv("FOREBAY_ADMIN_ADDR", "0.0.0.0:"+port) // as the broker in the same container
	succeed(t, "", "health")
	succeed(t, "", "health", "--admin-addr", ":"+port)
	require.Equal(t, exitOK, n.stop(t))
	r := forebay(t, "", "health")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "connection refused")

	starting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
	}))
	defer starting.Close()
	r = forebay(t, "", "health", "--admin-addr", strings.TrimPrefix(starting.URL, "http://"))
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "503 Service Unavailable: not ready")
	require.Equal(t, exitUsage, forebay(t, "", "health", "--admin-addr", "nowhere").code)
	require.Equal(t, exitUsage, forebay(t, "", "health", "--timeout", "0s").code)
}
