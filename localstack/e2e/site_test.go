//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/rig"
)

// site is what a scenario runs on: one broker of the target, or a cluster of three on MinIO
// and dynalite.
type site struct {
	Addr    string       // bootstrap servers, with commas between
	node    *rig.Node    // nil: a cluster
	cluster *rig.Cluster // nil: one broker
	env     []string     // of restarts of one broker
	crashes int
	peace   sync.Mutex // held while a broker is restarted by roll, and by who wants none to be
}

// brokersOfCluster is also the number of replicas that its topics ask for.
const brokersOfCluster = 3

func replicas() int16 {
	if againstCluster() {
		return brokersOfCluster
	}
	return 1
}

// startSite starts the target's brokers, ready when it returns. env is for Forebay only.
func startSite(ctx context.Context, dir string, env ...string) (*site, error) {
	if !againstCluster() {
		node, err := start(ctx, dir, env...)
		if err != nil {
			return nil, err
		}
		return &site{Addr: node.Addr, node: node, env: env}, nil
	}
	c, err := rig.StartCluster(ctx, rig.ClusterConfig{
		Dir: dir, Brokers: brokersOfCluster, Direct: true,
		Store:  rig.MinIOConfig{Binary: os.Getenv("FOREBAY_MINIO")}.Backend,
		Table:  rig.DynaliteConfig{Programs: os.Getenv("FOREBAY_NODE")}.Backend,
		Launch: rig.LaunchBrokers(rig.ForebayConfig{Binary: forebay, Env: env}, rig.MinIOBucket, "e2e"),
	})
	if err != nil {
		return nil, err
	}
	return &site{Addr: strings.Join(c.Addrs(), ","), cluster: c}, nil
}

// ownSite is for one test, ended with it. A cluster survives what tests do to its brokers,
// so there the shared one will do unless the brokers need an environment.
func ownSite(t *testing.T, env ...string) *site {
	t.Helper()
	if againstCluster() && len(env) == 0 {
		return shared
	}
	s, err := startSite(t.Context(), t.TempDir(), env...)
	require.NoError(t, err)
	if s.node != nil {
		endWith(t, s.node)
		return s
	}
	t.Cleanup(func() {
		if err := s.cluster.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(s.output())
		}
	})
	return s
}

// close ends everything, gently.
func (s *site) close() error {
	if s.node != nil {
		_, err := s.node.Stop(stopLimit)
		return err
	}
	return s.cluster.Stop(leaveLimit)
}

// leaveLimit is how long a broker of a cluster may take to end: it gives its partitions away first. It
// is more than the broker allows itself, so that what a broker says of a late end is seen.
const leaveLimit = 35 * time.Second

func (s *site) output() string {
	if s.node != nil {
		return s.node.Output()
	}
	var all strings.Builder
	for _, b := range s.cluster.Brokers() {
		fmt.Fprintf(&all, "output of %s:\n%s\n", b.Name, b.Output())
	}
	return all.String()
}

// crash kills a broker and starts it again; of a cluster's, each in turn, without its directory.
func (s *site) crash(t *testing.T) {
	t.Helper()
	if s.node != nil {
		s.kill(t)
		s.restart(t)
		return
	}
	b := s.cluster.Brokers()[s.crashes%brokersOfCluster]
	s.crashes++
	require.NoError(t, b.Kill())
	require.NoError(t, b.Wipe())
	require.NoError(t, b.Start(context.WithoutCancel(t.Context())), "it may outlive the test")
}

// kill ends all brokers with SIGKILL.
func (s *site) kill(t *testing.T) {
	t.Helper()
	if s.node != nil {
		require.NoError(t, s.node.Kill())
		return
	}
	require.NoError(t, s.cluster.KillAll())
}

// stop ends all brokers with SIGTERM, which must be quick.
func (s *site) stop(t *testing.T) {
	t.Helper()
	if s.node != nil {
		stop(t, s.node)
		return
	}
	for _, b := range s.cluster.Brokers() {
		_, err := b.Stop(leaveLimit)
		require.NoError(t, err)
	}
}

// lose deletes parts of the data directory of a broker that has ended, and of a cluster's
// brokers all of it.
func (s *site) lose(t *testing.T, parts ...string) {
	t.Helper()
	if s.cluster != nil {
		require.NoError(t, s.cluster.WipeAll())
		return
	}
	for _, part := range parts {
		require.NoError(t, os.RemoveAll(filepath.Join(s.node.Dir, part)))
	}
}

// restart starts what has ended.
func (s *site) restart(t *testing.T) {
	t.Helper()
	if s.node != nil {
		s.node = restart(t, s.node, s.env...)
		return
	}
	require.NoError(t, s.cluster.StartAll(context.WithoutCancel(t.Context())), "they may outlive the test")
}

// stopAndVerify ends one broker and has its directory proved whole. A cluster's directories
// are caches, and it goes on.
func (s *site) stopAndVerify(t *testing.T) {
	t.Helper()
	if s.node != nil {
		stopAndVerify(t, s.node)
	}
}

// metric is a value from /metrics, summed over the brokers.
func (s *site) metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	if s.node != nil {
		return metric(t, s.node, name)
	}
	for _, b := range s.cluster.Brokers() {
		sum += metric(t, b.Node(), name)
	}
	return sum
}

// roll restarts the brokers of a cluster in turn, gently, until the end of the test and of
// all its parts; never two at once. One broker is left alone. When a broker does not end or start
// as it should, the test fails, and with the reason whatever waits for the brokers: it might do so for long.
func (s *site) roll(t *testing.T) {
	t.Helper()
	if s.cluster == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var rolling sync.WaitGroup
	var restarts int
	rolling.Go(func() {
		for rest := rollPause; ; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(rest):
			}
			began := time.Now()
			if err := s.restartGently(context.WithoutCancel(ctx), restarts%brokersOfCluster); err != nil {
				err = fmt.Errorf("%s: restart %d of a broker: %w", t.Name(), restarts+1, err)
				t.Error(err)
				breakOff(err)
				return
			}
			restarts++
			// Where restarts take long, so does what follows them: takeovers that came one upon the other have kept the
			// table too busy to answer the next broker.
			rest = max(rollPause, time.Since(began))
		}
	})
	t.Cleanup(func() {
		cancel()
		rolling.Wait()
		t.Logf("%d restarts", restarts)
		if t.Failed() {
			t.Log(s.output())
		}
	})
}

// broken ends, with the reason, when the shared brokers are no longer fit to test with.
var broken, breakOff = context.WithCancelCause(context.Background())

// restartGently ends a broker as a person would, and starts it again.
func (s *site) restartGently(ctx context.Context, broker int) error {
	s.peace.Lock()
	defer s.peace.Unlock()
	b := s.cluster.Brokers()[broker]
	if _, err := b.Stop(leaveLimit); err != nil {
		return err
	}
	return b.Start(ctx)
}

// rollPause is from the end of one restart to the next, at least. The members of a group join it anew when its
// coordinator goes, and have to get somewhere in between.
const rollPause = 6 * time.Second
