package compact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

// Config of Run. Chain, Cold and Rewriter must be set.
type Config struct {
	Chain    *chain.Store
	Cold     *cold.Reader // best the rewriter's: what is read would sweep out what consumers read
	Rewriter *rewrite.Engine
	Keys     MapConfig
	Now      func() time.Time // the zero value: time.Now
	Valid    func() bool      // whether this process may still write to the chains; nil: it always may
	// Alone says that nobody rewrites the partition but Rewriter. Then tombstones and markers need not stay for MinRetention.
	Alone  bool
	Logger *slog.Logger // nil discards
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Valid == nil {
		c.Valid = func() bool { return true }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Stats of a pass, named as those of Kafka's CleanerStats.
type Stats struct {
	Decision
	Unstable                          id.Offset // of the State that was decided by
	FirstDirty                        int64     // likewise
	Counts                                      // of the segments that were gone over
	MapMessagesRead, MapBytesRead     int64     // of the dirty part, for the map
	SpilledBytes                      int64     // of the map
	Segments, Rewritten, Kept, Groups int       // gone over; in groups that were rewritten; left where they are
	CleanedTo                         id.Offset
}

// Run makes one pass over partition p, whose log starts at start, if set says that it is time. CleanedTo
// of the result is below End if the map became full: then another pass goes on from there.
//
// Commit point of each group: chain.Store.Replace. A crash before it leaves the group as it was, after it
// the group is cleaned; see the package's documentation. chain.ErrChanged: somebody else has
// changed the chain meanwhile; what was done stays, and the next pass does the rest.
func Run(ctx context.Context, cfg Config, p id.Partition, start id.Offset, set Settings) (Stats, error) {
	r := &pass{cfg: cfg.withDefaults(), p: p, start: start, set: set.withDefaults()}
	err := r.run(ctx)
	if r.cleaner != nil {
		r.stats.Counts = r.cleaner.Counts()
	}
	if err != nil {
		return r.stats, fmt.Errorf("compact %s: %w", p, err)
	}
	return r.stats, nil
}

// pass is a Run.
type pass struct {
	cfg   Config
	p     id.Partition
	start id.Offset
	set   Settings

	items   []chain.Item
	aborted []producers.AbortedTxn
	end     id.Offset // the map has all below
	cleaner *Cleaner
	stats   Stats
}

func (r *pass) run(ctx context.Context) error {
	now := r.cfg.Now()
	if err := r.plan(ctx, now); err != nil || !r.stats.Clean {
		return err
	}
	if lowered, err := r.lower(ctx); err != nil {
		return err
	} else if lowered {
		if err := r.plan(ctx, now); err != nil || !r.stats.Clean {
			return err
		}
	}
	if err := r.readAborted(ctx); err != nil {
		return err
	}
	keys, err := r.index(ctx)
	if err != nil {
		return err
	}
	r.cleaner = NewCleaner(Rules{
		Keys: keys, Dirty: r.stats.Dirty, End: r.end, Last: r.items[len(r.items)-1].Next - 1, Aborted: r.aborted, Now: now, Horizon: r.horizon,
	})
	err = r.cleanAll(ctx)
	r.stats.SpilledBytes = keys.Spilled()
	return errors.Join(err, keys.Close())
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

// replace puts seg in the place of an item whose records it has.
func (r *pass) replace(ctx context.Context, item chain.Item, seg chain.Segment) error {
	ctx, cancel := context.WithTimeout(ctx, chain.CommitWithin)
	defer cancel()
	old := []chain.Item{item}
	if err := r.cfg.Chain.Unchanged(ctx, r.p, old); err != nil {
		return err
	}
	if !r.cfg.Valid() {
		return rewrite.ErrStale
	}
	return r.cfg.Chain.Replace(ctx, r.p, old, seg)
}

// plan reads the chain and decides.
func (r *pass) plan(ctx context.Context, now time.Time) error {
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
	r.stats.Decision = Plan(state, r.set, now)
	if !r.stats.Clean && r.set.MaxLag > 0 && r.stats.CleanableBytes > 0 {
		if state.FirstDirty, err = r.firstDirty(ctx); err != nil {
			return err
		}
		r.stats.Decision = Plan(state, r.set, now)
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

// cleanAll goes over the segments from the log start to the map's end, group by group.
func (r *pass) cleanAll(ctx context.Context) error {
	for _, group := range r.groups() {
		if err := ctx.Err(); err != nil {
			return err
		}
		r.stats.Segments += len(group)
		kept, err := r.keep(ctx, group)
		if err != nil {
			return err
		}
		if kept {
			r.stats.Kept += len(group)
			continue
		}
		job := rewrite.Job{Partition: r.p, Start: r.start, Old: group, Clean: r.cleaner, CleanedTo: r.end}
		results, err := r.cfg.Rewriter.Rewrite(ctx, []rewrite.Job{job})
		if err == nil {
			err = results[0].Err
		}
		if err != nil {
			return err
		}
		r.stats.Groups++
		r.stats.Rewritten += len(group)
	}
	r.stats.CleanedTo = r.end
	r.cfg.Logger.Info("compacted", "partition", r.p, "from", r.start, "to", r.end,
		"read", r.cleaner.stats.MessagesRead, "retained", r.cleaner.stats.MessagesRetained, "kept", r.stats.Kept)
	return nil
}

// groups divides the segments to be cleaned into those that become one, of up to segment.bytes.
func (r *pass) groups() (groups [][]chain.Item) {
	var size int64
	for _, item := range r.items {
		if item.Base >= r.end {
			break
		}
		n := len(groups)
		if n == 0 || size+item.Length > r.set.SegmentBytes {
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
	if seg.CleanedTo >= r.end {
		return true, nil
	}
	seg.CleanedTo = r.end
	if err := r.replace(ctx, item, seg); err != nil {
		return false, err
	}
	return true, nil
}
