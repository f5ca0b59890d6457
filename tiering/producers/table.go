package producers

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/seeded"
	"github.com/forebaylog/forebay/tiering/batch"
)

// none is the offset of no open transaction, and the epoch of no coordinator.
const none = -1

// Table is the state of one partition's producers. The zero value is an empty table and holds no memory.
type Table struct {
	producers map[id.Producer]*state
	open      []openTxn // in the order of first
	clock     int64     // the latest now of Check or Expire, in milliseconds since 1970
}

type openTxn struct {
	first    id.Offset
	producer id.Producer
}

// state is State without its slice: a ring of the last batches.
type state struct {
	epoch            int16
	next, held       uint8 // of ring: where the next batch goes, how many there are
	coordinatorEpoch int32
	lastTimestamp    int64
	lastSeen         int64
	txnStart         id.Offset
	ring             [Window]Batch
}

func (s *state) add(b Batch) {
	s.ring[s.next] = b
	s.next = (s.next + 1) % Window
	s.held = min(s.held+1, Window)
}

// at returns the i-th remembered batch, from the latest one back.
func (s *state) at(i uint8) *Batch { return &s.ring[(s.next+Window-1-i)%Window] }

// setEpoch moves to another epoch, whose sequences begin anew.
func (s *state) setEpoch(e int16) {
	if e != s.epoch {
		s.epoch, s.next, s.held = e, 0, 0
	}
}

// Check tells what is to be done with a batch that passed batch.ValidateProduce:
// append it, or, if Duplicate, answer with the first append's result. It changes
// nothing but the table's clock. Errors: ErrOutOfOrder, ErrFenced, ErrInvalidState.
func (t *Table) Check(v batch.View, now time.Time) (Verdict, error) {
	t.tick(now)
	p := v.ProducerID()
	s := t.producers[p]
	if p == id.NoProducer || s == nil || seeded.Enabled(seeded.Dedup) {
		return Verdict{}, nil
	}
	if dup := s.find(v); dup != nil {
		return Verdict{Duplicate: true, Base: dup.Base, Timestamp: dup.Timestamp}, nil
	}
	if e := v.ProducerEpoch(); e < s.epoch {
		return Verdict{}, fmt.Errorf("check batch of producer %d: epoch %d, the current one is %d: %w", p, e, s.epoch, ErrFenced)
	}
	if want := s.nextSequence(v.ProducerEpoch()); v.BaseSequence() != want {
		return Verdict{}, fmt.Errorf("check batch of producer %d epoch %d: sequence %d, want %d: %w", p, v.ProducerEpoch(), v.BaseSequence(), want, ErrOutOfOrder)
	}
	if s.txnStart != none && !v.IsTransactional() {
		return Verdict{}, fmt.Errorf("check batch of producer %d: not transactional, but its transaction from offset %d is open: %w", p, s.txnStart, ErrInvalidState)
	}
	return Verdict{}, nil
}

// CheckMarker tells whether a marker of the producer's epoch may be appended. With v2 the
// coordinator raises the epoch for each transaction that it ends (KIP-890), so that a marker of the
// current epoch is late: unless no transaction is open, when it repeats the one that
// has ended it and does no harm. It changes nothing but the table's clock. Errors:
// ErrFenced, ErrCoordinatorFenced.
func (t *Table) CheckMarker(p id.Producer, epoch int16, coordinatorEpoch int32, v2 bool, now time.Time) error {
	t.tick(now)
	s := t.producers[p]
	if s == nil {
		return nil
	}
	if epoch < s.epoch || v2 && epoch == s.epoch && s.txnStart != none {
		return fmt.Errorf("check marker of producer %d: epoch %d, the current one is %d: %w", p, epoch, s.epoch, ErrFenced)
	}
	if coordinatorEpoch < s.coordinatorEpoch {
		return fmt.Errorf("check marker of producer %d: coordinator epoch %d, the last one was %d: %w", p, coordinatorEpoch, s.coordinatorEpoch, ErrCoordinatorFenced)
	}
	return nil
}

// Repeats reports whether a batch is one that was appended already, as Check's Verdict does.
func (t *Table) Repeats(v batch.View) bool {
	s := t.producers[v.ProducerID()]
	return s != nil && s.find(v) != nil
}

// Knows reports whether there is a state of p.
func (t *Table) Knows(p id.Producer) bool { return t.producers[p] != nil }

// Open reports whether p has an open transaction in epoch.
func (t *Table) Open(p id.Producer, epoch int16) bool {
	s := t.producers[p]
	return s != nil && s.epoch == epoch && s.txnStart != none
}

// TxnStart returns where the open transaction of p began, in whichever epoch.
func (t *Table) TxnStart(p id.Producer) (id.Offset, bool) {
	s := t.producers[p]
	if s == nil || s.txnStart == none {
		return 0, false
	}
	return s.txnStart, true
}

// find returns the remembered batch that v repeats.
func (s *state) find(v batch.View) *Batch {
	if v.ProducerEpoch() != s.epoch {
		return nil
	}
	for i := range s.held {
		if b := s.at(i); b.FirstSequence == v.BaseSequence() && b.LastSequence == v.LastSequence() {
			return b
		}
	}
	return nil
}

// nextSequence is the sequence that a batch of the epoch has to begin with.
func (s *state) nextSequence(epoch int16) int32 {
	if epoch != s.epoch || s.held == 0 {
		return 0
	}
	return (s.at(0).LastSequence + 1) & math.MaxInt32
}

// Apply takes note of a stamped batch that was appended. It must be given each
// batch once, in order, markers included; what is in the log is never refused. ok
// tells that v is an abort marker that ended a transaction.
func (t *Table) Apply(v batch.View) (aborted AbortedTxn, ok bool) {
	if v.ProducerID() == id.NoProducer {
		return aborted, false
	}
	if v.IsControl() {
		return t.applyMarker(v)
	}
	s := t.of(v)
	s.add(Batch{
		FirstSequence: v.BaseSequence(), LastSequence: v.LastSequence(),
		Base: v.BaseOffset(), Last: v.LastOffset(), Timestamp: v.MaxTimestamp(),
	})
	if v.IsTransactional() && s.txnStart == none {
		s.txnStart = v.BaseOffset()
		t.open = append(t.open, openTxn{first: s.txnStart, producer: v.ProducerID()})
	}
	return aborted, false
}

func (t *Table) applyMarker(v batch.View) (aborted AbortedTxn, ok bool) {
	m, known, err := batch.ParseMarker(v)
	if err != nil || !known {
		return aborted, false
	}
	s := t.of(v)
	s.coordinatorEpoch = m.CoordinatorEpoch
	first := s.txnStart
	if first == none {
		return aborted, false
	}
	s.txnStart = none
	t.open = slices.DeleteFunc(t.open, func(o openTxn) bool { return o.producer == v.ProducerID() })
	if m.Commit {
		return aborted, false
	}
	stable := v.NextOffset()
	if open, found := t.FirstOpen(); found {
		stable = open
	}
	return AbortedTxn{Producer: v.ProducerID(), First: first, Last: v.LastOffset(), Stable: stable}, true
}

// of returns the state of v's producer in v's epoch, touched.
func (t *Table) of(v batch.View) *state {
	s := t.touch(v.ProducerID(), v.ProducerEpoch())
	s.lastTimestamp = v.MaxTimestamp()
	return s
}

// touch returns the state of p in an epoch, seen now.
func (t *Table) touch(p id.Producer, epoch int16) *state {
	s := t.producers[p]
	if s == nil {
		if t.producers == nil {
			t.producers = make(map[id.Producer]*state)
		}
		s = &state{epoch: epoch, coordinatorEpoch: none, txnStart: none}
		t.producers[p] = s
	}
	s.setEpoch(epoch)
	s.lastSeen = t.clock
	return s
}

// Expire forgets producers whose last append is longer ago than after, but none
// with an open transaction. Appends are timed by the table's clock and not by their
// records, which may tell of times long past. An append that was replayed before
// the table was given a clock counts from the first Expire.
func (t *Table) Expire(now time.Time, after time.Duration) {
	t.tick(now)
	oldest := now.Add(-after).UnixMilli()
	for p, s := range t.producers {
		if s.lastSeen == 0 {
			s.lastSeen = now.UnixMilli()
		}
		if s.txnStart == none && s.lastSeen < oldest {
			delete(t.producers, p)
		}
	}
	if len(t.producers) == 0 {
		t.producers = nil
	}
}

func (t *Table) tick(now time.Time) { t.clock = max(t.clock, now.UnixMilli()) }

// FirstOpen returns the first offset of the oldest open transaction. The last
// stable offset is the lower of it and the high watermark.
func (t *Table) FirstOpen() (id.Offset, bool) {
	if len(t.open) == 0 {
		return 0, false
	}
	return t.open[0].first, true
}

// Len is the number of producers known.
func (t *Table) Len() int { return len(t.producers) }

// Snapshot returns all states, ordered by producer. They share nothing with the table.
func (t *Table) Snapshot() []State { return t.states(Window) }

// Active returns what DescribeProducers tells: all states, each with its latest batch only.
func (t *Table) Active() []State { return t.states(1) }

func (t *Table) states(batches uint8) []State {
	if len(t.producers) == 0 {
		return nil
	}
	out := make([]State, 0, len(t.producers))
	for p, s := range t.producers {
		st := State{
			Producer: p, Epoch: s.epoch, CoordinatorEpoch: s.coordinatorEpoch,
			LastTimestamp: s.lastTimestamp, LastSeen: s.lastSeen, TxnStart: s.txnStart,
		}
		for i := min(s.held, batches); i > 0; i-- {
			st.Batches = append(st.Batches, *s.at(i - 1))
		}
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b State) int { return cmp.Compare(a.Producer, b.Producer) })
	return out
}

// Restore replaces the table's content by a snapshot. It keeps nothing of states.
func (t *Table) Restore(states []State) {
	*t = Table{clock: t.clock}
	if len(states) > 0 {
		t.producers = make(map[id.Producer]*state, len(states))
	}
	for _, st := range states {
		s := &state{
			epoch: st.Epoch, coordinatorEpoch: st.CoordinatorEpoch,
			lastTimestamp: st.LastTimestamp, lastSeen: st.LastSeen, txnStart: st.TxnStart,
		}
		for _, b := range st.Batches {
			s.add(b)
		}
		t.producers[st.Producer] = s
		if s.txnStart != none {
			t.open = append(t.open, openTxn{first: s.txnStart, producer: st.Producer})
		}
	}
	slices.SortFunc(t.open, func(a, b openTxn) int { return cmp.Compare(a.first, b.first) })
}
