//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/rig"
)

// life is a broker that looks to retention all the time, and Apache Kafka's own tools for it.
type life struct {
	t    *testing.T
	addr string
}

func startLife(t *testing.T) *life {
	t.Helper()
	node, err := rig.StartForebay(t.Context(), rig.ForebayConfig{Binary: forebay, Dir: t.TempDir(), Args: []string{
		"--set", "log.retention.check.interval.ms=500", "--set", "log.cleaner.backoff.ms=500",
	}})
	require.NoError(t, err)
	endWith(t, node)
	return &life{t: t, addr: node.Addr}
}

// tool runs one of Apache Kafka's and returns what it prints.
func (l *life) tool(main string, args ...string) string {
	l.t.Helper()
	out, err := output(tools.Tool(timeout(l.t, stepLimit), main, append([]string{"--bootstrap-server", l.addr}, args...)...))
	require.NoError(l.t, err)
	return out
}

// set sets a config of a topic.
func (l *life) set(topic, config string) {
	l.t.Helper()
	l.tool(rig.ConfigCommand, "--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", config)
}

// write writes n records of about a kilobyte to a partition and returns the offset of the first.
func (l *life) write(topic string, partition int32, n int) int64 {
	l.t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(l.addr), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(l.t, err)
	defer c.Close()
	var rs []*kgo.Record
	for range n {
		value := make([]byte, 1000)
		for i := range value {
			value[i] = byte(rand.IntN(256))
		}
		rs = append(rs, &kgo.Record{Topic: topic, Partition: partition, Value: value})
	}
	require.NoError(l.t, c.ProduceSync(timeout(l.t, stepLimit), rs...).FirstErr())
	return rs[0].Offset
}

// awaitStart waits until the log of partition 0 starts at an offset that will do.
func (l *life) awaitStart(topic string, will func(start int64) bool) {
	l.t.Helper()
	require.NoError(l.t, rig.Await(timeout(l.t, stepLimit), func(ctx context.Context) error {
		return admin(l.addr, func(a *kadm.Client) error {
			starts, err := a.ListStartOffsets(ctx, topic)
			if err != nil {
				return err
			}
			if o, ok := starts.Lookup(topic, 0); !ok || o.Err != nil || !will(o.Offset) {
				return fmt.Errorf("%s starts at %d (%w)", topic, o.Offset, o.Err)
			}
			return nil
		})
	}), "the start of %s", topic)
}

// awaitSealed waits until all of partition 0 is in packs, so that what follows is in other segments.
func (l *life) awaitSealed(topic string) {
	l.t.Helper()
	require.NoError(l.t, rig.Await(timeout(l.t, stepLimit), func(ctx context.Context) error {
		return admin(l.addr, func(a *kadm.Client) error {
			dirs, err := a.DescribeAllLogDirs(ctx, kadm.TopicsSet{topic: {0: {}}})
			if err != nil {
				return err
			}
			for _, d := range dirs.Sorted() {
				p, ok := d.Topics.Lookup(topic, 0)
				if ok && filepath.Base(d.Dir) == "packs" && p.Size > 0 && p.OffsetLag == 0 {
					return nil
				}
			}
			return fmt.Errorf("not all of %s is sealed: %+v", topic, dirs)
		})
	}))
}

// requireOffsets requires what the offset tool says of partition 0.
func (l *life) requireOffsets(topic, earliest, latest string) {
	l.t.Helper()
	for when, want := range map[string]string{"earliest": earliest, "latest": latest} {
		require.Equal(l.t, topic+":0:"+want, strings.TrimSpace(l.tool(rig.GetOffsets, "--topic", topic, "--time", when)), when)
	}
}

// What Apache Kafka's own tools set of retention is done: the log start moves, and an idle partition gets empty.
func TestRetentionByKafkasTools(t *testing.T) {
	l := startLife(t)
	for _, topic := range []string{"by-time", "by-size"} {
		l.tool(rig.TopicCommand, "--create", "--topic", topic, "--partitions", "1", "--replication-factor", "1", "--config", "segment.ms=100")
	}
	const round, limit = 100, 150_000
	l.write("by-time", 0, round)
	for range 3 {
		l.write("by-size", 0, round)
		l.awaitSealed("by-size")
	}
	dirs := l.tool(rig.LogDirs, "--describe", "--topic-list", "by-size")
	require.Regexp(t, `"logDir":"[^"]*packs"`, dirs)
	require.Regexp(t, `"partition":"by-size-0","size":3\d{5},"offsetLag":0`, dirs)

	l.set("by-time", "retention.ms=100")
	l.set("by-size", fmt.Sprintf("retention.bytes=%d", limit))
	l.awaitStart("by-time", func(start int64) bool { return start == round })
	l.requireOffsets("by-time", "100", "100")
	l.awaitStart("by-size", func(start int64) bool { return start >= round && start <= 3*round-limit/1100 })
	require.EqualValues(t, round, l.write("by-time", 0, 1), "offsets go on")
}

// Records and topics that Apache Kafka's own tools delete are gone, and what is made anew begins at offset 0.
func TestDeletionByKafkasTools(t *testing.T) {
	l := startLife(t)
	create := []string{"--create", "--topic", "cut", "--partitions", "1", "--replication-factor", "1", "--config", "segment.ms=100"}
	l.tool(rig.TopicCommand, create...)
	l.write("cut", 0, 10)
	l.awaitSealed("cut")
	file := filepath.Join(t.TempDir(), "offsets.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"version": 1, "partitions": [{"topic": "cut", "partition": 0, "offset": 4}]}`), 0o600))
	require.Contains(t, l.tool(rig.DeleteRecords, "--offset-json-file", file), "low_watermark: 4")
	l.requireOffsets("cut", "4", "10")
	require.Equal(t, []string{"4", "5", "6", "7", "8", "9"}, l.offsets("cut", 6))

	l.tool(rig.TopicCommand, "--delete", "--topic", "cut")
	l.tool(rig.TopicCommand, create...)
	require.Zero(t, l.write("cut", 0, 2))
	require.Equal(t, []string{"0", "1"}, l.offsets("cut", 2))
	l.awaitSealed("cut")
	l.requireOffsets("cut", "0", "2")

	l.tool(rig.TopicCommand, "--alter", "--topic", "cut", "--partitions", "3")
	require.Contains(t, l.tool(rig.TopicCommand, "--describe", "--topic", "cut"), "PartitionCount: 3")
	require.Zero(t, l.write("cut", 2, 1))
	require.EqualValues(t, 2, l.write("cut", 0, 1))
}

// offsets are those of the first n records that kcat reads.
func (l *life) offsets(topic string, n int) []string {
	l.t.Helper()
	cmd := kcat{}.alone(timeout(l.t, stepLimit), l.addr, topic, n)
	cmd.Args = append(cmd.Args, "-f", "%o\n")
	out, err := output(cmd)
	require.NoError(l.t, err)
	return strings.Fields(out)
}
