package partition

import (
	"fmt"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/seeded"
	"github.com/forebaylog/forebay/infra/tracing"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/producers"
)

// Acks says when an append is answered.
type Acks int16

// The values that Produce carries.
const (
	AcksNone   Acks = 0  // never
	AcksLeader Acks = 1  // once the hot segment has it, in the page cache
	AcksAll    Acks = -1 // once it is committed
)

// Append is one batch to be appended, with what to do when it is answered.
type Append struct {
	Batch batch.View // validated; the log owns its bytes from now on
	Acks  Acks
	Now   time.Time
	// LogAppendTime stamps the batch with Now (message.timestamp.type).
	LogAppendTime bool
	// Guard is that of Verify, for the first batch of a transaction.
	Guard Guard
	Span  *tracing.Span // what the batch is part of; nil: it is not traced
	// Done, if not nil, is called once, unless Append returns an error, when Acks is met
	// or can no longer be met. It may run before Append returns, must not block, and runs
	// on the group commit's goroutine otherwise.
	Done func(error)
}

// Appended tells where a batch went.
type Appended struct {
	Base      id.Offset
	Start     id.Offset // log start offset
	Timestamp int64     // ms: with LogAppendTime that of the append; of a Duplicate the newest of the batch that was there; else -1
	Duplicate bool      // the batch was there already, at Base
}

// Append gives the batch its offsets and hands it to the group commit.
//
// Commit point: the sink behind tiering/wal. A crash before it loses the batch,
// which was not acknowledged; a crash after it keeps the batch, and a producer
// that retries is answered from the producer table that recovery rebuilds.
//
// It fails with ErrClosed, ErrMoving, with the errors of producers.Table.Check, and with
// those of wal.Group.Append; nothing was appended then.
func (l *Log) Append(a Append) (Appended, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(); err != nil {
		return Appended{}, fmt.Errorf("append to %s: %w", l.id, err)
	}
	verdict, err := l.producers.Check(a.Batch, a.Now)
	if err == nil {
		err = l.checkFirst(a.Batch)
	}
	if err == nil && !verdict.Duplicate && a.Batch.IsTransactional() {
		err = l.checkTransaction(a.Batch, a.Guard)
	}
	if err != nil {
		return Appended{}, fmt.Errorf("append to %s: %w", l.id, err)
	}
	result := Appended{Base: l.next, Start: l.start, Timestamp: -1}
	if verdict.Duplicate {
		result.Base, result.Timestamp, result.Duplicate = verdict.Base, verdict.Timestamp, true
		l.answerDuplicate(a, verdict.Base)
		return result, nil
	}
	if a.LogAppendTime {
		result.Timestamp = a.Now.UnixMilli()
		a.Batch.SetLogAppendTime(result.Timestamp)
	}
	done := a.Done
	if seeded.Enabled(seeded.AckBeforeCommit) {
		done = nil
	}
	if err := l.hand(a.Batch, a.Acks, a.Span, done); err != nil {
		return Appended{}, fmt.Errorf("append to %s: %w", l.id, err)
	}
	if seeded.Enabled(seeded.AckBeforeCommit) && a.Done != nil {
		a.Done(nil)
	}
	return result, nil
}

// checkFirst refuses to begin the log in the middle of a producer's sequence, as Apache Kafka 4.5 does (KAFKA-15591): of
// batches that were on their way when the log was acquired, those before were refused, and could not be appended behind
// this one. Where records are or were, an unknown producer may be one whose state has expired, and goes on
// with any sequence (KIP-360).
func (l *Log) checkFirst(v batch.View) error {
	if l.next > 0 || v.ProducerID() == id.NoProducer || v.BaseSequence() == 0 {
		return nil
	}
	return fmt.Errorf("producer %d begins an empty log at sequence %d: %w", v.ProducerID(), v.BaseSequence(), producers.ErrOutOfOrder)
}

// writable fails if nothing can be appended now.
func (l *Log) writable() error {
	if l.closed {
		return ErrClosed
	}
	if l.frozen {
		return ErrMoving
	}
	return nil
}

// hand stamps a batch and hands it to the group commit.
func (l *Log) hand(v batch.View, acks Acks, span *tracing.Span, done func(error)) error {
	v.Stamp(l.next, l.epoch)
	w := &appendWaiter{log: l, next: v.NextOffset(), size: int64(v.Length()), early: acks != AcksAll, span: span, done: done}
	if err := l.tiers.WAL.Append(l.id, v, w); err != nil {
		return err
	}
	l.apply(v)
	if v.IsTransactional() { // it is verified and begun, or it has ended
		delete(l.verifying, v.ProducerID())
	}
	return nil
}

// apply folds an appended batch into the state that recovery also rebuilds.
func (l *Log) apply(v batch.View) {
	if v.IsControl() {
		if first, open := l.producers.TxnStart(v.ProducerID()); open {
			l.ending = append(l.ending, ended{first: first, marker: v.LastOffset()})
		}
	}
	if txn, ok := l.producers.Apply(v); ok {
		l.aborted.add(txn)
	}
	l.next = v.NextOffset()
	l.addEpoch(v.LeaderEpoch(), v.BaseOffset())
}

// answerDuplicate acknowledges a retried batch no sooner than its original.
func (l *Log) answerDuplicate(a Append, base id.Offset) {
	next := base + id.Offset(a.Batch.LastOffsetDelta()) + 1
	if a.Done == nil {
		return
	}
	if a.Acks != AcksAll || next <= l.committed {
		a.Done(nil)
		return
	}
	l.pending = append(l.pending, pendingDuplicate{next: next, done: a.Done})
}

// appendWaiter follows one batch through the group commit.
type appendWaiter struct {
	log   *Log
	next  id.Offset
	size  int64
	early bool // answer when written
	done  func(error)
	span  *tracing.Span
}

// Span is that of the Append.
func (w *appendWaiter) Span() *tracing.Span { return w.span }

// Written is called once the batch is in the hot segment's file.
func (w *appendWaiter) Written() {
	if w.early {
		w.answer(nil)
	}
}

// Committed is called once the batch is durable, or can no longer become so.
func (w *appendWaiter) Committed(err error) {
	w.log.advance(w.next, w.size, err)
	w.answer(err)
}

func (w *appendWaiter) answer(err error) {
	if w.done != nil {
		w.done(err)
		w.done = nil
	}
}

// advance raises the high watermark and wakes whoever waited for it. With an
// error the watermark stays, and the duplicates that waited get the error.
func (l *Log) advance(next id.Offset, size int64, err error) {
	l.mu.Lock()
	if err == nil {
		l.committed = next
		l.settleEnded()
		l.bytes += size
		if l.frozen && l.committed == l.next {
			close(l.drained)
		}
	}
	var ready []func(error)
	for len(l.pending) > 0 && (err != nil || l.pending[0].next <= next) {
		ready = append(ready, l.pending[0].done)
		l.pending = l.pending[1:]
	}
	if len(l.pending) == 0 {
		l.pending = nil
	}
	fired := l.waits.notify(size)
	if share := l.stabilized(size); share > 0 {
		fired = append(fired, l.stableWaits.notify(share)...)
	}
	l.mu.Unlock()

	for _, done := range ready {
		done(err)
	}
	for _, w := range fired {
		w.Fire()
	}
}
