package survey

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
)

// decodeLimit bounds what a look-up decompresses of one batch, in bytes.
const decodeLimit = 256 << 20

// chainPage is how many chain items a look-up reads at a time.
const chainPage = 256

// TimeAt returns the time of the first record at or behind an offset, in ms since 1970, to within what an index
// entry of a pack covers, some tens of KiB; -1 if no record there has a time. It fails with ErrBeyond at the end.
func (v *View) TimeAt(ctx context.Context, p id.Partition, o id.Offset) (int64, error) {
	at, ok := v.positions[p]
	if !ok || o >= at.End {
		return 0, fmt.Errorf("time of offset %d of %s: %w", o, p, ErrBeyond)
	}
	o = max(o, at.Start)
	for seg, err := range v.segments(ctx, p, o) {
		if err != nil {
			return 0, err
		}
		if seg.Empty() {
			continue
		}
		footer, err := v.reader.Cold.Footer(ctx, seg.Object, seg.ObjectSize)
		if err != nil {
			return 0, err
		}
		if run, ok := footer.Run(p); ok {
			return run.Find(max(o, run.Base)).MaxTimestamp, nil
		}
	}
	return -1, nil
}

// OffsetAt returns the first offset whose record is of the time ms, in ms since 1970, or later; false if there is none.
func (v *View) OffsetAt(ctx context.Context, p id.Partition, ms int64) (id.Offset, bool, error) {
	at, ok := v.positions[p]
	if !ok {
		return 0, false, nil
	}
	for seg, err := range v.segments(ctx, p, at.Start) {
		if err != nil {
			return 0, false, err
		}
		if seg.Empty() || seg.MaxTimestamp < ms {
			continue
		}
		o, ok, err := v.search(ctx, p, seg, ms, at.Start)
		if ok || err != nil {
			return o, ok, err
		}
	}
	return 0, false, nil
}

// search looks for the first record of a time in one segment.
func (v *View) search(ctx context.Context, p id.Partition, seg chain.Segment, ms int64, start id.Offset) (id.Offset, bool, error) {
	footer, err := v.reader.Cold.Footer(ctx, seg.Object, seg.ObjectSize)
	if err != nil {
		return 0, false, err
	}
	from := seg.Base
	if run, ok := footer.Run(p); ok {
		entry, ok := run.FindTime(ms)
		if !ok {
			return 0, false, nil
		}
		from = entry.Offset
	}
	for b, err := range v.reader.Cold.Batches(ctx, p, seg, from) {
		if err != nil {
			return 0, false, err
		}
		if b.MaxTimestamp() < ms {
			continue
		}
		if r, ok, err := batch.FirstAt(b, ms, start, decodeLimit); ok || err != nil {
			return r.Offset, ok, err
		}
	}
	return 0, false, nil
}

// segments yields what holds an offset or follows it, in packs and then in WAL objects.
func (v *View) segments(ctx context.Context, p id.Partition, from id.Offset) iter.Seq2[chain.Segment, error] {
	return func(yield func(chain.Segment, error) bool) {
		at := v.positions[p]
		for from < at.Sealed {
			segs, err := chain.Open(v.reader.Table).Segments(ctx, p, from, chainPage)
			if err != nil {
				yield(chain.Segment{}, err)
				return
			}
			if len(segs) == 0 {
				break // there is nothing but the log start
			}
			for _, seg := range segs {
				if from = seg.Next; !yield(seg, nil) {
					return
				}
			}
		}
		for _, piece := range v.pieces[p] {
			if piece.run.Next <= from {
				continue // an earlier leader's, or sealed
			}
			if from = piece.run.Next; !yield(segmentOf(piece), nil) {
				return
			}
		}
	}
}

func segmentOf(p piece) chain.Segment { return chain.SegmentOf(p.run, p.object.Name, p.object.Size) }

// Sealed is what a partition has in packs.
type Sealed struct {
	Segments int
	Bytes    int64 // of batches
	Records  int64
}

// Sealed sums up the chain of a partition from its log start on.
func (r *Reader) Sealed(ctx context.Context, p id.Partition, start id.Offset) (Sealed, error) {
	segs, err := chain.Open(r.Table).Segments(ctx, p, start, 0)
	if err != nil {
		return Sealed{}, err
	}
	var s Sealed
	for _, seg := range segs {
		s.Segments++
		s.Bytes += seg.Length
		s.Records += seg.Records
	}
	return s, nil
}

// SealedOf is Sealed of many partitions, given with their log starts, in their order.
func (r *Reader) SealedOf(ctx context.Context, ps []id.Partition, starts []id.Offset) ([]Sealed, error) {
	sums, errs := make([]Sealed, len(ps)), make([]error, len(ps))
	parallel(len(ps), func(i int) { sums[i], errs[i] = r.Sealed(ctx, ps[i], starts[i]) })
	return sums, errors.Join(errs...)
}

// Times is TimeAt of many partitions, in their order; -1 also for one that is at its end.
func (v *View) Times(ctx context.Context, ps []id.Partition, at []id.Offset) ([]int64, error) {
	times, errs := make([]int64, len(ps)), make([]error, len(ps))
	parallel(len(ps), func(i int) {
		if times[i], errs[i] = v.TimeAt(ctx, ps[i], at[i]); errors.Is(errs[i], ErrBeyond) {
			times[i], errs[i] = -1, nil
		}
	})
	return times, errors.Join(errs...)
}
