package kv

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/forebaylog/forebay/infra/pause"
)

// ErrContested accompanies the ErrConflict of Settle when an attempt of unknown
// outcome came first: that attempt may have been applied, and replaced since.
var ErrContested = errors.New("an earlier attempt may have been applied and replaced")

// Settle writes like Store.Write, but finds out about unknown outcomes: it reads
// back, looks for its own nonces and writes again until each outcome is known. A result
// wraps ErrUnknown only when ctx ends first; so give ctx a deadline.
//
// A put that was applied and then replaced by another writer is told as
// ErrConflict with ErrContested, and one that was applied and then removed is applied again.
// Where items are never replaced or removed the answers are exact.
func Settle(ctx context.Context, s Store, writes ...Write) []Result {
	open := make([]*settling, len(writes))
	for i, w := range writes {
		open[i] = &settling{write: w, due: true}
	}
	all := slices.Clone(open)
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		writeDue(ctx, s, open)
		open = slices.DeleteFunc(open, func(w *settling) bool { return w.settled })
		if len(open) == 0 {
			break
		}
		_ = pause.For(ctx, wait) // when ctx has ended the look back finds out
		for _, w := range open {
			w.lookBack(ctx, s)
		}
	}
	results := make([]Result, len(all))
	for i, w := range all {
		results[i] = w.result
	}
	return results
}

// How long Settle waits before it looks back; doubled each time.
const (
	firstWait = time.Millisecond
	lastWait  = 500 * time.Millisecond
)

// settling is one write on its way to a known outcome.
type settling struct {
	write   Write
	nonces  []Version // of the attempts whose outcome was unknown
	due     bool      // to be written (again)
	settled bool
	result  Result
}

func writeDue(ctx context.Context, s Store, open []*settling) {
	var due []*settling
	var writes []Write
	for _, w := range open {
		if w.due && !w.settled {
			due, writes = append(due, w), append(writes, w.write)
		}
	}
	if len(due) == 0 {
		return
	}
	for i, r := range s.Write(ctx, writes...) {
		due[i].attempted(ctx, r)
	}
}

// attempted takes note of one attempt. Once an attempt was unknown, only success
// says something about all of them.
func (w *settling) attempted(ctx context.Context, r Result) {
	w.due = false
	if errors.Is(r.Err, ErrUnknown) {
		w.nonces = append(w.nonces, r.Version)
	}
	if r.Err == nil || len(w.nonces) == 0 {
		w.settle(r)
	} else {
		w.giveUp(ctx, r.Err)
	}
}

func (w *settling) settle(r Result) { w.settled, w.result = true, r }

// giveUp settles the write as unknown when ctx has ended.
func (w *settling) giveUp(ctx context.Context, cause error) {
	if ctx.Err() == nil {
		return
	}
	if !errors.Is(cause, ErrUnknown) {
		cause = fmt.Errorf("write %v: %w: %w", w.write.Key, ErrUnknown, cause)
	}
	w.settle(Result{Version: w.nonces[len(w.nonces)-1], Err: cause})
}

// lookBack reads the item: it is our doing, or another's, or the write is due again.
func (w *settling) lookBack(ctx context.Context, s Store) {
	item, err := s.Get(ctx, w.write.Key)
	exists := err == nil
	if err != nil && !errors.Is(err, ErrNotFound) {
		w.giveUp(ctx, err)
		return
	}
	switch {
	case exists && !w.write.Delete && slices.Contains(w.nonces, item.Version):
		w.settle(Result{Version: item.Version})
	case !exists && w.write.Delete:
		w.settle(Result{Version: w.nonces[len(w.nonces)-1]})
	case !w.write.holds(exists, item.Version):
		w.settle(Result{Err: fmt.Errorf("write %v: %w: %w", w.write.Key, ErrConflict, ErrContested)})
	default:
		w.due = true
	}
}
