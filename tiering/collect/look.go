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
// may name them is read then.
func (r *run) look(ctx context.Context) error {
	for _, p := range r.places() {
		for after, first, more := "", true, true; more; first = false {
			w, err := r.list(ctx, p, after)
			if err != nil {
				return err
			}
			s, err := r.readState(ctx, p, w, first)
			if err != nil {
				return err
			}
			if err := w.each(func(key string, size int64) error { return r.judge(p, s, key, size) }); err != nil {
				return err
			}
			after, more = w.last, w.more
		}
	}
	return nil
}

// window is a part of a listing, in order of key.
type window struct {
	after string // the keys are behind it
	last  string // the last key
	more  bool   // there may be more behind it
	count int
	names []byte // for each: length shared with the one before, length of the rest, rest, size

	archived map[string]time.Time // when the objects of the metadata's archive were stored
}

// list lists what follows after.
func (r *run) list(ctx context.Context, p place, after string) (*window, error) {
	w := &window{after: after, last: after}
	for info, err := range p.store.List(ctx, "", after) {
		if err != nil {
			return nil, err
		}
		w.add(info)
		r.cfg.Progress("objects listed", int64(w.count))
		if w.count == r.cfg.Window {
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
	if metalog.IsArchive(info.Key) {
		if w.archived == nil {
			w.archived = map[string]time.Time{}
		}
		w.archived[info.Key] = info.Modified
	}
	w.last = info.Key
	w.count++
}

// each calls f with all of it, in order.
func (w *window) each(f func(key string, size int64) error) error {
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
		if err := f(string(key), int64(number())); err != nil {
			return err
		}
	}
	return nil
}

// holds reports whether a name may be in the window.
func (w *window) holds(name string) bool { return name > w.after && name <= w.last }

// state is what counts, as of a moment after a window was listed.
type state struct {
	kept    hashes
	packs   error               // why every pack must be kept, if so
	streams map[id.Session]bool // of the metadata; true: what its slots do not name is superfluous
	snaps   metalog.Snapshots
	noSnaps bool            // the pointer to them cannot be read
	expired map[string]bool // objects of the metadata's archive that were kept for long enough
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
	s := &state{kept: hashes{seed: maphash.MakeSeed()}}
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
		s.expired = r.expired(w, r.cfg.AuditKept(image))
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
	s.kept.finish()
	return s, nil
}

// expired returns which objects of the metadata's archive were stored long enough before the look began, by
// the object store's clock.
func (r *run) expired(w *window, kept time.Duration) map[string]bool {
	expired := map[string]bool{}
	for key, stored := range w.archived {
		if kept >= 0 && !stored.Add(kept).After(r.began) {
			expired[key] = true
		}
	}
	return expired
}

// judge decides about one object.
func (r *run) judge(p place, s *state, key string, size int64) error {
	if p.main && isOwn(key) {
		return nil
	}
	kind, superfluous := r.classify(p, s, key)
	tally := r.report.tallyOf(kind)
	if !superfluous {
		tally.Kept.add(size)
		return nil
	}
	tally.Superfluous.add(size)
	_, err := r.mark(p.kind+key, size)
	return err
}

// classify tells by which prefix an object is counted, "" if it is unknown, and whether it is
// superfluous.
func (r *run) classify(p place, s *state, key string) (prefix string, superfluous bool) {
	switch {
	case p.main && strings.HasPrefix(key, chain.ObjectPrefix):
		return chain.ObjectPrefix, s.packs == nil && !s.kept.has(key)
	case p.main && metalog.IsArchive(key):
		return metalog.ArchivePrefix, s.expired[key]
	case p.main && metalog.IsSnapshot(key):
		return metalog.SnapshotPrefix, !s.noSnaps && s.snaps.Superfluous(key)
	}
	if session, ok := sessionOf(key); ok && p.wal {
		over, known := s.streams[session]
		return wal.ObjectPrefix, !known || over && !s.kept.has(key)
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
	return r.isDue(m), err
}
