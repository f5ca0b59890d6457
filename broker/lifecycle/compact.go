package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/compact"
)

// dirty is a partition of a compacted topic.
type dirty struct {
	p        id.Partition
	start    id.Offset
	settings compact.Settings
	ratio    float64
	overdue  bool // by max.compaction.lag.ms for certain; it may be so all the same if false
	due      bool // it is to be cleaned, or may be overdue
	chain    Chain
}

// Compact cleans those of ps whose topics have cleanup.policy compact and of which enough is dirty, in the order in which
// Kafka's cleaner does: those first that are overdue, then the dirtiest. Small ones share packs. One that fails does not
// hold up the others.
//
// Commit points: those of compact.Run.
func (k *Keeper) Compact(ctx context.Context, ps []id.Partition) error {
	found := make([]*dirty, len(ps))
	err := each(ctx, "look for partitions to be compacted", ps, func(ctx context.Context, i int, p id.Partition) (err error) {
		found[i], err = k.dirty(ctx, p)
		return err
	})
	todo := slices.DeleteFunc(found, func(d *dirty) bool { return d == nil })
	most := 0.0
	for _, d := range todo {
		most = max(most, d.ratio)
	}
	k.count(func(s *Stats) { s.MaxDirtyRatio = most })
	todo = slices.DeleteFunc(todo, func(d *dirty) bool { return !d.due })
	slices.SortStableFunc(todo, func(a, b *dirty) int {
		if a.overdue != b.overdue {
			if a.overdue {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.ratio, a.ratio)
	})
	return errors.Join(err, k.compact(ctx, todo))
}

// After a failure a partition is left alone for so long: as long again each time, for a pass may read gigabytes before it fails.
const (
	minRetry = time.Minute
	maxRetry = 15 * time.Minute
)

// retryLater takes note of a failure.
func (d *dirty) retryLater(now time.Time) {
	notes := d.chain.notes
	notes.mu.Lock()
	defer notes.mu.Unlock()
	notes.retryAfter = min(max(2*notes.retryAfter, minRetry), maxRetry)
	notes.retryFrom = now.Add(notes.retryAfter)
}

// dirty looks at p; nil if it is not to be compacted.
func (k *Keeper) dirty(ctx context.Context, p id.Partition) (*dirty, error) {
	img := k.cfg.Image()
	topic, ok := img.TopicByID(p.Topic)
	if !ok || !k.cfg.Topic(topic).Compact {
		return nil, nil //nolint:nilnil // nothing to be cleaned is no failure
	}
	state, ok := img.Partition(p)
	if !ok {
		return nil, nil //nolint:nilnil // likewise
	}
	known, err := k.cfg.Chains.Get(ctx, p, state.Start)
	if err != nil || len(known.Items) == 0 {
		return nil, err
	}
	d := &dirty{p: p, start: state.Start, settings: cleanSettings(k.cfg.Topic(topic)), chain: known}
	plan := d.plan(k.cfg.Now())
	d.overdue = plan.Overdue || d.settings.MaxLag > 0 && olderThan(known.Items, plan.Dirty, k.cfg.Now(), d.settings.MaxLag)
	return d, nil
}

// plan decides whether p is due by what is known, with what a pass has found out that had nothing to do, if there was one.
func (d *dirty) plan(now time.Time) compact.Decision {
	notes := d.chain.notes
	notes.mu.Lock()
	defer notes.mu.Unlock()
	s := compact.State{Segments: d.chain.Items, Start: d.start, Unstable: math.MaxInt64}
	if notes.passed {
		s.Unstable = notes.unstable
	}
	plan := compact.Plan(s, d.settings, now)
	lagKnown := notes.lagKnown && notes.dirty == plan.Dirty
	if lagKnown {
		s.FirstDirty = notes.firstDirty
		plan = compact.Plan(s, d.settings, now)
	}
	d.ratio, d.due = plan.Ratio, plan.CleanableBytes > 0 && (plan.Clean || d.settings.MaxLag > 0 && !lagKnown) && !now.Before(notes.retryFrom)
	return plan
}

// idle takes note of what a pass has found out that had nothing to do. It reports whether that explains it: else
// the chain is not as it is known.
func (d *dirty) idle(stats compact.Stats, now time.Time) bool {
	notes := d.chain.notes
	notes.mu.Lock()
	notes.passed, notes.unstable = true, stats.Unstable
	notes.lagKnown, notes.dirty, notes.firstDirty = d.settings.MaxLag > 0, stats.Dirty, stats.FirstDirty
	notes.mu.Unlock()
	d.plan(now)
	return !d.due
}

// olderThan reports whether all of the first segment that holds from or what follows is older than lag.
func olderThan(items []chain.Item, from id.Offset, now time.Time, lag time.Duration) bool {
	for _, item := range items {
		if item.Next > from && !item.Empty() {
			return item.MaxTimestamp >= 0 && now.UnixMilli()-item.MaxTimestamp > lag.Milliseconds()
		}
	}
	return false
}

func cleanSettings(cfg *config.Effective) compact.Settings {
	s := compact.Settings{
		MinCleanableRatio: cfg.MinCleanableDirty, MinLag: cfg.MinCompactionLag, MaxLag: cfg.MaxCompactionLag,
		DeleteRetention: cfg.DeleteRetention, SegmentBytes: int64(cfg.SegmentBytes),
	}
	if s.MaxLag == config.Unlimited {
		s.MaxLag = 0
	}
	return s
}

// compact cleans partitions, each once, as far as there is memory for its keys.
func (k *Keeper) compact(ctx context.Context, todo []*dirty) error {
	works := make([]compact.Work, len(todo))
	for i, d := range todo {
		works[i] = compact.Work{Partition: d.p, Start: d.start, Settings: d.settings}
	}
	errs := make([]error, len(todo))
	for i, r := range compact.Run(ctx, compact.Config{
		Chain: k.cfg.Chains.store, Cold: k.cfg.Bulk, Rewriter: k.cfg.Rewriter, Keys: k.cfg.Keys(), Now: k.cfg.Now,
		Valid: k.cfg.Valid, Alone: k.cfg.Alone, Logger: k.cfg.Logger,
	}, works) {
		k.compacted(todo[i], r)
		if r.Err != nil && ctx.Err() == nil && !errors.Is(r.Err, chain.ErrChanged) {
			errs[i] = r.Err
			todo[i].retryLater(k.cfg.Now())
		}
	}
	return errors.Join(summary("compact", errs), context.Cause(ctx))
}

// compacted takes note of what has become of a pass.
func (k *Keeper) compacted(d *dirty, r compact.Result) {
	switch {
	case r.Rewritten > 0:
		k.cfg.Chains.Cleaned(d.p, r.End)
		k.count(func(s *Stats) { s.Compacted++ })
	case r.Err == nil && !r.Clean && d.idle(r.Stats, k.cfg.Now()):
	default:
		k.cfg.Chains.Forget(d.p)
	}
}
