//go:build e2e

package compaction_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/localstack/rig"
	"github.com/forebaylog/forebay/tiering/batch"
)

const step = 2 * time.Minute // for one step of a scenario

// kafka is Apache Kafka with a cleaner that does not wait.
type kafka struct {
	t    *testing.T
	node *rig.Node
}

func startKafka(t *testing.T) *kafka {
	t.Helper()
	tools, err := rig.FindJava(os.Getenv("FOREBAY_JARS"))
	require.NoError(t, err)
	node, err := rig.StartKafka(t.Context(), rig.KafkaConfig{Java: tools, Dir: t.TempDir(), Set: map[string]string{
		"log.cleaner.backoff.ms": "100", "log.cleaner.dedupe.buffer.size": "16777216",
		"transaction.state.log.num.partitions": "1",
	}})
	require.NoError(t, err)
	return newKafka(t, node)
}

// newKafka is a broker that ends with the test.
func newKafka(t *testing.T, node *rig.Node) *kafka {
	t.Cleanup(func() {
		if err := node.Kill(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(node.Output())
		}
	})
	return &kafka{t: t, node: node}
}

func (k *kafka) client(opts ...kgo.Opt) *kgo.Client {
	k.t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(k.node.Addr))...)
	require.NoError(k.t, err)
	k.t.Cleanup(c.Close)
	return c
}

func (k *kafka) within() context.Context {
	ctx, cancel := context.WithTimeout(k.t.Context(), step)
	k.t.Cleanup(cancel)
	return ctx
}

// topic makes a compacted topic that is not cleaned yet. Its segments end with a record that is minutes younger.
func (k *kafka) topic(name string, retention time.Duration) {
	k.t.Helper()
	set := map[string]*string{
		"cleanup.policy": new("compact"), "min.cleanable.dirty.ratio": new("1"), "segment.ms": new("300000"),
		"delete.retention.ms": new(fmt.Sprint(retention.Milliseconds())),
	}
	_, err := kadm.NewClient(k.client()).CreateTopic(k.within(), 1, 1, set, name)
	require.NoError(k.t, err)
}

func (k *kafka) alter(topic, name, value string) {
	k.t.Helper()
	rs, err := kadm.NewClient(k.client()).AlterTopicConfigs(k.within(), []kadm.AlterConfig{{Name: name, Value: &value}}, topic)
	require.NoError(k.t, err)
	require.NoError(k.t, rs[0].Err)
}

// clean lets the cleaner make one pass, up to the active segment, which begins at end.
func (k *kafka) clean(topic string, end id.Offset) {
	k.t.Helper()
	k.alter(topic, "min.cleanable.dirty.ratio", "0")
	k.awaitCleaned(topic, end)
	k.alter(topic, "min.cleanable.dirty.ratio", "1")
}

// awaitCleaned waits until the cleaner has been everywhere below end.
func (k *kafka) awaitCleaned(topic string, end id.Offset) {
	k.t.Helper()
	want := fmt.Sprintf("%s 0 %d", topic, end)
	file := filepath.Join(k.node.Dir, "logs", "cleaner-offset-checkpoint")
	require.Eventually(k.t, func() bool {
		b, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			return false
		}
		require.NoError(k.t, err)
		return strings.Contains("\n"+string(b)+"\n", "\n"+want+"\n")
	}, step, 50*time.Millisecond, "the cleaner's checkpoint does not say %q", want)
}

// awaitMarkers waits until no transaction is open: markers are written after the producer's request is answered.
func (k *kafka) awaitMarkers(topic string) {
	k.t.Helper()
	admin := kadm.NewClient(k.client())
	require.Eventually(k.t, func() bool {
		end, err := admin.ListEndOffsets(k.within(), topic)
		require.NoError(k.t, err)
		stable, err := admin.ListCommittedOffsets(k.within(), topic)
		require.NoError(k.t, err)
		return stable[topic][0].Offset == end[topic][0].Offset
	}, step, 20*time.Millisecond, "a transaction of %s stays open", topic)
}

// batches reads the log as it is, from an offset on.
func (k *kafka) batches(topic string, from id.Offset) (vs []batch.View) {
	k.t.Helper()
	c := k.client(kgo.MaxVersions(kversion.V2_4_0())) // topics have names in its fetches
	for {
		req := kmsg.NewPtrFetchRequest()
		req.MaxBytes, req.MaxWaitMillis = 50<<20, 100
		p := kmsg.NewFetchRequestTopicPartition()
		p.FetchOffset, p.PartitionMaxBytes = int64(from), 50<<20
		rt := kmsg.NewFetchRequestTopic()
		rt.Topic, rt.Partitions = topic, []kmsg.FetchRequestTopicPartition{p}
		req.Topics = append(req.Topics, rt)
		resp, err := req.RequestWith(k.within(), c)
		require.NoError(k.t, err)
		got := resp.Topics[0].Partitions[0]
		require.NoError(k.t, kerr.ErrorForCode(got.ErrorCode))
		rest := got.RecordBatches
		if len(rest) == 0 {
			return vs
		}
		for len(rest) > 0 {
			var v batch.View
			v, rest, err = batch.Parse(rest)
			if errors.Is(err, batch.ErrTruncated) {
				break
			}
			require.NoError(k.t, err)
			if v.LastOffset() >= from {
				vs = append(vs, v)
				from = v.NextOffset()
			}
		}
	}
}

// consumed is what a new read_committed consumer is given below end.
func (k *kafka) consumed(topic string, end id.Offset) (lines []string) {
	k.t.Helper()
	return k.consumedAt(topic, end, kgo.ReadCommitted())
}

func (k *kafka) consumedAt(topic string, end id.Offset, level kgo.IsolationLevel) (lines []string) {
	k.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(k.node.Addr), kgo.FetchIsolationLevel(level),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	require.NoError(k.t, err)
	defer c.Close()
	ctx := k.within()
	for {
		fetches := c.PollFetches(ctx)
		require.NoError(k.t, fetches.Err())
		for _, r := range fetches.Records() {
			if r.Offset >= int64(end) { // there is always a record there that ends the segment
				return lines
			}
			lines = append(lines, line(id.Offset(r.Offset), r.Key, r.Value))
		}
	}
}

func line(o id.Offset, key, value []byte) string {
	if value == nil {
		return fmt.Sprintf("%d %s deleted", o, key)
	}
	return fmt.Sprintf("%d %s=%s", o, key, value)
}
