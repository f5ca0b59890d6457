package rig

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// launchSleeper starts a process that says what its place is and then does nothing.
func launchSleeper(ctx context.Context, at Place, env []string) (*Node, error) {
	if err := os.MkdirAll(at.Dir, 0o755); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", `echo "$0 $STORE"; exec sleep 600`, at.Name)
	cmd.Env = append(os.Environ(), env...)
	p, err := StartProcess(at.Name, cmd)
	if err != nil {
		return nil, err
	}
	return &Node{Process: p, ready: func(context.Context) error {
		if p.Output() == "" {
			return fmt.Errorf("%s says nothing", at.Name)
		}
		return nil
	}}, nil
}

// state is the letter that /proc has for the state of a process.
func state(t *testing.T, b *Broker) string {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.Node().PID()))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(stat), ") ")
	return rest[:1]
}

func TestClusterOfProcesses(t *testing.T) {
	upstream := httptest.NewServer(http.NotFoundHandler())
	defer upstream.Close()
	ctx, dir := t.Context(), t.TempDir()
	c, err := StartCluster(ctx, ClusterConfig{
		Dir: dir, Brokers: 3, Launch: launchSleeper,
		Store: func(context.Context, string) (*Backend, error) {
			return &Backend{
				Addr: strings.TrimPrefix(upstream.URL, "http://"), Env: []string{"STORE=there"}, Close: func() error { return nil },
			}, nil
		},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	require.Len(t, c.Addrs(), 3)
	require.Nil(t, c.Table)
	b := c.Brokers()[1]
	require.Equal(t, filepath.Join(dir, "broker-2"), b.Dir)
	require.Equal(t, "broker-2 there\n", b.Output())

	resp, err := http.Get("http://" + b.Store)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusNotFound, resp.StatusCode, "the proxy leads to the service")

	require.NoError(t, b.Pause())
	require.Eventually(t, func() bool { return state(t, b) == "T" }, 10*time.Second, time.Millisecond)
	require.NoError(t, b.Resume())
	require.Eventually(t, func() bool { return state(t, b) == "S" }, 10*time.Second, time.Millisecond)

	require.Error(t, b.Wipe(), "it runs")
	require.Error(t, b.Start(ctx), "it runs")
	require.NoError(t, b.Pause())
	require.NoError(t, b.Kill(), "a paused process too")
	require.False(t, b.Running())
	require.True(t, c.Brokers()[0].Running())
	require.NoError(t, b.Wipe())
	require.NoDirExists(t, b.Dir)
	require.NoError(t, c.StartAll(ctx))
	require.Equal(t, 2, strings.Count(b.Output(), "broker-2 there\n"))
	require.DirExists(t, b.Dir)
	_, err = b.Stop(10 * time.Second)
	require.NoError(t, err)
	require.False(t, b.Running())
}
