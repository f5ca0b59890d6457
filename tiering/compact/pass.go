package compact

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

// pass goes once over a partition: begin, then index, next and took for each group that is rewritten, end. After a failure
// all of them but end do nothing.
type pass struct {
	cfg   *Config
	work  int // its index
	p     id.Partition
	start id.Offset
	set   Settings

	now     time.Time // when it was begun
	items   []chain.Item
	aborted []producers.AbortedTxn
	keys    *KeyMap
	to      id.Offset // the map has all below
	cleaner *Cleaner
	left    [][]chain.Item // groups that were not gone over
	stats   Stats
	err     error
}

// fail ends the pass.
func (r *pass) fail(err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("compact %s: %w", r.p, err)
	}
}

func (r *pass) result() Result { return Result{r.stats, r.err} }

// begin decides, and reads what is needed beside the records.
func (r *pass) begin(ctx context.Context) {
	r.now = r.cfg.Now()
	err := r.plan(ctx)
	if err == nil && r.stats.Clean {
		var lowered bool
		if lowered, err = r.lower(ctx); err == nil && lowered {
			err = r.plan(ctx)
		}
	}
	if err == nil && r.stats.Clean {
		err = r.readAborted(ctx)
	}
	r.fail(err)
}

// memory is how much the pass holds, in bytes, once there is its map.
func (r *pass) memory() int64 {
	const item, aborted = 300, 32 // of each
	return r.cfg.Keys.slots(r.records())*entrySize + item*int64(len(r.items)) + aborted*int64(len(r.aborted))
}

// bytes is how much it goes over.
func (r *pass) bytes() int64 { return r.stats.CleanBytes + r.stats.CleanableBytes }

// records is how many there are in the dirty part.
func (r *pass) records() (n int64) {
	for _, item := range r.dirty() {
		n += item.Records
	}
	return n
}

// next goes over groups up to one that is to be rewritten; nil: there is none any more.
func (r *pass) next(ctx context.Context) []chain.Item {
	for r.err == nil && len(r.left) > 0 {
		if r.fail(ctx.Err()); r.err != nil {
			break
		}
		group := r.left[0]
		kept, err := r.keep(ctx, group)
		if r.fail(err); r.err != nil {
			break
		}
		if !kept {
			return group
		}
		r.left = r.left[1:]
		r.stats.Segments += len(group)
		r.stats.Kept += len(group)
	}
	return nil
}

// took takes note of what has become of a group.
func (r *pass) took(group []chain.Item, err error) {
	if r.fail(err); r.err != nil {
		return
	}
	r.left = r.left[1:]
	r.stats.Segments += len(group)
	r.stats.Groups++
	r.stats.Rewritten += len(group)
}

// end lets go what the pass holds.
func (r *pass) end() {
	if r.keys == nil {
		return
	}
	r.stats.Counts, r.stats.SpilledBytes = r.cleaner.Counts(), r.keys.Spilled()
	if r.err == nil {
		r.stats.CleanedTo = r.to
		r.cfg.Logger.Info("compacted", "partition", r.p, "from", r.start, "to", r.to,
			"read", r.stats.MessagesRead, "retained", r.stats.MessagesRetained, "kept", r.stats.Kept)
	}
	r.fail(r.keys.Close())
	r.keys, r.cleaner = nil, nil
}

// MinRetention is for how long a tombstone or a marker stays at least after a pass went over it. Somebody who
// read the segments below before the pass has cleaned them may put copies of them in their place, with what it hides,
// after it: until chain.CommitWithin after the pass has replaced the segment of the tombstone, which it does within as
// long of going over it. The rest is for clocks. So the next pass finds that they are not clean, and leaves
// the tombstone where it is; and none comes later.
const MinRetention = 2*chain.CommitWithin + 10*time.Minute

// horizon is when a tombstone may go that is gone over now.
func (r *pass) horizon() time.Time {
	if r.cfg.Alone {
		return r.cfg.Now().Add(r.set.DeleteRetention)
	}
	return r.cfg.Now().Add(max(r.set.DeleteRetention, MinRetention))
}

// lower takes back what segments of the dirty part say of how far they are clean, if somebody has put what was not
// clean in front of them. Else their tombstones, if the pass stopped before it came to them, would be taken for some
// that hide nothing for long.
func (r *pass) lower(ctx context.Context) (lowered bool, err error) {
	if r.cfg.Alone {
		return false, nil
	}
	for _, item := range r.items {
		if item.Base < r.stats.Dirty || item.CleanedTo <= item.Base {
			continue
		}
		seg := item.Segment
		seg.CleanedTo = r.stats.Dirty
		if err := r.replace(ctx, item, seg); err != nil {
			return lowered, err
		}
		lowered = true
	}
	return lowered, nil
}

// replace puts seg in the place of an item whose records it has. What was read long ago may be covered by another since, which
// one that is changed must not be: the collector would find it for the first time, and have removed its object.
func (r *pass) replace(ctx context.Context, item chain.Item, seg chain.Segment) error {
	ctx, cancel := context.WithTimeout(ctx, chain.CommitWithin)
	defer cancel()
	old := []chain.Item{item}
	if err := r.cfg.Chain.Counts(ctx, r.p, r.start, old); err != nil {
		return err
	}
	if !r.cfg.Valid() {
		return rewrite.ErrStale
	}
	return r.cfg.Chain.Replace(ctx, r.p, old, seg)
}

// plan reads the chain and decides.
func (r *pass) plan(ctx context.Context) error {
	all, err := r.cfg.Chain.Items(ctx, r.p)
	if err != nil {
		return err
	}
	if r.items, _, err = chain.Canonical(all, r.start); err != nil {
		return err
	}
	state := State{Segments: r.items, Start: r.start}
	if state.Unstable, err = r.unstable(ctx); err != nil {
		return err
	}
	r.stats.Decision = Plan(state, r.set, r.now)
	if !r.stats.Clean && r.set.MaxLag > 0 && r.stats.CleanableBytes > 0 {
		if state.FirstDirty, err = r.firstDirty(ctx); err != nil {
			return err
		}
		r.stats.Decision = Plan(state, r.set, r.now)
	}
	r.stats.Unstable, r.stats.FirstDirty = state.Unstable, state.FirstDirty
	return nil
}

// footerRun returns what the footer tells of a segment.
func (r *pass) footerRun(ctx context.Context, seg chain.Segment) (*pack.Run, error) {
	f, err := r.cfg.Cold.Footer(ctx, seg.Object, seg.ObjectSize)
	if err != nil {
		return nil, err
	}
	run, ok := f.Run(r.p)
	if !ok {
		return nil, fmt.Errorf("object %s: %w: it has no run of the partition", seg.Object, cold.ErrCorrupt)
	}
	return run, nil
}

// unstable is the first offset of the transactions that are open where the chain ends. The last
// segments may be empty: then it may be less, but never more than it is.
func (r *pass) unstable(ctx context.Context) (id.Offset, error) {
	least := id.Offset(math.MaxInt64)
	for i := len(r.items) - 1; i >= 0; i-- {
		if r.items[i].Empty() {
			continue
		}
		run, err := r.footerRun(ctx, r.items[i].Segment)
		if err != nil {
			return 0, err
		}
		for _, s := range run.Producers {
			if s.TxnStart >= 0 {
				least = min(least, s.TxnStart)
			}
		}
		break
	}
	return least, nil
}

// firstDirty is the time of the first batch of the dirty part, 0 if there is none.
func (r *pass) firstDirty(ctx context.Context) (int64, error) {
	for _, item := range r.dirty() {
		for v, err := range r.cfg.Cold.Batches(ctx, r.p, item.Segment, max(item.Base, r.stats.Dirty)) {
			if err != nil {
				return 0, err
			}
			if _, moved := v.DeleteHorizon(); moved || v.BaseTimestamp() < 0 {
				return max(v.MaxTimestamp(), 0), nil
			}
			return v.BaseTimestamp(), nil
		}
	}
	return 0, nil
}

// dirty are the segments with records that the map is made of.
func (r *pass) dirty() (items []chain.Item) {
	for _, item := range r.items {
		if !item.Empty() && item.Next > r.stats.Dirty && item.Base < r.stats.End {
			items = append(items, item)
		}
	}
	return items
}

// readAborted reads of the aborted transactions that end in the chain: a transaction that begins
// below what can be cleaned may end above it.
func (r *pass) readAborted(ctx context.Context) error {
	for _, item := range r.items {
		if item.Empty() {
			continue
		}
		run, err := r.footerRun(ctx, item.Segment)
		if err != nil {
			return err
		}
		r.aborted = append(r.aborted, run.Aborted...)
	}
	return nil
}

// groups divides the segments to be cleaned into those that become one, of up to segment.bytes, or less if the limit would not
// let so much through in time.
func (r *pass) groups() (groups [][]chain.Item) {
	var size int64
	most := min(r.set.SegmentBytes, r.cfg.Rewriter.JobBytes())
	for _, item := range r.items {
		if item.Base >= r.to {
			break
		}
		n := len(groups)
		if n == 0 || size+item.Length > most {
			groups, size = append(groups, nil), 0
			n++
		}
		groups[n-1] = append(groups[n-1], item)
		size += item.Length
	}
	return groups
}

// keep leaves a group of one segment where it is if nothing of it would change, and notes how far
// it is clean. Else the cleaner is as it was.
func (r *pass) keep(ctx context.Context, group []chain.Item) (bool, error) {
	if len(group) > 1 {
		return false, nil
	}
	item := group[0]
	probe := r.cleaner.clone()
	if !item.Empty() {
		for v, err := range r.cfg.Cold.Batches(ctx, r.p, item.Segment, item.Base) {
			if err == nil {
				err = r.cfg.Rewriter.Wait(ctx, v.Length())
			}
			if err != nil {
				return false, err
			}
			left, err := probe.Clean(v)
			if err != nil {
				return false, err
			}
			if left == nil || &left[0] != &v[0] {
				return false, nil
			}
		}
	}
	r.cleaner = probe
	seg := item.Segment
	if seg.CleanedTo >= r.to {
		return true, nil
	}
	seg.CleanedTo = r.to
	if err := r.replace(ctx, item, seg); err != nil {
		return false, err
	}
	return true, nil
}
