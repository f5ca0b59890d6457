//go:build e2e

package functions

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/rig"
)

// world is a cluster whose brokers do no maintenance, and its clients.
type world struct {
	t       *testing.T
	cluster *rig.Cluster
	client  *kgo.Client
	admin   *kadm.Client
	env     []string // of functions
}

const prefix = "functions"

var built string // directory of what the tests share, so that nothing is linked twice

func TestMain(m *testing.M) {
	var err error
	if built, err = os.MkdirTemp("", "forebay-functions-"); err != nil {
		fmt.Fprintln(os.Stderr, "e2e cannot start:", err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(built)
	os.Exit(code)
}

func newWorld(t *testing.T, brokers int) *world {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	binary, err := rig.BuildForebay(ctx, built)
	require.NoError(t, err)
	minio := rig.MinIOConfig{Binary: os.Getenv("FOREBAY_MINIO")}
	dynalite := rig.DynaliteConfig{Programs: os.Getenv("FOREBAY_NODE")}
	base := rig.ForebayConfig{Binary: binary, Args: []string{"--maintenance", "none", "--segment-age", "1h"}}
	c, err := rig.StartCluster(ctx, rig.ClusterConfig{
		Dir: dir, Brokers: brokers, Launch: rig.LaunchBrokers(base, rig.MinIOBucket, prefix), Store: minio.Backend, Table: dynalite.Backend, Direct: true,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	w := &world{t: t, cluster: c}
	w.client, err = kgo.NewClient(kgo.SeedBrokers(c.Addrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	t.Cleanup(w.client.Close)
	w.admin = kadm.NewClient(w.client)
	w.env = append(c.Env(), rig.FunctionEnv(c.Brokers()[0].Place, rig.MinIOBucket, prefix)...)
	return w
}

// function starts a function of this tree.
func (w *world) function(name string, env ...string) *rig.Lambda {
	w.t.Helper()
	bootstrap, err := rig.BuildFunction(w.t.Context(), name, built)
	require.NoError(w.t, err)
	f, err := rig.StartLambda(w.t.Context(), bootstrap, append(w.env, env...)...)
	require.NoError(w.t, err)
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("function %s:\n%s", name, f.Output())
		}
		require.NoError(w.t, f.Close())
	})
	return f
}

// answer is what functions answer with.
type answer struct {
	Partitions int  `json:"partitions"`
	Done       int  `json:"done"`
	Complete   bool `json:"complete"`
	Result     struct {
		Compacted int `json:"compacted"`
		Packs     struct {
			Removed struct {
				Objects int `json:"objects"`
			} `json:"removed"`
		} `json:"packs"`
	} `json:"result"`
}

func (w *world) invoke(f *rig.Lambda) answer {
	w.t.Helper()
	var a answer
	require.NoError(w.t, f.Invoke(w.t.Context(), step, map[string]string{}, &a))
	require.True(w.t, a.Complete)
	return a
}

func (w *world) create(topic string, partitions int32, configs map[string]string) {
	w.t.Helper()
	set := map[string]*string{}
	for name, value := range configs {
		set[name] = &value
	}
	r, err := w.admin.CreateTopic(w.t.Context(), partitions, 1, set, topic)
	require.NoError(w.t, err)
	require.NoError(w.t, r.Err)
}

// produce writes count records with the given time to each partition, and has them sealed.
func (w *world) produce(topic string, partitions int32, count int, at time.Time) {
	w.t.Helper()
	var records []*kgo.Record
	for p := range partitions {
		for i := range count {
			records = append(records, &kgo.Record{
				Topic: topic, Partition: p, Timestamp: at, Key: fmt.Appendf(nil, "key-%d", i%10), Value: fmt.Appendf(nil, "%s %d %d", at.Format(time.RFC3339Nano), p, i),
			})
		}
	}
	ctx := w.within()
	require.NoError(w.t, w.client.ProduceSync(ctx, records...).FirstErr())
	require.NoError(w.t, rig.Seal(ctx, w.admin, topic))
}

// step is how long one step of a scenario may take; it tells what hangs from what waits for the processor.
const step = 2 * time.Minute

func (w *world) within() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), step)
	w.t.Cleanup(cancel)
	return ctx
}

// starts awaits that the log of each partition starts at the offset.
func (w *world) starts(topic string, offset int64) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		starts, err := w.admin.ListStartOffsets(w.t.Context(), topic)
		same := err == nil
		starts.Each(func(s kadm.ListedOffset) { same = same && s.Err == nil && s.Offset == offset })
		return same
	}, step, 50*time.Millisecond, "offset %d", offset)
}

// read returns the records of a topic from its start to its end, by partition.
func (w *world) read(topic string) map[int32][]*kgo.Record {
	w.t.Helper()
	ctx := w.within()
	ends, err := w.admin.ListEndOffsets(ctx, topic)
	require.NoError(w.t, err)
	require.NoError(w.t, ends.Error())
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.cluster.Addrs()...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.NoError(w.t, err)
	defer cl.Close()
	got, done := map[int32][]*kgo.Record{}, map[int32]bool{}
	for len(done) < len(ends[topic]) {
		require.NoError(w.t, ctx.Err())
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			got[r.Partition] = append(got[r.Partition], r)
			if r.Offset >= ends[topic][r.Partition].Offset-1 {
				done[r.Partition] = true
			}
		})
	}
	return got
}

// TestRetentionAndCollection: functions do it with brokers up and with brokers down, and what clients read is right.
func TestRetentionAndCollection(t *testing.T) {
	w := newWorld(t, 2)
	const topic, partitions = "aging", 4
	w.create(topic, partitions, map[string]string{"retention.ms": "600000"})
	now := time.Now()
	w.produce(topic, partitions, 50, now.Add(-time.Hour))
	w.produce(topic, partitions, 50, now)

	retention := w.function("retention")
	a := w.invoke(retention)
	require.Equal(t, partitions, a.Done)
	w.starts(topic, 50)
	for p, records := range w.read(topic) {
		require.Len(t, records, 50, "partition %d", p)
		require.Equal(t, int64(50), records[0].Offset)
	}

	collector := w.function("collector", "FOREBAY_COLLECT_GRACE=41m")
	w.invoke(collector)

	w.produce(topic, partitions, 50, now.Add(-time.Hour)) // late, and over as soon as the segment is
	w.produce(topic, partitions, 5, now)
	require.NoError(t, w.cluster.KillAll())
	w.invoke(retention)
	alone := w.function("collector", "FOREBAY_COLLECT_ALONE=true", "FOREBAY_COLLECT_GRACE=1ms")
	// Looks have the time of the object store, which tells seconds: what a look has found is removed in the next second.
	require.NoError(t, rig.Await(w.within(), func(context.Context) error {
		if w.invoke(alone).Result.Packs.Removed.Objects == 0 {
			return errors.New("no pack of what retention has passed was removed")
		}
		return nil
	}))
	require.NoError(t, w.cluster.StartAll(t.Context()))
	w.starts(topic, 50)
	for p, records := range w.read(topic) {
		require.Len(t, records, 105, "partition %d: the segment of now is in front of the old one", p)
	}
}

// TestCompaction: what functions compact, with brokers up and with brokers down, has the newest record of each key
// where it was.
func TestCompaction(t *testing.T) {
	w := newWorld(t, 2)
	const topic, partitions = "accounts", 3
	w.create(topic, partitions, map[string]string{"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"})
	w.produce(topic, partitions, 100, time.Now())
	w.produce(topic, partitions, 100, time.Now())
	compaction := w.function("compaction")
	require.Equal(t, partitions, w.invoke(compaction).Result.Compacted)
	require.NoError(t, w.cluster.KillAll()) // and with them what they have on their disks
	w.invoke(compaction)                    // finds nothing to do
	require.NoError(t, w.cluster.StartAll(t.Context()))
	for p, records := range w.read(topic) {
		require.Equal(t, 10, len(records), "partition %d: nothing but the newest", p)
		for i, r := range records {
			require.Equal(t, int64(190+i), r.Offset, "partition %d", p)
			require.Equal(t, fmt.Sprintf("key-%d", i), string(r.Key), "partition %d", p)
			require.True(t, strings.HasSuffix(string(r.Value), fmt.Sprintf(" %d %d", p, 90+i)), "%s", r.Value)
		}
	}
}
