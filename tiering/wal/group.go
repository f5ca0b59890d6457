// Package wal is the group commit: batches that arrive while one group is being
// made durable form the next group, so that however many producers wait, they
// share one write and one commit. Where a group goes is its Sink's: the fsync of the hot
// segment (LocalSink), or an object in the store and a slot of the session's stream
// (Stream). The sink also says when a group may leave: at once after an idle time, and
// under load when its pace, its budget of requests or the size of the group allows it.
//
// A Group is safe for concurrent use.
//
// The commit point of a batch is the sink's success for its group. A crash before it may
// lose the batch, which nobody was told is committed; after it the sink's durability holds.
package wal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/tracing"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/journal"
)

// ErrClosed is what Append returns after Close.
var ErrClosed = errors.New("group commit is closed")

// ErrFailed is what Append returns after a write or a commit has failed, with why.
var ErrFailed = errors.New("group commit has failed")

// Sink makes groups of batches durable in the sense of one durability class. All its
// methods but Wake are called from the Group's goroutine.
type Sink interface {
	// Ready reports whether a group of so many bytes may leave now and, if not, when to
	// ask again at the latest.
	Ready(queued int64) (now bool, wait time.Duration)
	// Wake receives when Ready may have changed its mind earlier. It may be nil.
	Wake() <-chan struct{}
	// Sizes returns the size in bytes of a group that is worth asking Ready for at once,
	// and that of the largest group it takes; a single batch may exceed it.
	Sizes() (eager, most int64)
	// Commit makes the chunk durable, whose batches were written to the journal's files,
	// and calls done once. Calls of done are in the order of those of Commit; they come
	// before Commit returns or from one goroutine later. It may wait for room. ctx has the
	// span of the group.
	Commit(ctx context.Context, c Chunk, done func(error))
}

// Chunk is the batches of one group.
type Chunk struct {
	UpTo  journal.Position // where the last of them ends
	Bytes int64            // of the batches
	items []item
}

// Batches yields the batches in the order of Append.
func (c Chunk) Batches() iter.Seq2[id.Partition, batch.View] {
	return func(yield func(id.Partition, batch.View) bool) {
		for i := range c.items {
			if !yield(c.items[i].p, c.items[i].v) {
				return
			}
		}
	}
}

// spans yields what the batches are part of.
func (c Chunk) spans() iter.Seq[*tracing.Span] {
	return func(yield func(*tracing.Span) bool) {
		for i := range c.items {
			if !yield(c.items[i].w.Span()) {
				return
			}
		}
	}
}

// spanCommit is a group's, from the append of its first batch until it is durable or has failed.
const spanCommit = "wal.commit"

// Waiter is told of the progress of one batch, from one goroutine at a time and in
// the order of Append. Its methods must not block and must not call the Group.
type Waiter interface {
	// Written: the batch is in the segment file, but a power loss may still take it.
	Written()
	// Committed: the batch is durable (nil), or it is not known whether it ever will be.
	// It is called once, after Written unless the write failed.
	Committed(err error)
	// Span is what the batch is part of, nil if that is not traced. The span of the group
	// is linked to it.
	Span() *tracing.Span
}

// Config tunes a Group.
type Config struct {
	// MaxWaiting is how many bytes of batches may wait for their commit before Room
	// waits: default 64 MiB.
	MaxWaiting int64
	// OnCommit, if not nil, is told after each commit how long the first batch of the group had
	// waited for it, since it was appended.
	OnCommit func(time.Duration)
	Tracer   *tracing.Tracer // nil: no spans
	Logger   *slog.Logger    // default: none
}

const defaultMaxWaiting = 64 << 20

func (c Config) withDefaults() Config {
	if c.MaxWaiting == 0 {
		c.MaxWaiting = defaultMaxWaiting
	}
	if c.OnCommit == nil {
		c.OnCommit = func(time.Duration) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Group is the group commit over one journal.
type Group struct {
	j           *journal.Journal
	sink        Sink
	cfg         Config
	log         *slog.Logger
	eager, most int64 // the sink's sizes

	mu     sync.Mutex // held over Journal.Append, so that the queue is in the journal's order
	queue  []item
	queued int64  // bytes of the batches in queue
	spare  []item // the array of an earlier group
	err    error  // why the group failed
	closed bool
	room   chan struct{} // closed and replaced when waiting falls below MaxWaiting

	waiting     atomic.Int64   // bytes appended that are not committed, those that failed among them
	outstanding sync.WaitGroup // chunks that the sink has

	work   chan struct{} // there may be something queued
	asks   chan struct{} // the eager size may be queued, or the group ends
	failed chan struct{}
	done   chan struct{} // the goroutine has ended
	cancel context.CancelFunc
}

type item struct {
	end journal.Position
	p   id.Partition
	v   batch.View
	w   Waiter
	at  time.Time // of Append
}

// New starts the group's goroutine; Close ends it. Nobody else appends to j.
func New(j *journal.Journal, sink Sink, cfg Config) *Group {
	cfg = cfg.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	g := &Group{
		j: j, sink: sink, cfg: cfg, log: cfg.Logger, cancel: cancel, room: make(chan struct{}),
		work: make(chan struct{}, 1), asks: make(chan struct{}, 1), failed: make(chan struct{}), done: make(chan struct{}),
	}
	g.eager, g.most = sink.Sizes()
	go g.run(ctx)
	return g
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
		}
		return err
	}
	size := int64(len(v))
	g.queue = append(g.queue, item{end, p, v, w, time.Now()})
	g.queued += size
	g.waiting.Add(size)
	if len(g.queue) == 1 {
		wake(g.work)
	}
	if g.queued >= g.eager && g.queued-size < g.eager {
		wake(g.asks)
	}
	return nil
}

// Room waits until less than Config.MaxWaiting bytes wait for their commit, so that a
// slow sink slows down who appends and not fills the memory. It fails when ctx ends, with
// the cause, and at once when the group has failed.
func (g *Group) Room(ctx context.Context) error {
	for g.waiting.Load() >= g.cfg.MaxWaiting {
		g.mu.Lock()
		room, err := g.room, g.err
		g.mu.Unlock()
		if err != nil {
			return err
		}
		if g.waiting.Load() < g.cfg.MaxWaiting {
			return nil
		}
		select {
		case <-room:
		case <-g.failed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %d bytes to be committed: %w", g.waiting.Load(), context.Cause(ctx))
		}
	}
	return nil
}

// Waiting is how many bytes of batches wait for their commit, those that have failed to get it among them.
func (g *Group) Waiting() int64 { return g.waiting.Load() }

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
	g.err = fmt.Errorf("%w: %w", ErrFailed, err)
	g.log.Error("group commit has failed; nothing is accepted any more", "error", err)
	close(g.failed)
	wake(g.asks)
	wake(g.work)
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
	wake(g.asks)
	select {
	case <-g.done:
		g.cancel()
		return g.Err()
	case <-ctx.Done():
		g.cancel()
		return fmt.Errorf("close group commit: %d bytes of batches are not committed: %w", g.Waiting(), context.Cause(ctx))
	}
}

func (g *Group) run(ctx context.Context) {
	defer close(g.done)
	for range g.work {
		for g.pace() && g.commitNext(ctx) {
		}
		g.mu.Lock()
		end := g.err != nil || g.closed && len(g.queue) == 0
		g.mu.Unlock()
		if end {
			g.outstanding.Wait()
			g.drain()
			return
		}
	}
}

// pace waits until the sink takes the next group, or the end of this one. It returns
// false if there is nothing to commit.
func (g *Group) pace() bool {
	for {
		g.mu.Lock()
		idle, closed, queued := g.err != nil || len(g.queue) == 0, g.closed, g.queued
		g.mu.Unlock()
		if idle || closed {
			return !idle
		}
		now, wait := g.sink.Ready(queued)
		if now {
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-g.asks:
		case <-g.sink.Wake():
		}
		timer.Stop()
	}
}

// commitNext takes what is queued through one write and hands it to the sink. It returns
// false if nothing was queued or the group has failed.
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
	c := g.take(upTo)
	for i := range c.items {
		c.items[i].w.Written()
	}
	g.outstanding.Add(1)
	ctx, span := g.cfg.Tracer.Batch(ctx, spanCommit, c.items[0].at, c.spans())
	span.Set("batches", int64(len(c.items)))
	span.Set("bytes", c.Bytes)
	g.sink.Commit(ctx, c, func(err error) {
		span.End(err)
		g.settle(c, err)
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err == nil
}

// settle tells those who wait for a chunk.
func (g *Group) settle(c Chunk, err error) {
	defer g.outstanding.Done()
	if err != nil {
		g.mu.Lock()
		g.fail(err)
		err = g.err
		g.mu.Unlock()
	}
	if err == nil {
		g.cfg.OnCommit(time.Since(c.items[0].at))
	}
	for i := range c.items {
		c.items[i].w.Committed(err)
	}
	clear(c.items)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spare = c.items
	if err != nil {
		return
	}
	if left := g.waiting.Add(-c.Bytes); left < g.cfg.MaxWaiting && left+c.Bytes >= g.cfg.MaxWaiting {
		close(g.room)
		g.room = make(chan struct{})
	}
}

// take removes from the queue what lies before upTo, as far as the sink takes it at once.
func (g *Group) take(upTo journal.Position) Chunk {
	g.mu.Lock()
	defer g.mu.Unlock()
	var c Chunk
	n := 0
	for ; n < len(g.queue) && g.queue[n].end.Compare(upTo) <= 0; n++ {
		size := int64(len(g.queue[n].v))
		if n > 0 && c.Bytes+size > g.most {
			break
		}
		c.Bytes += size
		c.UpTo = g.queue[n].end
	}
	c.items = g.queue[:n:n]
	g.queued -= c.Bytes
	g.queue = append(g.spare[:0], g.queue[n:]...)
	g.spare = nil
	return c
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
