package rewrite

import (
	"context"
	"fmt"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
)

// task is a job under way.
type task struct {
	Job
	out  *Result
	done bool // the chain has it
	turn int  // how many jobs of the same partition come before

	segment chain.Segment // to be put in the place of the old ones

	// What was loaded of each old segment; nil if it is streamed.
	runs   []*pack.Run
	loaded [][]batch.View

	// Derived from the footers of the old segments.
	sparse  bool // the new run may leave out offsets
	epochs  []pack.EpochStart
	aborted []pack.AbortedTxn // whose markers may still come
	states  []producers.State // as of the end

	kept  []pack.AbortedTxn      // whose markers are in the run
	begun bool                   // the run has
	last  [batch.HeaderSize]byte // of the last batch that was read
	gone  bool                   // nothing is left of it
}

func (t *task) base() id.Offset { return t.Old[0].Base }
func (t *task) next() id.Offset { return t.Old[len(t.Old)-1].Next }

// bytes is how large the new run may be.
func (t *task) bytes() (n int64) {
	for _, item := range t.Old {
		n += item.Length
	}
	return n
}

// fail notes why the task failed, once.
func (t *task) fail(err error) {
	if t.out.Err == nil {
		t.out.Err = err
	}
}

func (t *task) validate() error {
	if len(t.Old) == 0 {
		return fmt.Errorf("rewrite %s: %w: no segments", t.Partition, ErrInvalid)
	}
	for i := 1; i < len(t.Old); i++ {
		if t.Old[i].Base != t.Old[i-1].Next {
			return fmt.Errorf("rewrite %s: %w: offset %d is followed by %d", t.Partition, ErrInvalid, t.Old[i-1].Next, t.Old[i].Base)
		}
	}
	return nil
}

// copyTo writes what is left of the task's segments to w. Then, or else with write, the segment is known.
func (t *task) copyTo(ctx context.Context, w *packWriter) error {
	if err := t.readFooters(ctx, w); err != nil {
		return err
	}
	for i, item := range t.Old {
		if item.Empty() {
			continue
		}
		for v, err := range t.batches(ctx, w, i) {
			if err == nil {
				err = w.cfg.wait(ctx, v.Length())
			}
			if err == nil {
				copy(t.last[:], v)
				err = t.add(ctx, w, v)
			}
			if err != nil {
				return err
			}
		}
	}
	if err := t.keepEnd(ctx, w); err != nil {
		return err
	}
	if !t.begun {
		t.segment = t.empty()
		return nil
	}
	return w.end(t, t.states, t.kept)
}

// keepEnd leaves a batch without records where the chain ends if all of its last one is gone: consumers
// come as far as the last batch that they are given, and their lag would stay above 0. The run that it
// is in also has the producers, for those who seal what follows and for those who take the
// partition over.
func (t *task) keepEnd(ctx context.Context, w *packWriter) error {
	if !t.gone {
		return nil
	}
	end, _, _, err := w.cfg.Chain.End(ctx, t.Partition)
	if err != nil || end > t.next() {
		return err
	}
	return t.append(ctx, w, batch.View(t.last[:]).Hollow())
}

// readFooters reads what the old runs tell beside their batches.
func (t *task) readFooters(ctx context.Context, w *packWriter) error {
	t.sparse = t.Clean != nil
	for i, item := range t.Old {
		if item.Empty() {
			t.sparse = true
			err := t.addEpoch(item.FirstEpoch, item.Base)
			if err == nil {
				err = t.addEpoch(item.LastEpoch, item.Next-1) // no earlier: nobody shall be told of a shorter epoch
			}
			if err != nil {
				return err
			}
			continue
		}
		run, err := t.run(ctx, w, i)
		if err != nil {
			return err
		}
		for _, e := range run.Epochs {
			if err := t.addEpoch(e.Epoch, e.Start); err != nil {
				return err
			}
		}
		t.sparse = t.sparse || run.Sparse
		t.aborted = append(t.aborted, run.Aborted...)
		if i == len(t.Old)-1 {
			t.states = slices.Clone(run.Producers)
		}
	}
	return nil
}

// addEpoch adds a leader epoch that begins at start unless it has begun before.
func (t *task) addEpoch(e id.Epoch, start id.Offset) error {
	n := len(t.epochs)
	if n > 0 && e < t.epochs[n-1].Epoch {
		return fmt.Errorf("leader epoch %d at offset %d follows %d", e, start, t.epochs[n-1].Epoch)
	}
	if n == 0 || e > t.epochs[n-1].Epoch {
		t.epochs = append(t.epochs, pack.EpochStart{Epoch: e, Start: start})
	}
	return nil
}

// add appends what is left of a batch.
func (t *task) add(ctx context.Context, w *packWriter, v batch.View) error {
	if t.Clean != nil {
		left, err := t.Clean.Clean(v)
		if err != nil {
			return fmt.Errorf("clean the batch at offset %d: %w", v.BaseOffset(), err)
		}
		if t.gone = left == nil; t.gone {
			return nil
		}
		if err := sameplace(v, left); err != nil {
			return err
		}
		v = left
	}
	return t.append(ctx, w, v)
}

// sameplace tells what is wrong with left as what is left of v.
func sameplace(v, left batch.View) error {
	if left.BaseOffset() != v.BaseOffset() || left.LastOffset() != v.LastOffset() || left.LeaderEpoch() != v.LeaderEpoch() ||
		left.ProducerID() != v.ProducerID() || left.ProducerEpoch() != v.ProducerEpoch() || left.Records() > v.Records() {
		return fmt.Errorf("%w at offset %d: offsets %d to %d, epoch %d, producer %d", ErrCleaner, v.BaseOffset(),
			left.BaseOffset(), left.LastOffset(), left.LeaderEpoch(), left.ProducerID())
	}
	if err := left.Verify(); err != nil {
		return fmt.Errorf("%w at offset %d: %w", ErrCleaner, v.BaseOffset(), err)
	}
	return nil
}

// append appends a batch to the run, which it begins if need be. The order of the batches and
// their epochs was seen to when they were read.
func (t *task) append(ctx context.Context, w *packWriter, v batch.View) error {
	if err := w.cfg.wait(ctx, v.Length()); err != nil {
		return err
	}
	if !t.begun {
		if err := w.begin(ctx, t); err != nil {
			return err
		}
		t.begun = true
	}
	t.keepAborted(v)
	return w.append(v)
}

// keepAborted keeps what is told of the aborted transaction that v ends, if it does: of one whose marker
// is gone, and all of its records with it, a consumer must not hear, for it would wait for the marker.
func (t *task) keepAborted(v batch.View) {
	for len(t.aborted) > 0 && t.aborted[0].Last < v.NextOffset() {
		if txn := t.aborted[0]; txn.Last >= v.BaseOffset() && v.IsControl() && v.Records() > 0 {
			t.kept = append(t.kept, txn)
		}
		t.aborted = t.aborted[1:]
	}
}

// empty is the segment of a task of which nothing is left.
func (t *task) empty() chain.Segment {
	seg := chain.Segment{
		Base: t.base(), Next: t.next(), MaxTimestamp: -1, CleanedTo: t.cleanedTo(),
		FirstEpoch: t.Old[0].FirstEpoch, LastEpoch: t.Old[len(t.Old)-1].LastEpoch,
	}
	for _, item := range t.Old {
		seg.Sealed = max(seg.Sealed, item.Sealed)
	}
	return seg
}

// take makes the segment of a task whose run was written.
func (t *task) take(run *pack.Run, footer *pack.Footer, object string, size int64) {
	t.segment = chain.SegmentOf(run, object, size)
	t.segment.Sealed, t.segment.CleanedTo = footer.Created.UnixMilli(), t.cleanedTo()
}

// cleanedTo is the job's or, for copies, the lowest of the segments that have records.
func (t *task) cleanedTo() id.Offset {
	if t.Clean != nil {
		return t.CleanedTo
	}
	to := id.Offset(-1)
	for _, item := range t.Old {
		if !item.Empty() && (to < 0 || item.CleanedTo < to) {
			to = item.CleanedTo
		}
	}
	return max(to, 0)
}
