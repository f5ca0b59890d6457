package partition_test

import (
	"context"
	"iter"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/seal"
	"github.com/forebaylog/forebay/tiering/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const node id.Broker = 1

var topic = id.NewTopic()

// rig is a node's storage in memory that can be stopped and started again.
type rig struct {
	t       testing.TB
	fs      vfs.FS
	table   kv.Store
	objects objstore.Store
	image   *metalog.Image
	now     time.Time
	gate    *gate
	budget  int64 // of the hot tier, in bytes
	segment int64 // of it, in bytes
	packs   int   // that compaction has made

	// beforeEntries, if not nil, runs once before the hot entries are listed.
	beforeEntries func()

	journal *journal.Journal
	wal     *wal.Group
	cold    *cold.Reader
	sealer  *seal.Sealer
	set     *partition.Set
}

func newRig(t testing.TB) *rig {
	r := startRig(t)
	t.Cleanup(func() { r.stop() })
	return r
}

// startRig is newRig for one who stops it.
func startRig(t testing.TB) *rig {
	r := &rig{t: t, fs: vfs.NewMem(), table: kv.NewMem(), objects: objstore.NewMem(), now: time.UnixMilli(1_700_000_000_000), budget: 1, segment: 1 << 20}
	r.image = metalog.NewImage("test-cluster", metalog.TopicCreated{Name: "events", ID: topic, Partitions: []metalog.Assignment{{Leader: node, Replicas: []id.Broker{node}}, {Leader: node, Replicas: []id.Broker{node}}}})
	r.start()
	return r
}

func (r *rig) start() {
	ctx := context.Background()
	j, _, err := journal.Open(ctx, journal.Config{FS: r.fs, Dir: "hot", SegmentBytes: r.segment, Cluster: "test-cluster"})
	require.NoError(r.t, err)
	r.journal = j
	r.gate = &gate{Sink: wal.LocalSink(j, wal.LocalConfig{}), open: make(chan struct{})}
	close(r.gate.open)
	r.wal = wal.New(j, r.gate, wal.Config{})
	r.cold = cold.New(r.objects, cold.Config{})
	chains := chain.Open(r.table)
	cfg := partition.Config{
		Tiers: partition.Tiers{WAL: r.wal, Hot: &hookedHot{j, r}, Chain: chains, Cold: r.cold},
		Node:  node, Image: func() *metalog.Image { return r.image }, Now: func() time.Time { return r.now }, Logger: slog.New(slog.DiscardHandler),
	}
	r.set, err = partition.Open(ctx, cfg, j)
	require.NoError(r.t, err)
	r.sealer = seal.New(seal.Config{Journal: j, FS: r.fs, Chain: chains, Objects: r.objects, Cold: r.cold, DiskBudget: r.budget, Cluster: "test-cluster", Node: node, Live: r.set.Live, AfterPass: r.set.ForgetAborted})
}

func (r *rig) stop() {
	ctx := context.Background()
	require.NoError(r.t, r.sealer.Close(ctx))
	r.set.Close()
	require.ErrorIs(r.t, r.wal.Close(ctx), r.gate.err)
	require.NoError(r.t, r.journal.Close(ctx))
	require.NoError(r.t, r.cold.Close(ctx))
}

// restart stops and starts again under a new leader epoch.
func (r *rig) restart() {
	r.stop()
	r.image = raised(r.image)
	r.start()
}

// raised is the image after the node has taken its partitions again.
func raised(image *metalog.Image) *metalog.Image {
	t := *image.Topics()[0]
	created := metalog.TopicCreated{Name: t.Name, ID: t.ID}
	var changes []metalog.Record
	for range t.Partitions {
		created.Partitions = append(created.Partitions, metalog.Assignment{Leader: node, Replicas: []id.Broker{node}})
	}
	for range int(t.Partitions[0].Epoch) + 1 {
		changes = append(changes, metalog.LeadershipTaken{From: node, To: node})
	}
	return metalog.NewImage(image.ClusterID(), append([]metalog.Record{created}, changes...)...)
}

func (r *rig) log(index int32) *partition.Log {
	l, ok := r.set.Get(id.Partition{Topic: topic, Index: index})
	require.True(r.t, ok)
	return l
}

// seal moves everything into packs; every hot segment is dropped.
func (r *rig) seal() { require.NoError(r.t, r.sealer.SealAll(context.Background())) }

// hookedHot lets a test act between a look at the chain and one at the hot tier.
type hookedHot struct {
	*journal.Journal
	rig *rig
}

func (h *hookedHot) Entries(p id.Partition, from id.Offset) iter.Seq2[journal.Entry, error] {
	if hook := h.rig.beforeEntries; hook != nil {
		h.rig.beforeEntries = nil
		hook()
	}
	return h.Journal.Entries(p, from)
}

// gate holds commits back while it is shut.
type gate struct {
	wal.Sink
	open chan struct{}
	err  error // what commits fail with
}

func (g *gate) Commit(ctx context.Context, c wal.Chunk, done func(error)) {
	<-g.open
	if g.err != nil {
		done(g.err)
		return
	}
	g.Sink.Commit(ctx, c, done)
}

// batchOf builds a batch of records with the times, and a value for each.
func batchOf(times []int64, producer id.Producer, epoch int16, sequence int32) batch.View {
	b := batch.New(batch.None).Producer(producer, epoch, sequence)
	for _, ts := range times {
		b.Add(batch.Record{Timestamp: ts, Key: []byte("k"), Value: []byte(time.UnixMilli(ts).String())})
	}
	return b.Build()
}

// put appends and waits for the commit.
func (r *rig) put(l *partition.Log, v batch.View) partition.Appended {
	done := make(chan error, 1)
	got, err := l.Append(partition.Append{Batch: v, Acks: partition.AcksAll, Now: r.now, Done: func(err error) { done <- err }})
	require.NoError(r.t, err)
	require.NoError(r.t, <-done)
	return got
}

// putPlain appends one batch of records of no producer.
func (r *rig) putPlain(l *partition.Log, times ...int64) partition.Appended {
	return r.put(l, batchOf(times, id.NoProducer, -1, -1))
}

// readAll fetches from an offset to the high watermark and returns all offsets and bytes.
func (r *rig) readAll(l *partition.Log, from id.Offset) (offsets []id.Offset, data []byte) {
	for {
		f, err := l.Read(context.Background(), from, 1<<20, false)
		require.NoError(r.t, err)
		if len(f.Batches) == 0 {
			require.Equal(r.t, f.High, from)
			return offsets, data
		}
		for _, raw := range f.Batches {
			v, rest, err := batch.Parse(raw)
			require.NoError(r.t, err)
			require.Empty(r.t, rest)
			require.NoError(r.t, v.Verify())
			require.Equal(r.t, from, v.BaseOffset(), "batches follow each other")
			for o := v.BaseOffset(); o < v.NextOffset(); o++ {
				offsets = append(offsets, o)
			}
			data = append(data, raw...)
			from = v.NextOffset()
		}
	}
}
