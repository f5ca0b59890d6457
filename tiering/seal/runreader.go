package seal

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
)

// maxObjects is how many objects are read from at a time.
const maxObjects = 16

// runReader reads batches from the runs of objects, as a source. It goes through the objects
// one run after the other as they lie there, whatever the order of the partitions:
// those with many small runs in the same objects fetch each of these once a load.
type runReader struct {
	cold  *cold.Reader
	segs  []chain.Segment // of the plan; the pos of an item is an index of them
	arena []byte
}

// collect lists what follows t, as far as there is room in the plan, and counts it in. With
// an error it returns what lies before the place that is wrong.
func (rr *runReader) collect(a Adoption, t tail, pl *plan, limit int64) (run, error) {
	r := run{p: a.Partition, tail: t}
	next := t.end
	for _, seg := range a.Segments {
		if seg.Next <= next {
			continue
		}
		if seg.Base > next {
			return r, fmt.Errorf("adopt %s: %w: offset %d is followed by a run at %d", a.Partition, ErrHole, next, seg.Base)
		}
		if pl.full(limit) {
			break
		}
		r.items = append(r.items, item{base: next, next: seg.Next, length: seg.Length, pos: int64(len(rr.segs))})
		rr.segs = append(rr.segs, seg)
		next = seg.Next
		pl.bytes += seg.Length
		pl.batches++
	}
	return r, nil
}

// fill implements source: the more at a time, the fewer requests.
func (rr *runReader) fill(*plan) int64 { return largeFill }

// load implements source.
func (rr *runReader) load(ctx context.Context, pieces []piece) {
	var size int64
	order := make([]*piece, len(pieces))
	for i := range pieces {
		order[i] = &pieces[i]
		size += pieces[i].length
	}
	if int64(len(rr.arena)) < size {
		rr.arena = make([]byte, size)
	}
	arena := rr.arena
	for _, pc := range order {
		pc.raw, arena = arena[:0:pc.length], arena[pc.length:]
	}
	slices.SortFunc(order, func(a, b *piece) int {
		x, y := &rr.segs[a.pos], &rr.segs[b.pos]
		return cmp.Or(cmp.Compare(x.Object, y.Object), cmp.Compare(x.Pos, y.Pos))
	})
	var g errgroup.Group
	g.SetLimit(maxObjects)
	for len(order) > 0 {
		object := rr.segs[order[0].pos].Object
		n := slices.IndexFunc(order, func(pc *piece) bool { return rr.segs[pc.pos].Object != object })
		if n < 0 {
			n = len(order)
		}
		same := order[:n]
		g.Go(func() error {
			for _, pc := range same {
				rr.read(ctx, pc)
			}
			return nil
		})
		order = order[n:]
	}
	_ = g.Wait() // what goes wrong is in the pieces
}

// read copies the batches of a piece: the chunks that they lie in are worth far more memory.
func (rr *runReader) read(ctx context.Context, pc *piece) {
	for v, err := range rr.cold.Batches(ctx, pc.p, rr.segs[pc.pos], pc.base) {
		if err != nil {
			pc.err = err
			return
		}
		pc.raw = append(pc.raw, v...)
	}
}

// view implements source.
func (rr *runReader) view(pc *piece) (batch.View, error) {
	if len(pc.raw) == 0 && pc.err != nil {
		return nil, pc.err
	}
	v, rest, err := batch.Parse(pc.raw)
	if err != nil {
		return nil, fmt.Errorf("read the batch of %s at offset %d in object %s: %w", pc.p, pc.base, rr.segs[pc.pos].Object, err)
	}
	pc.raw, pc.base = rest, v.NextOffset()
	return v, nil
}
