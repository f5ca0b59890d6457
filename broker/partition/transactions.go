package partition

import (
	"fmt"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/seeded"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/producers"
)

// A transaction must not begin here without its coordinator's knowledge: no marker would
// ever end it (KIP-890). So the first batch of a transaction on the partition is appended
// only with a guard that the log handed out before the coordinator was asked and that no
// marker of the producer has taken back since. Once the transaction is open its batches go
// straight in: the coordinator knows of the partition until it ends with a marker.

// Guard allows the first batch of a transaction. The zero Guard allows none.
type Guard struct {
	of *verification
	by *Log // that handed it out
}

// verification is a producer's first batch on its way to the coordinator and back.
type verification struct {
	lowest  int32 // of the sequences that were to be verified in epoch; a higher one would leave a gap
	epoch   int16
	v2      bool // the producer's epoch rises with each transaction, so that each begins at sequence 0
	started time.Time
}

// note takes in a further batch to be verified, which may be an earlier one that failed and is sent again.
func (v *verification) note(b batch.View) {
	if e := b.ProducerEpoch(); e > v.epoch {
		v.epoch, v.lowest = e, b.BaseSequence()
	} else if e == v.epoch {
		v.lowest = min(v.lowest, b.BaseSequence())
	}
}

// Verify returns the Guard for a transactional batch. needed is false if the batch can be
// appended without its coordinator being asked: its transaction is open here, or the batch was
// appended already. v2 tells that the client is of transaction version 2 or above.
func (l *Log) Verify(v batch.View, now time.Time, v2 bool) (g Guard, needed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := v.ProducerID()
	if l.producers.Open(p, v.ProducerEpoch()) || l.producers.Repeats(v) {
		return Guard{}, false
	}
	of := l.verifying[p]
	if of == nil {
		of = &verification{lowest: v.BaseSequence(), epoch: v.ProducerEpoch(), started: now}
		if l.verifying == nil {
			l.verifying = map[id.Producer]*verification{}
		}
		l.verifying[p] = of
	}
	of.v2 = v2
	of.note(v)
	return Guard{of, l}, true
}

// checkTransaction refuses a transactional batch whose transaction is neither open here nor
// verified, and one that would leave out what is still to be verified.
func (l *Log) checkTransaction(v batch.View, g Guard) error {
	p := v.ProducerID()
	if l.producers.Open(p, v.ProducerEpoch()) {
		return nil
	}
	if g.by != nil && g.by != l { // the partition was led elsewhere meanwhile
		return fmt.Errorf("producer %d was verified for the log before: %w", p, ErrClosed)
	}
	of := l.verifying[p]
	if of == nil || of != g.of {
		return fmt.Errorf("producer %d: %w", p, ErrTransaction)
	}
	if first := v.BaseSequence(); first > of.lowest || of.v2 && first != 0 && !l.producers.Knows(p) {
		return fmt.Errorf("producer %d begins its transaction at sequence %d, %d comes first: %w", p, first, of.lowest, producers.ErrOutOfOrder)
	}
	return nil
}

// Marker ends a producer's transaction.
type Marker struct {
	batch.Marker
	Producer id.Producer
	Epoch    int16
	// V2 says that the coordinator raised the producer's epoch to end the transaction (KIP-890).
	V2   bool
	Now  time.Time
	Done func(error) // as in Append, with AcksAll
}

// AppendMarker appends the control batch that ends a producer's transaction, whether or not
// it has one here: a coordinator that repeats itself does no harm. It fails as Append does, with
// producers.ErrFenced for a producer epoch of the past, and with producers.ErrCoordinatorFenced.
func (l *Log) AppendMarker(m Marker) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	m.CoordinatorEpoch = max(m.CoordinatorEpoch, 0) // -1 is what a producer without markers has
	err := l.writable()
	if err == nil {
		err = l.producers.CheckMarker(m.Producer, m.Epoch, m.CoordinatorEpoch, m.V2, m.Now)
	}
	if err == nil {
		v := batch.NewMarker(m.Marker, m.Producer, m.Epoch, m.Now.UnixMilli())
		err = l.hand(v, AcksAll, nil, m.Done)
	}
	if err != nil {
		return fmt.Errorf("append a marker to %s: %w", l.id, err)
	}
	return nil
}

// ended is a transaction whose marker is not known to be committed yet: until then it holds
// the last stable offset back, as if it were open.
type ended struct {
	first  id.Offset
	marker id.Offset
}

// stable is the last stable offset.
func (l *Log) stable() id.Offset {
	stable := l.committed
	if seeded.Enabled(seeded.LastStable) {
		return stable
	}
	if open, ok := l.producers.FirstOpen(); ok {
		stable = min(stable, open)
	}
	for _, e := range l.ending {
		stable = min(stable, e.first)
	}
	return max(stable, l.start) // what is below was deleted
}

// settleEnded forgets the ended transactions whose markers are committed.
func (l *Log) settleEnded() {
	n := 0
	for n < len(l.ending) && l.ending[n].marker < l.committed {
		n++
	}
	if l.ending = l.ending[n:]; len(l.ending) == 0 {
		l.ending = nil
	}
}

// expireVerifications forgets the verifications that came to nothing.
func (l *Log) expireVerifications(now time.Time, after time.Duration) {
	for p, of := range l.verifying {
		if now.Sub(of.started) > after {
			delete(l.verifying, p)
		}
	}
}
