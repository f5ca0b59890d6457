package compact

import (
	"cmp"
	"maps"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/producers"
)

// transactions follows the transactions of a partition while its batches are gone through in
// order, and tells which of them were aborted and which markers still have batches.
type transactions struct {
	aborted   []producers.AbortedTxn // that begin at batches not seen yet, in order of their first offset
	aborting  map[id.Producer]bool   // aborted transactions that have begun: whether a batch of them was seen
	committed map[id.Producer]bool   // producers of which a batch was seen that was not aborted, and no marker since
}

// newTransactions starts at some offset; aborted are all transactions that end in an abort marker
// there or later, and no others: their producers may have committed since.
func newTransactions(aborted []producers.AbortedTxn) *transactions {
	aborted = slices.Clone(aborted)
	slices.SortFunc(aborted, func(a, b producers.AbortedTxn) int { return cmp.Compare(a.First, b.First) })
	return &transactions{aborted: aborted, aborting: map[id.Producer]bool{}, committed: map[id.Producer]bool{}}
}

// discard takes note of the next batch. It is true for one whose records belong to an aborted
// transaction, and for a marker whose transaction has no batch left.
func (t *transactions) discard(v batch.View) (bool, error) {
	for len(t.aborted) > 0 && t.aborted[0].First <= v.LastOffset() {
		if p := t.aborted[0].Producer; !t.aborting[p] {
			t.aborting[p] = false
		}
		t.aborted = t.aborted[1:]
	}
	p := v.ProducerID()
	_, aborting := t.aborting[p]
	switch {
	case v.IsControl():
		return t.marker(v)
	case !v.IsTransactional():
		return false, nil
	case aborting:
		t.aborting[p] = true
	default:
		t.committed[p] = true
	}
	return aborting, nil
}

func (t *transactions) marker(v batch.View) (bool, error) {
	if v.Records() == 0 {
		return true, nil
	}
	m, ok, err := batch.ParseMarker(v)
	if err != nil || !ok {
		return false, err
	}
	of := t.aborting
	if m.Commit {
		of = t.committed
	}
	seen := of[v.ProducerID()]
	delete(of, v.ProducerID())
	return !seen, nil
}

func (t *transactions) clone() *transactions {
	return &transactions{aborted: t.aborted, aborting: maps.Clone(t.aborting), committed: maps.Clone(t.committed)}
}
