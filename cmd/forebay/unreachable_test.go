package main

import (
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each command that talks to brokers says so when there is none, and with its own exit code.
func TestUnreachable(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	require.NoError(t, err)
	defer silent.Close()
	mute := silent.Addr().String()
	commands := []string{
		"topic list", "topic create x", "topic describe x", "topic alter x --partitions 3", "topic delete x -y",
		"produce x", "consume x", "group list", "group describe x", "group delete x -y", "group reset x --topic x --to-latest",
		"bench produce --records 10", "bench consume", "bench e2e --records 100 --rate 10 --warmup 1s",
	}
	for _, command := range commands {
		t.Run(command, func(t *testing.T) {
			r := forebay(t, "", append(strings.Fields(command), "-b", freeAddr(t))...)
			require.Equal(t, exitUnreachable, r.code, r.err)
			require.Contains(t, r.err, "start one with 'forebay dev'")
			require.Empty(t, r.out)
		})
	}
	r := forebay(t, "", "topic", "list", "-b", mute, "--timeout", "50ms")
	require.Equal(t, exitUnreachable, r.code, r.err)
	require.Contains(t, r.err, "within 50ms")

	r = forebay(t, "", "topic", "list", "-b", webServer(t))
	require.Equal(t, exitUnreachable, r.code, r.err)
	require.Contains(t, r.err, "HTTP")
}

// webServer answers whatever comes as a web server does.
func webServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1024)) // the answer is the same in any case
			_, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"))
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

// A broker that goes away in the middle fails the records.
func TestProduceWithoutBroker(t *testing.T) {
	n := startBroker(t)
	succeed(t, "", "topic", "create", "events")
	c := start(t, "produce", "events", "--delivery-timeout", "3s")
	_, err := c.stdin.Write([]byte("kept\n"))
	require.NoError(t, err)
	require.Equal(t, "kept\n", succeed(t, "", "consume", "events", "--from-beginning", "-c", "1"))
	require.Equal(t, exitOK, n.stop(t))
	_, err = c.stdin.Write([]byte("lost\n"))
	require.NoError(t, err)
	require.NoError(t, c.stdin.Close())
	require.Equal(t, exitFailed, c.wait(t))
	require.Contains(t, c.err.String(), "record 2 of standard input")
	require.Contains(t, c.err.String(), "no record was acknowledged")
}
