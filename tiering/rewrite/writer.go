package rewrite

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
)

// packWriter streams the tasks of a group into one object, which it begins with the first run: if
// nothing is left of any, there is none.
type packWriter struct {
	cfg  *Config
	name string

	pack   *pack.Writer // nil before the first run
	pipe   *io.PipeWriter
	stored chan error
	open   bool  // a run has begun
	err    error // of the pack: it cannot be gone on with
}

// errUpload marks what a writer gets when the object store has given up.
var errUpload = errors.New("upload ended")

// write writes the runs of the tasks that have not failed and sets the segments of those that
// do not fail. An error is of the pack as a whole.
func (w *packWriter) write(ctx context.Context, group []*task) error {
	for rest := group; len(rest) > 0 && w.err == nil; {
		n := window(rest)
		if n > 1 {
			w.load(ctx, rest[:n])
		}
		for _, t := range rest[:n] {
			w.copy(ctx, t)
		}
		rest = rest[n:]
	}
	if w.pack == nil {
		return w.err
	}
	var footer *pack.Footer
	if w.err == nil {
		footer, w.err = w.pack.Close()
	}
	w.pipe.CloseWithError(w.err) // nil ends the object
	switch putErr := <-w.stored; {
	case w.err != nil && !errors.Is(w.err, errUpload):
		return w.err // the store stopped because of it
	case putErr != nil:
		return fmt.Errorf("store pack %s: %w", w.name, putErr)
	case w.err != nil:
		return w.err
	}
	for _, t := range group {
		if run, ok := footer.Run(t.Partition); ok && t.out.Err == nil {
			t.take(run, footer, w.name, w.pack.Size())
		}
	}
	return nil
}

// copy writes what is left of a task that has not failed.
func (w *packWriter) copy(ctx context.Context, t *task) {
	if w.err == nil {
		w.err = ctx.Err()
	}
	if t.out.Err != nil || w.err != nil {
		return
	}
	if err := t.copyTo(ctx, w); err != nil {
		t.fail(fmt.Errorf("rewrite %s from %d to %d: %w", t.Partition, t.base(), t.next(), err))
		w.giveUp(t)
	}
	t.runs, t.loaded = nil, nil
}

// begin starts the run of a task, and the object if it is the first.
func (w *packWriter) begin(ctx context.Context, t *task) error {
	if w.pack == nil {
		pr, pw := io.Pipe()
		w.pipe, w.stored = pw, make(chan error, 1)
		go func() {
			err := w.cfg.Objects.Put(ctx, w.name, pr)
			pr.CloseWithError(errors.Join(errUpload, err)) // nobody reads on
			w.stored <- err
		}()
		w.pack = pack.NewWriter(pw, pack.Header{
			Cluster: w.cfg.Cluster, Session: w.cfg.Session, Node: w.cfg.Node, Created: w.cfg.Now(),
		})
	}
	w.open = true
	if t.sparse {
		return w.keep(w.pack.BeginSparse(t.Partition, t.base(), t.next()))
	}
	return w.keep(w.pack.BeginRun(t.Partition))
}

// append adds a batch to the run.
func (w *packWriter) append(v batch.View) error { return w.keep(w.pack.Append(v)) }

// end ends the run of a task.
func (w *packWriter) end(t *task, states []producers.State, aborted []pack.AbortedTxn) error {
	w.open = false
	if t.sparse {
		return w.keep(w.pack.EndSparse(t.epochs, states, aborted))
	}
	return w.keep(w.pack.EndRun(states, aborted))
}

// giveUp ends the run of a task that failed within it: what is there of it is in no chain.
func (w *packWriter) giveUp(t *task) {
	if w.open && w.err == nil {
		_ = w.end(t, nil, nil) // w.err keeps it
	}
	w.open = false
}

func (w *packWriter) keep(err error) error {
	if w.err == nil && err != nil {
		w.err = err
	}
	return err
}
