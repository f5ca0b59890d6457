// Package wal is the group commit: batches that arrive while one group is being
// made durable form the next group, so that however many producers wait, they
// share one write and one fsync. A group that follows an idle time leaves at once.
// Under load the next one leaves a short interval after the last at the earliest,
// or as soon as it is large, since a sync costs the processor nearly the same
// however little it syncs. It never looks into a batch.
//
// A Group is safe for concurrent use.
//
// The commit point of a batch is the return of Sink.Commit for its group. A crash
// before it may lose the batch, which nobody was told is committed; after it the sink's
// durability holds.
package wal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/journal"
)

// ErrClosed is what Append returns after Close.
var ErrClosed = errors.New("group commit is closed")

// Sink makes the journal durable in the sense of one durability class.
type Sink interface {
	// Commit returns when everything before upTo is durable. It is called from one
	// goroutine with rising positions, after the bytes were written to the journal's files.
	Commit(ctx context.Context, upTo journal.Position) error
}

// Waiter is told of the progress of one batch, from the group's goroutine and in
// the order of Append. Its methods must not block and must not call the Group.
type Waiter interface {
	// Written: the batch is in the segment file, but a power loss may still take it.
	Written()
	// Committed: the batch is durable (nil), or it is not known whether it ever will be.
	// It is called once, after Written unless the write failed.
	Committed(err error)
}

// Config tunes a Group.
type Config struct {
	// Interval is the least time from the start of one commit to that of the next,
	// unless EagerBytes are queued: default 1 ms; negative: none.
	Interval time.Duration
	// EagerBytes is the size of a group that does not wait for Interval: default 512 KiB.
	EagerBytes int64
	Logger     *slog.Logger // default: none
}

const (
	defaultInterval   = time.Millisecond
	defaultEagerBytes = 512 << 10
)

func (c Config) withDefaults() Config {
	if c.Interval == 0 {
		c.Interval = defaultInterval
	}
	if c.EagerBytes == 0 {
		c.EagerBytes = defaultEagerBytes
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Group is the group commit over one journal.
type Group struct {
	j    *journal.Journal
	sink Sink
	cfg  Config
	log  *slog.Logger

	mu     sync.Mutex // held over Journal.Append, so that the queue is in the journal's order
	queue  []item
	queued int64  // bytes of the batches in queue
	spare  []item // the array of the previous group
	err    error  // why the group failed
	closed bool

	work   chan struct{} // there may be something queued
	eager  chan struct{} // EagerBytes may be queued, or the group ends
	failed chan struct{}
	done   chan struct{} // the goroutine has ended
	cancel context.CancelFunc
}

type item struct {
	end  journal.Position
	size int64 // of the batch, in bytes
	w    Waiter
}

// New starts the group's goroutine; Close ends it. Nobody else appends to j.
func New(j *journal.Journal, sink Sink, cfg Config) *Group {
	cfg = cfg.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	g := &Group{
		j: j, sink: sink, cfg: cfg, log: cfg.Logger, cancel: cancel,
		work: make(chan struct{}, 1), eager: make(chan struct{}, 1), failed: make(chan struct{}), done: make(chan struct{}),
	}
	go g.run(ctx)
	return g
}

// LocalSink is durability on this disk: one fsync for each group.
func LocalSink(j *journal.Journal) Sink { return localSink{j} }

type localSink struct{ j *journal.Journal }

func (s localSink) Commit(_ context.Context, upTo journal.Position) error {
	end, err := s.j.Sync()
	if err == nil && end.Compare(upTo) < 0 {
		err = fmt.Errorf("sync reached %s, want %s", end, upTo)
	}
	return err
}

// Append queues a stamped batch for the journal, and w to be told of it, under one
// lock: the order of waiters is that of the log. v belongs to the journal from then
// on. On an error nothing was queued and w is not called; it is journal.ErrFull while
// there is no disk space, ErrClosed, or what failed the group.
func (g *Group) Append(p id.Partition, v batch.View, w Waiter) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.err != nil:
		return g.err
	case g.closed:
		return ErrClosed
	}
	end, err := g.j.Append(p, v)
	if err != nil {
		if errors.Is(err, journal.ErrFailed) {
			g.fail(err)
			wake(g.work)
		}
		return err
	}
	size := int64(len(v))
	g.queue = append(g.queue, item{end, size, w})
	g.queued += size
	if len(g.queue) == 1 {
		wake(g.work)
	}
	if g.queued >= g.cfg.EagerBytes && g.queued-size < g.cfg.EagerBytes {
		wake(g.eager)
	}
	return nil
}

// wake makes the receiver of c look again; it never waits.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// fail poisons the group. mu is held.
func (g *Group) fail(err error) {
	if g.err != nil {
		return
	}
	g.err = fmt.Errorf("group commit has failed: %w", err)
	g.log.Error("group commit has failed; nothing is accepted any more", "error", err)
	close(g.failed)
	wake(g.eager)
}

// Failed is closed when a write or commit has failed; nothing is accepted from then on.
func (g *Group) Failed() <-chan struct{} { return g.failed }

// Err returns the error that failed the group, or nil.
func (g *Group) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Close commits what is queued and waits for the goroutine. If ctx ends first, a
// commit under way is cancelled and ctx's error returned; the waiters are told. Else
// the error is that which failed the group, if any.
func (g *Group) Close(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	wake(g.work)
	wake(g.eager)
	select {
	case <-g.done:
		g.cancel()
		return g.Err()
	case <-ctx.Done():
		g.cancel()
		return fmt.Errorf("close group commit: %w", context.Cause(ctx))
	}
}

func (g *Group) run(ctx context.Context) {
	defer close(g.done)
	var last time.Time // start of the last commit
	for range g.work {
		for g.pace(last) {
			last = time.Now()
			if !g.commitNext(ctx) {
				break
			}
		}
		g.mu.Lock()
		end := g.err != nil || g.closed && len(g.queue) == 0
		g.mu.Unlock()
		if end {
			g.drain()
			return
		}
	}
}

// pace waits until the next commit may start: Interval after last, or EagerBytes, or
// the end of the group. It returns false if there is nothing to commit.
func (g *Group) pace(last time.Time) bool {
	for {
		g.mu.Lock()
		idle := g.err != nil || len(g.queue) == 0
		now := g.closed || g.queued >= g.cfg.EagerBytes
		g.mu.Unlock()
		wait := g.cfg.Interval - time.Since(last)
		if idle || now || wait <= 0 {
			return !idle
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-g.eager:
		}
		timer.Stop()
	}
}

// commitNext takes what is queued through one write and one commit. It returns false
// if nothing was queued or the group has failed.
func (g *Group) commitNext(ctx context.Context) bool {
	g.mu.Lock()
	idle := g.err != nil || len(g.queue) == 0
	g.mu.Unlock()
	if idle {
		return false
	}
	upTo, err := g.j.Flush()
	if err != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.fail(err)
		return false
	}
	group := g.take(upTo)
	for _, it := range group {
		it.w.Written()
	}
	err = g.sink.Commit(ctx, upTo)
	if err != nil {
		g.mu.Lock()
		g.fail(err)
		err = g.err
		g.mu.Unlock()
	}
	for _, it := range group {
		it.w.Committed(err)
	}
	clear(group)
	g.spare = group
	return err == nil
}

// take removes from the queue what lies before upTo.
func (g *Group) take(upTo journal.Position) []item {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for n < len(g.queue) && g.queue[n].end.Compare(upTo) <= 0 {
		n++
	}
	group := g.queue[:n:n]
	for _, it := range group {
		g.queued -= it.size
	}
	g.queue = append(g.spare[:0], g.queue[n:]...)
	g.spare = nil
	return group
}

// drain tells those who are still queued that the group failed.
func (g *Group) drain() {
	g.mu.Lock()
	queue, err := g.queue, g.err
	g.queue = nil
	g.mu.Unlock()
	for _, it := range queue {
		it.w.Committed(err)
	}
}
