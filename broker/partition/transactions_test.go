package partition_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/producers"
)

// txnBatch is one record of a transaction of producer 7.
func txnBatch(epoch int16, sequence int32) batch.View {
	return batch.New(batch.None).Producer(7, epoch, sequence).Transactional().
		Add(batch.Record{Timestamp: 5, Key: []byte("k"), Value: []byte("v")}).Build()
}

func tryAppend(l *partition.Log, v batch.View, g partition.Guard) error {
	_, err := l.Append(partition.Append{Batch: v, Acks: partition.AcksLeader, Now: time.UnixMilli(5), Guard: g})
	return err
}

// mark ends the transaction of producer 7 and waits for the commit.
func mark(t *testing.T, l *partition.Log, epoch int16, commit, v2 bool) {
	t.Helper()
	done := make(chan error, 1)
	require.NoError(t, l.AppendMarker(partition.Marker{
		Marker: batch.Marker{Commit: commit}, Producer: 7, Epoch: epoch, V2: v2, Now: time.UnixMilli(5), Done: func(err error) { done <- err },
	}))
	require.NoError(t, <-done)
}

func TestGuards(t *testing.T) {
	now := time.UnixMilli(5)
	for _, tc := range []struct {
		name string
		act  func(t *testing.T, l *partition.Log) error
		want error
	}{
		{"none", func(_ *testing.T, l *partition.Log) error { return tryAppend(l, txnBatch(0, 0), partition.Guard{}) }, partition.ErrTransaction},
		{"verified", func(_ *testing.T, l *partition.Log) error {
			g, _ := l.Verify(txnBatch(0, 0), now, false)
			return tryAppend(l, txnBatch(0, 0), g)
		}, nil},
		{"verified for the log that was there before", func(t *testing.T, l *partition.Log) error {
			g, _ := newRig(t).log(0).Verify(txnBatch(0, 0), now, false)
			return tryAppend(l, txnBatch(0, 0), g)
		}, partition.ErrClosed},
		{"a marker in between", func(t *testing.T, l *partition.Log) error {
			g, _ := l.Verify(txnBatch(0, 0), now, false)
			mark(t, l, 0, false, false)
			return tryAppend(l, txnBatch(0, 0), g)
		}, partition.ErrTransaction},
		{"a marker in between, and another verification", func(t *testing.T, l *partition.Log) error {
			g, _ := l.Verify(txnBatch(0, 0), now, false)
			mark(t, l, 0, false, false)
			_, needed := l.Verify(txnBatch(0, 0), now, false)
			require.True(t, needed)
			return tryAppend(l, txnBatch(0, 0), g)
		}, partition.ErrTransaction},
		{"used twice", func(t *testing.T, l *partition.Log) error {
			g, _ := l.Verify(txnBatch(0, 0), now, false)
			require.NoError(t, tryAppend(l, txnBatch(0, 0), g))
			_, needed := l.Verify(txnBatch(0, 1), now, false)
			require.False(t, needed, "the transaction is open")
			require.NoError(t, tryAppend(l, txnBatch(0, 1), partition.Guard{}))
			mark(t, l, 0, true, false)
			return tryAppend(l, txnBatch(0, 2), g)
		}, partition.ErrTransaction},
		{"an earlier batch failed and comes again", func(_ *testing.T, l *partition.Log) error {
			_, _ = l.Verify(txnBatch(0, 5), now, false)
			g, _ := l.Verify(txnBatch(0, 6), now, false)
			return tryAppend(l, txnBatch(0, 6), g)
		}, producers.ErrOutOfOrder},
		{"a sequence above 0 of a producer that is not known", func(t *testing.T, l *partition.Log) error {
			require.NoError(t, tryAppend(l, batchOf([]int64{1}, 8, 0, 0), partition.Guard{}))
			g, _ := l.Verify(txnBatch(0, 5), now, false)
			return tryAppend(l, txnBatch(0, 5), g)
		}, nil},
		{"the same in an empty log", func(_ *testing.T, l *partition.Log) error {
			g, _ := l.Verify(txnBatch(0, 5), now, false)
			return tryAppend(l, txnBatch(0, 5), g)
		}, producers.ErrOutOfOrder},
		{"the same, where each transaction begins at 0", func(t *testing.T, l *partition.Log) error {
			require.NoError(t, tryAppend(l, batchOf([]int64{1}, 8, 0, 0), partition.Guard{}))
			g, _ := l.Verify(txnBatch(0, 5), now, true)
			return tryAppend(l, txnBatch(0, 5), g)
		}, producers.ErrOutOfOrder},
		{"a later epoch begins anew", func(_ *testing.T, l *partition.Log) error {
			_, _ = l.Verify(txnBatch(0, 0), now, true)
			g, _ := l.Verify(txnBatch(1, 0), now, true)
			return tryAppend(l, txnBatch(1, 0), g)
		}, nil},
		{"open in an earlier epoch", func(t *testing.T, l *partition.Log) error {
			g, _ := l.Verify(txnBatch(0, 0), now, true)
			require.NoError(t, tryAppend(l, txnBatch(0, 0), g))
			return tryAppend(l, txnBatch(1, 0), partition.Guard{})
		}, partition.ErrTransaction},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newRig(t).log(0)
			require.ErrorIs(t, tc.act(t, l), tc.want)
		})
	}
}

// The last stable offset rises when the marker is committed, not when it is appended.
func TestStableWaitsForTheMarker(t *testing.T) {
	r := newRig(t)
	l := r.log(0)
	g, _ := l.Verify(txnBatch(0, 0), r.now, true)
	done := make(chan error, 1)
	_, err := l.Append(partition.Append{Batch: txnBatch(0, 0), Acks: partition.AcksAll, Now: r.now, Guard: g, Done: func(err error) { done <- err }})
	require.NoError(t, err)
	require.NoError(t, <-done)
	r.gate.open = make(chan struct{})
	require.NoError(t, l.AppendMarker(partition.Marker{Producer: 7, Epoch: 1, V2: true, Now: r.now, Done: func(err error) { done <- err }}))
	require.Equal(t, partition.Watermarks{High: 1, Stable: 0, End: 2}, l.Watermarks())
	close(r.gate.open)
	require.NoError(t, <-done)
	require.Equal(t, partition.Watermarks{High: 2, Stable: 2, End: 2}, l.Watermarks())
}

// A wait for stable bytes counts those that a transaction held back once it has ended.
func TestWaitForStable(t *testing.T) {
	r := newRig(t)
	l := r.log(0)
	g, _ := l.Verify(txnBatch(0, 0), r.now, true)
	open := txnBatch(0, 0)
	require.NoError(t, tryAppend(l, open, g))
	r.putPlain(l, 1)
	size := int64(open.Length())
	var few, many atomic.Bool
	require.False(t, l.Register(partition.NewWait(1, time.Hour, func() {}), 2, true), "it is not what was seen")
	require.True(t, l.Register(partition.NewWait(size, time.Hour, func() { few.Store(true) }), 0, true))
	require.True(t, l.Register(partition.NewWait(1<<20, time.Hour, func() { many.Store(true) }), 0, true))
	r.putPlain(l, 2)
	require.False(t, few.Load(), "all of it is above the last stable offset")
	mark(t, l, 1, true, true)
	require.True(t, few.Load())
	require.False(t, many.Load())
}

// Where the first records of an open transaction are deleted the rest of it still is open.
func TestStableWithDeletedRecords(t *testing.T) {
	r := newRig(t)
	l := r.log(0)
	g, _ := l.Verify(txnBatch(0, 0), r.now, true)
	require.NoError(t, tryAppend(l, txnBatch(0, 0), g))
	r.putPlain(l, 1)
	r.putPlain(l, 2)
	l.MoveStart(2)
	require.Equal(t, partition.Watermarks{Start: 2, High: 3, Stable: 2, End: 3}, l.Watermarks())
	w := partition.NewWait(1, time.Hour, func() {})
	require.True(t, l.Register(w, 2, true), "a read up to there waits")
	w.Fire()
	mark(t, l, 1, false, true)
	f, err := l.Read(t.Context(), 2, 1<<20, true)
	require.NoError(t, err)
	require.Equal(t, id.Offset(4), f.Stable)
	require.Equal(t, []producers.AbortedTxn{{Producer: 7, First: 0, Last: 3, Stable: 4}}, f.Aborted)
}

func TestProducersWithOpenTransactionsStay(t *testing.T) {
	r := newRig(t)
	l := r.log(0)
	g, _ := l.Verify(txnBatch(0, 0), r.now, true)
	r.now = r.now.Add(time.Second)
	require.NoError(t, tryAppend(l, txnBatch(0, 0), g))
	r.put(l, batchOf([]int64{1}, id.Producer(8), 0, 0))
	seen := func() []producers.State {
		states := r.log(0).ActiveProducers()
		for i := range states {
			states[i].LastSeen = 0 // by the clock of the one who sealed
		}
		return states
	}
	states := seen()
	require.Len(t, states, 2)
	require.Zero(t, states[0].TxnStart)
	require.Equal(t, id.Offset(-1), states[1].TxnStart)
	r.seal()
	r.restart()
	require.Equal(t, states, seen(), "the footer of the pack has them")
}
