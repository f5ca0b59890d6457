package seal

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
)

// walObject writes runs of batches as a WAL object of another broker and adds them to
// what is to be adopted.
func (w *world) walObject(runs map[id.Partition][]batch.View) {
	w.t.Helper()
	var raw bytes.Buffer
	pw := pack.NewWriter(&raw, pack.Header{Cluster: "test", Session: "gone", Created: w.now})
	for _, p := range slices.SortedFunc(maps.Keys(runs), id.Partition.Compare) {
		require.NoError(w.t, pw.BeginRun(p))
		var delta producers.Table
		for _, v := range runs[p] {
			require.NoError(w.t, pw.Append(v))
			delta.Apply(v)
		}
		require.NoError(w.t, pw.EndRun(delta.Snapshot(), nil))
	}
	footer, err := pw.Close()
	require.NoError(w.t, err)
	w.walObjects++
	name, size := fmt.Sprintf("wal/gone/%020d", w.walObjects), int64(raw.Len())
	require.NoError(w.t, w.objects.Put(ctx, name, &raw))
	if w.wal == nil {
		w.wal = map[id.Partition][]chain.Segment{}
	}
	for i := range footer.Runs {
		run := &footer.Runs[i]
		w.wal[run.Partition] = append(w.wal[run.Partition], chain.SegmentOf(run, name, size))
	}
}

// produce makes the next batch of p, which is in no tier yet.
func (w *world) produce(p id.Partition, v batch.View) batch.View {
	w.want[p] = append(w.want[p], v)
	w.next[p] = v.NextOffset()
	return v
}

// fillWAL writes a WAL object with batches of random partitions out of n.
func (w *world) fillWAL(n, batches int) {
	w.t.Helper()
	runs := map[id.Partition][]batch.View{}
	for range batches {
		p := partition(1 + w.rng.IntN(n))
		v := w.build(p, id.Producer(1000+p.Index), 1+w.rng.IntN(4), 1+w.rng.IntN(2000))
		runs[p] = append(runs[p], w.produce(p, v))
	}
	w.walObject(runs)
}

// overlap writes a WAL object with the last batches of all partitions once more, as one
// that straddles the ends of the chains has them, and one new batch each.
func (w *world) overlap() {
	w.t.Helper()
	runs := map[id.Partition][]batch.View{}
	for p, have := range w.want {
		runs[p] = slices.Clone(have[max(0, len(have)-3):])
		runs[p] = append(runs[p], w.produce(p, w.build(p, 77, 2, 100)))
	}
	w.walObject(runs)
}

// adoptions lists all that lies in WAL objects.
func (w *world) adoptions() []Adoption {
	var as []Adoption
	for _, p := range slices.SortedFunc(maps.Keys(w.wal), id.Partition.Compare) {
		as = append(as, Adoption{p, w.wal[p]})
	}
	return as
}

// allAdopted requires that adopted tells of the end of each partition's log.
func (w *world) allAdopted(adopted []Adopted) {
	w.t.Helper()
	require.Len(w.t, adopted, len(w.wal))
	for _, a := range adopted {
		require.NoError(w.t, a.Err)
		require.Equal(w.t, w.next[a.Partition], a.End)
	}
	w.checkAllSealed()
}

// checkAllSealed requires that the chains hold all there is, whatever is hot.
func (w *world) checkAllSealed() {
	w.t.Helper()
	for p, next := range w.next {
		_, end := w.checkSealed(p)
		require.Equal(w.t, next, end, p.String())
	}
	w.checkProducers()
}

// checkProducers requires that the last pack of each partition tells of the producers what all
// of its batches do.
func (w *world) checkProducers() {
	w.t.Helper()
	for p, log := range w.want {
		var table producers.Table
		for _, v := range log {
			table.Apply(v)
		}
		got := w.producers(p)
		for i := range got {
			got[i].LastSeen = 0
		}
		require.Equal(w.t, table.Snapshot(), got, p.String())
	}
}
