package pack

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

// noTimestamp is the time of a batch without records.
const noTimestamp = -1

// tally derives a run from its batches, one after the other.
type tally struct {
	run   Run         // Base and Next of a sparse one are given; its epochs are those of the batches
	end   id.Offset   // of the batches so far
	lasts []id.Offset // base offsets of the last batch of each of the run's epochs
}

// begin starts a tally of the run of p that lies at pos. Base and next count of a sparse run only.
func begin(p id.Partition, pos int64, sparse bool, base, next id.Offset) tally {
	t := tally{run: Run{Partition: p, Pos: pos}}
	if sparse {
		t.run.Sparse, t.run.Base, t.run.Next, t.end = true, base, next, base
	}
	return t
}

// add accounts for a whole batch at the end of the run.
func (t *tally) add(v batch.View) error {
	if err := v.Verify(); err != nil {
		return err
	}
	r, base, epoch := &t.run, v.BaseOffset(), v.LeaderEpoch()
	switch {
	case r.Sparse && (base < t.end || v.NextOffset() > r.Next):
		return fmt.Errorf("batch of the offsets %d to %d, the run goes on from %d to %d", base, v.NextOffset(), t.end, r.Next)
	case !r.Sparse && r.Length > 0 && base != t.end:
		return fmt.Errorf("batch at offset %d, the run ends at %d", base, t.end)
	}
	if n := len(r.Epochs); n > 0 && epoch < r.Epochs[n-1].Epoch {
		return fmt.Errorf("batch at offset %d has epoch %d, the one before it %d", base, epoch, r.Epochs[n-1].Epoch)
	}
	t.note(v)
	r.CRC = crc32.Update(r.CRC, castagnoli, v)
	return nil
}

// note derives all but CRC from the header of the run's next batch.
func (t *tally) note(v batch.View) {
	r := &t.run
	base, epoch, pos := v.BaseOffset(), v.LeaderEpoch(), r.Pos+r.Length
	first := r.Length == 0
	if first {
		r.FirstEpoch, r.MaxTimestamp = epoch, math.MinInt64
		if !r.Sparse {
			r.Base = base
		}
	}
	if first || epoch != r.Epochs[len(r.Epochs)-1].Epoch {
		r.Epochs, t.lasts = append(r.Epochs, EpochStart{Epoch: epoch, Start: base}), append(t.lasts, base)
	}
	t.lasts[len(t.lasts)-1] = base
	if first || pos-r.Index[len(r.Index)-1].Pos >= IndexInterval {
		r.Index = append(r.Index, IndexEntry{Offset: base, Pos: pos})
		if r.Sparse {
			r.Heads = append(r.Heads, 0)
		}
	}
	at := len(r.Index) - 1
	if r.Sparse {
		r.Heads[at] = crc32.Update(r.Heads[at], castagnoli, v[:HeadSize])
	}
	ms := v.MaxTimestamp()
	if v.Records() == 0 {
		ms = noTimestamp
	}
	r.MaxTimestamp = max(r.MaxTimestamp, ms)
	r.Index[at].MaxTimestamp = r.MaxTimestamp
	t.end = v.NextOffset()
	if !r.Sparse {
		r.Next = t.end
	}
	r.Length += int64(v.Length())
	r.Records += int64(v.Records())
}

// epochs gives a sparse run its history, which must be that of its batches too.
func (t *tally) epochs(history []EpochStart) error {
	r := &t.run
	for i, e := range history {
		if e.Start < r.Base || e.Start >= r.Next || i > 0 && (e.Start <= history[i-1].Start || e.Epoch <= history[i-1].Epoch) {
			return fmt.Errorf("the leader epochs %v do not follow each other from offset %d to %d", history, r.Base, r.Next)
		}
	}
	for i, e := range r.Epochs { // as both only grow, the batches between have it too
		for _, at := range []id.Offset{e.Start, t.lasts[i]} {
			if len(history) == 0 || epochAt(history, at) != e.Epoch {
				return fmt.Errorf("the batch at offset %d has epoch %d, the leader epochs are %v", at, e.Epoch, history)
			}
		}
	}
	r.Epochs = slices.Clone(history)
	r.FirstEpoch = r.Epochs[0].Epoch
	return nil
}

// epochAt is the epoch of the batch at o: the last one that begins at or below it, or else the first.
func epochAt(epochs []EpochStart, o id.Offset) id.Epoch {
	i, exact := slices.BinarySearchFunc(epochs, o, func(e EpochStart, o id.Offset) int { return cmp.Compare(e.Start, o) })
	if !exact && i > 0 {
		i--
	}
	return epochs[i].Epoch
}
