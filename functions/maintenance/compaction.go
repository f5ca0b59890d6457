package maintenance

import (
	"context"
	"errors"
	"fmt"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/compact"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

// Compaction compacts the topics that ask for it, and merges the small segments of all.
var Compaction = Task{
	name: "compaction", group: func(ctx context.Context, w *work, ps []id.Partition) error { return w.rewriteGroup(ctx, ps) },
	result: func(_ context.Context, w *work) (any, error) { return w.rewritten, nil },
}

// rewritten counts what a round of compaction has done.
type rewritten struct {
	Compacted   int   `json:"compacted"`    // passes over partitions
	SegmentsOut int   `json:"segments_out"` // segments that compaction has replaced
	Spilled     int64 `json:"spilled_bytes"`
	Merged      int   `json:"merged"` // groups of segments
}

// rewriteGroup compacts ps one after the other, for each takes all the memory there is, and then merges.
// Commit point of each step: chain.Store.Replace.
func (w *work) rewriteGroup(ctx context.Context, ps []id.Partition) error {
	var errs []error
	for _, p := range ps {
		if ctx.Err() != nil {
			return errors.Join(append(errs, ctx.Err())...)
		}
		img := w.meta.Image()
		topic, known := img.TopicByID(p.Topic)
		state, exists := img.Partition(p)
		if !known || !exists {
			continue
		}
		cfg := w.topic(topic)
		if cfg.Compact {
			errs = append(errs, w.compact(ctx, p, state.Start, cfg))
		}
		errs = append(errs, w.merge(ctx, p, state, cfg))
	}
	return errors.Join(errs...)
}

// compact makes one pass over a partition.
func (w *work) compact(ctx context.Context, p id.Partition, start id.Offset, cfg *config.Effective) error {
	set := compact.Settings{
		MinCleanableRatio: cfg.MinCleanableDirty, MinLag: cfg.MinCompactionLag, DeleteRetention: cfg.DeleteRetention, SegmentBytes: int64(cfg.SegmentBytes),
	}
	if cfg.MaxCompactionLag != config.Unlimited {
		set.MaxLag = cfg.MaxCompactionLag
	}
	stats, err := compact.Run(ctx, compact.Config{
		Chain: w.chains, Cold: w.cold, Rewriter: w.rewriter, Now: w.cfg.Now, Logger: w.cfg.Logger,
		Keys: compact.MapConfig{Budget: w.cfg.MemoryBytes / 4, Dir: w.cfg.Scratch, MaxSpill: w.cfg.ScratchBytes},
	}, p, start, set)
	if stats.Clean {
		w.rewritten.Compacted++
		w.rewritten.SegmentsOut += stats.Rewritten
		w.rewritten.Spilled += stats.SpilledBytes
	}
	if errors.Is(err, chain.ErrChanged) {
		return nil // somebody else compacts it, too; the next round does the rest
	}
	return err
}

// merge merges the small segments of a partition.
func (w *work) merge(ctx context.Context, p id.Partition, state metalog.PartitionState, cfg *config.Effective) error {
	items, err := w.chains.Items(ctx, p)
	if err != nil {
		return err
	}
	canonical, _, err := chain.Canonical(items, state.Start)
	if err != nil {
		return fmt.Errorf("merge segments of %s: %w", p, err)
	}
	policy := rewrite.MergePolicy{SegmentBytes: int64(cfg.SegmentBytes), Compacted: cfg.Compact}
	if cfg.Delete && cfg.Retention != config.Unlimited {
		policy.Span = min(cfg.SegmentAge, cfg.Retention/8)
	}
	var jobs []rewrite.Job
	for _, old := range policy.Plan(canonical, w.cfg.Now()) {
		cleaned := old[0].CleanedTo
		for _, item := range old {
			cleaned = min(cleaned, item.CleanedTo)
		}
		jobs = append(jobs, rewrite.Job{Partition: p, Old: old, CleanedTo: cleaned})
	}
	if len(jobs) == 0 {
		return nil
	}
	results, err := w.rewriter.Rewrite(ctx, jobs)
	for _, r := range results {
		if r.Err == nil {
			w.rewritten.Merged++
		}
	}
	return err
}
