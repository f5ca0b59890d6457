package main

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/broker"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
)

// A broker that loses its session while its table is away is not ready, and opens anew when
// the table is back, however long that takes.
func TestNodeOpensAnew(t *testing.T) {
	table, offsets, objects := kv.NewMem(), kv.NewMem(), objstore.NewMem()
	var cut, away atomic.Bool
	cmd := &cobra.Command{}
	logged := newLines()
	cmd.SetErr(logged)
	cmd.Flags().String("log-level", "info", "")
	cmd.Flags().String("log-format", "text", "")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	cmd.SetContext(ctx)
	admin := make(chan *adminServer, 16)
	r := nodeRun{cmd: cmd, closeTimeout: time.Second, flags: nodeFlags{kafkaAddr: "127.0.0.1:0", adminAddr: "127.0.0.1:0", nodeID: 1}}
	ended := make(chan error, 1)
	go func() {
		ended <- r.run(func(context.Context, *slog.Logger, prometheus.Registerer) (nodeParts, error) {
			return nodeParts{
				control: kv.Inject(table, func(op kv.Op) kv.Fault {
					if cut.Load() || away.Load() && op.Kind == kv.OpWrite && op.Key.Part == "slot/metalog" {
						return kv.FaultFail
					}
					return kv.FaultNone
				}),
				offsets: offsets, objects: objects, fs: vfs.NewMem(), cluster: &broker.Cluster{SessionTTL: time.Second, MetadataPoll: 20 * time.Millisecond},
				close:   func() error { return nil },
				welcome: func(_ net.Addr, r *nodeRun) { admin <- r.admin },
			}, nil
		})
	}()
	url := (<-admin).url()
	code, _ := get(t, url+"/readyz")
	require.Equal(t, http.StatusOK, code)

	cut.Store(true)
	require.Eventually(t, func() bool { code, _ := get(t, url+"/readyz"); return code == http.StatusServiceUnavailable }, 10*time.Second, 10*time.Millisecond)
	other, err := broker.Open(ctx, broker.Config{
		NodeID: 2, Listeners: []broker.Listener{{BindAddr: "127.0.0.1:0"}}, Metadata: table, Offsets: offsets, Objects: objects,
		Cluster: &broker.Cluster{SessionTTL: time.Second, MetadataPoll: 20 * time.Millisecond},
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close(context.Background())) }()
	require.Eventually(t, func() bool { // the other has removed the session of this one
		items, err := table.Query(ctx, "sessions", kv.Range{})
		return err == nil && len(items) == 1
	}, 10*time.Second, 10*time.Millisecond)
	away.Store(true) // it learns that it is dead, and cannot register anew
	cut.Store(false)
	logged.await(t, `cannot open anew yet`)
	code, body := get(t, url+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code, body)
	away.Store(false)
	require.Eventually(t, func() bool { code, _ := get(t, url+"/readyz"); return code == http.StatusOK }, 20*time.Second, 10*time.Millisecond)
	_, metrics := get(t, url+"/metrics")
	require.Contains(t, metrics, "forebay_session_losses_total 1")
	stop()
	require.NoError(t, <-ended)
}
