package wal

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/seeded"
	"github.com/forebaylog/forebay/infra/slotlog"
	"github.com/forebaylog/forebay/tiering/pack"
)

// noteIndex counts objects towards the next index and begins it when it is due. index is
// the one that the slot just taken names, if any. mu is held.
func (s *Stream) noteIndex(index *ObjectRef, objects int) {
	l := &s.latest
	if index != nil {
		l.ready = nil
		if old := l.current; old != nil {
			s.work.Go(func() { _ = s.cfg.Objects.Delete(s.life, old.Name) }) // else it is an orphan
		}
		l.current = index
	}
	l.since += objects
	if l.since < s.cfg.IndexEvery || l.busy || l.ready != nil || s.life.Err() != nil {
		return
	}
	l.busy, l.since = true, 0
	entries := slices.Clone(s.kept)
	s.work.Go(func() { s.storeIndex(entries) })
}

// storeIndex stores an index for a later slot to name. One that cannot be stored costs
// nothing: the next is due soon.
func (s *Stream) storeIndex(entries []indexed) {
	b := appendIndex(nil, entries)
	last := entries[len(entries)-1].seq
	ref := ObjectRef{
		Name: fmt.Sprintf("%s%s/%020d-%s.index", ObjectPrefix, s.cfg.Session, last, strings.ToLower(rand.Text()[:16])),
		Size: int64(len(b)),
	}
	err := s.cfg.Objects.Put(s.life, ref.Name, bytes.NewReader(b))
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
// sealed, but for those of the last slot: that one stays, to tell the next.
//
// Commit point: the floor of the slots. A crash before it changes nothing; after it the
// objects are no part of the stream, and those that are still there are orphans.
func (s *Stream) Release(ctx context.Context, sealed Sealed) error {
	s.mu.Lock()
	kept, last := slices.Clone(s.kept), s.next-1
	s.mu.Unlock()
	for len(kept) > 0 && kept[len(kept)-1].seq >= last {
		kept = kept[:len(kept)-1]
	}
	list := make([]Object, 0, len(kept))
	for _, e := range kept {
		f, err := e.footer()
		if err != nil {
			return fmt.Errorf("release stream: %w", err)
		}
		list = append(list, Object{ObjectRef: e.ref, Seq: e.seq, Footer: f})
		if done, err := isSealed(ctx, f, sealed); err != nil || !done {
			break // the rest stays anyway
		}
	}
	n, err := releasable(ctx, list, len(list) == len(kept), sealed)
	if err != nil || n == 0 {
		return err
	}
	if err := s.cfg.Slots.Truncate(ctx, list[n-1].Seq+1); err != nil {
		return fmt.Errorf("release stream: %w", err)
	}
	s.mu.Lock()
	for _, e := range s.kept[:n] {
		s.keptTail -= int64(len(e.tail))
	}
	s.kept = slices.Clone(s.kept[n:])
	s.stats.Released += int64(n)
	s.mu.Unlock()
	return remove(ctx, s.cfg.Objects, list[:n])
}

// ReleaseStream does the same to the stream of a session that is over, of which objects
// is what ReadStream returned, and reports whether it holds nothing any more.
func ReleaseStream(ctx context.Context, slots *slotlog.Log, store objstore.Store, objects []Object, sealed Sealed) (empty bool, err error) {
	n, err := releasable(ctx, objects, true, sealed)
	if err != nil {
		return false, err
	}
	if n > 0 {
		if err := slots.Truncate(ctx, objects[n-1].Seq+1); err != nil {
			return false, fmt.Errorf("release stream: %w", err)
		}
		if err := remove(ctx, store, objects[:n]); err != nil {
			return false, err
		}
	}
	return n == len(objects), nil
}

// releasable returns how many of the objects, oldest first, are sealed, of whole slots
// only. complete says that the list goes on to the end of its last slot.
func releasable(ctx context.Context, list []Object, complete bool, sealed Sealed) (int, error) {
	n := 0
	for ; n < len(list); n++ {
		done, err := isSealed(ctx, list[n].Footer, sealed)
		if err != nil {
			return 0, err
		}
		if !done {
			break
		}
	}
	if n == len(list) && complete {
		return n, nil
	}
	if n == len(list) {
		n-- // the next may be of the same slot
	}
	for n > 0 && list[n-1].Seq == list[n].Seq {
		n--
	}
	return n, nil
}

func isSealed(ctx context.Context, f *pack.Footer, sealed Sealed) (bool, error) {
	if seeded.Enabled(seeded.GCGrace) {
		return true, nil
	}
	for i := range f.Runs {
		end, err := sealed(ctx, f.Runs[i].Partition)
		if err != nil {
			return false, fmt.Errorf("release stream: %w", err)
		}
		if end < f.Runs[i].Next {
			return false, nil
		}
	}
	return true, nil
}

// remove deletes the objects, which no slot names any more.
func remove(ctx context.Context, store objstore.Store, objects []Object) error {
	var errs []error
	for _, o := range objects {
		errs = append(errs, store.Delete(ctx, o.Name))
	}
	return errors.Join(errs...)
}
