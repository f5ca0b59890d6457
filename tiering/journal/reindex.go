package journal

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/forebaylog/forebay/infra/id"
)

// checkIndex opens the index and compares, for each segment, the fold of the
// entries that it holds with that of the segment. One that the index does not hold
// completely is added; anything that contradicts a segment has it rebuilt.
func (r *recovery) checkIndex(ctx context.Context) error {
	x, err := openIndex(r.j.cfg.IndexDir, r.j.cfg.Cluster, r.j.cfg.Logger)
	if x == nil {
		return err
	}
	r.j.index = x
	var missing []*segment
	if err == nil {
		missing, err = r.compare()
	}
	if errors.Is(err, errIndex) {
		r.IndexRebuilt, r.IndexReason = true, err.Error()
		r.j.cfg.Logger.Warn("rebuilding the index of the hot segments", "reason", err)
		r.j.stats.indexRebuilds.Add(1)
		missing, err = r.segments(), x.reset()
	}
	if err != nil {
		return err
	}
	for _, s := range missing {
		if err := r.addToIndex(ctx, s); err != nil {
			return err
		}
	}
	for _, c := range r.found {
		c.indexed = true
	}
	return nil
}

func (r *recovery) segments() []*segment {
	all := make([]*segment, len(r.found))
	for i, c := range r.found {
		all[i] = c.segment
	}
	return all
}

// compare returns the segments to add, after it has removed what the index holds of
// them and of segments that are gone. An error that matches errIndex asks for a rebuild.
func (r *recovery) compare() ([]*segment, error) {
	held, marked, err := r.j.index.tallies()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errIndex, err)
	}
	var missing []*segment
	stale := false
	for _, c := range r.found {
		want := tally{c.fold, c.entries}
		mark, isMarked := marked[c.id]
		got, isHeld := held[c.id]
		delete(held, c.id)
		delete(marked, c.id)
		switch {
		case isMarked && mark == want && got == want:
		case isMarked && mark == want:
			return nil, fmt.Errorf("it holds %d of %d batches of segment %s: %w", got.entries, want.entries, c.id, errIndex)
		default:
			missing = append(missing, c.segment)
			stale = stale || isHeld || isMarked
		}
	}
	if !stale && len(held) == 0 && len(marked) == 0 {
		return missing, nil
	}
	complete := map[id.Segment]bool{}
	for _, c := range r.found {
		complete[c.id] = !slices.Contains(missing, c.segment)
	}
	if err := r.j.index.forget(func(s id.Segment) bool { return !complete[s] }); err != nil {
		return nil, fmt.Errorf("%w: %w", errIndex, err)
	}
	return missing, nil
}

// addToIndex adds all of a segment, which it scans unless that was done.
func (r *recovery) addToIndex(ctx context.Context, s *segment) error {
	entries, ok := r.scans[s]
	if !ok {
		r.Scanned++
		scan, err := scanSegment(ctx, s, s.size)
		if err != nil {
			return err
		}
		entries = scan.entries
		for _, g := range scan.gaps {
			r.corrupt(s, g.from, g.to-g.from, g.describe())
		}
	}
	keys, err := r.j.index.addSegment(s, entries)
	r.j.stats.indexKeys.Add(int64(keys))
	return err
}

// addSegment adds all good entries of a segment and a marker. If there are fewer than
// its footer says, the marker differs from it and the segment is scanned, and its
// damage reported, at every start.
func (x *index) addSegment(s *segment, entries []located) (keys int, err error) {
	if err := x.update(func(w *badger.WriteBatch) error {
		keys, err = putLocated(w, entries)
		return err
	}); err != nil {
		return keys, fmt.Errorf("index segment %s: %w", s.path, err)
	}
	var held tally
	for _, e := range entries {
		held = tally{held.fold ^ e.Entry.Hash(e.p), held.entries + 1}
	}
	return keys, x.putMarker(s.id, held)
}

// putLocated writes the entries of many partitions, each in order.
func putLocated(w *badger.WriteBatch, entries []located) (keys int, err error) {
	byPartition := map[id.Partition][]Entry{}
	for _, e := range entries {
		byPartition[e.p] = append(byPartition[e.p], e.Entry)
	}
	for p, list := range byPartition {
		n, err := putRuns(w, p, list)
		keys += n
		if err != nil {
			return keys, err
		}
	}
	return keys, nil
}

// rebuildIndex makes the index anew from the segments while the journal is open.
// File reads wait for it. tend is held.
func (j *Journal) rebuildIndex(reason error) error {
	j.reindexing.Lock()
	defer j.reindexing.Unlock()
	j.cfg.Logger.Warn("rebuilding the index of the hot segments", "reason", reason)
	j.stats.indexRebuilds.Add(1)
	if err := j.index.reset(); err != nil {
		return err
	}
	j.mu.RLock()
	segments := slices.Clone(j.segments)
	j.mu.RUnlock()
	for _, s := range segments {
		if err := j.reindex(s); err != nil {
			return fmt.Errorf("rebuild index: %w", err)
		}
	}
	return nil
}

// reindex adds what is durable of a segment and not waiting in memory to be indexed.
func (j *Journal) reindex(s *segment) error {
	j.mu.RLock()
	size := s.size
	if !s.rolled {
		size = min(size, headerSize)
		if j.durable.Segment == s.id {
			size = j.durable.Offset
		}
	}
	memory := map[id.Partition]id.Offset{}
	for _, x := range s.extents {
		memory[x.p] = j.firstUnindexed(x.p)
	}
	complete := s.rolled && s.indexed
	j.mu.RUnlock()

	scan, err := scanSegment(context.Background(), s, size)
	if err != nil {
		return err
	}
	entries := slices.DeleteFunc(scan.entries, func(e located) bool { return e.Base >= memory[e.p] })
	if complete {
		j.noteDamage(s, scan)
		_, err = j.index.addSegment(s, entries)
		return err
	}
	return j.index.update(func(w *badger.WriteBatch) error {
		_, err := putLocated(w, entries)
		return err
	})
}

// firstUnindexed is where the entries begin that memory alone knows. mu is held.
func (j *Journal) firstUnindexed(p id.Partition) id.Offset {
	t := j.parts[p]
	if t == nil || int(t.indexed) >= len(t.entries) {
		return math.MaxInt64
	}
	return t.entries[t.indexed].base
}

// noteDamage records what a scan could not read, so that reads there name it.
func (j *Journal) noteDamage(s *segment, scan *scanned) {
	if len(scan.gaps) == 0 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	s.damage = nil
	for _, g := range scan.gaps {
		d := Damage{Segment: s.id, Path: s.path, Position: g.from, Length: g.to - g.from, What: g.describe()}
		s.damage = append(s.damage, d)
		j.cfg.Logger.Error("hot segment is damaged", "segment", d.Path, "position", d.Position, "bytes", d.Length, "what", d.What)
	}
}
