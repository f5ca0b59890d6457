//go:build e2e

package compaction_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/localstack/rig"
)

// startForebay starts the built binary, with a cleaner that does not wait, as another Kafka.
func startForebay(t *testing.T, binary string, cfg rig.ForebayConfig) *kafka {
	t.Helper()
	cfg.Binary = binary
	cfg.Args = []string{"--hot-bytes", "1", "--set", "log.cleaner.backoff.ms=100", "--set", "log.retention.check.interval.ms=500"}
	node, err := rig.StartForebay(t.Context(), cfg)
	require.NoError(t, err)
	return newKafka(t, node)
}

func build(t *testing.T) string {
	t.Helper()
	binary, err := rig.BuildForebay(t.Context(), t.TempDir())
	require.NoError(t, err)
	return binary
}

func (k *kafka) create(topic string, set map[string]string) {
	k.t.Helper()
	configs := map[string]*string{}
	for name, value := range set {
		configs[name] = &value
	}
	_, err := kadm.NewClient(k.client()).CreateTopic(k.within(), 1, 1, configs, topic)
	require.NoError(k.t, err)
}

// story writes the same to each broker, at the same offsets: no marker is overtaken. It returns the
// offset of the last record, the only one of its key.
func (in *input) story() id.Offset {
	t := in.k.t
	t.Helper()
	for i := range 24 {
		ctx, rs := in.k.within(), in.records(1+in.rng.IntN(12))
		plain := in.plain[i%len(in.plain)]
		if i%3 > 0 {
			require.NoError(t, plain.ProduceSync(ctx, rs...).FirstErr())
			continue
		}
		c := in.txns[in.rng.IntN(len(in.txns))]
		require.NoError(t, c.BeginTransaction())
		require.NoError(t, c.ProduceSync(ctx, rs...).FirstErr())
		require.NoError(t, plain.ProduceSync(ctx, in.records(2)...).FirstErr(), "between others' records")
		require.NoError(t, c.ProduceSync(ctx, in.records(2)...).FirstErr())
		require.NoError(t, c.EndTransaction(ctx, kgo.TransactionEndTry(i%2 == 0)))
		in.k.awaitMarkers(in.topic)
	}
	in.now = in.now.Add(10 * time.Minute)
	last := in.records(1)[0]
	last.Key, last.Value = []byte("last"), []byte("of all")
	require.NoError(t, in.plain[0].ProduceSync(in.k.within(), last).FirstErr())
	return id.Offset(last.Offset)
}

// awaitSealed waits until the log directories say that all of a topic is in packs.
func (k *kafka) awaitSealed(topic string) {
	k.t.Helper()
	admin := kadm.NewClient(k.client())
	require.Eventually(k.t, func() bool {
		dirs, err := admin.DescribeAllLogDirs(k.within(), kadm.TopicsSet{topic: {0: {}}})
		require.NoError(k.t, err)
		sealed := false
		dirs.Each(func(d kadm.DescribedLogDir) {
			if p, ok := d.Topics.Lookup(topic, 0); ok && filepath.Base(d.Dir) == "packs" {
				sealed = p.Size > 0 && p.OffsetLag == 0
			}
		})
		return sealed
	}, step, 50*time.Millisecond, "not all of %s is in packs", topic)
}

// Both brokers clean by themselves what was written to them, and then tell the same to who reads from the start.
func TestBrokersCleanTheSame(t *testing.T) {
	const topic = "story"
	set := map[string]string{
		"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0", "segment.ms": "300000", "delete.retention.ms": "86400000",
	}
	theirs := startKafka(t)
	theirs.create(topic, set)
	end := newInput(theirs, topic).story()
	binary, dir := build(t), t.TempDir()
	ours := startForebay(t, binary, rig.ForebayConfig{Dir: dir})
	set["segment.ms"] = "100"
	ours.create(topic, set)
	require.Equal(t, end, newInput(ours, topic).story())

	theirs.awaitCleaned(topic, end)
	levels := map[string]kgo.IsolationLevel{"committed": kgo.ReadCommitted(), "uncommitted": kgo.ReadUncommitted()}
	want := map[string][]string{}
	for name, level := range levels {
		want[name] = theirs.consumedAt(topic, end, level)
		require.Less(t, len(want[name]), 61, "more than one record of a key")
		require.Contains(t, strings.Join(want[name], "\n"), " deleted", "no tombstone")
	}
	ours.awaitSealed(topic)
	for name, level := range levels {
		awaitEqual(t, want[name], func() []string { return ours.consumedAt(topic, end, level) })
	}

	_, err := ours.node.Stop(step)
	require.NoError(t, err)
	for _, part := range []string{"hot", "index"} {
		require.NoError(t, os.RemoveAll(filepath.Join(dir, part)))
	}
	ours = startForebay(t, binary, rig.ForebayConfig{Dir: dir, Addr: ours.node.Addr})
	for name, level := range levels {
		require.Equal(t, want[name], ours.consumedAt(topic, end, level), "from packs alone, %s", name)
	}
}

// awaitEqual waits until f returns want, and shows what it did return if it does not come to that.
func awaitEqual(t *testing.T, want []string, f func() []string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.Equal(c, want, f()) }, step, 100*time.Millisecond)
}
