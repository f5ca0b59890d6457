package wal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/seeded"
	"github.com/forebaylog/forebay/infra/slotlog"
	"github.com/forebaylog/forebay/infra/tracing"
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
		var delta producers.Delta
		for _, v := range runs[p] {
			if err := w.Append(v); err != nil {
				return err
			}
			delta.Apply(v)
		}
		if err := w.EndRun(delta.States(), delta.Aborted()); err != nil {
			return err
		}
	}
	_, err := w.Close()
	return err
}

// commitLoop commits what is stored, in order, until the stream is closed or a commit fails.
func (s *Stream) commitLoop() {
	for {
		if uploads := s.stored(); len(uploads) > 0 {
			if err := s.commit(uploads); err != nil {
				s.abandon(err)
				return
			}
			continue
		}
		select {
		case <-s.progress:
		case <-s.life.Done():
			s.abandon(ErrClosed)
			return
		}
	}
}

// stored takes from the head of the queue the uploads that are stored, or one that has failed.
func (s *Stream) stored() []*upload {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for n < len(s.queue) && n < maxPerSlot && s.queue[n].stored && s.queue[n].err == nil {
		n++
	}
	if n == 0 && len(s.queue) > 0 && s.queue[0].stored {
		n = 1
	}
	uploads := s.queue[:n:n]
	s.queue = s.queue[n:]
	return uploads
}

// abandon ends the stream: nothing that is queued may be committed any more. Only when all
// of that is answered does Commit answer by itself, so that the answers stay in order.
func (s *Stream) abandon(err error) {
	s.end()
	for {
		s.mu.Lock()
		queue := s.queue
		s.queue = nil
		if len(queue) == 0 {
			s.ended = err
		}
		s.mu.Unlock()
		if len(queue) == 0 {
			return
		}
		for _, u := range queue {
			u.done(err)
		}
	}
}

// commit takes one slot for uploads and answers them.
func (s *Stream) commit(uploads []*upload) error {
	err := uploads[0].err
	if err == nil {
		err = s.takeSlot(uploads)
	}
	if err == nil && !seeded.Enabled(seeded.Fencing) {
		if err = s.cfg.Await(s.life); err != nil {
			err = fmt.Errorf("acknowledge slot %d of session %s: %w", s.Through(), s.cfg.Session, err)
		}
	}
	for _, u := range uploads {
		u.done(err)
	}
	return err
}

// takeSlot takes the next slot, however long the table is away, unless another has it.
func (s *Stream) takeSlot(uploads []*upload) error {
	seq, slot := s.Through()+1, Slot{}
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
	_, span := s.cfg.Tracer.Batch(s.life, spanSlot, began, spansOf(uploads))
	err = s.retry(func() error { return s.trySlot(seq, payload) }, func(err error, loud bool) {
		s.count(func(st *StreamStats) { st.SlotRetries++ })
		if loud {
			s.cfg.Logger.Warn("cannot take a slot, trying again", "slot", seq, "session", string(s.cfg.Session), "error", err)
		}
	})
	span.End(err)
	if err == nil {
		s.committed(seq, entries, slot.Index, began)
	} else if !errors.Is(err, ErrFenced) {
		err = fmt.Errorf("commit WAL objects: %w: %w", ErrClosed, err)
	}
	return err
}

func spansOf(uploads []*upload) iter.Seq[*tracing.Span] {
	return func(yield func(*tracing.Span) bool) {
		for _, u := range uploads {
			if !yield(u.span) {
				return
			}
		}
	}
}

// settleTime bounds one attempt to take a slot, with all its looks for the outcome.
const settleTime = 10 * time.Second

// trySlot takes the slot or finds that this stream has it already: an attempt whose outcome
// stayed unknown may have been applied after all. It fails with ErrFenced when another has it.
func (s *Stream) trySlot(seq uint64, payload []byte) error {
	ctx, cancel := context.WithTimeout(s.life, settleTime)
	defer cancel()
	taken := s.cfg.Slots.AppendOwned(ctx, seq, payload)
	if !errors.Is(taken, slotlog.ErrTaken) {
		return taken
	}
	slots, err := s.cfg.Slots.Read(ctx, seq, 1)
	switch {
	case err == nil && len(slots) == 1 && slots[0].Seq == seq && bytes.Equal(slots[0].Payload, payload):
		return nil
	case err != nil && !errors.Is(err, slotlog.ErrTruncated):
		return err
	}
	return fmt.Errorf("%w: session %s: %w", ErrFenced, s.cfg.Session, taken)
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
	s.noteIndex(seq, index, len(entries))
}
