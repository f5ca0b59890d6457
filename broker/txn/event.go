// Package txn is the state machine of one transactional id, as Kafka's transaction
// coordinator runs it, for transactions of version 1 and of version 2 (KIP-890). It is pure: it
// is given the time, has no I/O and no locks, and never changes what it is given.
package txn

import (
	"errors"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/transactions"
)

// Errors of answers, each for one of Kafka's.
var (
	ErrFenced       = errors.New("another producer has the transactional id")                       // PRODUCER_FENCED
	ErrConcurrent   = errors.New("the transaction of before is not complete yet")                   // CONCURRENT_TRANSACTIONS
	ErrMapping      = errors.New("the transactional id has another producer id, or is unknown")     // INVALID_PRODUCER_ID_MAPPING
	ErrInvalidState = errors.New("the transaction is not in a state for this")                      // INVALID_TXN_STATE
	ErrAbortable    = errors.New("the partition was not added to the transaction, which can abort") // TRANSACTION_ABORTABLE
	// ErrNeedProducer is none of Kafka's: the event is to be repeated with a new producer id.
	ErrNeedProducer = errors.New("a new producer id is needed")
)

// bumping is the transaction version from which each end of a transaction bumps the epoch.
const bumping = 2

// noEpoch stands for a producer epoch that is not given.
const noEpoch = int16(-1)

// Event is what happens to a transactional id. The types of this package that implement it are all there are.
type Event interface {
	step(t transactions.Transaction, now time.Time) Outcome
}

// Init is InitProducerId. An open transaction is aborted first, by a bumped epoch, and
// the answer is ErrConcurrent.
type Init struct {
	Timeout time.Duration // of transactions
	// Producer and Epoch are what the client had (KIP-360); NoProducer and -1: it has none.
	Producer id.Producer
	Epoch    int16
	// Fresh is a producer id that nobody has had, or NoProducer until ErrNeedProducer asks for it.
	Fresh id.Producer
	// Server is the transaction.version of the cluster, by which an open transaction is aborted.
	Server int8
}

// Add adds partitions to the transaction, and begins it if need be.
type Add struct {
	Producer   id.Producer
	Epoch      int16
	Partitions []id.Partition
	Version    int8 // transaction version of the client
}

// Verify asks whether partitions belong to the transaction. It changes nothing; Outcome.Missing has
// those that do not.
type Verify struct {
	Producer   id.Producer
	Epoch      int16
	Partitions []id.Partition
}

// End decides the transaction.
type End struct {
	Producer id.Producer
	Epoch    int16
	Commit   bool // else abort
	Version  int8 // transaction version of the client
	Fresh    id.Producer
}

// Expire aborts a transaction that has been open for longer than its timeout, and fences its producer.
type Expire struct {
	Server int8 // transaction.version of the cluster
	Fresh  id.Producer
}

// Complete ends a transaction whose markers are all written.
type Complete struct{}

// Outcome is what an Event leads to.
type Outcome struct {
	// Next is to be stored before the answer if Changed, and is the state of before if not.
	Next    transactions.Transaction
	Changed bool
	// The answer. It may be an error although Next has Changed.
	Err      error
	Producer id.Producer // of Init and End, unless Err; else NoProducer
	Epoch    int16       // of Init and End, unless Err; else -1
	Missing  []id.Partition
}

// Step returns what an event leads to.
func Step(t transactions.Transaction, now time.Time, ev Event) Outcome {
	return ev.step(t, now.UTC().Truncate(time.Millisecond))
}

// Due returns when an open transaction has been open for too long; the zero time: it is not open.
func Due(t *transactions.Transaction) time.Time {
	if t.State != transactions.Ongoing {
		return time.Time{}
	}
	return t.Started.Add(t.Timeout)
}

// Unused reports whether the id may be forgotten since nothing has happened to it for that long.
func Unused(t *transactions.Transaction, now time.Time, retention time.Duration) bool {
	switch t.State {
	case transactions.Empty, transactions.CompleteCommit, transactions.CompleteAbort:
		return !t.Updated.After(now.Add(-retention))
	}
	return false
}

// answer is an Outcome that changes nothing.
func answer(t transactions.Transaction, err error) Outcome {
	return Outcome{Next: t, Err: err, Producer: id.NoProducer, Epoch: noEpoch}
}

// changed is an Outcome that changes the state of before into next.
func changed(before, next transactions.Transaction, now time.Time, err error) Outcome {
	next.Updated, next.Previous = now, before.Producer
	return Outcome{Next: next, Changed: true, Err: err, Producer: id.NoProducer, Epoch: noEpoch}
}

// known adds to the answer who the producer is.
func (o Outcome) known() Outcome {
	o.Producer, o.Epoch = o.Next.Producer, o.Next.Epoch
	return o
}
