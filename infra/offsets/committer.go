package offsets

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/forebaylog/forebay/infra/id"
)

// ErrClosed says that the Committer has been closed.
var ErrClosed = errors.New("offset committer closed")

// CommitterConfig sets up a Committer.
type CommitterConfig struct {
	// Window is how long commits gather before they are written. The default, 0, writes
	// as fast as the table takes it: while one write is under way the next gathers.
	Window time.Duration
	// Timeout is how long a write may take before its outcome is told as unknown; default 30 s.
	Timeout time.Duration
}

// Committer gathers the commits of all groups into few writes. Of two commits for one
// group and partition that gather together, the later one is written and answers for both.
type Committer struct {
	table *Table
	cfg   CommitterConfig

	mu      sync.Mutex
	waiting []submission
	closed  bool
	wake    chan struct{} // has room for one: something is waiting, or closed
	closing chan struct{} // closed by Close
	done    chan struct{} // closed when run has returned

	life context.Context // of the writes
	end  context.CancelFunc
}

type submission struct {
	batch Batch
	done  func(error)
}

// NewCommitter starts a Committer, which must be closed.
func NewCommitter(t *Table, cfg CommitterConfig) *Committer {
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	c := &Committer{
		table: t, cfg: cfg,
		wake: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{}),
	}
	c.life, c.end = context.WithCancel(context.Background())
	go c.run()
	return c
}

// Commit returns once the entries are durable, or have failed as Table.Commit says. When
// ctx ends first they may still be written.
func (c *Committer) Commit(ctx context.Context, group string, epoch id.Epoch, entries []Entry) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("commit offsets of group %q: %w", group, err)
	}
	result := make(chan error, 1)
	c.Submit(Batch{Group: group, Epoch: epoch, Entries: entries}, func(err error) { result <- err })
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("commit offsets of group %q: outcome unknown: %w", group, ctx.Err())
	}
}

// Submit queues a batch, which the Committer owns from then on, and calls done once,
// when they are durable or have failed. done is called by the Committer's own goroutine
// (or by Submit, when the Committer is closed) and must not block.
func (c *Committer) Submit(batch Batch, done func(error)) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		done(fmt.Errorf("commit offsets of group %q: %w", batch.Group, ErrClosed))
		return
	}
	c.waiting = append(c.waiting, submission{batch, done})
	c.mu.Unlock()
	c.signal()
}

func (c *Committer) signal() {
	select {
	case c.wake <- struct{}{}:
	default: // already awake
	}
}

// run writes what is waiting until the Committer is closed and nothing waits.
func (c *Committer) run() {
	defer close(c.done)
	for range c.wake {
		c.gather()
		c.mu.Lock()
		batch, closed := c.waiting, c.closed
		c.waiting = nil
		c.mu.Unlock()
		if len(batch) > 0 {
			c.write(batch)
		}
		if closed {
			return
		}
	}
}

// gather waits for the window to pass, or for Close.
func (c *Committer) gather() {
	if c.cfg.Window <= 0 {
		return
	}
	t := time.NewTimer(c.cfg.Window)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.closing:
	}
}

func (c *Committer) write(waiting []submission) {
	ctx, cancel := context.WithTimeout(c.life, c.cfg.Timeout)
	defer cancel()
	batches := make([]Batch, len(waiting))
	for i, s := range waiting {
		batches[i] = s.batch
	}
	for i, err := range c.table.CommitAll(ctx, batches) {
		waiting[i].done(err)
	}
}

// Close writes what is queued and waits for it; when ctx ends it gives up the write
// under way, and waits for that. Submissions after it fail with ErrClosed.
func (c *Committer) Close(ctx context.Context) error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.closing)
	}
	c.mu.Unlock()
	c.signal()
	defer c.end()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		c.end()
		<-c.done
		return fmt.Errorf("close offset committer: %w", ctx.Err())
	}
}
