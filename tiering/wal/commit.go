package wal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/seeded"
	"github.com/forebaylog/forebay/infra/slotlog"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
)

// maxPerSlot is how many objects one slot commits: those that are stored by the time
// that the slot before is taken.
const maxPerSlot = 32

// writeRuns writes a chunk as runs, one for each partition in the order of their first batch.
func writeRuns(w *pack.Writer, c Chunk) error {
	order := make([]id.Partition, 0, 16)
	runs := make(map[id.Partition][]batch.View, 16)
	for p, v := range c.Batches() {
		if _, ok := runs[p]; !ok {
			order = append(order, p)
		}
		runs[p] = append(runs[p], v)
	}
	for _, p := range order {
		if err := w.BeginRun(p); err != nil {
			return err
		}
		var table producers.Table
		var aborted []pack.AbortedTxn
		for _, v := range runs[p] {
			if err := w.Append(v); err != nil {
				return err
			}
			if txn, ok := table.Apply(v); ok {
				aborted = append(aborted, txn)
			}
		}
		if err := w.EndRun(table.Snapshot(), aborted); err != nil {
			return err
		}
	}
	_, err := w.Close()
	return err
}

// commitLoop commits what is stored, in order, until the stream ends.
func (s *Stream) commitLoop() {
	for {
		batch := s.stored()
		if len(batch) > 0 {
			if err := s.commit(batch); err != nil {
				s.mu.Lock()
				s.failed = err
				s.mu.Unlock()
			}
			continue
		}
		select {
		case <-s.progress:
		case <-s.life.Done():
			s.abandon()
			return
		}
	}
}

// stored takes the uploads at the head of the queue that are stored, or have failed. After
// a failure it takes those that follow too: none of them may be committed.
func (s *Stream) stored() []*upload {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.queue) && n < maxPerSlot && s.queue[n].stored && s.queue[n].err == nil && s.failed == nil {
		n++
	}
	if n == 0 && len(s.queue) > 0 && (s.failed != nil || s.queue[0].stored) {
		n = 1
	}
	batch := s.queue[:n:n]
	s.queue = s.queue[n:]
	return batch
}

// abandon fails what is queued at the end of the stream.
func (s *Stream) abandon() {
	s.mu.Lock()
	queue := s.queue
	s.queue = nil
	err := s.failed
	s.mu.Unlock()
	if err == nil {
		err = ErrClosed
	}
	for _, u := range queue {
		u.done(err)
	}
}

// commit takes one slot for uploads and answers them.
func (s *Stream) commit(uploads []*upload) error {
	s.mu.Lock()
	err, seq := s.failed, s.next
	s.mu.Unlock()
	if err == nil {
		err = uploads[0].err
	}
	if err == nil {
		err = s.takeSlot(seq, uploads)
	}
	if err == nil && !seeded.Enabled(seeded.Fencing) {
		if err = s.cfg.Await(s.life); err != nil {
			err = fmt.Errorf("acknowledge slot %d of session %s: %w", seq, s.cfg.Session, err)
		}
	}
	for _, u := range uploads {
		u.done(err)
	}
	return err
}

// takeSlot takes the slot, however long the table is away, unless another has it.
func (s *Stream) takeSlot(seq uint64, uploads []*upload) error {
	slot := Slot{}
	entries := make([]indexed, len(uploads))
	for i, u := range uploads {
		ref := ObjectRef{Name: u.name, Size: u.size}
		slot.Objects = append(slot.Objects, ref)
		entries[i] = indexed{seq: seq, ref: ref, tail: u.tail}
	}
	s.mu.Lock()
	slot.Index = s.latest.ready
	s.mu.Unlock()
	payload, err := slot.encode()
	if err != nil {
		return fmt.Errorf("commit WAL objects: %w", err)
	}
	began := s.cfg.Now()
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		ctx, cancel := context.WithTimeout(s.life, settleTime)
		err = s.cfg.Slots.AppendOwned(ctx, seq, payload)
		cancel()
		if err == nil || errors.Is(err, slotlog.ErrTaken) && s.ours(seq, payload) {
			s.committed(seq, entries, slot.Index, began)
			return nil
		}
		if errors.Is(err, slotlog.ErrTaken) {
			return fmt.Errorf("%w: session %s: %w", ErrFenced, s.cfg.Session, err)
		}
		if s.life.Err() != nil {
			return fmt.Errorf("commit WAL objects: %w", err)
		}
		if s.count(func(st *StreamStats) { st.SlotRetries++ }).SlotRetries == 1 || wait >= maxBackoff {
			s.cfg.Logger.Warn("cannot take a slot, trying again", "slot", seq, "session", string(s.cfg.Session), "error", err)
		}
		pause(s.life, wait)
	}
}

// settleTime bounds one attempt to take a slot, with all its looks for the outcome.
const settleTime = 10 * time.Second

// ours reports whether the slot holds what this stream tried to put into it: an attempt
// whose outcome stayed unknown may have been applied after all.
func (s *Stream) ours(seq uint64, payload []byte) bool {
	ctx, cancel := context.WithTimeout(s.life, settleTime)
	defer cancel()
	slots, err := s.cfg.Slots.Read(ctx, seq, 1)
	return err == nil && len(slots) == 1 && slots[0].Seq == seq && string(slots[0].Payload) == string(payload)
}

// committed takes note of a slot.
func (s *Stream) committed(seq uint64, entries []indexed, index *ObjectRef, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	s.next = seq + 1
	s.kept = append(s.kept, entries...)
	for _, e := range entries {
		s.keptTail += int64(len(e.tail))
	}
	s.stats.Slots++
	s.stats.CommitTime += now.Sub(began)
	s.cfg.OnSlot(now.Sub(began))
	s.stats.LastSlotTime = now
	s.noteIndex(index, len(entries))
}
