package collect

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/wal"
)

// The kinds of marks, with which their keys begin. Their order is that of a look.
const (
	kindItem   = "a" // topic / partition / base / version
	kindChain  = "b" // topic / partition: the index item
	kindObject = "c" // name
	kindWAL    = "d" // name, in the WAL store
)

// place is a store that is looked at.
type place struct {
	store objstore.Store
	kind  string
	main  bool // it has all but perhaps the WAL objects
	wal   bool // it has the WAL objects
}

func (r *run) places() []place {
	main := place{store: r.cfg.Objects, kind: kindObject, main: true, wal: r.cfg.WAL == nil}
	if r.cfg.WAL == nil {
		return []place{main}
	}
	return []place{main, {store: r.cfg.WAL, kind: kindWAL, wal: true}}
}

// look finds what is superfluous: window by window the objects are listed first, and what
// may name them is read then. What is due of a window is removed before the next one.
func (r *run) look(ctx context.Context) error {
	for _, p := range r.places() {
		for after, first, more := "", true, true; more; first = false {
			r.until = time.Now().Add(chain.CommitWithin) // before anything is looked at
			r.due = &marksWriter{max: r.cfg.MaxMarks}
			w, err := r.list(ctx, p, after)
			if err != nil {
				return err
			}
			s, err := r.readState(ctx, p, w, first)
			if err != nil {
				return err
			}
			if err := w.each(func(o object) error { return r.judge(p, s, o) }); err != nil {
				return err
			}
			if r.failed == nil && !r.stopped {
				r.failed = r.remove(ctx)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			after, more = w.last, w.more
		}
	}
	return nil
}

// object is one that was listed.
type object struct {
	key      string
	size     int64
	modified int64 // ms since 1970, by the store
}

// window is a part of a listing, in order of key.
type window struct {
	after string // the keys are behind it
	last  string // the last key
	more  bool   // there may be more behind it
	count int
	names []byte // for each: length shared with the one before, length of the rest, rest, size, time
}

// listWithin is how long a window is listed at most, so that time is left to read what names its objects, and for removals.
const listWithin = chain.CommitWithin / 4

// list lists what follows after.
func (r *run) list(ctx context.Context, p place, after string) (*window, error) {
	w, began := &window{after: after, last: after}, time.Now()
	for info, err := range p.store.List(ctx, "", after) {
		if err != nil {
			return nil, err
		}
		w.add(info)
		r.cfg.Progress("objects listed", int64(w.count))
		if w.count == r.cfg.Window || time.Since(began) > listWithin {
			w.more = true
			break
		}
	}
	return w, nil
}

func (w *window) add(info objstore.Info) {
	before := w.last
	if w.count == 0 {
		before = ""
	}
	shared := sharedPrefix(before, info.Key)
	w.names = binary.AppendUvarint(w.names, uint64(shared))
	w.names = binary.AppendUvarint(w.names, uint64(len(info.Key)-shared))
	w.names = append(w.names, info.Key[shared:]...)
	w.names = binary.AppendUvarint(w.names, uint64(info.Size))
	w.names = binary.AppendUvarint(w.names, uint64(max(info.Modified.UnixMilli(), 0)))
	w.last = info.Key
	w.count++
}

// each calls f with all of it, in order.
func (w *window) each(f func(object) error) error {
	var key []byte
	rest := w.names
	number := func() uint64 {
		n, size := binary.Uvarint(rest)
		rest = rest[size:]
		return n
	}
	for len(rest) > 0 {
		shared := number()
		n := number()
		key = append(key[:shared], rest[:n]...)
		rest = rest[n:]
		o := object{key: string(key), size: int64(number())}
		o.modified = int64(number())
		if err := f(o); err != nil {
			return err
		}
	}
	return nil
}

// holds reports whether a name may be in the window.
func (w *window) holds(name string) bool { return name > w.after && name <= w.last }

// state is what counts, as of a moment after a window was listed.
type state struct {
	kept    names
	packs   error               // why every pack must be kept, if so
	streams map[id.Session]bool // of the metadata; true: what its slots do not name is superfluous
	snaps   metalog.Snapshots
	noSnaps bool // the pointer to them cannot be read
	// auditKept is how long objects of the metadata's archive are kept by the object store's clock; negative: for ever.
	auditKept time.Duration
}

// names are names that something uses, with the bytes of what each has that is used. It may take a name for one
// of it, but never the other way round.
type names struct {
	seed maphash.Seed
	live map[uint64]int64
}

func newNames() names { return names{maphash.MakeSeed(), map[uint64]int64{}} }

func (n names) add(name string, live int64) { n.live[maphash.String(n.seed, name)] += live }

func (n names) get(name string) (live int64, used bool) {
	live, used = n.live[maphash.String(n.seed, name)]
	return live, used
}

// hashes is a set of names that may take a name for one of it, but never the other way round.
type hashes struct {
	seed   maphash.Seed
	sorted []uint64
}

func (h *hashes) add(name string) { h.sorted = append(h.sorted, maphash.String(h.seed, name)) }

func (h *hashes) finish() {
	slices.Sort(h.sorted)
	h.sorted = slices.Compact(h.sorted)
}

func (h *hashes) has(name string) bool {
	_, ok := slices.BinarySearch(h.sorted, maphash.String(h.seed, name))
	return ok
}

// readState reads what may name the objects of a window. The first one also finds the
// superfluous items of the chains.
func (r *run) readState(ctx context.Context, p place, w *window, first bool) (*state, error) {
	s := &state{kept: newNames()}
	var chains []id.Partition
	var err error
	if p.main {
		if chains, err = r.c.chains.Partitions(ctx); err != nil {
			if !damagedChain(err) {
				return nil, err
			}
			r.damaged("the index of the chains", err)
			s.packs = err
		}
	}
	image, err := r.cfg.Image(ctx) // after the chains were listed: a topic that is not in it is gone
	if err != nil {
		return nil, fmt.Errorf("read the metadata: %w", err)
	}
	if first {
		if err := r.checkCluster(ctx, p, image); err != nil {
			return nil, err
		}
	}
	if p.main {
		if s.auditKept = r.cfg.AuditKept(image); s.auditKept >= 0 { // who repeats a request is answered from its records
			s.auditKept = max(s.auditKept, metalog.KeysKept)
		}
		if err := r.readChains(ctx, s, w, image, chains, first); err != nil {
			return nil, err
		}
		if s.snaps, err = metalog.ReadSnapshots(ctx, r.cfg.Metadata); err != nil {
			if !errors.Is(err, metalog.ErrCorrupt) && !errors.Is(err, metalog.ErrNewer) {
				return nil, err
			}
			r.damaged("the pointer to the metadata snapshots", err)
			s.noSnaps = true
		}
	}
	if p.wal {
		if err := r.readStreams(ctx, s, w, image); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// judge decides about one object.
func (r *run) judge(p place, s *state, o object) error {
	if p.main && isOwn(o.key) {
		return nil
	}
	kind, superfluous := r.classify(p, s, o)
	tally := r.report.tallyOf(kind)
	if !superfluous {
		tally.Kept.add(o.size)
		if kind == chain.ObjectPrefix && s.packs == nil {
			r.judgeDead(s, o)
		}
		return nil
	}
	tally.Superfluous.add(o.size)
	_, err := r.mark(p.kind+o.key, o.size)
	return err
}

// classify tells by which prefix an object is counted, "" if it is unknown, and whether it is
// superfluous.
func (r *run) classify(p place, s *state, o object) (prefix string, superfluous bool) {
	switch {
	case p.main && strings.HasPrefix(o.key, chain.ObjectPrefix):
		_, used := s.kept.get(o.key)
		return chain.ObjectPrefix, s.packs == nil && !used
	case p.main && metalog.IsArchive(o.key):
		return metalog.ArchivePrefix, s.auditKept >= 0 && !time.UnixMilli(o.modified).Add(s.auditKept).After(r.began)
	case p.main && metalog.IsSnapshot(o.key):
		return metalog.SnapshotPrefix, !s.noSnaps && s.snaps.Superfluous(o.key)
	}
	if session, ok := sessionOf(o.key); ok && p.wal {
		over, known := s.streams[session]
		_, used := s.kept.get(o.key)
		return wal.ObjectPrefix, !known || over && !used
	}
	return "", false
}

// sessionOf returns the session to whose stream a WAL object or index belongs.
func sessionOf(key string) (id.Session, bool) {
	rest, ok := strings.CutPrefix(key, wal.ObjectPrefix)
	session, name, found := strings.Cut(rest, "/")
	return id.Session(session), ok && found && session != "" && !strings.Contains(name, "/") &&
		(strings.HasSuffix(name, ".pack") || strings.HasSuffix(name, ".index"))
}

// mark writes down that a thing is superfluous, and reports whether it will be removed now.
func (r *run) mark(key string, size int64) (due bool, err error) {
	m := mark{key: key, since: r.prev.since(key), size: size}
	if !r.full {
		err = r.marks.add(m)
		r.full = errors.Is(err, errFull)
	}
	if r.full {
		r.report.Deferred++
		return false, nil
	}
	if err != nil || !r.isDue(m) {
		return false, err
	}
	if err := r.due.add(m); errors.Is(err, errFull) {
		return false, nil // a later look removes it
	} else if err != nil {
		return false, err
	}
	return true, nil
}
