package producers

import (
	"cmp"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
)

// Merge brings a table up to the end of a run of batches, given the run's delta: the
// Snapshot of a fresh table to which the run's batches, and no others, were applied.
// The table must be as of the run's base or of an offset within the run, but
// not beyond its end. It keeps nothing of delta.
//
// What comes of it is what Apply of the run's batches from the table's end on would
// have made, as long as each producer's epoch only rises and no state that the run
// goes on from has expired. What a delta does not tell:
//
//   - of the markers, all but the last: whether they committed or aborted, and which
//     transactions. Which are open afterwards and the last coordinator epoch are
//     exact, save for a marker with coordinator epoch -1, which goes unnoticed.
//   - where a producer's part of the run lies: one that has nothing beyond the
//     table's end counts as seen all the same, and is known again if it had expired.
func (t *Table) Merge(delta []State) {
	if len(delta) == 0 {
		return
	}
	for i := range delta {
		t.merge(&delta[i])
	}
	t.open = t.open[:0]
	for p, s := range t.producers {
		if s.txnStart != none {
			t.open = append(t.open, openTxn{first: s.txnStart, producer: p})
		}
	}
	slices.SortFunc(t.open, func(a, b openTxn) int { return cmp.Compare(a.first, b.first) })
}

// merge takes over what one producer did in a run; t.open is left as it was.
func (t *Table) merge(d *State) {
	s := t.touch(d.Producer, d.Epoch)
	s.lastTimestamp = d.LastTimestamp
	known := id.Offset(none)
	if s.held > 0 {
		known = s.at(0).Last
	}
	for _, b := range d.Batches {
		if b.Last > known {
			s.add(b)
		}
	}
	switch {
	case d.CoordinatorEpoch != none:
		// What was open before the run's last marker is not any more.
		s.coordinatorEpoch, s.txnStart = d.CoordinatorEpoch, d.TxnStart
	case s.txnStart == none:
		s.txnStart = d.TxnStart
	}
}
