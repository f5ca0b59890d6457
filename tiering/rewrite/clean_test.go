package rewrite_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

// cleaner is a Cleaner made of a function.
type cleaner func(v batch.View) (batch.View, error)

func (c cleaner) Clean(v batch.View) (batch.View, error) { return c(v) }

// keep keeps the batches that begin at the offsets.
func keep(offsets ...id.Offset) cleaner {
	return func(v batch.View) (batch.View, error) {
		for _, o := range offsets {
			if v.BaseOffset() == o {
				return v, nil
			}
		}
		return nil, nil
	}
}

// do does one job, which must succeed.
func (w *world) do(job rewrite.Job) rewrite.Result {
	w.t.Helper()
	results, err := w.engine(w.table, w.objects).Rewrite(ctx, []rewrite.Job{job})
	require.NoError(w.t, err)
	require.Len(w.t, results, 1)
	require.NoError(w.t, results[0].Err)
	return results[0]
}

func (w *world) objectCount() (n int) {
	w.t.Helper()
	for _, err := range w.objects.List(ctx, "", "") {
		require.NoError(w.t, err)
		n++
	}
	return n
}

func TestCleanLeavesGapsAndTheHistoryOfEpochs(t *testing.T) {
	w := newWorld(t)
	p := partition(1)
	for e := range id.Epoch(4) {
		w.records(p, 5, epoch(e))
		w.records(p, 5)
		w.seal(p)
	}
	old := w.items(p)
	seg := w.do(rewrite.Job{Partition: p, Old: old, Clean: keep(5, 35), CleanedTo: 40}).Segment
	require.Equal(t, []batch.View{w.want[p][1], w.want[p][7]}, w.read(p))
	require.Equal(t, id.Offset(40), seg.CleanedTo)
	require.EqualValues(t, 10, seg.Records)
	run := w.run(p, seg)
	require.True(t, run.Sparse)
	require.Equal(t, []pack.EpochStart{{Epoch: 0, Start: 0}, {Epoch: 1, Start: 10}, {Epoch: 2, Start: 20}, {Epoch: 3, Start: 30}}, run.Epochs)

	// Merged with what follows it is as it was, and dirty as that.
	w.records(p, 3, epoch(9))
	w.seal(p)
	merged := w.do(rewrite.Job{Partition: p, Old: w.items(p)}).Segment
	require.Equal(t, []batch.View{w.want[p][1], w.want[p][7], w.want[p][8]}, w.read(p))
	require.Zero(t, merged.CleanedTo)
	require.True(t, w.run(p, merged).Sparse)
	require.Len(t, w.run(p, merged).Epochs, 5)
}

func TestNothingIsLeft(t *testing.T) {
	w := newWorld(t)
	p := partition(1)
	for range 3 {
		w.records(p, 5)
		w.now = w.now.Add(time.Second)
		w.seal(p)
	}
	before := w.objectCount()
	seg := w.do(rewrite.Job{Partition: p, Old: w.items(p)[:2], Clean: keep(), CleanedTo: 15}).Segment
	require.True(t, seg.Empty())
	require.EqualValues(t, -1, seg.MaxTimestamp)
	require.Equal(t, start.Add(2*time.Second).UnixMilli(), seg.Sealed)
	require.Equal(t, id.Offset(15), seg.CleanedTo)
	require.Equal(t, before, w.objectCount(), "there is no pack for it")
	require.Equal(t, w.want[p][2:], w.read(p))

	// An empty segment goes along with its neighbours, also with an empty one.
	merged := w.do(rewrite.Job{Partition: p, Old: w.items(p)}).Segment
	require.False(t, merged.Empty())
	require.Equal(t, w.want[p][2:], w.read(p))
	w.records(p, 1)
	w.seal(p)
	require.True(t, w.do(rewrite.Job{Partition: p, Old: w.items(p)[:1], Clean: keep()}).Segment.Empty())
	require.True(t, w.do(rewrite.Job{Partition: p, Old: w.items(p)[:1]}).Segment.Empty())
}

// TestTheEndKeepsItsPlace: a consumer comes to the end of the chain whatever is gone there, so that its lag is 0.
func TestTheEndKeepsItsPlace(t *testing.T) {
	w := newWorld(t)
	p := partition(1)
	w.records(p, 5)
	w.records(p, 5)
	v := w.records(p, 5)
	w.seal(p)
	for range 2 { // the second time it is there already
		w.do(rewrite.Job{Partition: p, Old: w.items(p), Clean: keep(5), CleanedTo: 15})
		require.Equal(t, []batch.View{w.want[p][1], v.Hollow()}, w.read(p))
	}
	w.do(rewrite.Job{Partition: p, Old: w.items(p), Clean: keep(), CleanedTo: 15})
	require.Equal(t, []batch.View{v.Hollow()}, w.read(p))
	w.do(rewrite.Job{Partition: p, Old: w.items(p)})
	require.Equal(t, []batch.View{v.Hollow()}, w.read(p))

	// Once the chain goes on it goes, too.
	w.records(p, 1)
	w.seal(p)
	w.do(rewrite.Job{Partition: p, Old: w.items(p), Clean: keep(15), CleanedTo: 16})
	require.Equal(t, w.want[p][3:], w.read(p))
}

// TestTheEndKeepsTheProducers: whoever goes on with the chain takes them from its last segment.
func TestTheEndKeepsTheProducers(t *testing.T) {
	w := newWorld(t)
	p := partition(1)
	w.records(p, 5, w.of(7, 5))
	w.seal(p)
	v := w.records(p, 5, w.of(7, 5))
	w.seal(p)
	seg := w.do(rewrite.Job{Partition: p, Old: w.items(p), Clean: keep(), CleanedTo: 10}).Segment
	require.False(t, seg.Empty())
	require.Zero(t, seg.Records)
	require.Equal(t, w.tables[p].Snapshot(), w.run(p, seg).Producers)
	found := w.read(p)
	require.Len(t, found, 1)
	require.Equal(t, v.Hollow(), found[0])
	require.Equal(t, v.LastSequence(), found[0].LastSequence())
	require.NoError(t, found[0].Verify())

	// Once the chain goes on nothing needs it.
	w.records(p, 1, w.of(7, 1))
	w.seal(p)
	require.True(t, w.do(rewrite.Job{Partition: p, Old: w.items(p)[:1], Clean: keep()}).Segment.Empty())
}

func TestAbortedTransactionsGoWithTheirMarkers(t *testing.T) {
	w := newWorld(t)
	p := partition(1)
	w.records(p, 2, w.of(7, 2), txn) // 0
	w.seal(p)
	w.marker(p, 7, false)            // 2
	w.records(p, 2, w.of(8, 2), txn) // 3
	w.marker(p, 8, false)            // 5
	w.records(p, 1, w.of(9, 1), txn) // 6
	w.marker(p, 9, true)             // 7
	w.seal(p)
	aborted := w.run(p, w.items(p)[1].Segment).Aborted
	require.Len(t, aborted, 2)
	seg := w.do(rewrite.Job{Partition: p, Old: w.items(p)}).Segment
	require.Equal(t, aborted, w.run(p, seg).Aborted)
	seg = w.do(rewrite.Job{Partition: p, Old: w.items(p), Clean: keep(0, 2, 6, 7)}).Segment
	require.Equal(t, aborted[:1], w.run(p, seg).Aborted)
	hollow := cleaner(func(v batch.View) (batch.View, error) { return v.Hollow(), nil })
	seg = w.do(rewrite.Job{Partition: p, Old: w.items(p), Clean: hollow}).Segment
	require.Empty(t, w.run(p, seg).Aborted)
	require.Equal(t, w.tables[p].Snapshot(), w.run(p, seg).Producers)
}

// TestAFailedJobIsAlone: what goes wrong with one job leaves the others of the pack as they are.
func TestAFailedJobIsAlone(t *testing.T) {
	w := newWorld(t)
	ps := []id.Partition{partition(1), partition(2), partition(3), partition(4), partition(5)}
	for range 2 {
		for _, p := range ps {
			w.records(p, 5)
			w.records(p, 5)
		}
		w.seal(ps...)
	}
	broken := errors.New("broken")
	n := 0
	jobs := []rewrite.Job{
		{Partition: ps[0], Old: w.items(ps[0]), Clean: cleaner(func(v batch.View) (batch.View, error) {
			if n++; n == 3 {
				return nil, broken // within the run
			}
			return v, nil
		})},
		{Partition: ps[1], Old: w.items(ps[1])},
		{Partition: ps[2], Old: w.items(ps[2]), Clean: cleaner(func(batch.View) (batch.View, error) { return w.want[ps[2]][0], nil })},
		{Partition: ps[3], Old: w.items(ps[3])[1:]},
		{Partition: ps[4], Old: w.items(ps[4])},
		{Partition: ps[4]},
	}
	jobs[4].Old[0].Version = "another"
	results, err := w.engine(w.table, w.objects).Rewrite(ctx, jobs)
	require.NoError(t, err)
	require.ErrorIs(t, results[0].Err, broken)
	require.NoError(t, results[1].Err)
	require.ErrorIs(t, results[2].Err, rewrite.ErrCleaner)
	require.NoError(t, results[3].Err)
	require.ErrorContains(t, results[4].Err, "changed")
	require.ErrorIs(t, results[5].Err, rewrite.ErrInvalid)
	require.Equal(t, results[1].Segment.Object, results[3].Segment.Object)
	w.check(ps...)
}
