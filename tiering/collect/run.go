package collect

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/forebaylog/forebay/infra/objstore"
)

// ObjectPrefix begins the names of the collector's own objects.
const ObjectPrefix = "collector/"

// What the names of the collector's objects end with.
const (
	beginSuffix = ".begin"
	marksSuffix = ".marks"
	deadSuffix  = ".dead"
)

// run is one look and what follows from it.
type run struct {
	c      *Collector
	cfg    Config
	report Report

	until time.Time       // when the time for removals of a window is over, by the monotonic clock
	began time.Time       // by the object store; by Config.Now in a dry run
	own   []objstore.Info // of the collector's objects, as there were when the look began
	prev  previous        // the marks of the look before
	marks *marksWriter    // of this look
	full  bool            // no more marks have a place
	due   *marksWriter    // what of a window is to be removed
	maybe []mark          // packs that may be mostly dead; since is what lives in them
	dead  *marksWriter    // those that are
	// failed is why nothing is removed any more, if not because items are left that were due (stopped).
	failed  error
	stopped bool
	// waiting is what superfluous items name that stay for now: a spare item may have been
	// replaced late, by an object that no look has seen named before. Whoever finds the item
	// must find its records.
	waiting hashes
}

// run does it all.
func (r *run) run(ctx context.Context) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	if err := r.look(ctx); err != nil {
		return errors.Join(r.failed, err)
	}
	if err := r.confirmDead(ctx); err != nil {
		return errors.Join(r.failed, err)
	}
	if !r.cfg.DryRun {
		if err := r.keepMarks(ctx); err != nil {
			return errors.Join(r.failed, err)
		}
	}
	if r.failed != nil {
		return r.failed
	}
	if err := r.uploads(ctx); err != nil || r.cfg.DryRun {
		return err
	}
	return r.keepReport(ctx)
}

// begin finds out what time it is and what the look before has found.
func (r *run) begin(ctx context.Context) error {
	for info, err := range r.cfg.Objects.List(ctx, ObjectPrefix, "") {
		if err != nil {
			return err
		}
		if isOwn(info.Key) {
			r.own = append(r.own, info)
		}
	}
	if err := r.readTime(ctx); err != nil {
		return fmt.Errorf("ask the object store for the time: %w", err)
	}
	r.report.Began = r.began
	return r.openPrevious(ctx)
}

// readTime takes the time that the store gives to an object as the time when the look began.
func (r *run) readTime(ctx context.Context) error {
	r.report.Look = fmt.Sprintf("%013d-%s", r.cfg.Now().UnixMilli(), strings.ToLower(rand.Text()[:16]))
	if r.cfg.DryRun {
		r.began = r.cfg.Now()
		return nil
	}
	key := ObjectPrefix + r.report.Look + beginSuffix
	if err := r.cfg.Objects.Put(ctx, key, strings.NewReader("begin")); err != nil {
		return err
	}
	info, err := r.cfg.Objects.Stat(ctx, key)
	if err != nil {
		return err
	}
	r.began = info.Modified
	return r.cfg.Objects.Delete(ctx, key) // else a later look does
}

// isOwn reports whether it is an object that this package writes.
func isOwn(key string) bool {
	name, ok := strings.CutPrefix(key, ObjectPrefix)
	stem, isMarks := strings.CutSuffix(name, marksSuffix)
	stem, isBegin := strings.CutSuffix(stem, beginSuffix)
	stem, isDead := strings.CutSuffix(stem, deadSuffix)
	stem, isReport := strings.CutSuffix(stem, reportSuffix)
	return ok && (isMarks || isBegin || isDead || isReport) && len(stem) == 30 && stem[13] == '-' && !strings.Contains(stem, "/")
}

// openPrevious opens the newest marks there are. Those that cannot be read count as none:
// all that is superfluous is then as if found for the first time.
func (r *run) openPrevious(ctx context.Context) error {
	newest, ok := newestOf(r.own, marksSuffix)
	if !ok {
		return nil
	}
	b, err := readObject(ctx, r.cfg.Objects, newest)
	if err == nil {
		r.prev, err = newPrevious(b, newest.Modified)
	}
	switch {
	case err == nil:
	case errors.Is(err, objstore.ErrNotFound): // another has replaced them
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrVersion):
		r.damaged(newest.Key, err)
	default:
		return fmt.Errorf("read the marks of the look before: %w", err)
	}
	return nil
}

// newestOf returns the newest of the objects whose names end so.
func newestOf(infos []objstore.Info, suffix string) (newest objstore.Info, ok bool) {
	for _, info := range infos {
		if strings.HasSuffix(info.Key, suffix) && !info.Modified.Before(newest.Modified) {
			newest, ok = info, true
		}
	}
	return newest, ok
}

// maxStored bounds the marks that are read, in bytes, whatever Config.MaxMarks their writer had.
const maxStored = 1 << 30

func readObject(ctx context.Context, s objstore.Store, info objstore.Info) ([]byte, error) {
	if info.Size > maxStored {
		return nil, fmt.Errorf("%s: %w: %d bytes", info.Key, ErrCorrupt, info.Size)
	}
	b := make([]byte, info.Size)
	n, err := s.ReadAt(ctx, info.Key, b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n < len(b) {
		return nil, fmt.Errorf("%s: %w: %d bytes of %d", info.Key, ErrCorrupt, n, len(b))
	}
	return b, nil
}

// keepMarks stores what the look has found, if it has found anything, and removes what the
// looks before have left.
//
// Commit point: the Put of the marks. A crash before it leaves the marks before, a crash after it two,
// of which the newer counts.
func (r *run) keepMarks(ctx context.Context) error {
	for suffix, w := range map[string]*marksWriter{marksSuffix: r.marks, deadSuffix: r.dead} {
		encoded, err := w.finish()
		if err != nil {
			return err
		}
		if w.count == 0 {
			continue
		}
		key := ObjectPrefix + r.report.Look + suffix
		if err := r.cfg.Objects.Put(ctx, key, bytes.NewReader(encoded)); err != nil {
			return fmt.Errorf("store what was found: %w", err)
		}
		r.report.Marks.Kept.add(int64(len(encoded)))
	}
	for _, info := range r.own {
		if strings.HasSuffix(info.Key, reportSuffix) {
			continue // until there is a newer one
		}
		if err := r.cfg.Objects.Delete(ctx, info.Key); err != nil {
			return fmt.Errorf("remove the marks of the looks before: %w", err)
		}
		r.report.Marks.Removed.add(info.Size)
	}
	return nil
}

// damaged notes what cannot be read, because of which things are kept.
func (r *run) damaged(place string, err error) {
	r.report.Damaged = append(r.report.Damaged, Damage{Place: place, Error: err.Error()})
	r.cfg.Logger.Warn("the collector leaves alone what it cannot read", "place", place, "error", err)
}
