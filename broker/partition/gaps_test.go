package partition_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
)

// compacted puts one segment in the place of items, with the batches that keep leaves; none: an
// empty one. It returns the batches that are left.
func (r *rig) compacted(p id.Partition, items []chain.Item, keep func(batch.View) bool) (kept []batch.View) {
	r.t.Helper()
	ctx := context.Background()
	seg := chain.Segment{
		Base: items[0].Base, Next: items[len(items)-1].Next, MaxTimestamp: -1,
		FirstEpoch: items[0].FirstEpoch, LastEpoch: items[len(items)-1].LastEpoch,
	}
	var epochs []pack.EpochStart
	var aborted []pack.AbortedTxn
	var states []producers.State
	for _, item := range items {
		for v, err := range r.cold.Batches(ctx, p, item.Segment, item.Base) {
			require.NoError(r.t, err)
			if n := len(epochs); n == 0 || epochs[n-1].Epoch < v.LeaderEpoch() {
				epochs = append(epochs, pack.EpochStart{Epoch: v.LeaderEpoch(), Start: v.BaseOffset()})
			}
			if keep(v) {
				kept = append(kept, bytes.Clone(v))
			}
		}
		if !item.Empty() {
			footer, err := r.cold.Footer(ctx, item.Object, item.ObjectSize)
			require.NoError(r.t, err)
			run, _ := footer.Run(p)
			aborted, states = append(aborted, run.Aborted...), run.Producers
		}
	}
	aborted = slices.DeleteFunc(aborted, func(a pack.AbortedTxn) bool { // nobody hears of one whose marker is gone
		return !slices.ContainsFunc(kept, func(v batch.View) bool { return v.BaseOffset() == a.Last })
	})
	chains := chain.Open(r.table)
	if len(kept) > 0 {
		var b bytes.Buffer
		w := pack.NewWriter(&b, pack.Header{Cluster: "test-cluster", Created: r.now})
		require.NoError(r.t, w.BeginSparse(p, seg.Base, seg.Next))
		for _, v := range kept {
			require.NoError(r.t, w.Append(v))
		}
		require.NoError(r.t, w.EndSparse(epochs, states, aborted))
		footer, err := w.Close()
		require.NoError(r.t, err)
		r.packs++
		name := fmt.Sprintf("packs/compacted-%d.pack", r.packs)
		seg = chain.SegmentOf(&footer.Runs[0], name, int64(b.Len()))
		require.NoError(r.t, r.objects.Put(ctx, name, &b))
	}
	require.NoError(r.t, chains.Replace(ctx, p, items, seg))
	return kept
}

// collected removes what is spare of a chain, and all objects that it named.
func (r *rig) collected(p id.Partition, start id.Offset) {
	r.t.Helper()
	ctx, chains := context.Background(), chain.Open(r.table)
	items, err := chains.Items(ctx, p)
	require.NoError(r.t, err)
	_, spare, err := chain.Canonical(items, start)
	require.NoError(r.t, err)
	require.NoError(r.t, chains.Remove(ctx, p, spare))
	r.sweepObjects()
}

// sweepObjects removes the packs that no chain names.
func (r *rig) sweepObjects() {
	ctx, chains := context.Background(), chain.Open(r.table)
	named := map[string]bool{}
	ps, err := chains.Partitions(ctx)
	require.NoError(r.t, err)
	for _, p := range ps {
		items, err := chains.Items(ctx, p)
		require.NoError(r.t, err)
		for _, item := range items {
			named[item.Object] = true
		}
	}
	var gone []string
	for info, err := range r.objects.List(ctx, chain.ObjectPrefix, "") {
		require.NoError(r.t, err)
		if !named[info.Key] {
			gone = append(gone, info.Key)
		}
	}
	for _, key := range gone {
		require.NoError(r.t, r.objects.Delete(ctx, key))
	}
}

// left is what a log has, from an offset to a limit.
func left(all []batch.View, from, limit id.Offset) (list []batch.View) {
	for _, v := range all {
		if v.NextOffset() > from && v.NextOffset() <= limit {
			list = append(list, v)
		}
	}
	return list
}

// readsAll requires that reads from each offset on come upon all batches that are left, and give
// none only if none is left.
func readsAll(t require.TestingT, l *partition.Log, all []batch.View) {
	w := l.Watermarks()
	for from := w.Start; from <= w.High; from++ {
		want := left(all, from, w.High)
		at := from
		for len(want) > 0 {
			f, err := l.Read(context.Background(), at, 200, false)
			require.NoError(t, err)
			require.NotEmpty(t, f.Batches, "from %d at %d, where %d is next", from, at, want[0].BaseOffset())
			for _, raw := range f.Batches {
				require.True(t, bytes.Equal(want[0], raw), "from %d at %d", from, at)
				at, want = want[0].NextOffset(), want[1:]
			}
			require.Equal(t, at < w.High, f.More)
		}
		f, err := l.Read(context.Background(), at, 200, false)
		require.NoError(t, err)
		require.Empty(t, f.Batches)
		require.False(t, f.More)
	}
}

// findsAll requires that look-ups by time find the first record that is left.
func findsAll(t require.TestingT, l *partition.Log, all []batch.View) {
	w := l.Watermarks()
	ctx := context.Background()
	greatest := int64(-1)
	for _, v := range left(all, w.Start, w.High) {
		greatest = max(greatest, v.MaxTimestamp())
	}
	first := func(ts int64) (id.Offset, bool) {
		for _, v := range left(all, w.Start, w.High) {
			for rec, err := range batch.Decode(v, 0) {
				require.NoError(t, err)
				if rec.Timestamp >= ts && rec.Offset >= w.Start {
					return rec.Offset, true
				}
			}
		}
		return 0, false
	}
	for ts := int64(0); ts <= greatest+1; ts += 3 {
		want, there := first(ts)
		f, ok, err := l.FindTime(ctx, ts, w.High)
		require.NoError(t, err)
		require.Equal(t, there, ok, "time %d", ts)
		require.Equal(t, want, f.Offset, "time %d", ts)
	}
	f, ok, err := l.FindMaxTime(ctx, w.High)
	require.NoError(t, err)
	if want, there := first(greatest); greatest >= 0 && there {
		require.True(t, ok)
		require.Equal(t, want, f.Offset)
	} else {
		require.False(t, ok)
	}
}

// Whatever compaction leaves, in whichever tier what follows lies, it is found.
func TestReadsOverGaps(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := startRig(t)
		defer func() { r.stop() }()
		p := id.Partition{Topic: topic}
		var all []batch.View
		put := func(n int) {
			for range n {
				times := make([]int64, rapid.IntRange(1, 3).Draw(rt, "records"))
				for i := range times {
					times[i] = int64(rapid.IntRange(0, 60).Draw(rt, "time"))
				}
				v := batchOf(times, id.NoProducer, -1, -1)
				r.putPlain(r.log(0), times...)
				w := r.log(0).Watermarks()
				v.Stamp(w.High-id.Offset(len(times)), w.Epoch)
				all = append(all, v)
			}
		}
		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			put(rapid.IntRange(1, 4).Draw(rt, "batches"))
			switch rapid.IntRange(0, 3).Draw(rt, "step") {
			case 0:
				r.seal()
			case 1:
				r.seal()
				r.restart()
			case 2:
				items, err := chain.Open(r.table).Items(context.Background(), p)
				require.NoError(rt, err)
				canonical, _, err := chain.Canonical(items, 0)
				require.NoError(rt, err)
				if len(canonical) == 0 {
					break
				}
				from := rapid.IntRange(0, len(canonical)-1).Draw(rt, "from")
				to := rapid.IntRange(from+1, len(canonical)).Draw(rt, "to")
				nothing := rapid.Bool().Draw(rt, "nothing left")
				kept := r.compacted(p, canonical[from:to], func(batch.View) bool { return !nothing && rapid.Bool().Draw(rt, "keep") })
				base, next := canonical[from].Base, canonical[to-1].Next
				now := append(left(all, 0, base), kept...)
				all = append(now, left(all, next, r.log(0).Watermarks().End)...)
				r.set.Cleaned(p, next)
			case 3:
				r.collected(p, 0)
			}
			readsAll(rt, r.log(0), all)
			findsAll(rt, r.log(0), all)
		}
	})
}

// What is still hot is read from the chain once it says otherwise.
func TestCleaned(t *testing.T) {
	r := newRig(t)
	r.stop()
	r.budget = 1 << 30
	r.start()
	l, p := r.log(0), id.Partition{Topic: topic}
	for i := range int64(4) {
		r.putPlain(l, i)
	}
	r.seal()
	r.putPlain(l, 4)
	require.Equal(t, id.Offset(0), l.HotStart(), "all is hot")
	items, err := chain.Open(r.table).Items(context.Background(), p)
	require.NoError(t, err)
	kept := r.compacted(p, items, func(v batch.View) bool { return v.BaseOffset() == 2 })
	f, err := l.Read(context.Background(), 0, 1, false)
	require.NoError(t, err)
	require.Equal(t, id.Offset(0), batch.View(f.Batches[0]).BaseOffset(), "the broker does not know yet")
	r.set.Cleaned(p, 4)
	r.set.Cleaned(p, 1)
	require.Equal(t, id.Offset(4), l.ColdBelow())
	f, err = l.Read(context.Background(), 0, 1<<20, false)
	require.NoError(t, err)
	require.Equal(t, [][]byte{kept[0]}, f.Batches)
	f, err = l.Read(context.Background(), 3, 1<<20, false)
	require.NoError(t, err)
	require.Equal(t, id.Offset(4), batch.View(f.Batches[0]).BaseOffset())
}

// An aborted transaction and its marker are compacted away while both are still hot: a read of what is
// committed gives neither its records nor word of it, which would hide what its producer committed afterwards.
func TestAbortedCompactedAway(t *testing.T) {
	for name, learn := range map[string]func(*rig){
		"told of it":          func(r *rig) { r.set.Cleaned(id.Partition{Topic: topic}, 4) },
		"restarted":           (*rig).restart,
		"restarted, and told": func(r *rig) { r.restart(); r.set.Cleaned(id.Partition{Topic: topic}, 4) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.stop()
			r.budget = 1 << 30
			r.start()
			p := id.Partition{Topic: topic}
			for i, commit := range []bool{false, true} {
				l := r.log(0)
				g, _ := l.Verify(txnBatch(0, int32(i)), r.now, false)
				require.NoError(t, tryAppend(l, txnBatch(0, int32(i)), g))
				mark(t, l, 0, commit, false)
			}
			r.seal()
			r.putPlain(r.log(0), 4)
			items, err := chain.Open(r.table).Items(context.Background(), p)
			require.NoError(t, err)
			r.compacted(p, items, func(v batch.View) bool { return v.BaseOffset() >= 2 })
			learn(r)
			l := r.log(0)
			require.Equal(t, id.Offset(0), l.HotStart(), "all is hot")
			f, err := l.Read(context.Background(), 0, 1<<20, true)
			require.NoError(t, err)
			require.Equal(t, id.Offset(2), batch.View(f.Batches[0]).BaseOffset())
			require.Empty(t, f.Aborted)
			f, err = l.Read(context.Background(), 4, 1<<20, true)
			require.NoError(t, err)
			require.Equal(t, id.Offset(4), batch.View(f.Batches[0]).BaseOffset())
		})
	}
}

// A read may begin where a segment began that was replaced by one from further below, and whose
// item is still there: it is given what was left of it, not what was in it. Else a deleted key would come back
// once its tombstone is gone.
func TestSpareSegmentsOfCleanedAreNotRead(t *testing.T) {
	r := newRig(t)
	p := id.Partition{Topic: topic}
	for i := range int64(4) {
		r.putPlain(r.log(0), i)
		r.seal()
	}
	items, err := chain.Open(r.table).Items(context.Background(), p)
	require.NoError(t, err)
	require.Len(t, items, 4)
	kept := r.compacted(p, items, func(v batch.View) bool { return v.BaseOffset() == 3 })
	r.set.Cleaned(p, 4)
	for _, restarted := range []bool{false, true} {
		if restarted {
			r.restart()
		}
		for from := id.Offset(2); from >= 0; from-- {
			f, err := r.log(0).Read(context.Background(), from, 1, false)
			require.NoError(t, err)
			require.Equal(t, [][]byte{kept[0]}, f.Batches, "from %d", from)
		}
	}
}

// An epoch is told of although nothing of it is left. The producers of before do not come back: the
// last segment is emptied only when none is known any more, and their transactions have ended since.
func TestEmptySegmentsAtRecovery(t *testing.T) {
	r := newRig(t)
	p := id.Partition{Topic: topic}
	r.put(r.log(0), batchOf([]int64{1}, 7, 0, 0))
	r.seal()
	for range 3 {
		r.restart()
		r.putPlain(r.log(0), 2)
		r.seal()
	}
	items, err := chain.Open(r.table).Items(context.Background(), p)
	require.NoError(t, err)
	require.Len(t, items, 4)
	r.compacted(p, items[1:], func(batch.View) bool { return false })
	r.collected(p, 0)
	r.restart()
	l := r.log(0)
	require.Equal(t, partition.Watermarks{High: 4, Stable: 4, End: 4, Epoch: 4}, l.Watermarks())
	require.Empty(t, l.ActiveProducers())
	for want, end := range map[id.Epoch]id.Offset{0: 1, 1: 4, 3: 4, 4: 4} {
		epoch, at, err := l.EpochEnd(context.Background(), want)
		require.NoError(t, err)
		require.Equal(t, want, epoch)
		require.Equal(t, end, at, "epoch %d", want)
	}
	sealed, err := l.SealedEnd(context.Background())
	require.NoError(t, err)
	require.Equal(t, id.Offset(4), sealed)
	r.putPlain(l, 9)
	readsAll(t, l, left([]batch.View{r.first(l, 0), r.first(l, 1)}, 0, 5))
}

// first is the first batch that a read gives.
func (r *rig) first(l *partition.Log, from id.Offset) batch.View {
	f, err := l.Read(context.Background(), from, 1, false)
	require.NoError(r.t, err)
	return f.Batches[0]
}
