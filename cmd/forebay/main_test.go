package main

import (
	"bytes"
	"context"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m)
}

// result is what a command left behind.
type result struct {
	code     int
	out, err string
}

// forebay runs a command line as main does, with stdin on its standard input.
func forebay(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	return forebayContext(t.Context(), t, stdin, args...)
}

func forebayContext(ctx context.Context, t *testing.T, stdin string, args ...string) result {
	t.Helper()
	root := newRoot()
	var out, errs bytes.Buffer
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	code := run(ctx, root, args)
	return result{code, out.String(), errs.String()}
}

// succeed runs a command that must end well, and returns what it printed.
func succeed(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	r := forebay(t, stdin, args...)
	require.Equal(t, exitOK, r.code, "forebay %s: %s", strings.Join(args, " "), r.err)
	require.Empty(t, r.err)
	return r.out
}

// lines collects what a command prints while it runs. It is safe for concurrent use.
type lines struct {
	mu      sync.Mutex
	text    []byte
	changed chan struct{} // closed and replaced with each write
}

func newLines() *lines { return &lines{changed: make(chan struct{})} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	close(l.changed)
	l.changed = make(chan struct{})
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// await waits for text that matches and returns its groups.
func (l *lines) await(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(30 * time.Second)
	for {
		l.mu.Lock()
		found, changed := re.FindSubmatch(l.text), l.changed
		l.mu.Unlock()
		if found != nil {
			groups := make([]string, len(found))
			for i, g := range found {
				groups[i] = string(g)
			}
			return groups
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("no %q in:\n%s", pattern, l)
		}
	}
}

// running is a command that goes on until it is stopped.
type running struct {
	out, err *lines
	stdin    io.WriteCloser
	cancel   context.CancelFunc
	done     chan int
	ended    bool
	code     int
}

// start runs a command in the background, and stops it when the test ends.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	in, stdin := io.Pipe()
	c := &running{out: newLines(), err: newLines(), stdin: stdin, cancel: cancel, done: make(chan int, 1)}
	root := newRoot()
	root.SetIn(in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	go func() { c.done <- run(ctx, root, args) }()
	t.Cleanup(func() { c.stop(t) })
	return c
}

// stop interrupts the command, waits for its end and returns its exit code.
func (c *running) stop(t *testing.T) int {
	t.Helper()
	c.cancel()
	_ = c.stdin.Close()
	return c.wait(t)
}

func (c *running) wait(t *testing.T) int {
	t.Helper()
	if c.ended {
		return c.code
	}
	select {
	case c.code = <-c.done:
		c.ended = true
	case <-time.After(30 * time.Second):
		t.Fatalf("the command does not end; it said:\n%s%s", c.out, c.err)
	}
	return c.code
}

// node is a running forebay dev.
type node struct {
	*running
	addr, admin string
}

// startDev starts forebay dev on free ports and waits until it is ready.
func startDev(t *testing.T, args ...string) *node {
	t.Helper()
	c := start(t, append([]string{"dev", "--kafka-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--http-addr", ""}, args...)...)
	found := c.out.await(t, `ready on (\S+), .* metrics on http://(\S+)\.\n`)
	return &node{c, found[1], found[2]}
}

// startBroker starts a node in memory, and makes the commands of the test use it.
func startBroker(t *testing.T, args ...string) *node {
	t.Helper()
	n := startDev(t, append([]string{"--memory"}, args...)...)
	t.Setenv("FOREBAY_BROKERS", n.addr)
	return n
}

// freeAddr is an address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// scrubbed are what differs from run to run in the output.
var scrubbed = []struct{ pattern, with string }{
	{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`, "2026-01-31T12:00:00.000Z"},
	{`"(created|timestamp|max_timestamp)": \d+`, `"$1": 0`},
	{`forebay-[0-9a-f-]{36}`, "forebay-00000000-0000-0000-0000-000000000000"},
	{`\b[A-Za-z0-9_-]{22}( |,|"|$)`, "AAAAAAAAAAAAAAAAAAAAAA$1"},
	{`packs/[0-9/]{10}/[0-9]+-[0-9]{13}-[a-z0-9]{16}`, "packs/2026/01/31/1-0000000000000-aaaaaaaaaaaaaaaa"},
	{`\b[0-9]+s$`, "0s"},
	{`"crc32c": "[0-9a-f]{8}"`, `"crc32c": "00000000"`},
}

// golden compares output with testdata/name.golden, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	for _, s := range scrubbed {
		got = regexp.MustCompile("(?m)"+s.pattern).ReplaceAllString(got, s.with)
	}
	file := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}
