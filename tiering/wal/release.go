package wal

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/seeded"
	"github.com/forebaylog/forebay/infra/slotlog"
	"github.com/forebaylog/forebay/tiering/pack"
)

// noteIndex counts objects towards the next index and begins it when it is due. index is
// the one that slot seq, just taken, names, if any. mu is held.
func (s *Stream) noteIndex(seq uint64, index *ObjectRef, objects int) {
	l := &s.latest
	if index != nil {
		if old := l.current; old != nil {
			s.work.Go(func() { _ = s.cfg.Objects.Delete(s.life, old.Name) }) // else it is an orphan
		}
		l.current, l.seq, l.ready = index, seq, nil
	}
	l.since += objects
	if l.since < s.cfg.IndexEvery || l.busy || l.ready != nil || s.life.Err() != nil {
		return
	}
	l.busy, l.since = true, 0
	entries := slices.Clone(s.kept)
	s.work.Go(func() { s.storeIndex(entries) })
}

var errTooLarge = fmt.Errorf("an index of more than %d bytes: is sealing held up?", maxIndex)

// storeIndex stores an index for a later slot to name. One that cannot be stored costs
// nothing: the next is due soon.
func (s *Stream) storeIndex(entries []indexed) {
	b := appendIndex(nil, entries)
	last := entries[len(entries)-1].seq
	ref := ObjectRef{
		Name: fmt.Sprintf("%s%s/%020d-%s.index", ObjectPrefix, s.cfg.Session, last, strings.ToLower(rand.Text()[:16])),
		Size: int64(len(b)),
	}
	err := errTooLarge
	if len(b) <= maxIndex {
		err = s.cfg.Objects.Put(s.life, ref.Name, bytes.NewReader(b))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest.busy = false
	if err != nil {
		if s.life.Err() == nil {
			s.cfg.Logger.Warn("cannot store an index of the stream", "session", string(s.cfg.Session), "error", err)
		}
		return
	}
	s.stats.Indexes++
	s.latest.ready = &ref
}

// Sealed tells how far a partition's records are in its chain.
type Sealed func(ctx context.Context, p id.Partition) (id.Offset, error)

// Everything is the end of a partition that does not exist any more.
const Everything = id.Offset(1<<63 - 1)

// Release removes the slots and objects at the start of the stream whose records are all
// sealed. The last slot stays, with its objects, until another follows.
//
// Commit point: the floor of the slots. A crash before it changes nothing; after it the
// objects are no part of the stream, and those that are still there are orphans, which
// ReleaseStream removes in the end.
func (s *Stream) Release(ctx context.Context, sealed Sealed) error {
	s.releasing.Lock()
	defer s.releasing.Unlock()
	s.mu.Lock()
	kept, last := slices.Clone(s.kept), s.next-1
	s.mu.Unlock()
	gone, err := release(ctx, s.cfg.Slots, s.cfg.Objects, objectsOf(kept), last, sealed)
	if len(gone) == 0 {
		return err
	}
	s.mu.Lock()
	for _, e := range s.kept[:len(gone)] {
		s.keptTail -= int64(len(e.tail))
	}
	s.kept = slices.Clone(s.kept[len(gone):])
	s.stats.Released += int64(len(gone))
	index := s.latest.current
	if index != nil && s.latest.seq <= gone[len(gone)-1].Seq { // no slot names it any more
		s.latest.current = nil
	} else {
		index = nil
	}
	s.mu.Unlock()
	if index != nil {
		err = errors.Join(err, s.cfg.Objects.Delete(ctx, index.Name))
	}
	return err
}

// objectsOf yields the objects of a stream's own list.
func objectsOf(list []indexed) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for _, e := range list {
			f, err := e.footer()
			if !yield(Object{ObjectRef: e.ref, Seq: e.seq, Footer: f}, err) {
				return
			}
		}
	}
}

// ReleaseStream does the same to the stream of a session that is over: it is fenced, and
// objects is what ReadStream returned. Once all are sealed it removes what else the session
// has left in the store, and reports that the stream is empty.
func ReleaseStream(
	ctx context.Context, slots *slotlog.Log, store objstore.Store, session id.Session, objects []Object, sealed Sealed,
) (empty bool, err error) {
	all := func(yield func(Object, error) bool) {
		for _, o := range objects {
			if !yield(o, nil) {
				return
			}
		}
	}
	gone, err := release(ctx, slots, store, all, math.MaxUint64, sealed)
	if err != nil || len(gone) < len(objects) {
		return false, err
	}
	for info, err := range store.List(ctx, ObjectPrefix+string(session)+"/", "") {
		if err == nil {
			err = store.Delete(ctx, info.Key)
		}
		if err != nil {
			return false, fmt.Errorf("release stream: %w", err)
		}
	}
	return true, nil
}

// release removes whole slots whose objects are all sealed, up to the first that is not or
// to slot end. objects are those of the stream, in order. It returns the objects of the
// slots that are gone, also when it fails to delete some of them, or to find out about those
// that follow.
func release(
	ctx context.Context, slots *slotlog.Log, store objstore.Store, objects iter.Seq2[Object, error], end uint64, sealed Sealed,
) (gone []Object, err error) {
	var errs []error
	for o, err := range objects {
		done := false
		if err == nil && o.Seq < end {
			done, err = isSealed(ctx, o.Footer, sealed)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("release stream at slot %d: %w", o.Seq, err))
		}
		if !done {
			end = min(end, o.Seq)
			break
		}
		gone = append(gone, o)
	}
	for len(gone) > 0 && gone[len(gone)-1].Seq >= end {
		gone = gone[:len(gone)-1]
	}
	if len(gone) == 0 {
		return nil, errors.Join(errs...)
	}
	if err := slots.Truncate(ctx, gone[len(gone)-1].Seq+1); err != nil {
		return nil, fmt.Errorf("release stream: %w", err)
	}
	for _, o := range gone {
		errs = append(errs, store.Delete(ctx, o.Name))
	}
	return gone, errors.Join(errs...)
}

func isSealed(ctx context.Context, f *pack.Footer, sealed Sealed) (bool, error) {
	if seeded.Enabled(seeded.GCGrace) {
		return true, nil
	}
	for i := range f.Runs {
		end, err := sealed(ctx, f.Runs[i].Partition)
		if err != nil {
			return false, err
		}
		if end < f.Runs[i].Next {
			return false, nil
		}
	}
	return true, nil
}
