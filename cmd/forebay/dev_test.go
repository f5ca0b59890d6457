package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestDevServes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	n := startDev(t, "--dir", dir, "--set", "num.partitions=3")
	t.Setenv("FOREBAY_BROKERS", n.addr)
	succeed(t, "hello\n", "produce", "events")

	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
		code, body := get(t, "http://"+n.admin+path)
		require.Equal(t, http.StatusOK, code)
		require.Equal(t, want, body)
	}
	_, metrics := get(t, "http://"+n.admin+"/metrics")
	require.Contains(t, metrics, "forebay_")
	_, metrics = get(t, "http://"+n.admin+"/metrics/detailed")
	require.Contains(t, metrics, `kafka_topic_partitions{topic="events"} 3`)
	require.Contains(t, succeed(t, "", "topic", "describe", "events"), "3 partitions")
	require.Contains(t, n.err.String(), "msg=\"recovered hot tier\"")
	require.NotContains(t, n.err.String(), "{", "log lines have fields, not dumps")

	require.Equal(t, exitOK, n.stop(t))
	again := startDev(t, "--dir", dir)
	t.Setenv("FOREBAY_BROKERS", again.addr)
	require.Equal(t, "hello\n", consumed(t, "events", "--from-beginning"))
}

// The commands of the welcome can be pasted.
func TestWelcomeWorks(t *testing.T) {
	n := startDev(t, "--memory")
	var pasted []string
	for line := range strings.Lines(n.out.String()) {
		if strings.Contains(line, "--brokers "+n.addr) {
			pasted = append(pasted, strings.TrimSpace(line))
		}
	}
	require.Len(t, pasted, 3)
	args := func(line, verb string) []string {
		_, rest, ok := strings.Cut(line, verb)
		require.True(t, ok, line)
		return append(strings.Fields(verb), strings.Fields(rest)...)
	}
	succeed(t, "", args(pasted[0], "topic create")...)
	succeed(t, "hello\n", args(pasted[1], "produce")...)
	require.Equal(t, "hello\n", succeed(t, "", append(args(pasted[2], "consume"), "-c", "1")...))
}

// fetchHook tells that a fetch was sent.
type fetchHook chan struct{}

// OnBrokerWrite implements kgo.HookBrokerWrite.
func (h fetchHook) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == kmsg.Fetch.Int16() && err == nil {
		select {
		case h <- struct{}{}:
		default:
		}
	}
}

// Fetches that wait for records do not hold up the end.
func TestDevEndsQuicklyWithParkedFetches(t *testing.T) {
	n := startBroker(t)
	succeed(t, "", "topic", "create", "events", "--partitions", "3")
	fetched := make(fetchHook, 1)
	client, err := kgo.NewClient(kgo.SeedBrokers(n.addr), kgo.ConsumeTopics("events"), kgo.FetchMaxWait(30*time.Second), kgo.WithHooks(fetched))
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	polled := make(chan struct{})
	go func() {
		defer close(polled)
		client.PollFetches(ctx)
	}()
	select {
	case <-fetched:
	case <-time.After(30 * time.Second):
		t.Fatal("the client sends no fetch")
	}
	began := time.Now()
	require.Equal(t, exitOK, n.stop(t))
	require.Less(t, time.Since(began), 15*time.Second)
	cancel()
	<-polled
}

func TestDevRefuses(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	addr := taken.Addr().String()

	used := filepath.Join(t.TempDir(), "used")
	startDev(t, "--dir", used)
	foreign := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(foreign, "thesis.tex"), []byte("x"), 0o600))
	newer := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(newer, markerFile), []byte("Forebay data directory, layout 7\n"), 0o600))
	damaged := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(damaged, markerFile), []byte("Forebay data directory, lay"), 0o600))
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	table := makeForeignTable(t)

	free := []string{"--kafka-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"}
	tests := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"Kafka port taken", []string{"--memory", "--kafka-addr", addr, "--admin-addr", ""}, exitFailed, "address already in use"},
		{"admin port taken", []string{"--memory", "--kafka-addr", "127.0.0.1:0", "--admin-addr", addr}, exitFailed, "choose another --admin-addr"},
		{"HTTP port taken", append(free, "--memory", "--http-addr", addr), exitFailed, "choose another --http-addr"},
		{"no token file", append(free, "--memory", "--http-addr", "127.0.0.1:0", "--http-token-file", file+"s"), exitFailed, "open --http-token-file"},
		{"second process", append(free, "--dir", used), exitFailed, "another forebay uses it"},
		{"foreign directory", append(free, "--dir", foreign), exitFailed, `it holds "thesis.tex"`},
		{"newer layout", append(free, "--dir", newer), exitFailed, "layout 7"},
		{"damaged marker", append(free, "--dir", damaged), exitFailed, "is damaged"},
		{"a file", append(free, "--dir", file), exitFailed, "not a directory"},
		{"a table of another program", append(free, "--dir", table), exitFailed, "control.db"},
		{"no port", []string{"--memory", "--kafka-addr", "localhost"}, exitFailed, "missing port"},
		{"unknown setting", append(free, "--memory", "--set", "bogus=1"), exitUsage, "known are"},
		{"bad setting", append(free, "--memory", "--set", "num.partitions=many"), exitUsage, "num.partitions=many"},
		{"setting out of range", append(free, "--memory", "--set", "num.partitions=99999999999"), exitUsage, "out of range"},
		{"log level", append(free, "--memory", "--log-level", "loud"), exitUsage, "use debug, info, warn or error"},
		{"log format", append(free, "--memory", "--log-format", "xml"), exitUsage, "use text or json"},
		{"argument", []string{"now"}, exitUsage, "unknown command"},
		{"flag", []string{"--now"}, exitUsage, "unknown flag"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := forebay(t, "", append([]string{"dev", "--http-addr", ""}, tt.args...)...)
			require.Equal(t, tt.code, r.code, r.err)
			require.Contains(t, r.err, tt.says)
			require.Empty(t, r.out, "nobody is told that it is ready")
		})
	}
	_, err = os.Stat(filepath.Join(foreign, markerFile))
	require.ErrorIs(t, err, os.ErrNotExist, "a foreign directory is left alone")
}

func makeForeignTable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, markerFile), []byte(markerText), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, controlFile), []byte(strings.Repeat("SQLite format 3\x00", 1024)), 0o600))
	return dir
}

func TestDevRefusesAnUnreadableDirectory(t *testing.T) {
	if os.Geteuid() == 0 {
		unreadableAsRoot(t)
		return
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0))
	r := forebay(t, "", "dev", "--dir", dir, "--kafka-addr", "127.0.0.1:0", "--admin-addr", "", "--http-addr", "")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "permission denied")
}

// unreadableAsRoot: nothing is unreadable to root but what is no directory, such as
// one below a file of /proc.
func unreadableAsRoot(t *testing.T) {
	t.Helper()
	r := forebay(t, "", "dev", "--dir", "/proc/forebay-data", "--kafka-addr", "127.0.0.1:0", "--admin-addr", "", "--http-addr", "")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "open data directory /proc/forebay-data")
}

// A directory whose marker was being written when the machine went down is taken.
func TestDevTakesADirectoryThatWasJustBegun(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, markerTemp), []byte("Fore"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, lockFile), nil, 0o600))
	n := startDev(t, "--dir", dir)
	require.Equal(t, exitOK, n.stop(t))
	text, err := os.ReadFile(filepath.Join(dir, markerFile))
	require.NoError(t, err)
	require.Equal(t, markerText, string(text))
}

func TestListeners(t *testing.T) {
	n := startDev(t, "--memory", "--listeners", "INTERNAL://127.0.0.1:0,LAN://127.0.0.1:0", "--advertised-listeners", "LAN://127.0.0.1:1")
	r := forebay(t, "", "topic", "list", "-b", n.addr)
	require.Equal(t, exitOK, r.code, r.err)
	tests := []struct {
		flags nodeFlags
		says  string
	}{
		{nodeFlags{listeners: []string{"127.0.0.1:9092"}}, "want NAME://host:port"},
		{nodeFlags{listeners: []string{"://x:1"}}, "want NAME://host:port"},
		{nodeFlags{listeners: []string{"A://x:1", "a://y:2"}}, "the name A is used twice"},
		{nodeFlags{listeners: []string{"A://x:1"}, advertisedListeners: []string{"B://y:1"}}, "B is not among the listeners"},
		{nodeFlags{listeners: []string{"A://x:1"}, advertisedListeners: []string{"A://y"}}, "missing port"},
		{nodeFlags{listeners: []string{"A://x:1"}, advertisedListeners: []string{"A://y:70000"}}, "want NAME://host:port"},
		{nodeFlags{listeners: []string{"A://x:1"}, advertisedListeners: []string{"A://:1"}}, ""},
	}
	for _, tt := range tests {
		listeners, err := parseListeners(tt.flags)
		if tt.says == "" {
			require.NoError(t, err)
			require.Equal(t, "0.0.0.0", listeners[0].AdvertisedHost)
			continue
		}
		require.ErrorContains(t, err, tt.says)
	}
}
