//go:build e2e

package e2e

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/rig"
)

// mixed is a cluster whose brokers may be of two releases: this one, and a build that stands for the one before.
type mixed struct {
	*rig.Cluster
	t        *testing.T
	old      string // binaries
	mu       sync.Mutex
	binaries map[int32]string
}

func startMixed(t *testing.T, brokers int) *mixed {
	old, err := rig.BuildForebay(t.Context(), t.TempDir(), "-tags", "metadatalevel1")
	require.NoError(t, err)
	m := &mixed{t: t, old: old, binaries: map[int32]string{}}
	launch := func(ctx context.Context, at rig.Place, env []string) (*rig.Node, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		base := rig.ForebayConfig{Binary: old, Args: []string{"--session-ttl", "10s"}}
		if b, chosen := m.binaries[at.ID]; chosen {
			base.Binary = b
		}
		return rig.LaunchBrokers(base, rig.MinIOBucket, "upgrade")(ctx, at, env)
	}
	minio := rig.MinIOConfig{Binary: os.Getenv("FOREBAY_MINIO")}
	dynalite := rig.DynaliteConfig{Programs: os.Getenv("FOREBAY_NODE")}
	m.Cluster, err = rig.StartCluster(t.Context(), rig.ClusterConfig{
		Dir: t.TempDir(), Brokers: brokers, Launch: launch, Store: minio.Backend, Table: dynalite.Backend, Direct: true,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, m.Close())
		for _, b := range m.Brokers() {
			if t.Failed() {
				t.Logf("output of %s:\n%s", b.Name, b.Output())
			}
		}
	})
	return m
}

// stop ends a broker in order and has its next start be of another binary.
func (m *mixed) stop(b *rig.Broker, next string) {
	m.t.Helper()
	_, err := b.Stop(30 * time.Second)
	require.NoError(m.t, err)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.binaries[b.ID] = next
}

// features runs kafka-features.sh and returns what it prints and whether it succeeded.
func (m *mixed) features(args ...string) (string, bool) {
	m.t.Helper()
	ctx := timeout(m.t, time.Minute)
	out, err := tools.Tool(ctx, rig.FeatureCommand, append([]string{"--bootstrap-server", strings.Join(m.Addrs(), ",")}, args...)...).CombinedOutput()
	require.NoError(m.t, ctx.Err())
	return string(out), err == nil
}

// described returns what the tool says of the metadata's level.
func (m *mixed) described() string {
	m.t.Helper()
	out, ok := m.features("describe")
	require.True(m.t, ok, out)
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) >= 8 && fields[1] == "forebay.metadata.version" {
			return strings.Join(fields[2:8], " ")
		}
	}
	m.t.Fatalf("no level of the metadata in:\n%s", out)
	return ""
}

// TestUpgradeBrokerByBroker: a cluster of the release before is upgraded one broker after the other while clients go on. Its level is
// raised once all are, and then the old release says which one it takes.
func TestUpgradeBrokerByBroker(t *testing.T) {
	m := startMixed(t, 2)
	cl, err := kgo.NewClient(kgo.SeedBrokers(m.Addrs()...), kgo.DefaultProduceTopic("orders"), kgo.AllowAutoTopicCreation())
	require.NoError(t, err)
	defer cl.Close()
	produce := func(value string) {
		t.Helper()
		require.NoError(t, cl.ProduceSync(timeout(t, 30*time.Second), kgo.StringRecord(value)).FirstErr())
	}
	produce("of the release before")
	require.Equal(t, "SupportedMinVersion: 1 SupportedMaxVersion: 1 FinalizedVersionLevel: 1", m.described())

	one, two := m.Brokers()[0], m.Brokers()[1]
	upgrade := []string{"upgrade", "--feature", "forebay.metadata.version=2"}
	m.stop(one, forebay)
	require.NoError(t, one.Start(t.Context()))
	produce("of both")
	for _, args := range [][]string{upgrade, append(upgrade, "--dry-run")} {
		out, ok := m.features(args...)
		require.False(t, ok, out)
		require.Contains(t, out, "not upgrade forebay.metadata.version to 2")
		require.Contains(t, out, "broker 2")
		require.Contains(t, out, "supports levels 1 to 1")
	}

	m.stop(two, forebay)
	require.NoError(t, two.Start(t.Context()))
	out, ok := m.features(append(upgrade, "--dry-run")...)
	require.True(t, ok, out)
	require.Contains(t, out, "forebay.metadata.version can be upgraded to 2.")
	require.Equal(t, "SupportedMinVersion: 1 SupportedMaxVersion: 2 FinalizedVersionLevel: 1", m.described())
	out, ok = m.features(upgrade...)
	require.True(t, ok, out)
	require.Contains(t, out, "forebay.metadata.version was upgraded to 2.")
	require.Equal(t, "SupportedMinVersion: 1 SupportedMaxVersion: 2 FinalizedVersionLevel: 2", m.described())
	for _, args := range [][]string{{}, {"--unsafe"}} {
		out, ok = m.features(append([]string{"downgrade", "--feature", "forebay.metadata.version=1"}, args...)...)
		require.False(t, ok, out)
		require.Contains(t, out, "Could not downgrade forebay.metadata.version to 1")
	}

	m.stop(two, m.old)
	require.NoError(t, two.Launch(t.Context()))
	select {
	case <-two.Node().Done():
	case <-time.After(30 * time.Second):
		t.Fatal("a broker of the release before goes on")
	}
	require.Contains(t, two.Output(), "forebay.metadata.version is at level 2, which takes Forebay 0.1.0 or later; this one supports levels up to 1")
	produce("of this release")
}
