package lifemodel

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/compact"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

// grace of the collector by the object store's clock, which is the world's.
const grace = 31 * time.Minute

// canonical reads the items that count of a partition.
func (l *life) canonical(t *rapid.T, p *part) []chain.Item {
	items, err := l.w.chains.Items(context.Background(), p.id)
	require.NoError(t, err)
	canonical, _, err := chain.Canonical(items, p.start)
	require.NoError(t, err, "the chain of %s, which starts at %d: %+v", p.id, p.start, items)
	return canonical
}

// jobs draws segments that follow each other, of some partitions.
func (l *life) jobs(t *rapid.T) (jobs []rewrite.Job) {
	for _, p := range l.parts() {
		items := l.canonical(t, p)
		if len(items) == 0 || rapid.Bool().Draw(t, "not of this partition") {
			continue
		}
		from := rapid.IntRange(0, len(items)-1).Draw(t, "from segment")
		to := rapid.IntRange(from+1, len(items)).Draw(t, "to segment")
		jobs = append(jobs, rewrite.Job{Partition: p.id, Old: items[from:to]})
	}
	return jobs
}

// Merge copies segments that follow each other into one.
func (l *life) Merge(t *rapid.T) {
	jobs := l.jobs(t)
	results, err := l.w.engine.Rewrite(context.Background(), jobs)
	require.NoError(t, err)
	for i, r := range results {
		require.NoError(t, r.Err, "merge of %s from %d", r.Partition, jobs[i].Old[0].Base)
	}
}

// MergeStale merges what another has merged meanwhile.
func (l *life) MergeStale(t *rapid.T) {
	jobs := l.jobs(t)
	for range 2 {
		results, err := l.w.engine.Rewrite(context.Background(), jobs)
		require.NoError(t, err)
		for _, r := range results {
			require.True(t, r.Err == nil || errors.Is(r.Err, chain.ErrChanged), "%v", r.Err)
		}
	}
}

// Compact makes a pass over each compacted partition.
func (l *life) Compact(t *rapid.T) {
	for _, p := range l.parts() {
		require.NoError(t, l.compact(context.Background(), p))
	}
}

func (l *life) compact(ctx context.Context, p *part) error {
	if !p.topic.compact {
		return nil
	}
	stats, err := compact.Run(ctx, compact.Config{Chain: l.w.chains, Cold: l.w.rewritten, Rewriter: l.w.engine, Now: l.w.clock}, p.id, p.start, compact.Settings{
		DeleteRetention: time.Duration(p.topic.tombstones) * time.Millisecond, SegmentBytes: 16 << 10,
	})
	if stats.Rewritten > 0 {
		l.w.set.Cleaned(p.id, stats.End)
	}
	return err
}

// Collect has the collector look once.
func (l *life) Collect(t *rapid.T) {
	_, err := l.w.collector.Run(context.Background())
	require.NoError(t, err)
}

// freshImage reads the metadata up to its end.
func (w *world) freshImage(ctx context.Context) (*metalog.Image, error) {
	err := w.meta.Refresh(ctx)
	return w.meta.Image(), err
}

// noGarbage looks twice, a grace apart: what nobody can read is gone then.
func (l *life) noGarbage(t *rapid.T) {
	l.Collect(t)
	l.w.now.Add((grace + time.Minute).Milliseconds())
	l.Collect(t)
	ctx := context.Background()
	there := map[string]bool{}
	for _, p := range l.parts() {
		there[p.id.String()] = true
		items, err := l.w.chains.Items(ctx, p.id)
		require.NoError(t, err)
		canonical := l.canonical(t, p)
		for i, item := range items {
			last := i == len(items)-1 // it stays, since it says where the chain goes on
			require.True(t, last || slices.Contains(canonical, item), "spare item at %d of %s", item.Base, p.id)
		}
	}
	chains, err := l.w.chains.Partitions(ctx)
	require.NoError(t, err)
	for _, p := range chains {
		require.True(t, there[p.String()], "the chain of %s, whose topic is gone", p)
	}
	l.verify(t, true)
}
