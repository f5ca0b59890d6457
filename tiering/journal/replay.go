package journal

import (
	"context"
	"fmt"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

// Replay visits every batch that ends above from(p), in the order in which they were
// appended, with every byte checked; the view is valid until visit returns. Segments
// of which nothing is wanted are not read. Unreadable ranges are logged and passed
// over: reads there name them. It ends with the first error of visit, or ctx's.
// What is not written yet is not visited: Replay is for the start.
func (j *Journal) Replay(ctx context.Context, from func(id.Partition) id.Offset, visit func(id.Partition, Entry, batch.View) error) error {
	j.mu.RLock()
	segments := slices.Clone(j.segments)
	for _, s := range segments {
		s.acquire()
	}
	written := j.written
	j.mu.RUnlock()
	var err error
	for _, s := range segments {
		if err == nil {
			err = j.replaySegment(ctx, s, written, from, visit)
		}
		if cerr := s.release(); err == nil {
			err = cerr
		}
	}
	return err
}

func (j *Journal) replaySegment(ctx context.Context, s *segment, written Position, from func(id.Partition) id.Offset, visit func(id.Partition, Entry, batch.View) error) error {
	size, wanted := j.replayRange(s, written, from)
	if !wanted {
		return nil
	}
	found := &scanned{}
	sc := newScanner(s.file, s.header, size)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		f, g, err := sc.next()
		switch {
		case err != nil:
			return fmt.Errorf("replay %s: %w", s.path, err)
		case g != nil:
			found.gaps = append(found.gaps, *g)
			continue
		case f == nil:
			j.noteDamage(s, found)
			return nil
		case f.kind != frameBatch || f.batch.NextOffset() <= from(f.partition):
			continue
		}
		if err := visit(f.partition, entryOf(s.id, f.position, f.batch), f.batch); err != nil {
			return err
		}
	}
}

// replayRange returns how much of the segment is written and whether any of it is wanted.
func (j *Journal) replayRange(s *segment, written Position, from func(id.Partition) id.Offset) (size int64, wanted bool) {
	j.mu.RLock()
	size = s.size
	if !s.rolled {
		size = headerSize
		if written.Segment == s.id {
			size = written.Offset
		}
	}
	extents := slices.Clone(s.extents)
	j.mu.RUnlock()
	for _, x := range extents {
		if x.Next > from(x.p) {
			return size, true
		}
	}
	return size, false
}
