package rewrite

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/pack"
)

// loadBytes is how many bytes of batches of small tasks are in memory at a time.
const loadBytes = 32 << 20

// window is how many of the tasks are loaded together: 1 means that it is streamed instead.
func window(tasks []*task) int {
	var sum int64
	for i, t := range tasks {
		if sum += t.bytes(); i > 0 && sum > loadBytes {
			return i
		}
	}
	return len(tasks)
}

// load reads the old segments of tasks into memory as they lie in their objects, whatever the order
// of the tasks: many small runs that are in the same objects take one request for a chunk, and
// one for a footer, of however many objects.
func (w *packWriter) load(ctx context.Context, tasks []*task) {
	type piece struct {
		t *task
		i int
	}
	var pieces []piece
	for _, t := range tasks {
		if t.out.Err != nil {
			continue
		}
		t.runs, t.loaded = make([]*pack.Run, len(t.Old)), make([][]batch.View, len(t.Old))
		for i, item := range t.Old {
			if !item.Empty() {
				pieces = append(pieces, piece{t, i})
			}
		}
	}
	slices.SortFunc(pieces, func(a, b piece) int {
		x, y := a.t.Old[a.i], b.t.Old[b.i]
		return cmp.Or(cmp.Compare(x.Object, y.Object), cmp.Compare(x.Pos, y.Pos))
	})
	for _, pc := range pieces {
		t := pc.t
		if t.out.Err != nil {
			continue
		}
		if err := t.load(ctx, w, pc.i); err != nil {
			t.fail(fmt.Errorf("rewrite %s from %d to %d: %w", t.Partition, t.base(), t.next(), err))
			t.runs, t.loaded = nil, nil
		}
	}
}

// load reads item i. What it keeps shares nothing with the caches.
func (t *task) load(ctx context.Context, w *packWriter, i int) error {
	run, err := t.run(ctx, w, i)
	if err != nil {
		return err
	}
	kept := *run
	kept.Index, kept.Heads = nil, nil
	kept.Epochs, kept.Aborted, kept.Producers = slices.Clone(run.Epochs), slices.Clone(run.Aborted), nil
	if i == len(t.Old)-1 {
		kept.Producers = slices.Clone(run.Producers)
	}
	for v, err := range w.cfg.Cold.Batches(ctx, t.Partition, t.Old[i].Segment, t.Old[i].Base) {
		if err != nil {
			return err
		}
		t.loaded[i] = append(t.loaded[i], bytes.Clone(v))
	}
	t.runs[i] = &kept
	return nil
}

// run returns what the footer tells of item i.
func (t *task) run(ctx context.Context, w *packWriter, i int) (*pack.Run, error) {
	if t.runs != nil && t.runs[i] != nil {
		return t.runs[i], nil
	}
	item := t.Old[i]
	footer, err := w.cfg.Cold.Footer(ctx, item.Object, item.ObjectSize)
	if err != nil {
		return nil, err
	}
	run, ok := footer.Run(t.Partition)
	if !ok {
		return nil, fmt.Errorf("object %s has no run of the partition", item.Object)
	}
	return run, nil
}

// batches yields the batches of item i, from memory if it was loaded.
func (t *task) batches(ctx context.Context, w *packWriter, i int) iter.Seq2[batch.View, error] {
	if t.loaded == nil {
		return w.cfg.Cold.Batches(ctx, t.Partition, t.Old[i].Segment, t.Old[i].Base)
	}
	return func(yield func(batch.View, error) bool) {
		for _, v := range t.loaded[i] {
			if !yield(v, nil) {
				return
			}
		}
	}
}
