package txn

import (
	"math"
	"slices"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/transactions"
)

// early reports whether a producer is in its next transaction, whose id and epoch the end of this one
// has told it, before this one is complete.
func early(t *transactions.Transaction, producer id.Producer, epoch int16) bool {
	next := *t
	if next.Next != id.NoProducer {
		next = complete(next)
	}
	return t.State.Preparing() && producer == next.Producer && epoch == next.Epoch
}

// Early reports whether the event is to wait until the transaction of before is complete, for a moment.
// An Add of a partition's leader is not: the marker that it waits for would invalidate what the leader
// holds ready for the answer, so that it has to ask anew.
func Early(t *transactions.Transaction, ev Event) bool {
	switch ev := ev.(type) {
	case Add:
		return ev.Version < bumping && early(t, ev.Producer, ev.Epoch)
	case End:
		return ev.Version >= bumping && early(t, ev.Producer, ev.Epoch)
	}
	return false
}

func (ev Add) step(t transactions.Transaction, now time.Time) Outcome {
	switch {
	case early(&t, ev.Producer, ev.Epoch):
		return answer(t, ErrConcurrent)
	case t.State == transactions.None || t.Producer != ev.Producer:
		return answer(t, ErrMapping)
	case t.Epoch != ev.Epoch:
		return answer(t, ErrFenced)
	}
	next := t
	next.Partitions = union(t.Partitions, ev.Partitions)
	if t.State == transactions.Ongoing && len(next.Partitions) == len(t.Partitions) {
		return answer(t, nil)
	}
	if t.State != transactions.Ongoing {
		next.Started = now
	}
	next.State, next.Version = transactions.Ongoing, ev.Version
	return changed(t, next, now, nil)
}

// union returns the partitions of both, in order.
func union(a, b []id.Partition) []id.Partition {
	all := slices.Concat(a, b)
	slices.SortFunc(all, id.Partition.Compare)
	return slices.Compact(all)
}

func (ev Verify) step(t transactions.Transaction, _ time.Time) Outcome {
	switch {
	case early(&t, ev.Producer, ev.Epoch):
		return answer(t, ErrConcurrent)
	case t.State == transactions.None || t.Producer != ev.Producer:
		return answer(t, ErrMapping)
	case t.Epoch != ev.Epoch:
		return answer(t, ErrFenced)
	}
	o := answer(t, nil)
	for _, p := range ev.Partitions {
		if !t.Has(p) {
			o.Missing = append(o.Missing, p)
		}
	}
	return o
}

func (ev Expire) step(t transactions.Transaction, now time.Time) Outcome {
	if due := Due(&t); due.IsZero() || !now.After(due) {
		return answer(t, nil)
	}
	return fence(t, ev.Server, ev.Fresh, now, nil)
}

func (Complete) step(t transactions.Transaction, now time.Time) Outcome {
	if !t.State.Preparing() {
		return answer(t, ErrInvalidState)
	}
	return changed(t, complete(t), now, nil)
}

func (ev End) step(t transactions.Transaction, now time.Time) Outcome {
	if t.State == transactions.None {
		return answer(t, ErrMapping)
	}
	if ev.Version < bumping {
		return ev.first(t, now)
	}
	return ev.second(t, now)
}

// first is the end of a transaction of version 1: the epoch stays, and who repeats the end of a
// transaction that is complete is told that it is.
func (ev End) first(t transactions.Transaction, now time.Time) Outcome {
	switch {
	case t.Producer != ev.Producer:
		return answer(t, ErrMapping)
	case t.Epoch != ev.Epoch:
		return answer(t, ErrFenced)
	case t.State == transactions.Ongoing:
		return changed(t, prepare(t, ev.decision(), ev.Version), now, nil)
	case t.State == ev.decision():
		return answer(t, ErrConcurrent)
	case t.State == ev.result():
		return answer(t, nil)
	}
	return answer(t, ErrInvalidState)
}

// second is the end of a transaction of version 2. The epoch tells who repeats an end, with
// the epoch before the last bump, from who ends the next transaction. That may have no partition
// yet: then only an abort makes sense, and it is complete at once. Deviation: the end of the
// next transaction while this one is not complete yet is ErrConcurrent; Kafka fences its producer, which
// does nothing wrong.
func (ev End) second(t transactions.Transaction, now time.Time) Outcome {
	overflowed := t.Previous == ev.Producer && ev.Epoch == math.MaxInt16-1 && t.Epoch == 0 && t.Producer != ev.Producer
	// LastEpoch tells an end of the client from a fence, and from the end of another client of version 1.
	repeated := overflowed || t.Epoch == ev.Epoch+1 && t.LastEpoch == ev.Epoch && t.Version >= bumping
	if early(&t, ev.Producer, ev.Epoch) {
		return answer(t, ErrConcurrent)
	}
	if t.Producer != ev.Producer && !overflowed {
		return answer(t, ErrMapping)
	}
	fenced := t.Epoch != ev.Epoch
	switch t.State {
	case transactions.PrepareCommit, transactions.PrepareAbort:
		fenced = !repeated
	case transactions.CompleteCommit, transactions.CompleteAbort:
		fenced = fenced && !repeated
	}
	switch {
	case fenced:
		return answer(t, ErrFenced)
	case t.State == ev.decision():
		return answer(t, ErrConcurrent)
	case t.State == ev.result() && repeated:
		return answer(t, nil).known()
	case t.State == transactions.Ongoing, !t.State.Preparing() && !repeated && !ev.Commit:
		return ev.decide(t, now)
	}
	return answer(t, ErrInvalidState)
}

// decide ends a transaction of version 2, and answers with the epoch of the next one.
func (ev End) decide(t transactions.Transaction, now time.Time) Outcome {
	if exhausted(t.Epoch) && ev.Fresh == id.NoProducer {
		return answer(t, ErrNeedProducer)
	}
	next := prepare(t, ev.decision(), ev.Version)
	if exhausted(t.Epoch) {
		next.Next = ev.Fresh
	}
	if t.State != transactions.Ongoing {
		next.Started = now
	}
	after := complete(next)
	if len(next.Partitions) == 0 {
		next = after
	}
	o := changed(t, next, now, nil)
	o.Producer, o.Epoch = after.Producer, after.Epoch
	return o
}

func (ev End) decision() transactions.State {
	if ev.Commit {
		return transactions.PrepareCommit
	}
	return transactions.PrepareAbort
}

func (ev End) result() transactions.State {
	if ev.Commit {
		return transactions.CompleteCommit
	}
	return transactions.CompleteAbort
}
