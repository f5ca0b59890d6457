//go:build e2e

package compaction_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/rig"
	"github.com/forebaylog/forebay/tiering/batch"
)

// ending is how a log ends whose last records compaction may remove.
type ending struct {
	last func(in *input) // writes it
	// cleaned reports whether compaction has been there, in a log that ends at an offset.
	cleaned func(v batch.View, end int64) bool
	// lags are what is left to groups of each client that have read to the end, on Apache Kafka. A client that commits
	// the offset behind the last record that it was given does not count what follows it.
	lags map[string]int64
}

var endings = map[string]ending{
	"keyless": { // of which all but the last go once the topic is compacted
		func(in *input) {
			for _, value := range []string{"one", "two"} {
				require.NoError(in.k.t, in.plain[1].ProduceSync(in.k.within(), &kgo.Record{Value: []byte(value)}).FirstErr())
			}
		},
		func(v batch.View, end int64) bool { return int64(v.NextOffset()) != end-1 || v.Records() == 0 },
		map[string]int64{"java": 0, "kcat": 0, "franz": 0},
	},
	"aborted": {
		func(in *input) { in.transaction(false) },
		func(v batch.View, end int64) bool { return int64(v.NextOffset()) != end-1 || v.Records() == 0 },
		map[string]int64{"java": 0, "kcat": 0, "franz": 4},
	},
	"committed": {
		func(in *input) { in.transaction(true) },
		func(batch.View, int64) bool { return true },
		map[string]int64{"java": 0, "kcat": 0, "franz": 1},
	},
}

// transaction writes three records in one, which it ends.
func (in *input) transaction(commit bool) {
	t, c := in.k.t, in.txns[0]
	require.NoError(t, c.BeginTransaction())
	require.NoError(t, c.ProduceSync(in.k.within(), in.records(3)...).FirstErr())
	require.NoError(t, c.EndTransaction(in.k.within(), kgo.TransactionEndTry(commit)))
	in.k.awaitMarkers(in.topic)
}

// members are clients that join a group, read a topic from its start what is committed, and commit as they go.
var members = map[string]func(k *kafka, topic, group string) (end func()){
	"java":  javaMember,
	"kcat":  kcatMember,
	"franz": franzMember,
}

func javaMember(k *kafka, topic, group string) func() {
	return k.member(k.tools().Tool(context.Background(), rig.ConsoleConsumer, "--bootstrap-server", k.node.Addr, "--topic", topic,
		"--group", group, "--from-beginning", "--command-property", "auto.commit.interval.ms=100", "--isolation-level", "read_committed"))
}

func kcatMember(k *kafka, topic, group string) func() {
	return k.member(exec.Command("kcat", "-b", k.node.Addr, "-G", group, "-X", "auto.offset.reset=earliest", "-X", "auto.commit.interval.ms=100", topic))
}

func (k *kafka) member(cmd *exec.Cmd) func() {
	p, err := rig.StartProcess("member", cmd)
	require.NoError(k.t, err)
	return func() { require.NoError(k.t, p.Kill()) }
}

func franzMember(k *kafka, topic, group string) func() {
	c, err := kgo.NewClient(kgo.SeedBrokers(k.node.Addr), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.AutoCommitInterval(100*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	require.NoError(k.t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !c.PollFetches(context.Background()).IsClientClosed() {
		}
	}()
	return func() { c.Close(); <-done }
}

func (k *kafka) tools() *rig.Java {
	k.t.Helper()
	tools, err := rig.FindJava(os.Getenv("FOREBAY_JARS"))
	require.NoError(k.t, err)
	return tools
}

// awaitLag waits until a group is so far behind the end of a topic.
func (k *kafka) awaitLag(topic, group string, end, want int64) {
	k.t.Helper()
	admin := kadm.NewClient(k.client())
	require.EventuallyWithT(k.t, func(c *assert.CollectT) {
		lags, err := admin.Lag(k.within(), group)
		if !assert.NoError(c, err) || !assert.NoError(c, lags.Error()) {
			return
		}
		l, ok := lags[group].Lag.Lookup(topic, 0)
		assert.True(c, ok && l.Err == nil)
		assert.Equal(c, want, l.Lag)
		assert.Equal(c, end-want, l.Commit.At)
	}, step, 100*time.Millisecond, "%s", group)
}

// write makes a topic that ends in e, and has it compacted. It returns where it ends.
func (e ending) write(k *kafka, topic string) (end int64) {
	k.t.Helper()
	k.create(topic, map[string]string{"segment.ms": "100", "min.cleanable.dirty.ratio": "0", "delete.retention.ms": "0"})
	in := newInput(k, topic)
	for range 3 {
		require.NoError(k.t, in.plain[0].ProduceSync(k.within(), in.records(5)...).FirstErr())
	}
	e.last(in)
	ends, err := kadm.NewClient(k.client()).ListEndOffsets(k.within(), topic)
	require.NoError(k.t, err)
	return ends[topic][0].Offset
}

// awaitCleaned waits until compaction has been at the end of a topic.
func (e ending) awaitCleaned(k *kafka, topic string, end int64) {
	k.t.Helper()
	require.Eventually(k.t, func() bool {
		return !slices.ContainsFunc(k.batches(topic, 0), func(v batch.View) bool { return !e.cleaned(v, end) })
	}, step, 100*time.Millisecond, "%s is not compacted", topic)
}

// Groups of several clients come as far in a compacted topic as they do on Apache Kafka, which never cleans the last
// segment, also if compaction removes what the log ends with.
func TestLagIsThatOnKafka(t *testing.T) {
	ours := startForebay(t, build(t), rig.ForebayConfig{Dir: t.TempDir()})
	for _, k := range []*kafka{startKafka(t), ours} {
		ends := map[string]int64{}
		for topic, e := range endings {
			ends[topic] = e.write(k, topic)
			if k == ours {
				k.awaitSealed(topic)
			}
			k.alter(topic, "cleanup.policy", "compact")
		}
		var want []string
		for topic, e := range endings {
			if k == ours {
				e.awaitCleaned(k, topic, ends[topic])
			}
			for name, start := range members {
				t.Cleanup(start(k, topic, topic+"-"+name))
			}
			for name, lag := range e.lags {
				k.awaitLag(topic, topic+"-"+name, ends[topic], lag)
				want = append(want, fmt.Sprintf(`%s-%s +%s +0 +%d +%d +%d `, topic, name, topic, ends[topic]-lag, ends[topic], lag))
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), step)
		defer cancel()
		out, err := k.tools().Tool(ctx, rig.ConsumerGroups, "--bootstrap-server", k.node.Addr, "--describe", "--all-groups").Output()
		require.NoError(t, err)
		for _, line := range want {
			require.Regexp(t, line, string(out))
		}
	}
}
