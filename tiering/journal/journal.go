package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

// ErrFailed is matched by the error of every append, flush and sync after one of them
// failed: what is on the disk from there on is not known, and nothing is tried again.
var ErrFailed = errors.New("journal has failed")

// Journal is an open directory of hot segments.
//
// Locks, in the order in which they are taken: tend, reindexing, io, mu. mu is never held
// during input or output.
type Journal struct {
	cfg   Config
	index *index
	start time.Time // zero of the clock that segment ages are measured with

	tend       sync.Mutex   // one at a time changes the index or removes segments
	reindexing sync.RWMutex // held for writing while the index is rebuilt; look-ups wait
	io         sync.Mutex   // one at a time writes the segments

	mu       sync.RWMutex
	parts    map[id.Partition]*part
	segments []*segment // oldest first; the active one is the last
	active   *segment   // takes appends; nil when there was no space for one
	queue    []queued   // appended and not flushed
	spare    []queued   // the array of the previous queue
	end      Position   // of the last frame queued
	written  Position
	durable  Position
	tail     fifo
	tailSize int64
	pending  int   // entries in memory that are not in the index
	failed   error // matches ErrFailed
	closed   bool

	next     *segment // created and waiting to become active
	lastID   id.Segment
	want     int64 // bytes that the next segment must have room for
	noSpace  error // why the last creation failed
	retryAt  time.Duration
	backoff  time.Duration
	prepared chan struct{} // closed and replaced after each attempt to create

	reserving sync.Mutex // one at a time probes the disk for the index

	headers []byte   // slab of frame headers; guarded by io
	vec     [][]byte // guarded by io

	wantNext chan struct{}
	wantTend chan struct{}
	wantZero chan struct{}
	rolled   chan struct{} // a segment was finished since it was last received from
	done     chan struct{}
	shut     chan struct{} // closed when Close's work is done
	closeErr error         // read after shut
	loops    sync.WaitGroup
	stats    counters
}

// queued is a batch on its way to the file, or the end of a segment if batch is nil.
type queued struct {
	seg   *segment
	batch batch.View
	p     id.Partition
	pos   int64
}

// Append queues a stamped batch, whose checksum the caller has verified, without
// input or output and without copying it: v belongs to the journal from then on and
// must not change. It returns where the frame ends; the batch is durable when Sync
// has returned that position or a later one. Reads see it at once.
//
// Append waits only when a new segment is needed that is still being created. It
// fails with ErrFull if there is no space for it, with ErrOrder if v starts below
// the end of p, with ErrFailed or ErrClosed; nothing is queued then.
func (j *Journal) Append(p id.Partition, v batch.View) (Position, error) {
	if len(v) < batch.HeaderSize || int64(len(v)) > maxSegmentBytes {
		return Position{}, fmt.Errorf("append to %s: a batch of %d bytes", p, len(v))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		if err := j.usable(); err != nil {
			return Position{}, err
		}
		if t := j.parts[p]; t != nil && v.BaseOffset() < t.next {
			return Position{}, fmt.Errorf("append to %s at %d, its end is %d: %w", p, v.BaseOffset(), t.next, ErrOrder)
		}
		wait, err := j.room(FrameHeaderSize + int64(len(v)))
		if err != nil {
			return Position{}, fmt.Errorf("append to %s: %w", p, err)
		}
		if wait == nil {
			return j.enqueue(p, v), nil
		}
		j.mu.Unlock()
		select {
		case <-wait:
		case <-j.done:
		}
		j.mu.Lock()
	}
}

// check is usable without mu held.
func (j *Journal) check() error {
	j.mu.RLock()
	defer j.mu.RUnlock()
	return j.usable()
}

// usable reports why nothing can be appended or written. mu is held.
func (j *Journal) usable() error {
	if j.failed != nil {
		return j.failed
	}
	if j.closed {
		return ErrClosed
	}
	return nil
}

// enqueue gives v its place in the active segment, which has room.
func (j *Journal) enqueue(p id.Partition, v batch.View) Position {
	seg := j.active
	e := entryOf(seg.id, seg.size, v)
	t := j.parts[p]
	if t == nil {
		t = &part{p: p, start: e.Base}
		j.parts[p] = t
	}
	if t.of != seg.id {
		t.of, t.extent = seg.id, int32(len(seg.extents))
		seg.extents = append(seg.extents, newExtent(p, e))
	}
	if seg.entries == 0 {
		seg.opened = int64(time.Since(j.start))
		j.wake(j.wantTend)
	}
	seg.add(int(t.extent), p, e)
	seg.size += FrameHeaderSize + int64(len(v))
	t.next = e.Next
	t.entries = append(t.entries, newEntry(seg, e, v))
	j.queue = append(j.queue, queued{seg: seg, batch: v, p: p, pos: e.Pos})
	j.end = Position{seg.id, seg.size}
	j.tail.push(t)
	j.tailSize += int64(len(v))
	j.pending++
	j.evict()
	j.stats.appends.Add(1)
	j.stats.appendedBytes.Add(int64(len(v)))
	return j.end
}

// evict takes batches out of the tail, oldest first, until it is small enough. A
// batch that is not written yet stays, as it is nowhere else.
func (j *Journal) evict() {
	for j.tailSize > j.cfg.TailBytes && !j.tail.empty() {
		t := j.tail.front()
		e := &t.entries[t.evicted]
		if (Position{e.seg.id, int64(e.pos)}).Compare(j.written) >= 0 {
			return
		}
		j.tail.pop()
		j.tailSize -= int64(e.length)
		e.data = nil
		t.evicted++
		j.trim(t)
	}
}

// trim forgets what need not be in memory, and the partition with its last hot batch.
func (j *Journal) trim(t *part) {
	t.trim()
	if len(t.entries) == 0 && t.start >= t.next {
		delete(j.parts, t.p)
	}
}

// wake makes whoever receives from c look again; it never waits.
func (j *Journal) wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// fail poisons the journal and returns the error to give to the caller.
func (j *Journal) fail(err error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed == nil {
		j.failed = fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return j.failed
}

// Rolled receives after segments were finished: once for any number of them, and not
// for those that Open found. It is never closed. It serves one goroutine.
func (j *Journal) Rolled() <-chan struct{} { return j.rolled }

// HotStart returns the offset below which nothing of p is hot; ok is false if nothing of p is.
func (j *Journal) HotStart(p id.Partition) (start id.Offset, ok bool) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	t := j.parts[p]
	if t == nil || t.start >= t.next {
		return 0, false
	}
	return t.start, true
}

// HotEnd returns the offset after the last hot batch of p, durable or not; ok is false if nothing of p is hot.
func (j *Journal) HotEnd(p id.Partition) (end id.Offset, ok bool) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	t := j.parts[p]
	if t == nil || t.start >= t.next {
		return 0, false
	}
	return t.next, true
}

// Segments lists the segments, oldest first. What the infos yield is of this moment.
func (j *Journal) Segments() []SegmentInfo {
	j.mu.RLock()
	defer j.mu.RUnlock()
	infos := make([]SegmentInfo, len(j.segments))
	for i, s := range j.segments {
		of := summary{extents: s.extents}
		if !s.rolled {
			of.extents = slices.Clone(of.extents)
		}
		infos[i] = SegmentInfo{
			ID: s.id, Path: s.path, Size: s.size, Created: time.UnixMilli(s.created), Rolled: s.rolled, Damaged: len(s.damage) > 0,
			Partitions: of.all(),
		}
	}
	return infos
}

// Close writes and syncs what is queued, rolls the active segment, so that all of a
// cleanly stopped directory is covered by checksums, and waits for the goroutines.
// Readers must be done. It returns ctx's error if that ends first; the work then goes on, and another
// call waits for it.
func (j *Journal) Close(ctx context.Context) error {
	j.mu.Lock()
	first := !j.closed
	j.closed = true
	j.mu.Unlock()
	if first {
		close(j.done)
		go func() {
			defer close(j.shut)
			j.closeErr = j.shutDown()
		}()
	}
	select {
	case <-j.shut:
		return j.closeErr
	case <-ctx.Done():
		return fmt.Errorf("close journal: %w", context.Cause(ctx))
	}
}

func (j *Journal) shutDown() error {
	j.loops.Wait()
	j.tend.Lock()
	defer j.tend.Unlock()
	errs := []error{j.finishActive(), j.discardNext()}
	if errs[0] == nil {
		if err := j.indexRolled(); err != nil {
			j.cfg.Logger.Warn("the index is left behind and will be completed at the next start", "error", err)
		}
	}
	errs = append(errs, j.index.close())
	j.mu.Lock()
	segments := j.segments
	j.segments, j.active = nil, nil
	j.mu.Unlock()
	for _, s := range segments {
		errs = append(errs, s.release())
	}
	return errors.Join(errs...)
}
