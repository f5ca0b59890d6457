//go:build e2e

package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/rig"
)

// Events come in at one broker of a cluster and go out through a sink while another broker, which leads a third
// of the partitions and perhaps the group, is killed: whoever sends again after a 503 loses nothing.
func TestBusOfAClusterLosesABroker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*step)
	defer cancel()
	addr, err := rig.FreeAddr()
	require.NoError(t, err)
	minio, dynalite := rig.MinIOConfig{Binary: os.Getenv("FOREBAY_MINIO")}, rig.DynaliteConfig{Programs: os.Getenv("FOREBAY_NODE")}
	c, err := rig.StartCluster(ctx, rig.ClusterConfig{
		Dir: t.TempDir(), Brokers: 3, Store: minio.Backend, Table: dynalite.Backend, Direct: true,
		Launch: func(ctx context.Context, at rig.Place, env []string) (*rig.Node, error) {
			base := rig.ForebayConfig{Binary: binary}
			if at.ID == 1 {
				base.HTTP = addr
			}
			return rig.LaunchBrokers(base, rig.MinIOBucket, "bus")(ctx, at, env)
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs()...))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	_, err = kadm.NewClient(client).CreateTopic(ctx, 6, -1, nil, "orders")
	require.NoError(t, err)

	var mu sync.Mutex
	got := map[string]bool{}
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		got[r.Header.Get("Ce-Id")] = true
	}))
	t.Cleanup(receiver.Close)
	sink, err := rig.StartProcess("sink", exec.CommandContext(ctx, binary, "sink", "-b", strings.Join(c.Addrs(), ","), "--topic", "orders", "--group", "bill", "--to", receiver.URL))
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("output of the sink:\n%s\nof the cluster's first broker:\n%s", sink.Output(), c.Brokers()[0].Output())
		}
		require.NoError(t, sink.Kill())
	})

	const n = 300
	again := 0
	for i := range n {
		if i == n/3 {
			require.NoError(t, c.Brokers()[1].Kill())
		}
		for !send(ctx, t, addr, i) {
			again++
		}
	}
	t.Logf("%d events were sent again", again)
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) == n
	}, step, 50*time.Millisecond, "every event is delivered")
	_, err = sink.Stop(time.Minute)
	require.NoError(t, err)
}

// send posts an event and reports whether it was acknowledged. Everything but 200 and 503 fails the test.
func send(ctx context.Context, t *testing.T, addr string, i int) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/topics/orders/events", strings.NewReader("x"))
	require.NoError(t, err)
	for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": fmt.Sprint(i), "Ce-Source": "/shop", "Ce-Type": "t", "Ce-Partitionkey": fmt.Sprint(i % 50)} {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var answer struct {
		Detail string `json:"detail"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
	if resp.StatusCode == http.StatusServiceUnavailable {
		require.Equal(t, "1", resp.Header.Get("Retry-After"))
		return false
	}
	require.Equal(t, http.StatusOK, resp.StatusCode, answer.Detail)
	return true
}
