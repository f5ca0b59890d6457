package journal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/vfs"
)

const (
	minBackoff = 10 * time.Millisecond
	maxBackoff = time.Second
	// indexReserve is kept free on the disk when a segment is created: Badger ends
	// the process when it finds no space for its memory-mapped files.
	indexReserve = 24 << 20
)

var errSync = errors.New("sync failed")

// room sees to it that the active segment has room for need more bytes and a footer. It
// returns a channel to wait on if the next segment is being created, or the reason
// why there is none. mu is held.
func (j *Journal) room(need int64) (wait <-chan struct{}, err error) {
	if a := j.active; a != nil && a.size+need+footerBound(len(a.extents)+1) <= a.alloc {
		if j.next == nil && a.size*2 >= a.alloc {
			_, _ = j.ask(j.cfg.SegmentBytes) // early: a failure counts only once the segment is full
		}
		return nil, nil
	}
	want := max(j.cfg.SegmentBytes, headerSize+need+footerBound(1))
	if j.next == nil || j.next.alloc < want {
		return j.ask(want)
	}
	if j.active != nil {
		j.retire()
	} else {
		j.promote()
	}
	return nil, nil
}

// retire queues the roll of the active segment and puts the prepared one, if any,
// in its place. mu is held.
func (j *Journal) retire() {
	j.queue = append(j.queue, queued{seg: j.active})
	j.active = nil
	if j.next == nil {
		_, _ = j.ask(j.cfg.SegmentBytes)
		return
	}
	j.promote()
}

// promote makes the prepared segment the active one. mu is held.
func (j *Journal) promote() {
	j.active, j.next = j.next, nil
	j.want = 0
	j.segments = append(j.segments, j.active)
}

// ask has the next segment created with room for want bytes. It returns the channel
// that is closed after the attempt, or the last failure until it may be tried again. mu is held.
func (j *Journal) ask(want int64) (<-chan struct{}, error) {
	if j.noSpace != nil && time.Since(j.start) < j.retryAt {
		return nil, j.noSpace
	}
	j.want = max(j.want, want)
	j.wake(j.wantNext)
	return j.prepared, nil
}

// prepareLoop creates segments ahead of their use.
func (j *Journal) prepareLoop() {
	defer j.loops.Done()
	for {
		select {
		case <-j.done:
			return
		case <-j.wantNext:
			j.prepare()
		}
	}
}

// prepare creates the next segment, or enlarges it, and wakes those who wait for it.
func (j *Journal) prepare() {
	j.mu.Lock()
	want, next, s := j.want, j.next, j.lastID+1
	if want == 0 || (next != nil && next.alloc >= want) {
		j.mu.Unlock()
		return
	}
	j.next = nil // while it is enlarged it must not become active
	j.mu.Unlock()

	var err error
	if next != nil {
		err = j.enlarge(next, want)
	} else if next, err = j.create(s, want); err == nil {
		next.alloc = want
	}
	if errors.Is(err, errSync) {
		_ = j.fail(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.prepared)
	j.prepared = make(chan struct{})
	if j.next = next; next != nil {
		j.lastID = next.id
	}
	if err == nil {
		j.noSpace, j.backoff = nil, 0
		return
	}
	j.noSpace = err
	if outOfSpace(err) {
		j.noSpace = fmt.Errorf("%w: %w", ErrFull, err)
	}
	j.backoff = min(max(2*j.backoff, minBackoff), maxBackoff)
	j.retryAt = time.Since(j.start) + j.backoff
	j.cfg.Logger.Warn("no next hot segment", "bytes", want, "retry", j.backoff, "error", err)
}

// enlarge reserves more for a segment that nobody else uses yet.
func (j *Journal) enlarge(seg *segment, want int64) error {
	if err := seg.file.Allocate(want); err != nil {
		return fmt.Errorf("reserve %d bytes for segment %s: %w", want, seg.path, err)
	}
	seg.alloc = want
	return j.reserve()
}

func outOfSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// create makes a segment file of alloc bytes with its header, durable. Crash before its
// end: recovery finds an empty segment or none, and removes it.
func (j *Journal) create(s id.Segment, alloc int64) (*segment, error) {
	h := header{id: s, created: j.cfg.Now().UnixMilli(), cluster: j.cfg.Cluster}
	var salt [4]byte
	_, _ = rand.Read(salt[:]) // never fails since Go 1.24
	h.salt = binary.BigEndian.Uint32(salt[:])
	name := path.Join(j.cfg.Dir, segmentName(s))
	f, err := j.cfg.FS.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|vfs.Direct, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	seg := newSegment(h, name, f)
	if err := j.fill(seg, alloc); err != nil {
		return nil, errors.Join(err, j.discard(seg))
	}
	return seg, nil
}

func (j *Journal) fill(seg *segment, alloc int64) error {
	if err := seg.file.Allocate(alloc); err != nil {
		return fmt.Errorf("reserve %d bytes for segment %s: %w", alloc, seg.path, err)
	}
	if err := j.reserve(); err != nil {
		return err
	}
	if _, err := seg.file.WriteAt(seg.appendTo(nil), 0); err != nil {
		return fmt.Errorf("write header of %s: %w", seg.path, err)
	}
	if err := seg.file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w: %w", seg.path, errSync, err)
	}
	if err := j.cfg.FS.SyncDir(j.cfg.Dir); err != nil {
		return fmt.Errorf("sync directory %s: %w: %w", j.cfg.Dir, errSync, err)
	}
	return nil
}

// reserve fails if the disk has no room for what Badger may write next.
func (j *Journal) reserve() error {
	if j.cfg.IndexDir == "" {
		return nil
	}
	j.reserving.Lock()
	defer j.reserving.Unlock()
	name := filepath.Clean(j.cfg.IndexDir) + ".reserve"
	f, err := vfs.OS().OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return fmt.Errorf("reserve space for the index: %w", err)
	}
	err = f.Allocate(indexReserve)
	if err != nil {
		err = fmt.Errorf("reserve %d bytes for the index: %w", indexReserve, err)
	}
	return errors.Join(err, f.Close(), vfs.OS().Remove(name))
}

// discard removes the file of a segment that holds no frames.
func (j *Journal) discard(seg *segment) error {
	errs := []error{seg.release()}
	if err := j.cfg.FS.Remove(seg.path); err != nil {
		errs = append(errs, fmt.Errorf("remove empty segment: %w", err))
	} else if err := j.cfg.FS.SyncDir(j.cfg.Dir); err != nil {
		errs = append(errs, fmt.Errorf("sync directory %s: %w", j.cfg.Dir, err))
	}
	return errors.Join(errs...)
}

// discardNext removes the prepared segment. The loops have ended.
func (j *Journal) discardNext() error {
	j.mu.Lock()
	next := j.next
	j.next = nil
	j.mu.Unlock()
	if next == nil {
		return nil
	}
	return j.discard(next)
}
