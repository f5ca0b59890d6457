package producers

import (
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

// Delta gathers what a run of batches tells of its producers to one who does not know
// what came before the run. Table.Resolve and then Table.Merge add it to what came before.
// The zero value is of a run without batches.
type Delta struct {
	table   Table
	marked  []id.Producer // those that have a marker
	aborted []AbortedTxn
}

// Apply takes note of the run's next batch.
func (d *Delta) Apply(v batch.View) {
	p := v.ProducerID()
	txn, ended := d.table.Apply(v)
	if !v.IsControl() {
		return
	}
	m, known, err := batch.ParseMarker(v)
	if err != nil || !known {
		return
	}
	first := !slices.Contains(d.marked, p)
	if first {
		d.marked = append(d.marked, p)
	}
	switch {
	case m.Commit:
		return
	case first && !ended: // it may end one from before the run
		txn = AbortedTxn{Producer: p, First: v.BaseOffset(), Last: v.BaseOffset()}
		fallthrough
	case first:
		txn.Stable = txn.First
	case !ended:
		return
	}
	d.aborted = append(d.aborted, txn)
}

// States is the Snapshot of the table that the run's batches alone make.
func (d *Delta) States() []State { return d.table.Snapshot() }

// Aborted lists the transactions that the run's markers abort, in their order. Of a
// producer's first marker in the run it is not known which that is: then Stable is equal
// to First. If the producer had a transaction open before, this is it; if not, it began
// at First, or there was none if First is the marker's own offset.
func (d *Delta) Aborted() []AbortedTxn { return d.aborted }

// Resolve makes of what Delta.Aborted tells of a run what Apply of its batches would have
// returned, but for Stable, from the batch at offset end on, as of which the table is: the
// run's base or an offset within it.
func (t *Table) Resolve(aborted []AbortedTxn, end id.Offset) []AbortedTxn {
	var out []AbortedTxn
	for _, txn := range aborted {
		if txn.Last < end {
			continue
		}
		if txn.Stable == txn.First {
			if began, open := t.TxnStart(txn.Producer); open {
				txn.First = began
			} else if txn.First == txn.Last {
				continue
			}
		}
		out = append(out, txn)
	}
	return out
}
