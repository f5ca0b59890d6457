package partition_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
	"github.com/forebaylog/forebay/tiering/seal"
	"github.com/forebaylog/forebay/tiering/wal"
)

// clusterRig is a broker that takes partitions over from others, of which there are the
// streams and the chains.
type clusterRig struct {
	rig
	parts    int
	records  []metalog.Record
	streams  map[id.Session][]wal.Object
	streamed func(id.Session) error // before a stream is read; nil: nothing

	direct       *cold.Reader // the sealer's
	beforeObject func()       // runs once before an object is read

	next    map[id.Partition]id.Offset
	want    map[id.Partition][]byte
	writers map[id.Partition]*producers.Table
	aborted map[id.Partition][]producers.AbortedTxn
	files   int
}

func newClusterRig(t *testing.T, partitions int) *clusterRig {
	c := startClusterRig(t, partitions)
	t.Cleanup(c.stop)
	return c
}

// startClusterRig is newClusterRig for one who stops it.
func startClusterRig(t *testing.T, partitions int) *clusterRig {
	c := &clusterRig{
		parts: partitions, streams: map[id.Session][]wal.Object{},
		next: map[id.Partition]id.Offset{}, want: map[id.Partition][]byte{}, writers: map[id.Partition]*producers.Table{},
		aborted: map[id.Partition][]producers.AbortedTxn{},
	}
	c.rig = rig{t: t, fs: vfs.NewMem(), table: kv.NewMem(), objects: objstore.NewMem(), now: time.UnixMilli(1_700_000_000_000)}
	created := metalog.TopicCreated{Name: "events", ID: topic}
	for range partitions {
		created.Partitions = append(created.Partitions, metalog.Assignment{Leader: 2, Replicas: []id.Broker{node, 2}})
	}
	c.fold(created)
	ctx := context.Background()
	j, _, err := journal.Open(ctx, journal.Config{FS: c.fs, Dir: "hot", SegmentBytes: 1 << 20, Cluster: "test-cluster"})
	require.NoError(t, err)
	c.journal = j
	c.gate = &gate{Sink: wal.LocalSink(j, wal.LocalConfig{}), open: make(chan struct{})}
	close(c.gate.open)
	c.wal = wal.New(j, c.gate, wal.Config{})
	c.cold = cold.New(objstore.Inject(c.objects, func(op objstore.Op) error {
		if hook := c.beforeObject; hook != nil && op.Kind == objstore.OpRead {
			c.beforeObject = nil
			hook()
		}
		return nil
	}), cold.Config{})
	chains := chain.Open(c.table)
	c.set, err = partition.Open(ctx, partition.Config{
		Tiers: partition.Tiers{WAL: c.wal, Hot: &hookedHot{j, &c.rig}, Chain: chains, Cold: c.cold},
		Node:  node, Image: func() *metalog.Image { return c.image }, Now: func() time.Time { return c.now }, Logger: slog.New(slog.DiscardHandler),
		Streams: c.stream,
	}, nil)
	require.NoError(t, err)
	c.direct = cold.New(c.objects, cold.Config{})
	c.sealer = seal.New(seal.Config{
		Journal: j, FS: c.fs, Chain: chains, Objects: c.objects, Cold: c.direct, DiskBudget: 1, Cluster: "test-cluster", Node: node,
		Live: c.set.Live, Held: c.set.Held, Committed: c.set.Committed, AfterPass: c.set.ForgetAborted,
	})
	return c
}

func (c *clusterRig) stop() {
	c.rig.stop()
	require.NoError(c.t, c.direct.Close(context.Background()))
}

func (c *clusterRig) stream(_ context.Context, s id.Session, through uint64) ([]wal.Object, error) {
	if c.streamed != nil {
		if err := c.streamed(s); err != nil {
			return nil, err
		}
	}
	var list []wal.Object
	for _, o := range c.streams[s] {
		if o.Seq <= through {
			list = append(list, o)
		}
	}
	return list, nil
}

// fold adds a record to the metadata.
func (c *clusterRig) fold(r metalog.Record) {
	c.records = append(c.records, r)
	c.image = metalog.NewImage("test-cluster", c.records...)
}

// lead gives all partitions to a broker, under the next epoch; nil: no tail.
func (c *clusterRig) lead(leader id.Broker, tail *metalog.Tail) {
	change := metalog.LeadersChanged{Tail: tail}
	for i := range c.parts {
		change.Changes = append(change.Changes, metalog.LeaderChange{Partition: c.part(i), Leader: leader, Epoch: c.epoch() + 1})
	}
	c.fold(change)
}

func (c *clusterRig) part(i int) id.Partition { return id.Partition{Topic: topic, Index: int32(i)} }

func (c *clusterRig) epoch() id.Epoch {
	state, ok := c.image.Partition(c.part(0))
	require.True(c.t, ok)
	return state.Epoch
}

// produce makes the next batch of a partition, under the epoch of now, which is in no tier yet.
func (c *clusterRig) produce(i int, v batch.View) batch.View {
	p := c.part(i)
	v.Stamp(c.next[p], c.epoch())
	c.next[p] = v.NextOffset()
	c.want[p] = append(c.want[p], v...)
	if c.writers[p] == nil {
		c.writers[p] = &producers.Table{}
	}
	if txn, ok := c.writers[p].Apply(v); ok {
		c.aborted[p] = append(c.aborted[p], txn)
	}
	return v
}

// plain makes the next batch of a partition, of no producer.
func (c *clusterRig) plain(i int, times ...int64) batch.View {
	return c.produce(i, batchOf(times, id.NoProducer, -1, -1))
}

// object stores a pack of one run for each partition.
func (c *clusterRig) object(name string, runs map[int][]batch.View, tell func(int) ([]producers.State, []producers.AbortedTxn)) wal.Object {
	c.t.Helper()
	var b bytes.Buffer
	w := pack.NewWriter(&b, pack.Header{Cluster: "test-cluster", Created: c.now})
	for i := range c.parts {
		if len(runs[i]) == 0 {
			continue
		}
		require.NoError(c.t, w.BeginRun(c.part(i)))
		for _, v := range runs[i] {
			require.NoError(c.t, w.Append(v))
		}
		require.NoError(c.t, w.EndRun(tell(i)))
	}
	footer, err := w.Close()
	require.NoError(c.t, err)
	c.files++
	o := wal.Object{ObjectRef: wal.ObjectRef{Name: fmt.Sprintf("%s/%d.pack", name, c.files), Size: int64(b.Len())}, Footer: footer}
	require.NoError(c.t, c.objects.Put(context.Background(), o.Name, &b))
	return o
}

// commit stores batches as the object of a slot of a session's stream.
func (c *clusterRig) commit(s id.Session, seq uint64, runs map[int][]batch.View) wal.Object {
	c.t.Helper()
	o := c.object("wal/"+string(s), runs, func(i int) ([]producers.State, []producers.AbortedTxn) {
		var delta producers.Delta
		for _, v := range runs[i] {
			delta.Apply(v)
		}
		return delta.States(), delta.Aborted()
	})
	o.Seq = seq
	c.streams[s] = append(c.streams[s], o)
	return o
}

// link stores batches as a pack that the chains of their partitions name.
func (c *clusterRig) link(runs map[int][]batch.View) {
	c.t.Helper()
	o := c.object("packs", runs, func(i int) ([]producers.State, []producers.AbortedTxn) {
		p, first := c.part(i), runs[i][0].BaseOffset()
		return c.writers[p].Snapshot(), slices.DeleteFunc(slices.Clone(c.aborted[p]), func(txn producers.AbortedTxn) bool { return txn.Last < first })
	})
	for i := range o.Footer.Runs {
		run := &o.Footer.Runs[i]
		l := chain.Link{Partition: run.Partition, Segment: chain.SegmentOf(run, o.Name, o.Size)}
		require.NoError(c.t, chain.Open(c.table).Append(context.Background(), []chain.Link{l})[0])
	}
}

// acquire gives all partitions to this broker and opens them.
func (c *clusterRig) acquire(tail *metalog.Tail) error {
	c.lead(node, tail)
	c.set.Apply(c.image)
	return c.set.Acquire(context.Background(), c.set.Missing())
}

// whole requires that a partition's log is what was produced.
func (c *clusterRig) whole(i int) *partition.Log {
	c.t.Helper()
	l := c.log(int32(i))
	p := c.part(i)
	w := l.Watermarks()
	require.Equal(c.t, partition.Watermarks{High: c.next[p], Stable: c.next[p], End: c.next[p], Epoch: c.epoch()}, w)
	for from := range c.next[p] {
		offsets, _ := c.readFrom(l, from)
		require.Len(c.t, offsets, int(c.next[p]-from), "from %d", from)
	}
	_, data := c.readFrom(l, 0)
	require.True(c.t, bytes.Equal(c.want[p], data), "other bytes")
	return l
}

// readFrom is readAll from within a batch.
func (c *clusterRig) readFrom(l *partition.Log, from id.Offset) (offsets []id.Offset, data []byte) {
	c.t.Helper()
	for at := from; ; {
		f, err := l.Read(context.Background(), at, 100, false)
		require.NoError(c.t, err)
		if len(f.Batches) == 0 {
			require.Equal(c.t, f.High, at)
			return offsets, data
		}
		for _, raw := range f.Batches {
			v, _, err := batch.Parse(raw)
			require.NoError(c.t, err)
			require.LessOrEqual(c.t, v.BaseOffset(), at)
			for ; at < v.NextOffset(); at++ {
				offsets = append(offsets, at)
			}
			data = append(data, raw...)
		}
	}
}
