package rewrite_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

var (
	ctx   = context.Background()
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func partition(n int) id.Partition {
	return id.Partition{Topic: id.Topic{6: 0x40, 15: byte(n)}, Index: int32(n)}
}

// world is a bucket and a table with chains, which grow pack by pack as if a sealer had
// sealed them, and what the logs hold.
type world struct {
	t       *testing.T
	table   kv.Store
	objects objstore.Store
	chain   *chain.Store
	now     time.Time
	packs   int

	want   map[id.Partition][]batch.View
	tables map[id.Partition]*producers.Table
	seqs   map[id.Producer]int32
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, table: kv.NewMem(), objects: objstore.NewMem(), now: start,
		want: map[id.Partition][]batch.View{}, tables: map[id.Partition]*producers.Table{}, seqs: map[id.Producer]int32{},
	}
	w.chain = chain.Open(w.table)
	return w
}

// engine returns an engine on table and objects, which may be the world's in a disguise.
func (w *world) engine(table kv.Store, objects objstore.Store, options ...func(*rewrite.Config)) *rewrite.Engine {
	reader := cold.New(objects, cold.Config{ChunkBytes: 4 << 10})
	w.t.Cleanup(func() { require.NoError(w.t, reader.Close(ctx)) })
	cfg := rewrite.Config{
		Chain: chain.Open(table), Objects: objects, Cold: reader, Cluster: "test", Node: 3,
		Now: func() time.Time { return w.now },
	}
	for _, o := range options {
		o(&cfg)
	}
	return rewrite.New(cfg)
}

// next is where the log of p goes on.
func (w *world) next(p id.Partition) id.Offset {
	if n := len(w.want[p]); n > 0 {
		return w.want[p][n-1].NextOffset()
	}
	return 0
}

// records appends a batch of n records to the log of p.
func (w *world) records(p id.Partition, n int, options ...func(*batch.Builder)) batch.View {
	b := batch.New(batch.None)
	for _, o := range options {
		o(b)
	}
	for i := range n {
		at := w.next(p) + id.Offset(i)
		b.Add(batch.Record{Timestamp: 1000 + int64(at), Key: fmt.Appendf(nil, "k%d", at%5), Value: fmt.Appendf(nil, "%d of %s", at, p)})
	}
	return w.append(p, b.Build())
}

// of makes a batch one of a producer.
func (w *world) of(producer id.Producer, n int) func(*batch.Builder) {
	return func(b *batch.Builder) {
		b.Producer(producer, 0, w.seqs[producer])
		w.seqs[producer] += int32(n)
	}
}

func txn(b *batch.Builder) { b.Transactional() }

func epoch(e id.Epoch) func(*batch.Builder) { return func(b *batch.Builder) { b.Epoch(e) } }

func (w *world) marker(p id.Partition, producer id.Producer, commit bool) batch.View {
	return w.append(p, batch.NewMarker(batch.Marker{Commit: commit}, producer, 0, 1000+int64(w.next(p))))
}

func (w *world) append(p id.Partition, v batch.View) batch.View {
	e := v.LeaderEpoch()
	if n := len(w.want[p]); n > 0 {
		e = max(e, w.want[p][n-1].LeaderEpoch())
	}
	v.Stamp(w.next(p), e)
	w.want[p] = append(w.want[p], v)
	return v
}

// seal puts what is in the logs of ps, but not in their chains yet, into one pack, as the sealer does.
func (w *world) seal(ps ...id.Partition) string {
	w.t.Helper()
	var b bytes.Buffer
	created := w.now
	pw := pack.NewWriter(&b, pack.Header{Cluster: "test", Node: 1, Created: created})
	for _, p := range ps {
		if w.tables[p] == nil {
			w.tables[p] = &producers.Table{}
		}
		end, _, _, err := w.chain.End(ctx, p)
		require.NoError(w.t, err)
		var aborted []pack.AbortedTxn
		require.NoError(w.t, pw.BeginRun(p))
		for _, v := range w.want[p] {
			if v.BaseOffset() < end {
				continue
			}
			require.NoError(w.t, pw.Append(v))
			if a, ok := w.tables[p].Apply(v); ok {
				aborted = append(aborted, a)
			}
		}
		require.NoError(w.t, pw.EndRun(w.tables[p].Snapshot(), aborted))
	}
	footer, err := pw.Close()
	require.NoError(w.t, err)
	w.packs++
	name := fmt.Sprintf("%s%d", chain.ObjectPrefix, w.packs)
	require.NoError(w.t, w.objects.Put(ctx, name, &b))
	for i := range footer.Runs {
		seg := chain.SegmentOf(&footer.Runs[i], name, pw.Size())
		seg.Sealed = created.UnixMilli()
		for _, err := range w.chain.Append(ctx, []chain.Link{{Partition: footer.Runs[i].Partition, Segment: seg}}) {
			require.NoError(w.t, err)
		}
	}
	return name
}

// items returns the canonical items of p.
func (w *world) items(p id.Partition) []chain.Item {
	w.t.Helper()
	all, err := w.chain.Items(ctx, p)
	require.NoError(w.t, err)
	items, _, err := chain.Canonical(all, 0)
	require.NoError(w.t, err)
	return items
}

// run returns the run of a segment.
func (w *world) run(p id.Partition, seg chain.Segment) *pack.Run {
	w.t.Helper()
	footer, err := w.newCold().Footer(ctx, seg.Object, seg.ObjectSize)
	require.NoError(w.t, err)
	run, ok := footer.Run(p)
	require.True(w.t, ok)
	return run
}

func (w *world) newCold() *cold.Reader {
	reader := cold.New(w.objects, cold.Config{ChunkBytes: 4 << 10})
	w.t.Cleanup(func() { require.NoError(w.t, reader.Close(ctx)) })
	return reader
}

// read returns the batches that a reader of p finds from the start.
func (w *world) read(p id.Partition) (found []batch.View) {
	w.t.Helper()
	reader := w.newCold()
	for _, item := range w.items(p) {
		if item.Empty() {
			continue
		}
		for v, err := range reader.Batches(ctx, p, item.Segment, item.Base) {
			require.NoError(w.t, err)
			found = append(found, v)
		}
	}
	return found
}

// check requires that readers find what is in the logs, up to the ends of the chains.
func (w *world) check(ps ...id.Partition) {
	w.t.Helper()
	for _, p := range ps {
		end, _, _, err := w.chain.End(ctx, p)
		require.NoError(w.t, err)
		var want []batch.View
		for _, v := range w.want[p] {
			if v.BaseOffset() < end {
				want = append(want, v)
			}
		}
		require.Equal(w.t, want, w.read(p))
	}
}
