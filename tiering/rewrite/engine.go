package rewrite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
)

// Errors of this package.
var (
	// ErrInvalid: the segments of a job do not follow each other, or there are none.
	ErrInvalid = errors.New("invalid rewrite job")
	// ErrStale: the session of this process ended before the chains were written.
	ErrStale = errors.New("session ended before the rewritten segments were in the chain")
	// ErrCleaner: a Cleaner returned a batch that is not in the place of the one that it was given.
	ErrCleaner = errors.New("cleaner returned another batch")
)

// Config of an Engine. Chain, Objects and Cold must be set; the zero value of another field
// selects its default.
type Config struct {
	Chain   *chain.Store
	Objects objstore.Store
	Cold    *cold.Reader // the Engine's own: what it reads would sweep out what consumers read

	Cluster string    // cluster id, for the packs' headers
	Session string    // this process's session, likewise; may be empty
	Node    id.Broker // likewise, and for the packs' names
	Now     func() time.Time

	// MaxPackBytes bounds the old segments that go into one pack: 256 MiB. Those of a single
	// job may exceed it.
	MaxPackBytes int64
	// Limit is of the bytes of batches that are read and written, also of those that Wait is told of; nil: there is none.
	Limit *rate.Limiter
	// Valid reports whether this process may still write to the chains; nil: it always may.
	Valid  func() bool
	Logger *slog.Logger // nil discards
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MaxPackBytes <= 0 {
		c.MaxPackBytes = 256 << 20
	}
	if c.Valid == nil {
		c.Valid = func() bool { return true }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// maxRequests is how many chains are read or written at a time.
const maxRequests = 16

// Engine rewrites segments, one pack at a time.
type Engine struct {
	cfg  Config
	turn chan struct{} // the right to write a pack
}

// New returns an Engine. It starts nothing and need not be closed.
func New(cfg Config) *Engine { return &Engine{cfg: cfg.withDefaults(), turn: make(chan struct{}, 1)} }

// Rewrite does the jobs, as many to a pack as there is room, and returns what has become of
// each, in the order of jobs. A job that fails does not hold up the others. The error
// tells why one pack or more could not be written, or why the jobs were broken off; what
// it concerns is in the results too.
//
// Each pack is looked at, written and put into the chains within chain.CommitWithin: right before it
// is begun, the items of its jobs are read again, and those that have changed since are left out; and
// so are those that have changed when it is put into the chains.
func (e *Engine) Rewrite(ctx context.Context, jobs []Job) ([]Result, error) {
	results := make([]Result, len(jobs))
	tasks := make([]*task, len(jobs))
	for i, job := range jobs {
		results[i].Partition = job.Partition
		tasks[i] = &task{Job: job, out: &results[i]}
	}
	var errs []error
	for _, group := range e.groups(tasks) {
		err := ctx.Err()
		if err == nil {
			err = e.rewrite(ctx, group)
		}
		if err == nil {
			continue
		}
		for _, t := range group {
			if !t.done && t.out.Err == nil {
				t.out.Err = err
			}
		}
		errs = append(errs, err)
		if ctx.Err() != nil && len(errs) > 1 {
			errs = errs[:1] // the rest is not news
		}
	}
	return results, errors.Join(errs...)
}

// groups divides tasks into those that share a pack. A partition has one run in a pack.
func (e *Engine) groups(tasks []*task) [][]*task {
	var sound []*task
	turns := map[id.Partition]int{}
	for _, t := range tasks {
		if t.out.Err = t.validate(); t.out.Err != nil {
			continue
		}
		t.turn = turns[t.Partition]
		turns[t.Partition]++
		sound = append(sound, t)
	}
	// In the order of a pack's runs, so that the chunks of the old packs are fetched once.
	slices.SortStableFunc(sound, func(a, b *task) int {
		return cmp.Or(cmp.Compare(a.turn, b.turn), a.Partition.Compare(b.Partition))
	})
	var groups [][]*task
	var bytes int64
	for _, t := range sound {
		n := len(groups)
		if n == 0 || t.turn != groups[n-1][0].turn || bytes+t.bytes() > e.PackBytes() {
			groups, bytes = append(groups, nil), 0
			n++
		}
		groups[n-1] = append(groups[n-1], t)
		bytes += t.bytes()
	}
	return groups
}

// PackBytes bounds, now, the old segments that go into one pack, but for those of a single job.
func (e *Engine) PackBytes() int64 { return min(e.cfg.MaxPackBytes, e.JobBytes()) }

// JobBytes is how large, now, the old segments of a job should be at most: more would not pass the limit within
// chain.CommitWithin.
func (e *Engine) JobBytes() int64 {
	if e.cfg.Limit == nil || e.cfg.Limit.Limit() == rate.Inf {
		return math.MaxInt64
	}
	const share = 4 // of the time; and each byte is read and written
	return int64(min(float64(e.cfg.Limit.Limit())*chain.CommitWithin.Seconds()/share/2, 1<<62))
}

// Wait waits until n bytes more may be read or written.
func (e *Engine) Wait(ctx context.Context, n int) error { return e.cfg.wait(ctx, n) }

func (c *Config) wait(ctx context.Context, n int) error {
	if c.Limit == nil || c.Limit.Limit() == rate.Inf {
		return nil
	}
	for burst := max(c.Limit.Burst(), 1); n > 0; n -= burst {
		if err := c.Limit.WaitN(ctx, min(n, burst)); err != nil {
			return err
		}
	}
	return nil
}

// rewrite does a group of tasks. Its error is of the group as a whole.
func (e *Engine) rewrite(ctx context.Context, group []*task) error {
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-e.turn }()
	if !e.cfg.Valid() {
		return ErrStale
	}
	ctx, cancel := context.WithTimeoutCause(ctx, chain.CommitWithin, errTooLong)
	defer cancel()
	e.look(ctx, group)
	w := &packWriter{cfg: &e.cfg, name: chain.NewObjectName(e.cfg.Node, e.cfg.Now())}
	err := w.write(ctx, group)
	if err == nil {
		err = e.commit(ctx, group)
	}
	if err != nil && context.Cause(ctx) != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return err
}

var errTooLong = fmt.Errorf("rewrite segments: not done within %s; a smaller pack or a higher rate is needed", chain.CommitWithin)

// look reads the chains of the tasks again: the time until they are written counts from here.
func (e *Engine) look(ctx context.Context, group []*task) {
	each(group, func(t *task) { t.fail(e.cfg.Chain.Counts(ctx, t.Partition, t.Start, t.Old)) })
}

// commit puts the segments of the tasks that did not fail into the chains.
func (e *Engine) commit(ctx context.Context, group []*task) error {
	each(group, func(t *task) {
		if t.out.Err != nil {
			return
		}
		// The condition is only on the first item: if another has cleaned one of the others since, what is
		// gone would come back.
		if err := e.cfg.Chain.Unchanged(ctx, t.Partition, t.Old[1:]); err != nil {
			t.fail(err)
			return
		}
		if err := ctx.Err(); err != nil {
			t.fail(err)
			return
		}
		if !e.cfg.Valid() {
			t.fail(ErrStale)
			return
		}
		if err := e.cfg.Chain.Replace(ctx, t.Partition, t.Old, t.segment); err != nil {
			t.fail(err)
			return
		}
		t.done = true
		t.out.Segment = t.segment
		t.out.Segment.Rewritten = true
	})
	if !e.cfg.Valid() {
		return ErrStale
	}
	return ctx.Err()
}

// each calls f with each task that has not failed, some at a time.
func each(group []*task, f func(*task)) {
	var g errgroup.Group
	g.SetLimit(maxRequests)
	for _, t := range group {
		if t.out.Err == nil {
			g.Go(func() error { f(t); return nil })
		}
	}
	_ = g.Wait() // f keeps its own errors
}
