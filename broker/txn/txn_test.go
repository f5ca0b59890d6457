package txn

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/transactions"
)

var start = time.UnixMilli(1_000_000).UTC()

func part(i int32) id.Partition { return id.Partition{Topic: id.Topic{1}, Index: i} }

// is makes a transaction of producer 10 in a state, with what change says.
func is(state transactions.State, epoch int16, change ...func(*transactions.Transaction)) transactions.Transaction {
	t := transactions.Transaction{
		State: state, Producer: 10, Previous: 10, Next: id.NoProducer, Epoch: epoch, LastEpoch: -1,
		Timeout: time.Minute, Updated: start,
	}
	switch state {
	case transactions.Ongoing, transactions.PrepareCommit, transactions.PrepareAbort:
		t.Started, t.Partitions = start, []id.Partition{part(0)}
	}
	for _, f := range change {
		f(&t)
	}
	return t
}

func last(epoch int16) func(*transactions.Transaction) {
	return func(t *transactions.Transaction) { t.LastEpoch = epoch }
}

func version(v int8) func(*transactions.Transaction) {
	return func(t *transactions.Transaction) { t.Version = v }
}

func previous(p id.Producer) func(*transactions.Transaction) {
	return func(t *transactions.Transaction) { t.Previous = p }
}

func next(p id.Producer) func(*transactions.Transaction) {
	return func(t *transactions.Transaction) { t.Next = p }
}

const (
	empty          = transactions.Empty
	open           = transactions.Ongoing
	prepareCommit  = transactions.PrepareCommit
	prepareAbort   = transactions.PrepareAbort
	completeCommit = transactions.CompleteCommit
	completeAbort  = transactions.CompleteAbort
)

// want is what is expected of an outcome.
type want struct {
	err      error
	same     bool // nothing changes
	state    transactions.State
	producer id.Producer // of the state
	epoch    int16
	last     int16
	next     id.Producer
	answer   int16 // the epoch that is answered
}

type step struct {
	name string
	from transactions.Transaction
	ev   Event
	want want
}

func run(t *testing.T, steps []step) {
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			before := s.from
			o := Step(s.from, start.Add(time.Second), s.ev)
			require.Equal(t, before, s.from)
			require.ErrorIs(t, o.Err, s.want.err)
			if s.want.same {
				require.False(t, o.Changed)
				require.Equal(t, before, o.Next)
			} else {
				require.True(t, o.Changed)
				require.Equal(t, s.want.state.String(), o.Next.State.String())
				require.Equal(t, s.want.producer, o.Next.Producer)
				require.Equal(t, s.want.epoch, o.Next.Epoch, "epoch")
				require.Equal(t, s.want.last, o.Next.LastEpoch, "last epoch")
				require.Equal(t, s.want.next, o.Next.Next, "next producer")
				require.Equal(t, start.Add(time.Second), o.Next.Updated)
			}
			require.Equal(t, s.want.answer, o.Epoch, "answered epoch")
		})
	}
}

func TestInit(t *testing.T) {
	anyone := Init{Timeout: time.Hour, Producer: id.NoProducer, Epoch: -1, Fresh: id.NoProducer}
	with := func(f func(*Init)) Init { ev := anyone; f(&ev); return ev }
	named := func(p id.Producer, epoch int16) Init {
		return with(func(ev *Init) { ev.Producer, ev.Epoch = p, epoch })
	}
	fresh := func(ev Init) Init { ev.Fresh = 99; return ev }
	version2 := func(ev Init) Init { ev.Server = 2; return ev }
	run(t, []step{
		{"unknown", transactions.Transaction{}, anyone, want{err: ErrNeedProducer, same: true, answer: -1}},
		{"new", transactions.Transaction{}, fresh(anyone), want{state: empty, producer: 99, epoch: 0, last: -1, next: -1}},
		{"new, by a producer that was forgotten", transactions.Transaction{}, fresh(named(5, 3)), want{state: empty, producer: 99, epoch: 0, last: -1, next: -1}},
		{"next epoch", is(empty, 0), anyone, want{state: empty, producer: 10, epoch: 1, last: -1, next: -1, answer: 1}},
		{"after a commit", is(completeCommit, 4, last(3)), anyone, want{state: empty, producer: 10, epoch: 5, last: -1, next: -1, answer: 5}},
		{"named", is(completeAbort, 4, last(3)), named(10, 4), want{state: empty, producer: 10, epoch: 5, last: 4, next: -1, answer: 5}},
		{"named, repeated", is(empty, 5, last(4)), named(10, 4), want{state: empty, producer: 10, epoch: 5, last: 4, next: -1, answer: 5}},
		{"named, fenced", is(empty, 5, last(-1)), named(10, 4), want{err: ErrFenced, same: true, answer: -1}},
		{"named, too high", is(empty, 5, last(-1)), named(10, 6), want{err: ErrFenced, same: true, answer: -1}},
		{"another producer", is(empty, 5), named(9, 5), want{err: ErrFenced, same: true, answer: -1}},
		{"another producer while open", is(open, 5), named(9, 5), want{err: ErrFenced, same: true, answer: -1}},
		{"exhausted", is(empty, 32766), anyone, want{err: ErrNeedProducer, same: true, answer: -1}},
		{"another id", is(empty, 32766), fresh(anyone), want{state: empty, producer: 99, epoch: 0, last: -1, next: -1}},
		{"another id, named", is(empty, 32766), fresh(named(10, 32766)), want{state: empty, producer: 99, epoch: 0, last: 32766, next: -1}},
		{"another id, repeated", is(empty, 0, last(32766), previous(8)), named(8, 32766), want{state: empty, producer: 10, epoch: 0, last: 32766, next: -1}},
		{"exhausted by a fence, named", is(completeAbort, 32767), fresh(named(10, 32766)), want{err: ErrFenced, same: true, answer: -1}},
		{"exhausted by a fence", is(completeAbort, 32767), fresh(anyone), want{state: empty, producer: 99, epoch: 0, last: -1, next: -1}},
		{"while commit is prepared", is(prepareCommit, 4), anyone, want{err: ErrConcurrent, same: true, answer: -1}},
		{"while abort is prepared", is(prepareAbort, 4), named(10, 4), want{err: ErrConcurrent, same: true, answer: -1}},
		{"open", is(open, 4), anyone, want{err: ErrConcurrent, state: prepareAbort, producer: 10, epoch: 5, last: -1, next: -1, answer: -1}},
		{"open, version 2", is(open, 4), version2(anyone), want{err: ErrConcurrent, state: prepareAbort, producer: 10, epoch: 5, last: 4, next: -1, answer: -1}},
		{"open at the last epoch", is(open, 32766), anyone, want{err: ErrConcurrent, state: prepareAbort, producer: 10, epoch: 32767, last: -1, next: -1, answer: -1}},
		{"open at the last epoch, version 2", is(open, 32766), version2(anyone), want{err: ErrNeedProducer, same: true, answer: -1}},
		{"open at the last epoch, version 2, another id", is(open, 32766), version2(fresh(anyone)), want{err: ErrConcurrent, state: prepareAbort, producer: 10, epoch: 32767, last: 32766, next: 99, answer: -1}},
	})
}

func TestAddAndVerify(t *testing.T) {
	add := func(p id.Producer, epoch int16, is ...int32) Event {
		ev := Add{Producer: p, Epoch: epoch, Version: 2}
		for _, i := range is {
			ev.Partitions = append(ev.Partitions, part(i))
		}
		return ev
	}
	refused := func(err error) want { return want{err: err, same: true, answer: -1} }
	began := func(epoch int16) want {
		return want{state: open, producer: 10, epoch: epoch, last: -1, next: -1, answer: -1}
	}
	run(t, []step{
		{"unknown", transactions.Transaction{}, add(10, 0, 1), refused(ErrMapping)},
		{"another producer", is(empty, 0), add(9, 0, 1), refused(ErrMapping)},
		{"lower epoch", is(empty, 1), add(10, 0, 1), refused(ErrFenced)},
		{"higher epoch", is(empty, 1), add(10, 2, 1), refused(ErrFenced)},
		{"while commit is prepared", is(prepareCommit, 1), add(10, 1, 1), refused(ErrConcurrent)},
		{"while abort is prepared", is(prepareAbort, 1), add(10, 1, 1), refused(ErrConcurrent)},
		{"while another id is to come", is(prepareCommit, 32767, next(99)), add(99, 0, 1), refused(ErrConcurrent)},
		{"first", is(empty, 1), add(10, 1, 2, 1, 2), began(1)},
		{"after a commit", is(completeCommit, 1), add(10, 1, 1), began(1)},
		{"another", is(open, 1), add(10, 1, 1), began(1)},
		{"again", is(open, 1), add(10, 1, 0), want{same: true, answer: -1}},

		{"verify unknown", transactions.Transaction{}, Verify{Producer: 10}, refused(ErrMapping)},
		{"verify another producer", is(open, 1), Verify{Producer: 9, Epoch: 1}, refused(ErrMapping)},
		{"verify another epoch", is(open, 1), Verify{Producer: 10, Epoch: 0}, refused(ErrFenced)},
		{"verify while prepared", is(prepareCommit, 1), Verify{Producer: 10, Epoch: 1}, refused(ErrConcurrent)},
		{"verify", is(open, 1), Verify{Producer: 10, Epoch: 1, Partitions: []id.Partition{part(0)}}, want{same: true, answer: -1}},
	})
	o := Step(is(open, 1), start, Verify{Producer: 10, Epoch: 1, Partitions: []id.Partition{part(0), part(1)}})
	require.Equal(t, []id.Partition{part(1)}, o.Missing)
	o = Step(is(completeCommit, 1), start.Add(time.Hour), add(10, 1, 2, 1, 2))
	require.Equal(t, []id.Partition{part(1), part(2)}, o.Next.Partitions)
	require.Equal(t, start.Add(time.Hour), o.Next.Started)
	o = Step(is(open, 1), start.Add(time.Hour), add(10, 1, 2))
	require.Equal(t, []id.Partition{part(0), part(2)}, o.Next.Partitions)
	require.Equal(t, start, o.Next.Started)
}

func TestEndOfVersion1(t *testing.T) {
	commit, abort := End{Producer: 10, Epoch: 3, Commit: true}, End{Producer: 10, Epoch: 3}
	refused := func(err error) want { return want{err: err, same: true, answer: -1} }
	run(t, []step{
		{"unknown", transactions.Transaction{}, commit, refused(ErrMapping)},
		{"another producer", is(open, 3), End{Producer: 9, Epoch: 3}, refused(ErrMapping)},
		{"lower epoch", is(open, 4), commit, refused(ErrFenced)},
		{"higher epoch", is(open, 2), commit, refused(ErrFenced)},
		{"nothing open", is(empty, 3), commit, refused(ErrInvalidState)},
		{"nothing to abort", is(empty, 3), abort, refused(ErrInvalidState)},
		{"commit", is(open, 3, last(2)), commit, want{state: prepareCommit, producer: 10, epoch: 3, last: 2, next: -1, answer: -1}},
		{"abort", is(open, 3, last(2)), abort, want{state: prepareAbort, producer: 10, epoch: 3, last: 2, next: -1, answer: -1}},
		{"at the last epoch", is(open, 32766), End{Producer: 10, Epoch: 32766}, want{state: prepareAbort, producer: 10, epoch: 32766, last: -1, next: -1, answer: -1}},
		{"commit again", is(prepareCommit, 3), commit, refused(ErrConcurrent)},
		{"abort after commit", is(prepareCommit, 3), abort, refused(ErrInvalidState)},
		{"abort again", is(prepareAbort, 3), abort, refused(ErrConcurrent)},
		{"commit after abort", is(prepareAbort, 3), commit, refused(ErrInvalidState)},
		{"committed", is(completeCommit, 3), commit, want{same: true, answer: -1}},
		{"committed, abort", is(completeCommit, 3), abort, refused(ErrInvalidState)},
		{"aborted", is(completeAbort, 3), abort, want{same: true, answer: -1}},
		{"aborted, commit", is(completeAbort, 3), commit, refused(ErrInvalidState)},
	})
}

func TestEndOfVersion2(t *testing.T) {
	end := func(epoch int16, commit bool) End {
		return End{Producer: 10, Epoch: epoch, Commit: commit, Version: 2, Fresh: id.NoProducer}
	}
	commit, abort := func(epoch int16) End { return end(epoch, true) }, func(epoch int16) End { return end(epoch, false) }
	ended := func(state transactions.State, epoch int16) transactions.Transaction {
		return is(state, epoch, version(2), last(epoch-1))
	}
	fresh := func(ev End) End { ev.Fresh = 99; return ev }
	refused := func(err error) want { return want{err: err, same: true, answer: -1} }
	run(t, []step{
		{"unknown", transactions.Transaction{}, commit(3), refused(ErrMapping)},
		{"another producer", is(open, 3), End{Producer: 9, Epoch: 3, Version: 2}, refused(ErrMapping)},
		{"commit", is(open, 3), commit(3), want{state: prepareCommit, producer: 10, epoch: 4, last: 3, next: -1, answer: 4}},
		{"abort", is(open, 3), abort(3), want{state: prepareAbort, producer: 10, epoch: 4, last: 3, next: -1, answer: 4}},
		{"lower epoch", is(open, 4), commit(3), refused(ErrFenced)},
		{"higher epoch", is(open, 3), commit(4), refused(ErrFenced)},
		{"repeated while prepared", ended(prepareCommit, 4), commit(3), refused(ErrConcurrent)},
		{"abort repeated while prepared", ended(prepareAbort, 4), abort(3), refused(ErrConcurrent)},
		{"other result while prepared", ended(prepareCommit, 4), abort(3), refused(ErrInvalidState)},
		{"next while prepared", ended(prepareCommit, 4), commit(4), refused(ErrConcurrent)},
		{"next while prepared, of another id", is(prepareCommit, 32767, next(99)), End{Producer: 99, Epoch: 0, Version: 2}, refused(ErrConcurrent)},
		{"next while prepared, too high", ended(prepareCommit, 4), commit(5), refused(ErrFenced)},
		{"repeated", ended(completeCommit, 4), commit(3), want{same: true, answer: 4}},
		{"abort repeated", ended(completeAbort, 4), abort(3), want{same: true, answer: 4}},
		{"repeated with another result", ended(completeCommit, 4), abort(3), refused(ErrInvalidState)},
		{"abort repeated with another result", ended(completeAbort, 4), commit(3), refused(ErrInvalidState)},
		{"of a fenced producer", is(prepareAbort, 5, version(2), last(4)), abort(3), refused(ErrFenced)},
		{"of a fenced producer, at the last epoch", is(completeAbort, 32767, version(2), last(32767)), abort(32766), refused(ErrFenced)},
		{"after the end of another client of version 1", is(completeAbort, 4), abort(3), refused(ErrFenced)},
		{"after a fence by version 1", is(prepareAbort, 4), abort(3), refused(ErrFenced)},
		{"too old", ended(completeCommit, 4), commit(2), refused(ErrFenced)},
		{"nothing to commit", is(empty, 3), commit(3), refused(ErrInvalidState)},
		{"nothing to commit after a commit", is(completeCommit, 3), commit(3), refused(ErrInvalidState)},
		{"nothing to commit after an abort", is(completeAbort, 3), commit(3), refused(ErrInvalidState)},
		{"empty abort", is(empty, 3), abort(3), want{state: completeAbort, producer: 10, epoch: 4, last: 3, next: -1, answer: 4}},
		{"empty abort after a commit", is(completeCommit, 3), abort(3), want{state: completeAbort, producer: 10, epoch: 4, last: 3, next: -1, answer: 4}},
		{"empty abort after an abort", is(completeAbort, 3), abort(3), want{state: completeAbort, producer: 10, epoch: 4, last: 3, next: -1, answer: 4}},
		{"empty abort, old epoch", is(empty, 4), abort(3), refused(ErrFenced)},
		{"last epoch", is(open, 32766), commit(32766), refused(ErrNeedProducer)},
		{"last epoch, another id", is(open, 32766), fresh(commit(32766)), want{state: prepareCommit, producer: 10, epoch: 32767, last: 32766, next: 99, answer: 0}},
		{"last epoch, repeated while prepared", is(prepareCommit, 32767, version(2), last(32766), next(99)), commit(32766), refused(ErrConcurrent)},
		{"last epoch, repeated", is(completeCommit, 0, previous(8)), End{Producer: 8, Epoch: 32766, Commit: true, Version: 2}, want{same: true, answer: 0}},
		{"last epoch, timed out", is(completeAbort, 32767, last(32767)), abort(32766), refused(ErrFenced)},
		{"empty abort at the last epoch", is(empty, 32766), fresh(abort(32766)), want{state: completeAbort, producer: 99, epoch: 0, last: 32766, next: -1, answer: 0}},
	})
}

func TestCompleteAndExpire(t *testing.T) {
	long := is(open, 3, func(t *transactions.Transaction) { t.Started = start.Add(-time.Hour) })
	longest := long
	longest.Epoch = 32766
	run(t, []step{
		{"committed", is(prepareCommit, 3), Complete{}, want{state: completeCommit, producer: 10, epoch: 3, last: -1, next: -1, answer: -1}},
		{"aborted", is(prepareAbort, 3, version(2), last(2)), Complete{}, want{state: completeAbort, producer: 10, epoch: 3, last: 2, next: -1, answer: -1}},
		{"another id", is(prepareCommit, 32767, version(2), last(32766), next(99)), Complete{}, want{state: completeCommit, producer: 99, epoch: 0, last: 32766, next: -1, answer: -1}},
		{"complete already", is(completeCommit, 3), Complete{}, want{err: ErrInvalidState, same: true, answer: -1}},
		{"in time", is(open, 3), Expire{}, want{same: true, answer: -1}},
		{"too long", long, Expire{}, want{state: prepareAbort, producer: 10, epoch: 4, last: -1, next: -1, answer: -1}},
		{"too long, version 2", long, Expire{Server: 2}, want{state: prepareAbort, producer: 10, epoch: 4, last: 3, next: -1, answer: -1}},
		{"too long at the last epoch, version 2", longest, Expire{Server: 2, Fresh: id.NoProducer}, want{err: ErrNeedProducer, same: true, answer: -1}},
		{"too long at the last epoch, version 2, another id", longest, Expire{Server: 2, Fresh: 99}, want{state: prepareAbort, producer: 10, epoch: 32767, last: 32766, next: 99, answer: -1}},
		{"ended already", is(prepareCommit, 3), Expire{}, want{same: true, answer: -1}},
	})
	o := Step(is(prepareCommit, 3), start, Complete{})
	require.Empty(t, o.Next.Partitions)
	require.Equal(t, start, o.Next.Started, "as Kafka keeps it")
}

func TestUnused(t *testing.T) {
	for state := transactions.None; state <= completeAbort; state++ {
		txn := is(state, 0)
		can := state == empty || state == completeCommit || state == completeAbort
		require.Equal(t, can, Unused(&txn, start.Add(time.Hour), time.Hour), state.String())
		require.False(t, Unused(&txn, start.Add(time.Hour-1), time.Hour), state.String())
	}
}
