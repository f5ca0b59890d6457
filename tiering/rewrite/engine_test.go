package rewrite_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

func TestMergeSeveralPartitionsIntoOnePack(t *testing.T) {
	w := newWorld(t)
	ps := []id.Partition{partition(1), partition(2), partition(3)}
	for range 4 {
		for _, p := range ps {
			w.records(p, 3, w.of(id.Producer(p.Index), 3))
			w.records(p, 2)
		}
		w.seal(ps...)
		w.now = w.now.Add(time.Second)
	}
	var jobs []rewrite.Job
	for _, p := range ps {
		jobs = append(jobs, rewrite.Job{Partition: p, Old: w.items(p)[1:]})
	}
	results, err := w.engine(w.table, w.objects).Rewrite(ctx, jobs)
	require.NoError(t, err)
	object := results[0].Segment.Object
	for i, r := range results {
		require.NoError(t, r.Err)
		require.Equal(t, ps[i], r.Partition)
		require.Equal(t, object, r.Segment.Object)
		items := w.items(ps[i])
		require.Len(t, items, 2)
		require.Equal(t, r.Segment, items[1].Segment)
		require.Equal(t, w.now.UnixMilli(), r.Segment.Sealed)
		require.True(t, r.Segment.Rewritten)
		require.Equal(t, w.tables[ps[i]].Snapshot(), w.run(ps[i], r.Segment).Producers)
	}
	w.check(ps...)
}
