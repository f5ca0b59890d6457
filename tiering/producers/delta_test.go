package producers_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/producers"
)

// abortedBy lists the transactions that the log aborts, without Stable.
func abortedBy(table *producers.Table, log []batch.View) []producers.AbortedTxn {
	var all []producers.AbortedTxn
	for _, v := range log {
		if txn, ok := table.Apply(v); ok {
			txn.Stable = 0
			all = append(all, txn)
		}
	}
	return all
}

// TestResolveAgreesWithApply cuts a log in three: what is known, of which the table may have
// some batches of the run too, the run, and nothing.
func TestResolveAgreesWithApply(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m model
		m.grow(t)
		base := rapid.IntRange(0, len(m.log)).Draw(t, "base")
		known := rapid.IntRange(base, len(m.log)).Draw(t, "known")
		var delta producers.Delta
		for _, v := range m.log[base:] {
			delta.Apply(v)
		}
		table := tableOf(m.log[:known])
		end := m.end()
		if known < len(m.log) {
			end = m.log[known].BaseOffset()
		}
		got := table.Resolve(delta.Aborted(), end)
		for i := range got {
			got[i].Stable = 0
		}
		require.Equal(t, abortedBy(tableOf(m.log[:known]), m.log[known:]), got)
		if known < len(m.log) {
			table.Merge(delta.States())
			require.Equal(t, tableOf(m.log).Snapshot(), table.Snapshot())
		}
	})
}

func TestDeltaAborted(t *testing.T) {
	var delta producers.Delta
	require.Empty(t, delta.Aborted())
	require.Empty(t, delta.States())
	for _, v := range []batch.View{
		marker(1, 0, 10, false),                 // of one from before, or of none
		data(2, 0, 0, 11, 2, true),              // in a transaction from before, or the first of one
		marker(2, 0, 13, false),                 // so it is not known where this one began
		data(2, 0, 2, 14, 1, true),              //
		marker(2, 0, 15, false),                 // but of this one it is
		marker(2, 0, 16, false),                 // and this one ends none
		marker(3, 0, 17, true),                  //
		data(3, 0, 0, 18, 1, true),              //
		marker(3, 0, 19, false),                 //
		data(4, 0, 0, 20, 1, true),              // open
		data(id.NoProducer, 0, 0, 21, 1, false), //
	} {
		delta.Apply(v)
	}
	require.Equal(t, []producers.AbortedTxn{
		{Producer: 1, First: 10, Last: 10, Stable: 10},
		{Producer: 2, First: 11, Last: 13, Stable: 11},
		{Producer: 2, First: 14, Last: 15, Stable: 16},
		{Producer: 3, First: 18, Last: 19, Stable: 20},
	}, delta.Aborted())
}
