//go:build e2e

package compaction_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/compact"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

var partition = id.Partition{Topic: id.Topic{1}}

// forebay is a partition's sealed log, and what compacts it.
type forebay struct {
	t       *testing.T
	objects objstore.Store
	chain   *chain.Store
	cold    *cold.Reader
	table   producers.Table
	packs   int
}

func newForebay(t *testing.T) *forebay {
	f := &forebay{t: t, objects: objstore.NewMem(), chain: chain.Open(kv.NewMem())}
	f.cold = cold.New(f.objects, cold.Config{})
	t.Cleanup(func() { require.NoError(t, f.cold.Close(context.Background())) })
	return f
}

// seal makes a segment of batches.
func (f *forebay) seal(vs []batch.View) {
	f.t.Helper()
	ctx := f.t.Context()
	var b bytes.Buffer
	w := pack.NewWriter(&b, pack.Header{Cluster: "test", Node: 1, Created: time.Now()})
	require.NoError(f.t, w.BeginRun(partition))
	var aborted []pack.AbortedTxn
	for _, v := range vs {
		require.NoError(f.t, w.Append(v))
		if a, ok := f.table.Apply(v); ok {
			aborted = append(aborted, a)
		}
	}
	require.NoError(f.t, w.EndRun(f.table.Snapshot(), aborted))
	footer, err := w.Close()
	require.NoError(f.t, err)
	f.packs++
	name := fmt.Sprintf("%s%d", chain.ObjectPrefix, f.packs)
	require.NoError(f.t, f.objects.Put(ctx, name, &b))
	seg := chain.SegmentOf(&footer.Runs[0], name, w.Size())
	require.NoError(f.t, f.chain.Append(ctx, []chain.Link{{Partition: partition, Segment: seg}})[0])
}

func (f *forebay) compact(retention time.Duration) compact.Stats {
	f.t.Helper()
	cfg := compact.Config{
		Chain: f.chain, Cold: f.cold, Alone: true,
		Rewriter: rewrite.New(rewrite.Config{Chain: f.chain, Objects: f.objects, Cold: f.cold, Cluster: "test", Node: 1}),
	}
	var stats compact.Stats
	for _, r := range compact.Run(f.t.Context(), cfg, []compact.Work{{Partition: partition, Settings: compact.Settings{DeleteRetention: retention}}}) {
		require.NoError(f.t, r.Err)
		stats = r.Stats
	}
	require.True(f.t, stats.Clean)
	return stats
}

func (f *forebay) runs(visit func(run *pack.Run, item chain.Item)) {
	f.t.Helper()
	all, err := f.chain.Items(f.t.Context(), partition)
	require.NoError(f.t, err)
	items, _, err := chain.Canonical(all, 0)
	require.NoError(f.t, err)
	for _, item := range items {
		if item.Empty() {
			continue
		}
		footer, err := f.cold.Footer(f.t.Context(), item.Object, item.ObjectSize)
		require.NoError(f.t, err)
		run, ok := footer.Run(partition)
		require.True(f.t, ok)
		visit(run, item)
	}
}

func (f *forebay) batches() (vs []batch.View) {
	f.t.Helper()
	f.runs(func(_ *pack.Run, item chain.Item) {
		for v, err := range f.cold.Batches(f.t.Context(), partition, item.Segment, item.Base) {
			require.NoError(f.t, err)
			vs = append(vs, v)
		}
	})
	return vs
}

// consumed is what a read_committed consumer makes of the batches and the aborted transactions.
func (f *forebay) consumed() (lines []string) {
	f.t.Helper()
	var aborted []pack.AbortedTxn
	f.runs(func(run *pack.Run, _ chain.Item) { aborted = append(aborted, run.Aborted...) })
	slices.SortFunc(aborted, func(a, b pack.AbortedTxn) int { return cmp.Compare(a.First, b.First) })
	aborting := map[id.Producer]bool{}
	for _, v := range f.batches() {
		for len(aborted) > 0 && aborted[0].First <= v.LastOffset() {
			aborting[aborted[0].Producer] = true
			aborted = aborted[1:]
		}
		switch {
		case v.IsControl() && v.Records() > 0:
			if m, ok, err := batch.ParseMarker(v); ok && !m.Commit {
				require.NoError(f.t, err)
				delete(aborting, v.ProducerID())
			}
			continue
		case v.IsControl() || v.IsTransactional() && aborting[v.ProducerID()]:
			continue
		}
		for r, err := range batch.Decode(v, 0) {
			require.NoError(f.t, err)
			lines = append(lines, line(r.Offset, r.Key, r.Value))
		}
	}
	return lines
}
