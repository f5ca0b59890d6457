package producers_test

import (
	"math"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/producers"
)

var start = time.UnixMilli(1_700_000_000_000)

// data makes a batch of n records at base, whose time is long past.
func data(p id.Producer, epoch int16, sequence int32, base id.Offset, n int, transactional bool) batch.View {
	b := batch.New(batch.None).Producer(p, epoch, sequence).Base(base)
	if transactional {
		b.Transactional()
	}
	for range n {
		b.Add(batch.Record{Timestamp: 1_000_000 + int64(base)})
	}
	return b.Build()
}

func marker(p id.Producer, epoch int16, base id.Offset, commit bool) batch.View {
	v := batch.NewMarker(batch.Marker{Commit: commit, CoordinatorEpoch: 2}, p, epoch, 5)
	v.Stamp(base, 0)
	return v
}

// log is a table with the log end that its batches are given.
type log struct {
	producers.Table
	end id.Offset
}

// send checks a batch and applies it if it is new.
func (l *log) send(p id.Producer, epoch int16, sequence int32, n int, transactional bool) (producers.Verdict, error) {
	v := data(p, epoch, sequence, l.end, n, transactional)
	verdict, err := l.Check(v, start)
	if err == nil && !verdict.Duplicate {
		l.Apply(v)
		l.end = v.NextOffset()
	}
	return verdict, err
}

func (l *log) mark(p id.Producer, epoch int16, commit bool) (producers.AbortedTxn, bool) {
	v := marker(p, epoch, l.end, commit)
	l.end = v.NextOffset()
	return l.Apply(v)
}

func TestSequenceRules(t *testing.T) {
	type step struct {
		epoch    int16
		sequence int32
		n        int
		want     error
		dup      bool
		base     id.Offset
	}
	const top = math.MaxInt32
	for name, steps := range map[string][]step{
		"any sequence begins":        {{sequence: 7000, n: 2}, {sequence: 7002, n: 1}},
		"a gap":                      {{n: 2}, {sequence: 3, n: 1, want: producers.ErrOutOfOrder}, {sequence: 2, n: 1}},
		"a step back":                {{n: 5}, {sequence: 3, n: 1, want: producers.ErrOutOfOrder}},
		"a duplicate":                {{n: 2}, {sequence: 2, n: 3}, {n: 2, dup: true}, {sequence: 2, n: 3, dup: true, base: 2}},
		"same first, other last":     {{n: 2}, {n: 3, want: producers.ErrOutOfOrder}},
		"the fifth last is known":    {{n: 1}, {sequence: 1, n: 1}, {sequence: 2, n: 1}, {sequence: 3, n: 1}, {sequence: 4, n: 1}, {n: 1, dup: true}},
		"the sixth last is not":      {{n: 1}, {sequence: 1, n: 1}, {sequence: 2, n: 1}, {sequence: 3, n: 1}, {sequence: 4, n: 1}, {sequence: 5, n: 1}, {n: 1, want: producers.ErrOutOfOrder}},
		"a new epoch begins at 0":    {{sequence: 4, n: 1}, {epoch: 1, sequence: 5, n: 1, want: producers.ErrOutOfOrder}, {epoch: 1, n: 1}},
		"an old epoch":               {{epoch: 3, n: 1}, {epoch: 2, sequence: 1, n: 1, want: producers.ErrFenced}, {epoch: 2, n: 1, want: producers.ErrFenced}},
		"duplicates end with epochs": {{n: 1}, {epoch: 1, n: 2}, {epoch: 1, n: 1, want: producers.ErrOutOfOrder}},
		"wrap between batches":       {{sequence: top - 1, n: 2}, {sequence: 0, n: 1}, {sequence: top - 1, n: 2, dup: true}},
		"wrap within a batch":        {{sequence: top - 1, n: 5}, {sequence: 3, n: 1}, {sequence: top - 1, n: 5, dup: true}},
	} {
		t.Run(name, func(t *testing.T) {
			var l log
			for i, s := range steps {
				got, err := l.send(9, s.epoch, s.sequence, s.n, false)
				require.ErrorIs(t, err, s.want, "step %d", i)
				require.Equal(t, s.dup, got.Duplicate, "step %d", i)
				if s.dup {
					require.Equal(t, s.base, got.Base)
					require.Equal(t, 1_000_000+int64(s.base), got.Timestamp)
				}
			}
		})
	}
}

func TestNoProducerLeavesNoTrace(t *testing.T) {
	var l log
	for range 3 {
		_, err := l.send(id.NoProducer, -1, -1, 4, false)
		require.NoError(t, err)
	}
	require.Zero(t, l.Len())
	require.Nil(t, l.Snapshot())
	require.LessOrEqual(t, unsafe.Sizeof(producers.Table{}), uintptr(64), "10,000 partitions have one each")
}

func TestTransactions(t *testing.T) {
	var l log
	_, open := l.FirstOpen()
	require.False(t, open)

	must := func(_ producers.Verdict, err error) { require.NoError(t, err) }
	must(l.send(1, 0, 0, 2, true))  // 0, 1
	must(l.send(2, 0, 0, 3, true))  // 2 to 4
	must(l.send(1, 0, 2, 1, true))  // 5
	must(l.send(3, 0, 0, 1, false)) // 6
	first, open := l.FirstOpen()
	require.True(t, open)
	require.Equal(t, id.Offset(0), first)

	_, err := l.send(1, 0, 3, 1, false)
	require.ErrorIs(t, err, producers.ErrInvalidState)

	aborted, ok := l.mark(2, 0, false) // 7
	require.True(t, ok)
	require.Equal(t, producers.AbortedTxn{Producer: 2, First: 2, Last: 7, Stable: 0}, aborted)
	_, ok = l.mark(1, 1, true) // 8, with the epoch that comes next
	require.False(t, ok)
	_, open = l.FirstOpen()
	require.False(t, open)

	_, err = l.send(1, 0, 3, 1, true)
	require.ErrorIs(t, err, producers.ErrFenced)
	_, err = l.send(1, 1, 3, 1, true)
	require.ErrorIs(t, err, producers.ErrOutOfOrder)
	must(l.send(1, 1, 0, 1, true)) // 9
	first, _ = l.FirstOpen()
	require.Equal(t, id.Offset(9), first)
	aborted, ok = l.mark(1, 1, false) // 10
	require.True(t, ok)
	require.Equal(t, producers.AbortedTxn{Producer: 1, First: 9, Last: 10, Stable: 11}, aborted)

	_, ok = l.mark(1, 1, false)
	require.False(t, ok, "a second marker ends nothing")
	require.Equal(t, int32(2), l.Snapshot()[0].CoordinatorEpoch)
}

func TestExpireGoesByTheBrokersClock(t *testing.T) {
	var l log
	const day = 24 * time.Hour
	_, err := l.send(1, 0, 0, 1, false)
	require.NoError(t, err)
	_, err = l.send(2, 0, 0, 1, true)
	require.NoError(t, err)

	l.Expire(start.Add(day), day)
	require.Equal(t, 2, l.Len(), "the records' own times are long past")
	l.Expire(start.Add(day+time.Millisecond), day)
	require.Equal(t, 1, l.Len())
	require.Equal(t, id.Producer(2), l.Snapshot()[0].Producer, "its transaction is open")
	_, err = l.send(1, 0, 77, 1, false)
	require.NoError(t, err, "an expired producer may go on with any sequence")
}

func TestReplayedProducersLiveOn(t *testing.T) {
	var table producers.Table
	table.Apply(data(1, 0, 0, 0, 1, false))
	later := start.Add(1000 * time.Hour)
	table.Expire(later, time.Hour)
	require.Equal(t, 1, table.Len())
	table.Expire(later.Add(time.Hour+time.Millisecond), time.Hour)
	require.Zero(t, table.Len())
}

func TestActiveTellsTheLatestBatch(t *testing.T) {
	var l log
	for i := range 8 {
		_, err := l.send(1, 0, int32(i), 1, false)
		require.NoError(t, err)
	}
	all, active := l.Snapshot(), l.Active()
	require.Len(t, all[0].Batches, producers.Window)
	require.Equal(t, []producers.Batch{{FirstSequence: 7, LastSequence: 7, Base: 7, Last: 7, Timestamp: 1_000_007}}, active[0].Batches)
	active[0].Batches, all[0].Batches = nil, nil
	require.Equal(t, all, active)
}

func BenchmarkCheckAndApply(b *testing.B) {
	var t producers.Table
	v := data(1, 0, 0, 0, 16, false)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := t.Check(v, start); err != nil {
			b.Fatal(err)
		}
		t.Apply(v)
	}
}
