package journal

import (
	"fmt"
	"slices"

	"github.com/forebaylog/forebay/infra/seeded"
)

// maxKept is the largest group, in batches, whose arrays are kept for the next.
const maxKept = 8 << 10

// Flush writes all that is queued, in the order of Append, with one system call for
// each segment, and returns the position up to which the journal is written. An
// error poisons the journal.
func (j *Journal) Flush() (Position, error) {
	j.io.Lock()
	defer j.io.Unlock()
	if err := j.check(); err != nil {
		return Position{}, err
	}
	return j.flush()
}

// Sync makes what was flushed durable and returns the position up to which it is.
// An error poisons the journal.
func (j *Journal) Sync() (Position, error) {
	j.io.Lock()
	defer j.io.Unlock()
	if err := j.check(); err != nil {
		return Position{}, err
	}
	return j.sync()
}

// Roll flushes and finishes the active segment, unless it is empty. What is
// appended later goes to the next one.
func (j *Journal) Roll() error {
	j.io.Lock()
	defer j.io.Unlock()
	j.mu.Lock()
	if err := j.usable(); err != nil {
		j.mu.Unlock()
		return err
	}
	if j.active != nil && j.active.entries > 0 {
		j.retire()
	}
	j.mu.Unlock()
	_, err := j.flush()
	return err
}

// flush is Flush with io held.
func (j *Journal) flush() (Position, error) {
	j.mu.Lock()
	if j.failed != nil {
		defer j.mu.Unlock()
		return Position{}, j.failed
	}
	queue, end := j.queue, j.end
	j.queue, j.spare = j.spare[:0], nil
	j.mu.Unlock()

	for rest := queue; len(rest) > 0; {
		if rest[0].batch == nil {
			if err := j.finish(rest[0].seg); err != nil {
				return Position{}, j.fail(err)
			}
			rest = rest[1:]
			continue
		}
		n := 1
		for n < len(rest) && rest[n].seg == rest[0].seg && rest[n].batch != nil {
			n++
		}
		if err := j.write(rest[:n]); err != nil {
			return Position{}, j.fail(err)
		}
		rest = rest[n:]
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	if len(queue) > 0 {
		j.stats.flushes.Add(1)
	}
	if clear(queue); cap(queue) <= maxKept {
		j.spare = queue
	}
	if j.written.Compare(end) < 0 {
		j.written = end
	}
	j.evict()
	return j.written, nil
}

// write puts frames of one segment, which follow each other, into its file.
func (j *Journal) write(frames []queued) error {
	seg := frames[0].seg
	var synced int64
	if j.durable.Segment == seg.id {
		synced = j.durable.Offset
	}
	j.headers = slices.Grow(j.headers[:0], len(frames)*FrameHeaderSize)
	j.vec = j.vec[:0]
	for i, f := range frames {
		h := j.headers[i*FrameHeaderSize : (i+1)*FrameHeaderSize : (i+1)*FrameHeaderSize]
		frameHeader{kind: frameBatch, partition: f.p, length: uint32(len(f.batch)), position: f.pos, synced: synced}.put(h, seg.salt, f.batch)
		j.vec = append(j.vec, h, f.batch)
	}
	n, err := seg.file.WritevAt(j.vec, frames[0].pos)
	j.wantZeros(seg, frames[0].pos+n, n)
	if clear(j.vec); len(frames) > maxKept {
		j.vec, j.headers = nil, nil
	}
	if err != nil {
		return fmt.Errorf("write %d batches to %s at %d, %d bytes done: %w", len(frames), seg.path, frames[0].pos, n, err)
	}
	return nil
}

// sync is Sync with io held.
func (j *Journal) sync() (Position, error) {
	j.mu.RLock()
	failed, written, durable := j.failed, j.written, j.durable
	var seg *segment
	for i := len(j.segments) - 1; i >= 0 && written != durable; i-- {
		if j.segments[i].id == written.Segment {
			seg = j.segments[i]
			break
		}
	}
	j.mu.RUnlock()
	if failed != nil {
		return Position{}, failed
	}
	if written == durable {
		return durable, nil
	}
	if !seeded.Enabled(seeded.Fsync) {
		if err := seg.file.Sync(); err != nil {
			return Position{}, j.fail(fmt.Errorf("sync %s: %w", seg.path, err))
		}
	}
	j.stats.syncs.Add(1)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.durable = written
	if j.pending > maxPending {
		j.wake(j.wantTend)
	}
	return written, nil
}

// finish rolls a segment whose last frame is written: a footer, the exact length, and all of it durable.
// Crash before its sync: recovery finds the frames without the footer and rolls
// again. After: the segment is only read from then on.
func (j *Journal) finish(seg *segment) error {
	j.mu.Lock()
	sum := seg.summary
	sum.extents = slices.Clone(sum.extents)
	synced := int64(0)
	if j.durable.Segment == seg.id {
		synced = j.durable.Offset
	}
	pos := seg.size
	j.mu.Unlock()

	sum.sort()
	size, err := writeFooter(seg, sum, pos, synced)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	seg.summary, seg.size, seg.alloc, seg.rolled = sum, size, size, true
	j.written = Position{seg.id, size}
	j.durable = j.written
	j.stats.rolls.Add(1)
	j.wake(j.wantTend)
	j.wake(j.rolled)
	return nil
}

// writeFooter appends the footer at pos and returns the final size of the file.
func writeFooter(seg *segment, sum summary, pos, synced int64) (size int64, err error) {
	payload := appendFooter(nil, sum, seg.salt, pos)
	hdr := make([]byte, FrameHeaderSize)
	frameHeader{kind: frameFooter, length: uint32(len(payload)), position: pos, synced: synced}.put(hdr, seg.salt, payload)
	if _, err := seg.file.WritevAt([][]byte{hdr, payload}, pos); err != nil {
		return 0, fmt.Errorf("write footer of %s: %w", seg.path, err)
	}
	size = pos + int64(len(hdr)+len(payload))
	if err := seg.file.Truncate(size); err != nil {
		return 0, fmt.Errorf("truncate %s to %d: %w", seg.path, size, err)
	}
	if err := seg.file.Sync(); err != nil {
		return 0, fmt.Errorf("sync %s: %w", seg.path, err)
	}
	return size, nil
}

// finishActive is the end of a clean Close: flush, then roll the active segment, or remove it if it is empty.
func (j *Journal) finishActive() error {
	j.io.Lock()
	defer j.io.Unlock()
	j.mu.Lock()
	if j.failed != nil {
		defer j.mu.Unlock()
		return nil // reported when it happened; the files are left as they are
	}
	empty := j.active
	if empty != nil && empty.entries > 0 {
		empty = nil
		j.queue = append(j.queue, queued{seg: j.active})
	}
	j.active = nil
	if empty != nil {
		j.segments = j.segments[:len(j.segments)-1]
	}
	j.mu.Unlock()
	if _, err := j.flush(); err != nil {
		return err
	}
	if empty == nil {
		return nil
	}
	return j.discard(empty)
}
