package compact_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/compact"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

var (
	ctx = context.Background()
	p0  = id.Partition{Topic: id.Topic{15: 1}, Index: 3}
)

// tb is what a *testing.T and a *rapid.T have.
type tb interface {
	require.TestingT
	Helper()
}

// world is the chain of one partition.
type world struct {
	t       tb
	table   kv.Store
	objects objstore.Store
	chain   *chain.Store
	cold    *cold.Reader
	now     time.Time
	keys    compact.MapConfig
	set     compact.Settings

	start  id.Offset
	end    id.Offset
	open   []batch.View // not sealed yet
	table2 producers.Table
	seqs   map[id.Producer]int32
	packs  int
}

func newWorld(t testing.TB) *world { return worldOf(t, t.Cleanup) }

func worldOf(t tb, cleanup func(func())) *world {
	w := &world{
		t: t, table: kv.NewMem(), objects: objstore.NewMem(), now: noon, seqs: map[id.Producer]int32{},
		set: compact.Settings{DeleteRetention: time.Hour},
	}
	w.chain = chain.Open(w.table)
	w.cold = cold.New(w.objects, cold.Config{ChunkBytes: 16 << 10})
	cleanup(func() { require.NoError(t, w.cold.Close(ctx)) })
	return w
}

// kvs makes records of "key=value", "key=" being a tombstone and "=value" without a key.
func kvs(at time.Time, pairs ...string) (recs []batch.Record) {
	for i, pair := range pairs {
		k, v, _ := bytes.Cut([]byte(pair), []byte("="))
		r := batch.Record{Timestamp: at.UnixMilli() + int64(i), Key: k, Value: v}
		if len(k) == 0 {
			r.Key = nil
		}
		if len(v) == 0 {
			r.Value = nil
		} else {
			r.Headers = []batch.Header{{Key: "h", Value: v}}
		}
		recs = append(recs, r)
	}
	return recs
}

// batch appends a batch of one producer, or none if it is 0; transactional ones have a negative id.
func (w *world) batch(codec batch.Codec, producer int, pairs ...string) {
	b := batch.New(codec)
	if producer != 0 {
		pid := id.Producer(max(producer, -producer))
		b.Producer(pid, 0, w.seqs[pid])
		w.seqs[pid] += int32(len(pairs))
	}
	if producer < 0 {
		b.Transactional()
	}
	for _, r := range kvs(w.now, pairs...) {
		b.Add(r)
	}
	w.append(b.Build())
}

func (w *world) marker(producer int, commit bool) {
	w.append(batch.NewMarker(batch.Marker{Commit: commit}, id.Producer(producer), 0, w.now.UnixMilli()))
}

func (w *world) append(v batch.View) {
	v.Stamp(w.end, 2)
	w.end = v.NextOffset()
	w.open = append(w.open, v)
}

// seal makes a segment of what was appended since the last.
func (w *world) seal() {
	w.t.Helper()
	var b bytes.Buffer
	pw := pack.NewWriter(&b, pack.Header{Cluster: "test", Node: 1, Created: w.now})
	require.NoError(w.t, pw.BeginRun(p0))
	var aborted []pack.AbortedTxn
	for _, v := range w.open {
		require.NoError(w.t, pw.Append(v))
		if a, ok := w.table2.Apply(v); ok {
			aborted = append(aborted, a)
		}
	}
	require.NoError(w.t, pw.EndRun(w.table2.Snapshot(), aborted))
	footer, err := pw.Close()
	require.NoError(w.t, err)
	w.packs++
	name := fmt.Sprintf("%s%d", chain.ObjectPrefix, w.packs)
	require.NoError(w.t, w.objects.Put(ctx, name, &b))
	seg := chain.SegmentOf(&footer.Runs[0], name, pw.Size())
	seg.Sealed = w.now.UnixMilli()
	require.NoError(w.t, w.chain.Append(ctx, []chain.Link{{Partition: p0, Segment: seg}})[0])
	w.open = nil
}

// run makes a pass with a chain that lies in table.
func (w *world) runOn(table kv.Store) (compact.Stats, error) {
	now := func() time.Time { return w.now }
	c := chain.Open(table)
	r := runOne(ctx, compact.Config{Chain: c, Cold: w.cold, Keys: w.keys, Now: now, Alone: true, Rewriter: w.engine(c)}, 0, w.set)
	return r.Stats, r.Err
}

func (w *world) engine(c *chain.Store) *rewrite.Engine {
	return rewrite.New(rewrite.Config{Chain: c, Objects: w.objects, Cold: w.cold, Cluster: "test", Node: 3, Now: func() time.Time { return w.now }})
}

// runOne makes a pass over the partition alone.
func runOne(ctx context.Context, cfg compact.Config, start id.Offset, set compact.Settings) (r compact.Result) {
	for _, r = range compact.Run(ctx, cfg, []compact.Work{{Partition: p0, Start: start, Settings: set}}) {
		continue
	}
	return r
}

func (w *world) run() compact.Stats {
	w.t.Helper()
	stats, err := w.runOn(w.table)
	require.NoError(w.t, err)
	return stats
}

func (w *world) items() []chain.Item {
	w.t.Helper()
	all, err := w.chain.Items(ctx, p0)
	require.NoError(w.t, err)
	items, _, err := chain.Canonical(all, w.start)
	require.NoError(w.t, err)
	return items
}

// batches returns what is sealed, and the aborted transactions that the footers tell of.
func (w *world) batches() (vs []batch.View, aborted []producers.AbortedTxn) {
	w.t.Helper()
	for _, item := range w.items() {
		if item.Empty() {
			continue
		}
		f, err := w.cold.Footer(ctx, item.Object, item.ObjectSize)
		require.NoError(w.t, err)
		run, ok := f.Run(p0)
		require.True(w.t, ok)
		aborted = append(aborted, run.Aborted...)
		for v, err := range w.cold.Batches(ctx, p0, item.Segment, item.Base) {
			require.NoError(w.t, err)
			vs = append(vs, v)
		}
	}
	return vs, aborted
}

// log tells what is sealed, as text: offsets with pairs, "commit" or "abort", and an h after a
// delete horizon. A hollow batch is not shown.
func (w *world) log() (lines []string) {
	w.t.Helper()
	vs, _ := w.batches()
	for _, v := range vs {
		h := ""
		if _, ok := v.DeleteHorizon(); ok {
			h = " h"
		}
		if v.IsControl() {
			if v.Records() > 0 {
				m, ok, err := batch.ParseMarker(v)
				require.NoError(w.t, err)
				require.True(w.t, ok)
				lines = append(lines, fmt.Sprintf("%d %s%s", v.BaseOffset(), map[bool]string{true: "commit", false: "abort"}[m.Commit], h))
			}
			continue
		}
		for r, err := range batch.Decode(v, 0) {
			require.NoError(w.t, err)
			lines = append(lines, fmt.Sprintf("%d %s=%s%s", r.Offset, r.Key, r.Value, h))
		}
	}
	return lines
}

// committed returns the lines that a read_committed consumer is given, as one of Kafka does it.
func (w *world) committed() (lines []string) {
	w.t.Helper()
	vs, aborted := w.batches()
	return committed(w.t, vs, aborted)
}

func committed(t tb, vs []batch.View, aborted []producers.AbortedTxn) (lines []string) {
	t.Helper()
	slices.SortFunc(aborted, func(a, b producers.AbortedTxn) int { return cmp.Compare(a.First, b.First) })
	aborting := map[id.Producer]bool{}
	for _, v := range vs {
		for len(aborted) > 0 && aborted[0].First <= v.LastOffset() {
			aborting[aborted[0].Producer] = true
			aborted = aborted[1:]
		}
		if v.IsControl() {
			if v.Records() > 0 {
				m, _, err := batch.ParseMarker(v)
				require.NoError(t, err)
				if !m.Commit {
					delete(aborting, v.ProducerID())
				}
			}
			continue
		}
		if v.IsTransactional() && aborting[v.ProducerID()] {
			continue
		}
		for r, err := range batch.Decode(v, 0) {
			require.NoError(t, err)
			lines = append(lines, fmt.Sprintf("%d %s=%s", r.Offset, r.Key, r.Value))
		}
	}
	return lines
}

// lastProducers are the producers that the chain's last segment tells of.
func (w *world) lastProducers() []producers.State {
	w.t.Helper()
	items := w.items()
	last := items[len(items)-1]
	f, err := w.cold.Footer(ctx, last.Object, last.ObjectSize)
	require.NoError(w.t, err)
	run, ok := f.Run(p0)
	require.True(w.t, ok)
	return run.Producers
}
