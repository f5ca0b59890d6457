package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

// maxMoveItems bounds the segments that packs are looked for among: some 300 bytes each.
const maxMoveItems = 500_000

// Merge has small segments of ps merged, and what lives in packs that are mostly dead moved. A partition that
// fails does not hold up the others.
//
// Commit point of each group of segments: chain.Replace, within rewrite.Engine.
func (k *Keeper) Merge(ctx context.Context, ps []id.Partition) error {
	items := make([][]chain.Item, len(ps))
	jobs := make([][]rewrite.Job, len(ps))
	err := each(ctx, "look for segments to be merged", ps, func(ctx context.Context, i int, p id.Partition) (err error) {
		items[i], jobs[i], err = k.merges(ctx, p)
		return err
	})
	all := 0
	rest := map[id.Partition][]chain.Item{}
	var todo []rewrite.Job
	for i, p := range ps {
		todo = append(todo, jobs[i]...)
		if all += len(items[i]); len(jobs[i]) == 0 {
			rest[p] = items[i]
		}
	}
	if all <= maxMoveItems && len(todo) == 0 { // else what is merged would be moved as well
		todo = k.cfg.Move.Plan(rest, k.cfg.Now())
	}
	if len(todo) == 0 {
		return err
	}
	return errors.Join(err, k.rewrite(ctx, todo))
}

// merges decides what of p is to be merged, from what its chain is now if there is anything. There is nothing if p is gone.
func (k *Keeper) merges(ctx context.Context, p id.Partition) (items []chain.Item, jobs []rewrite.Job, err error) {
	img := k.cfg.Image()
	state, ok := img.Partition(p)
	topic, known := img.TopicByID(p.Topic)
	if !ok || !known {
		return nil, nil, nil
	}
	policy := mergePolicy(k.cfg.Topic(topic))
	for _, look := range []func(context.Context, id.Partition, id.Offset) (Chain, error){k.cfg.Chains.Get, k.cfg.Chains.Read} {
		now, err := look(ctx, p, state.Start)
		if err != nil {
			return nil, nil, fmt.Errorf("merge segments of %s: %w", p, err)
		}
		groups := policy.Plan(now.Items, k.cfg.Now())
		if len(groups) == 0 {
			return now.Items, nil, nil
		}
		items, jobs = now.Items, jobs[:0]
		for _, old := range groups {
			jobs = append(jobs, rewrite.Job{Partition: p, Start: state.Start, Old: old})
		}
	}
	return items, jobs, nil
}

// rewrite does jobs and counts what has become of them.
func (k *Keeper) rewrite(ctx context.Context, jobs []rewrite.Job) error {
	results, err := k.cfg.Rewriter.Rewrite(ctx, jobs)
	var failed []error
	for i, r := range results {
		k.cfg.Chains.Forget(r.Partition)
		switch {
		case r.Err == nil:
			k.count(func(s *Stats) { s.Merged += int64(len(jobs[i].Old)); s.MergedBytes += r.Segment.Length })
		case !errors.Is(r.Err, chain.ErrChanged):
			failed = append(failed, r.Err)
		}
	}
	if err == nil && len(failed) > 0 {
		err = fmt.Errorf("merge segments: %d of %d groups failed; the first: %w", len(failed), len(jobs), failed[0])
	}
	return err
}

// spans is how many merged segments there are at least within the time of retention.
const spans = 8

// mergePolicy is how segments of a topic are merged: so that retention by time still goes step by step.
func mergePolicy(cfg *config.Effective) rewrite.MergePolicy {
	p := rewrite.MergePolicy{SegmentBytes: int64(cfg.SegmentBytes), Compacted: cfg.Compact}
	if cfg.Delete && cfg.Retention != config.Unlimited {
		p.Span = max(min(cfg.SegmentAge, cfg.Retention/spans), time.Minute)
	}
	return p
}
