package journal

import (
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/forebaylog/forebay/infra/id"
)

const (
	// maxPending is how many entries wait in memory before those of the active segment
	// are written to the index too; else a segment is indexed when it is rolled.
	maxPending = 64 << 10
	// indexRetry is the pause after a failed write of the index.
	indexRetry = time.Second
)

// tendLoop rolls segments of age and writes the index.
func (j *Journal) tendLoop() {
	defer j.loops.Done()
	timer := time.NewTimer(j.cfg.SegmentAge)
	defer timer.Stop()
	for {
		select {
		case <-j.done:
			return
		case <-timer.C:
		case <-j.wantTend:
		}
		wait := j.rollAged()
		if err := j.tendIndex(); err != nil {
			j.cfg.Logger.Warn("writing the index failed; entries stay in memory", "error", err)
			wait = min(wait, indexRetry)
		}
		timer.Reset(wait)
	}
}

// rollAged rolls the active segment if it is old enough and returns when to look again.
func (j *Journal) rollAged() time.Duration {
	j.mu.RLock()
	wait := j.cfg.SegmentAge
	if a := j.active; a != nil && a.entries > 0 {
		wait = time.Duration(a.opened) + j.cfg.SegmentAge - time.Since(j.start)
	}
	j.mu.RUnlock()
	if wait > 0 {
		return wait
	}
	if err := j.Roll(); err != nil && !errors.Is(err, ErrFailed) && !errors.Is(err, ErrClosed) {
		j.cfg.Logger.Error("rolling an old segment failed", "error", err)
	}
	return j.cfg.SegmentAge
}

func (j *Journal) tendIndex() error {
	j.tend.Lock()
	defer j.tend.Unlock()
	return j.indexRolled()
}

// indexRolled writes what is durable and not yet in the index: all rolled segments,
// and of the active one if there is much. tend is held.
func (j *Journal) indexRolled() error {
	j.mu.RLock()
	var todo []*segment
	for _, s := range j.segments {
		if s.rolled && !s.indexed || s == j.active && j.pending > maxPending {
			todo = append(todo, s)
		}
	}
	j.mu.RUnlock()
	for _, s := range todo {
		if err := j.reserve(); err != nil {
			return err
		}
		err := j.indexSegment(s)
		if errors.Is(err, errIndex) {
			err = j.rebuildIndex(err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// indexed is how many entries of a partition went to the index.
type indexed struct {
	t *part
	n int32
}

// indexSegment moves the durable entries of a segment from memory to the index. tend is held.
func (j *Journal) indexSegment(s *segment) error {
	j.mu.RLock()
	parts := make([]id.Partition, len(s.extents))
	for i, x := range s.extents {
		parts[i] = x.p
	}
	complete, sum := s.rolled, tally{s.fold, s.entries}
	j.mu.RUnlock()

	var moved []indexed
	var buf []Entry
	err := j.index.update(func(w *badger.WriteBatch) error {
		for _, p := range parts {
			t, entries := j.unindexed(buf[:0], p, s)
			buf = entries
			if len(entries) == 0 {
				continue
			}
			keys, err := putRuns(w, p, entries)
			if err != nil {
				return err
			}
			j.stats.indexKeys.Add(int64(keys))
			moved = append(moved, indexed{t, int32(len(entries))})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index segment %s: %w", s.path, err)
	}
	if complete {
		if err := j.index.putMarker(s.id, sum); err != nil {
			return fmt.Errorf("index segment %s: %w", s.path, err)
		}
	}
	j.settle(moved)
	j.mu.Lock()
	defer j.mu.Unlock()
	s.indexed = complete
	return nil
}

// unindexed appends to dst the durable entries of p in s that the index does not hold.
func (j *Journal) unindexed(dst []Entry, p id.Partition, s *segment) (*part, []Entry) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	t := j.parts[p]
	if t == nil {
		return nil, dst
	}
	for i := int(t.indexed); i < len(t.entries); i++ {
		e := &t.entries[i]
		if e.seg != s || (Position{s.id, int64(e.pos)}).Compare(j.durable) >= 0 {
			break
		}
		dst = append(dst, e.entry())
	}
	return t, dst
}

// settle forgets entries that are in the index, a few at a time so that appends do not wait long.
func (j *Journal) settle(moved []indexed) {
	const step = 256
	for len(moved) > 0 {
		n := min(step, len(moved))
		j.mu.Lock()
		for _, m := range moved[:n] {
			m.t.indexed += m.n
			j.pending -= int(m.n)
			j.trim(m.t)
		}
		j.mu.Unlock()
		moved = moved[n:]
	}
}

// Drop removes a rolled segment: what it holds must be sealed or unwanted. Reads
// that have begun finish. The removal of the file is the commit point; a crash after
// it leaves entries in the index, which the next Open removes.
func (j *Journal) Drop(seg id.Segment) error {
	j.tend.Lock()
	defer j.tend.Unlock()
	s, err := j.droppable(seg)
	if err != nil {
		return fmt.Errorf("drop segment %s: %w", seg, err)
	}
	if s == nil {
		return nil
	}
	if !s.indexed { // so that its entries in memory need nothing any more
		if err := j.indexSegment(s); err != nil {
			return fmt.Errorf("drop segment %s: %w", seg, err)
		}
	}
	if err := j.cfg.FS.Remove(s.path); err != nil {
		return fmt.Errorf("drop segment: %w", err)
	}
	j.unlist(s)
	errs := []error{s.release()}
	if err := j.cfg.FS.SyncDir(j.cfg.Dir); err != nil {
		errs = append(errs, fmt.Errorf("sync directory %s: %w", j.cfg.Dir, err))
	}
	if err := j.index.drop(s.id, s.extents); err != nil {
		j.cfg.Logger.Warn("the index keeps entries of a dropped segment until the next start", "segment", s.path, "error", err)
	}
	return errors.Join(errs...)
}

// droppable returns the segment, or nil if there is none of that number.
func (j *Journal) droppable(seg id.Segment) (*segment, error) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	if j.closed {
		return nil, ErrClosed
	}
	for _, s := range j.segments {
		if s.id != seg {
			continue
		}
		if !s.rolled {
			return nil, ErrActive
		}
		return s, nil
	}
	return nil, nil
}

// unlist takes the segment off the list and moves the starts of its partitions.
func (j *Journal) unlist(s *segment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	kept := make([]*segment, 0, len(j.segments))
	for _, o := range j.segments {
		if o != s {
			kept = append(kept, o)
		}
	}
	j.segments = kept
	for _, x := range s.extents {
		t := j.parts[x.p]
		if t == nil || t.start < x.First {
			continue // a hole in the middle: reads there find no entry
		}
		t.start = max(t.start, x.Next)
		j.trim(t)
	}
}
