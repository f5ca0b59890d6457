package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

// Merge has small segments of ps merged, and what lives in packs that are mostly dead moved to others. A partition that
// fails does not hold up the others.
//
// Commit point of each group of segments: chain.Replace, within rewrite.Engine.
func (k *Keeper) Merge(ctx context.Context, ps []id.Partition) error {
	dead, deadErr := k.cfg.Dead(ctx)
	jobs := make([][]rewrite.Job, len(ps))
	err := each(ctx, "look for segments to be merged", ps, func(ctx context.Context, i int, p id.Partition) (err error) {
		jobs[i], err = k.merges(ctx, p, dead)
		return err
	})
	err = errors.Join(deadErr, err)
	todo := slices.Concat(jobs...)
	if len(todo) == 0 {
		return err
	}
	return errors.Join(err, k.rewrite(ctx, todo))
}

// merges decides what of p is to be merged or moved, from what its chain is now if there is anything. There is nothing if p is gone.
func (k *Keeper) merges(ctx context.Context, p id.Partition, dead map[string]bool) (jobs []rewrite.Job, err error) {
	img := k.cfg.Image()
	state, ok := img.Partition(p)
	topic, known := img.TopicByID(p.Topic)
	if !ok || !known {
		return nil, nil
	}
	policy := mergePolicy(k.cfg.Topic(topic))
	policy.SegmentBytes = max(min(policy.SegmentBytes, k.cfg.Rewriter.JobBytes()), 1)
	for _, look := range []func(context.Context, id.Partition, id.Offset) (Chain, error){k.cfg.Chains.Get, k.cfg.Chains.Read} {
		now, err := look(ctx, p, state.Start)
		if err != nil {
			return nil, fmt.Errorf("merge segments of %s: %w", p, err)
		}
		groups := policy.Plan(now.Items, k.cfg.Now())
		if len(groups) == 0 { // else what is merged would be moved as well
			groups = moves(now.Items, dead)
		}
		jobs = jobs[:0]
		for _, old := range groups {
			jobs = append(jobs, rewrite.Job{Partition: p, Start: state.Start, Old: old})
		}
		if len(jobs) == 0 {
			return nil, nil
		}
	}
	return jobs, nil
}

// moves are the items that lie in packs that are mostly dead, each by itself.
func moves(items []chain.Item, dead map[string]bool) (groups [][]chain.Item) {
	for i, item := range items {
		if !item.Empty() && dead[item.Object] {
			groups = append(groups, items[i:i+1:i+1])
		}
	}
	return groups
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
