package seal

import (
	"context"
	"fmt"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
)

// source is where the batches of a plan come from.
type source interface {
	// fill is how many bytes of pieces are best loaded at a time.
	fill(pl *plan) int64
	// load brings the pieces into memory, where they stay until the next load. What goes wrong is told by view.
	load(ctx context.Context, pieces []piece)
	// view returns the batch of pc, which is loaded, that begins at its base, checked;
	// with it gone the base is that of the next one.
	view(pc *piece) (batch.View, error)
}

// piece is an item that is to be loaded or, once it is, its bytes.
type piece struct {
	item
	p   id.Partition
	raw []byte
	err error
}

// packer writes a plan into a pack.
type packer struct {
	s    *Sealer
	src  source
	skip map[id.Partition]error
	pack *pack.Writer

	pieces []piece // to be loaded next
	filled int64   // bytes of them

	state runState
	p     id.Partition // of the latest run
	next  id.Offset    // of it: where the next batch has to begin
	epoch id.Epoch     // of it: the least that the next batch may have
	runs  int

	table   producers.Table // as of the run's last batch
	aborted []pack.AbortedTxn
}

// runState says what has become of the latest run.
type runState int

const (
	runEnded   runState = iota // or none has begun
	runOpen                    // it takes batches
	runGivenUp                 // it ended early; what is left of it is passed over
)

// write writes the whole object.
func (w *packer) write(ctx context.Context, pl *plan) (*pack.Footer, error) {
	fill := w.src.fill(pl)
	for _, r := range pl.runs {
		for _, it := range r.items {
			if w.filled+it.length > fill && len(w.pieces) > 0 {
				if err := w.flush(ctx); err != nil {
					return nil, err
				}
			}
			w.pieces = append(w.pieces, piece{item: it, p: r.p})
			w.filled += it.length
		}
	}
	if err := w.flush(ctx); err != nil {
		return nil, err
	}
	if err := w.endRun(); err != nil {
		return nil, err
	}
	if w.runs == 0 {
		return nil, errNoRuns
	}
	footer, err := w.pack.Close()
	if err != nil {
		return nil, fmt.Errorf("end the pack: %w", err)
	}
	return footer, nil
}

// flush reads the pieces and writes them.
func (w *packer) flush(ctx context.Context) error {
	w.src.load(ctx, w.pieces)
	for i := range w.pieces {
		if err := w.add(ctx, &w.pieces[i]); err != nil {
			return err
		}
	}
	w.pieces, w.filled = w.pieces[:0], 0
	return ctx.Err()
}

// add appends the batches of a piece to its run, which it begins if need be. A batch or
// a run that cannot be had ends the run and is no error of the pack.
func (w *packer) add(ctx context.Context, pc *piece) error {
	if pc.p != w.p {
		if err := w.endRun(); err != nil {
			return err
		}
		t := w.s.tails[pc.p]
		w.p, w.next, w.epoch = pc.p, t.end, t.last.LastEpoch
	}
	for w.state != runGivenUp && pc.base < pc.next {
		v, cause := w.src.view(pc)
		if cause == nil {
			cause = w.follows(v)
		}
		if cause == nil && w.state == runEnded {
			cause = w.beginRun(ctx, pc.p)
		}
		if cause != nil {
			err := w.endRun()
			w.state, w.skip[pc.p] = runGivenUp, cause
			return err
		}
		if err := w.append(v); err != nil {
			return err
		}
	}
	return nil
}

// follows tells what is wrong with v as the next batch of the run.
func (w *packer) follows(v batch.View) error {
	if v.BaseOffset() != w.next || v.LeaderEpoch() < w.epoch {
		return fmt.Errorf("seal %s: %w: offset %d of epoch %d is followed by a batch at %d of epoch %d",
			w.p, ErrHole, w.next, w.epoch, v.BaseOffset(), v.LeaderEpoch())
	}
	return nil
}

// append appends a batch to the run that is open.
func (w *packer) append(v batch.View) error {
	if err := w.pack.Append(v); err != nil {
		return fmt.Errorf("pack the batch of %s at offset %d: %w", w.p, v.BaseOffset(), err)
	}
	if txn, ok := w.table.Apply(v); ok {
		w.aborted = append(w.aborted, txn)
	}
	w.next, w.epoch = v.NextOffset(), v.LeaderEpoch()
	return nil
}

// beginRun starts the run of p with the producers as the last segment of its chain left them.
func (w *packer) beginRun(ctx context.Context, p id.Partition) error {
	states, err := w.s.producers(ctx, p)
	if err != nil {
		return fmt.Errorf("read the producers of %s: %w", p, err)
	}
	w.table = producers.Table{}
	w.table.Restore(states)
	w.table.Expire(w.s.cfg.Now(), w.s.cfg.ProducerExpiry)
	if err := w.pack.BeginRun(p); err != nil {
		return fmt.Errorf("begin the run of %s: %w", p, err)
	}
	w.state, w.aborted = runOpen, nil
	w.runs++
	return nil
}

// endRun ends the run that is open, if one is.
func (w *packer) endRun() error {
	open := w.state == runOpen
	w.state = runEnded
	if !open {
		return nil
	}
	if err := w.pack.EndRun(w.table.Snapshot(), w.aborted); err != nil {
		return fmt.Errorf("end the run of %s: %w", w.p, err)
	}
	return nil
}
