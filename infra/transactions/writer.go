package transactions

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrClosed says that the Writer has been closed.
var ErrClosed = errors.New("transaction writer closed")

// writeTimeout is how long a write may take before its outcome is told as unknown.
const writeTimeout = 30 * time.Second

// Writer gathers the writes of many transactional ids: while one WriteAll is under way the
// next gathers. There must be one write of an item at a time.
type Writer struct {
	table *Table

	mu      sync.Mutex
	waiting []submission
	closed  bool
	wake    chan struct{} // has room for one: something is waiting, or closed
	done    chan struct{} // closed when run has returned

	life context.Context // of the writes
	end  context.CancelFunc
}

type submission struct {
	write Write
	done  func(Result)
}

// NewWriter starts a Writer, which must be closed.
func NewWriter(t *Table) *Writer {
	w := &Writer{table: t, wake: make(chan struct{}, 1), done: make(chan struct{})}
	w.life, w.end = context.WithCancel(context.Background())
	go w.run()
	return w
}

// Submit queues a write and calls done once with its outcome. done is called by the Writer's own
// goroutine (or by Submit, when the Writer is closed) and must not block.
func (w *Writer) Submit(write Write, done func(Result)) {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		done(Result{Err: fmt.Errorf("write transaction of %q: %w", write.ID, ErrClosed)})
		return
	}
	w.waiting = append(w.waiting, submission{write, done})
	w.mu.Unlock()
	w.signal()
}

func (w *Writer) signal() {
	select {
	case w.wake <- struct{}{}:
	default: // already awake
	}
}

// run writes what is waiting until the Writer is closed and nothing waits.
func (w *Writer) run() {
	defer close(w.done)
	for range w.wake {
		w.mu.Lock()
		batch, closed := w.waiting, w.closed
		w.waiting = nil
		w.mu.Unlock()
		if len(batch) > 0 {
			w.write(batch)
		}
		if closed {
			return
		}
	}
}

func (w *Writer) write(batch []submission) {
	ctx, cancel := context.WithTimeout(w.life, writeTimeout)
	defer cancel()
	writes := make([]Write, len(batch))
	for i := range batch {
		writes[i] = batch[i].write
	}
	for i, r := range w.table.WriteAll(ctx, writes) {
		batch[i].done(r)
	}
}

// Close writes what is queued and waits for it; when ctx ends it gives up the write
// under way, and waits for that. Submissions after it fail with ErrClosed.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.signal()
	defer w.end()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		w.end()
		<-w.done
		return fmt.Errorf("close transaction writer: %w", ctx.Err())
	}
}
