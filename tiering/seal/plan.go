package seal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/journal"
)

// maxPackBatches bounds the memory of a plan.
const maxPackBatches = 1 << 17

// plan is what goes into one pack.
type plan struct {
	runs    []run
	bytes   int64
	batches int
}

// run is the batches of one partition in a plan, of which there is at least one.
type run struct {
	p     id.Partition
	tail  tail // where they begin
	items []item
}

// item is one hot batch.
type item struct {
	base, next id.Offset
	epoch      id.Epoch
	segment    id.Segment
	pos        int64 // of its frame in the segment file
	length     int64 // of the batch
}

func (pl *plan) full(limit int64) bool {
	return pl.bytes >= limit || pl.batches >= maxPackBatches
}

// unsealed lists the rolled segments that hold batches that are in no chain, oldest first.
func (s *Sealer) unsealed() []journal.SegmentInfo {
	return slices.DeleteFunc(s.cfg.Journal.Segments(), func(seg journal.SegmentInfo) bool {
		_, done := s.sealed[seg.ID]
		return done || !seg.Rolled
	})
}

// plan chooses what goes into the next pack out of segs, which are unsealed: the
// oldest of them that fit, one at least. It leaves out the partitions in skip and
// adds those that it cannot read, with what is wrong.
func (s *Sealer) plan(ctx context.Context, segs []journal.SegmentInfo, skip map[id.Partition]error) (plan, error) {
	var pl plan
	for len(segs) > 0 && len(pl.runs) == 0 {
		n, ends, err := s.choose(ctx, segs, skip)
		if err != nil {
			return plan{}, err
		}
		upTo := segs[n-1].ID
		for _, p := range sortedPartitions(ends) {
			if pl.full(s.cfg.MaxPackBytes) {
				break
			}
			r, err := s.collect(p, upTo, &pl)
			if err != nil {
				skip[p] = err
			}
			if len(r.items) > 0 {
				pl.runs = append(pl.runs, r)
			}
		}
		segs = segs[n:]
	}
	return pl, ctx.Err()
}

// choose returns how many of segs, oldest first, go into one pack, one at least, and
// the partitions of which they hold unsealed batches.
func (s *Sealer) choose(
	ctx context.Context, segs []journal.SegmentInfo, skip map[id.Partition]error,
) (n int, pending map[id.Partition]struct{}, err error) {
	var bytes int64
	pending = map[id.Partition]struct{}{}
	for _, seg := range segs {
		if bytes += seg.Size; n > 0 && bytes > s.cfg.MaxPackBytes {
			break
		}
		n++
		for p, extent := range seg.Partitions {
			if _, skipped := skip[p]; skipped || !s.cfg.Live(p) {
				continue
			}
			t, err := s.tailOf(ctx, p)
			if err != nil {
				return 0, nil, err
			}
			if extent.Next > t.end {
				pending[p] = struct{}{}
			}
		}
	}
	return n, pending, nil
}

func sortedPartitions(set map[id.Partition]struct{}) []id.Partition {
	ps := make([]id.Partition, 0, len(set))
	for p := range set {
		ps = append(ps, p)
	}
	slices.SortFunc(ps, id.Partition.Compare)
	return ps
}

// collect lists the batches of p, of which some up to the end of segment upTo are
// unsealed, from its chain's end on as far as there is room in the plan, and counts
// them in. With an error it returns those before the place that is wrong.
func (s *Sealer) collect(p id.Partition, upTo id.Segment, pl *plan) (run, error) {
	r := run{p: p, tail: s.tails[p]}
	next, epoch := r.tail.end, r.tail.last.LastEpoch
	for e, err := range s.cfg.Journal.Entries(p, next) {
		if errors.Is(err, journal.ErrNotHot) {
			break
		}
		if err != nil {
			return r, fmt.Errorf("list the hot batches of %s from offset %d: %w", p, next, err)
		}
		if e.Base != next {
			return r, fmt.Errorf("seal %s: %w: offset %d is followed by a batch at %d", p, ErrHole, next, e.Base)
		}
		if e.Epoch < epoch {
			return r, fmt.Errorf("seal %s: the batch at offset %d has leader epoch %d, the one before it %d", p, e.Base, e.Epoch, epoch)
		}
		if e.Segment > upTo || pl.full(s.cfg.MaxPackBytes) {
			break
		}
		r.items = append(r.items, item{
			base: e.Base, next: e.Next, epoch: e.Epoch, segment: e.Segment, pos: e.Pos, length: int64(e.Length),
		})
		next, epoch = e.Next, e.Epoch
		pl.bytes += int64(e.Length)
		pl.batches++
	}
	if len(r.items) == 0 {
		return r, fmt.Errorf("seal %s: %w: nothing at offset %d", p, ErrHole, next)
	}
	return r, nil
}

// tailOf returns the end of the chain of p as it was last seen.
func (s *Sealer) tailOf(ctx context.Context, p id.Partition) (tail, error) {
	if t, ok := s.tails[p]; ok {
		return t, nil
	}
	end, last, _, err := s.cfg.Chain.End(ctx, p)
	if err != nil {
		return tail{}, err
	}
	t := tail{end, last}
	s.tails[p] = t
	return t, nil
}

// markSealed notes which of segs hold no batch of a live partition that is not in its chain.
func (s *Sealer) markSealed(ctx context.Context, segs []journal.SegmentInfo) error {
	for _, seg := range segs {
		done := true
		for p, extent := range seg.Partitions {
			if !s.cfg.Live(p) {
				continue
			}
			t, err := s.tailOf(ctx, p)
			if err != nil {
				return err
			}
			if done = extent.Next <= t.end; !done {
				break
			}
		}
		if done {
			s.sealed[seg.ID] = struct{}{}
		}
	}
	return nil
}

// byPlace orders items as they lie on the disk.
func byPlace(a, b item) int {
	return cmp.Or(cmp.Compare(a.segment, b.segment), cmp.Compare(a.pos, b.pos))
}
