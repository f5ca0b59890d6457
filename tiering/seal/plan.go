package seal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
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

// item is what a source reads in one piece: a hot batch, or what is not sealed of a run.
type item struct {
	base, next id.Offset
	length     int64      // of the batches, in bytes; of a run: at most
	epoch      id.Epoch   // of a hot batch
	segment    id.Segment // of a hot batch
	pos        int64      // of a hot batch: of its frame in the segment file; of a run: see runReader
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

// plan chooses what goes into the next pack out of segs, which are unsealed and the
// chains of which were seen: the oldest of them that fit, one at least. It leaves out
// the partitions in skip and adds those that it cannot read, with what is wrong.
func (s *Sealer) plan(segs []journal.SegmentInfo, skip map[id.Partition]error) plan {
	var pl plan
	for len(segs) > 0 && len(pl.runs) == 0 {
		n, pending := s.choose(segs, skip)
		upTo := segs[n-1].ID
		for _, p := range sortedPartitions(pending) {
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
	return pl
}

// choose returns how many of segs, oldest first, go into one pack, one at least, and
// the partitions of which they hold batches that are to be sealed.
func (s *Sealer) choose(segs []journal.SegmentInfo, skip map[id.Partition]error) (n int, pending map[id.Partition]struct{}) {
	var bytes int64
	pending = map[id.Partition]struct{}{}
	for _, seg := range segs {
		if bytes += seg.Size; n > 0 && bytes > s.cfg.MaxPackBytes {
			break
		}
		n++
		for p, extent := range seg.Partitions {
			t, seen := s.tails[p]
			_, skipped := skip[p]
			if !seen || skipped || extent.Next <= t.end {
				continue
			}
			if s.cfg.Live(p) && !s.cfg.Held(p) && s.cfg.Committed(p) > t.end {
				pending[p] = struct{}{}
			}
		}
	}
	return n, pending
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
	committed := s.cfg.Committed(p)
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
		if e.Segment > upTo || e.Next > committed || pl.full(s.cfg.MaxPackBytes) {
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

// markSealed sees the chains of all that segs hold and notes which of them hold no batch
// of a live partition that is not in its chain.
func (s *Sealer) markSealed(ctx context.Context, segs []journal.SegmentInfo, skip map[id.Partition]error) {
	live := map[id.Partition]struct{}{}
	for _, seg := range segs {
		for p := range seg.Partitions {
			if s.cfg.Live(p) {
				live[p] = struct{}{}
			}
		}
	}
	s.seeTails(ctx, slices.Collect(maps.Keys(live)), skip)
	for _, seg := range segs {
		if s.holdsNothing(seg, live) {
			s.sealed[seg.ID] = struct{}{}
		}
	}
}

// holdsNothing reports whether all that seg holds of the live partitions is in their chains.
func (s *Sealer) holdsNothing(seg journal.SegmentInfo, live map[id.Partition]struct{}) bool {
	for p, extent := range seg.Partitions {
		if _, ok := live[p]; !ok {
			continue
		}
		if t, seen := s.tails[p]; !seen || extent.Next > t.end {
			return false
		}
	}
	return true
}

// byPlace orders items as they lie on the disk.
func byPlace(a, b item) int {
	return cmp.Or(cmp.Compare(a.segment, b.segment), cmp.Compare(a.pos, b.pos))
}
