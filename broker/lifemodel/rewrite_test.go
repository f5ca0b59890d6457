package lifemodel

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/broker/lifecycle"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
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
		jobs = append(jobs, rewrite.Job{Partition: p.id, Start: p.start, Old: items[from:to]})
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

// crossed is a table before whose first write to a chain something happens.
type crossed struct {
	kv.Store
	before func()
}

func (c *crossed) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	if before := c.before; strings.HasPrefix(writes[0].Key.Part, "chain/") && before != nil {
		c.before = nil
		before()
	}
	return c.Store.Write(ctx, writes...)
}

// MergeAcross merges segments of a partition as another process does, and right before the copy is put in their
// place a pass of compaction, retention or the collector comes in between.
func (l *life) MergeAcross(t *rapid.T) {
	jobs := l.jobs(t)
	if len(jobs) == 0 {
		t.Skip("there is nothing to be merged")
	}
	jobs = jobs[:1]
	p := l.parts()[slices.IndexFunc(l.parts(), func(p *part) bool { return p.id == jobs[0].Partition })]
	between := rapid.SampledFrom([]string{"compact", "keeper compacts", "retain", "collect"}).Draw(t, "between")
	before := l.chains(t)
	ctx, betweenErr := context.Background(), error(nil)
	table := &crossed{Store: l.w.table, before: func() {
		switch between {
		case "compact":
			betweenErr = l.compact(ctx, p)
		case "keeper compacts":
			betweenErr = l.w.keeper.Compact(ctx, l.ids())
		case "retain":
			l.w.known.Forget(l.ids()...)
			betweenErr = l.w.keeper.Retain(ctx, l.ids())
		case "collect":
			_, betweenErr = l.w.collector.Run(ctx)
		}
	}}
	results, err := rewrite.New(rewrite.Config{
		Chain: chain.Open(table), Objects: l.w.objects, Cold: l.w.rewritten, Cluster: "other", Node: node + 1, Now: l.w.clock,
	}).Rewrite(ctx, jobs)
	require.NoError(t, err)
	require.NoError(t, betweenErr)
	if between == "retain" {
		l.retained(t, before, true)
	}
	require.True(t, results[0].Err == nil || errors.Is(results[0].Err, chain.ErrChanged), "%v", results[0].Err)
	if old := jobs[0].Old; results[0].Err == nil {
		p.copied = append(p.copied, [2]id.Offset{old[0].Base, old[len(old)-1].Next})
	}
}

// KeepMerging has the keeper merge all partitions, by what it knows.
func (l *life) KeepMerging(t *rapid.T) {
	require.NoError(t, l.w.keeper.Merge(context.Background(), l.ids()))
}

// KeepCompacting has the keeper compact all partitions, by what it knows.
func (l *life) KeepCompacting(t *rapid.T) {
	require.NoError(t, l.w.keeper.Compact(context.Background(), l.ids()))
}

// Reread has the keeper learn what others have done.
func (l *life) Reread(t *rapid.T) {
	starts := map[id.Partition]id.Offset{}
	for _, p := range l.parts() {
		starts[p.id] = p.start
	}
	require.NoError(t, l.w.known.Refresh(context.Background(), starts, lifecycle.RereadWithin, l.w.set.Live))
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
	cfg := compact.Config{Chain: l.w.chains, Cold: l.w.rewritten, Rewriter: l.w.engine, Now: l.w.clock}
	set := compact.Settings{DeleteRetention: time.Duration(p.topic.tombstones) * time.Millisecond, SegmentBytes: 16 << 10}
	var errs []error
	for _, r := range compact.Run(ctx, cfg, []compact.Work{{Partition: p.id, Start: p.start, Settings: set}}) {
		if r.Rewritten > 0 {
			l.w.set.Cleaned(p.id, r.End)
		}
		errs = append(errs, r.Err)
	}
	return errors.Join(errs...)
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
