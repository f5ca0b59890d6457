package txn

import (
	"math"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/seeded"
	"github.com/forebaylog/forebay/infra/transactions"
)

// exhausted reports whether no producer may have a higher epoch: the last one is kept to fence it.
func exhausted(epoch int16) bool { return epoch >= math.MaxInt16-1 }

func (ev Init) step(t transactions.Transaction, now time.Time) Outcome {
	if t.State == transactions.None {
		if ev.Fresh == id.NoProducer {
			return answer(t, ErrNeedProducer)
		}
		created := transactions.Transaction{
			State: transactions.Empty, Producer: ev.Fresh, Previous: id.NoProducer, Next: id.NoProducer,
			LastEpoch: noEpoch, Timeout: ev.Timeout,
		}
		o := changed(created, created, now, nil)
		o.Next.Previous = id.NoProducer
		return o.known()
	}
	switch {
	case !ev.mayHave(&t):
		return answer(t, ErrFenced)
	case t.State.Preparing():
		return answer(t, ErrConcurrent)
	case t.State == transactions.Ongoing && !seeded.Enabled(seeded.AbortOnInit):
		return fence(t, ev.Server, ev.Fresh, now, ErrConcurrent)
	}
	return ev.renew(t, now)
}

// mayHave reports whether the producer that the client names has the id, or had it before its
// epochs were exhausted.
func (ev Init) mayHave(t *transactions.Transaction) bool {
	return ev.Producer == id.NoProducer || ev.Producer == t.Producer ||
		ev.Producer == t.Previous && exhausted(ev.Epoch)
}

// renew gives the next epoch, or another producer id, to a client whose transactions are all complete.
func (ev Init) renew(t transactions.Transaction, now time.Time) Outcome {
	named := ev.Producer != id.NoProducer
	next := t
	next.State, next.Started, next.Partitions, next.Timeout = transactions.Empty, time.Time{}, nil, ev.Timeout
	switch {
	case named && ev.Epoch == t.LastEpoch && ev.Epoch != t.Epoch: // it repeats a request
		o := changed(t, next, now, nil)
		o.Next.Previous = t.Previous
		return o.known()
	case named && (ev.Epoch != t.Epoch || ev.Producer != t.Producer):
		return answer(t, ErrFenced)
	case exhausted(t.Epoch):
		if ev.Fresh == id.NoProducer {
			return answer(t, ErrNeedProducer)
		}
		next.Producer, next.Epoch = ev.Fresh, 0
	default:
		next.Epoch++
	}
	next.LastEpoch = noEpoch
	if named {
		next.LastEpoch = t.Epoch
	}
	return changed(t, next, now, nil).known()
}

// fence is the abort of an open transaction by the coordinator, with an epoch that no client
// has had. In version 2 that is the epoch by which every end bumps it, and it may be the last one: then
// another producer id takes over (KAFKA-19367, KAFKA-20090). answered is the answer's error.
func fence(t transactions.Transaction, server int8, fresh id.Producer, now time.Time, answered error) Outcome {
	next := t
	if server < bumping {
		next.LastEpoch = noEpoch
		if next.Epoch < math.MaxInt16 {
			next.Epoch++
		}
	}
	next = prepare(next, transactions.PrepareAbort, server)
	if server >= bumping && exhausted(t.Epoch) {
		if fresh == id.NoProducer {
			return answer(t, ErrNeedProducer)
		}
		next.Next = fresh
	}
	return changed(t, next, now, answered)
}

// prepare decides the end of a transaction.
func prepare(t transactions.Transaction, state transactions.State, version int8) transactions.Transaction {
	t.State, t.Version, t.Next = state, version, id.NoProducer
	if version >= bumping {
		t.LastEpoch = t.Epoch
		if t.Epoch < math.MaxInt16 {
			t.Epoch++
		}
	}
	return t
}

// complete ends a transaction that is decided.
func complete(t transactions.Transaction) transactions.Transaction {
	if t.State == transactions.PrepareCommit {
		t.State = transactions.CompleteCommit
	} else {
		t.State = transactions.CompleteAbort
	}
	if t.Next != id.NoProducer {
		t.Producer, t.Epoch = t.Next, 0
	}
	t.Next, t.Partitions = id.NoProducer, nil
	return t
}
