package journal

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
)

func TestAppendReadReopen(t *testing.T) {
	fs := vfs.NewMem()
	j, rec := openTest(t, testConfig(fs))
	require.Zero(t, rec.Segments)
	m := model{}
	for round := range 20 {
		fill(t, j, m, 25, 9, uint64(round))
		commit(t, j)
		requireModel(t, j, m, 1000)
	}
	require.Greater(t, len(j.Segments()), 3)
	closeTest(t, j)
	require.NoError(t, Verify(fs, testDir, func(f Finding) { t.Errorf("finding: %s", f) }))

	j, rec = openTest(t, testConfig(fs))
	require.EqualValues(t, 500, rec.Batches)
	require.Equal(t, 9, rec.Partitions)
	require.Empty(t, rec.Corrupt)
	require.Empty(t, rec.Cut)
	requireModel(t, j, m, 1<<20)
	fill(t, j, m, 100, 9, 77)
	commit(t, j)
	requireModel(t, j, m, 1<<20)
	closeTest(t, j)
}

func TestReadLimits(t *testing.T) {
	j, _ := openTest(t, testConfig(vfs.NewMem()))
	p := partition(1)
	var all []batch.View
	for i := range 10 {
		v := newBatch(p, id.Offset(i*3), 3, 50)
		_, err := j.Append(p, v)
		require.NoError(t, err)
		all = append(all, v)
	}
	size := len(all[0])
	for _, c := range []struct {
		from, limit id.Offset
		max         int
		first, n    int
	}{
		{0, math.MaxInt64, 1, 0, 1},
		{0, math.MaxInt64, size * 2, 0, 2},
		{0, math.MaxInt64, size*3 - 1, 0, 2},
		{4, math.MaxInt64, 1 << 20, 1, 9},
		{4, 9, 1 << 20, 1, 2},
		{4, 11, 1 << 20, 1, 2},
		{4, 5, 1 << 20, 0, 0},
		{30, math.MaxInt64, 1 << 20, 0, 0},
	} {
		list, err := j.Read(p, c.from, c.limit, c.max)
		require.NoError(t, err)
		require.Len(t, list, c.n, "%+v", c)
		if c.n > 0 {
			require.Equal(t, []byte(all[c.first]), list[0])
		}
	}
	_, err := j.Read(partition(2), 0, math.MaxInt64, 1)
	require.ErrorIs(t, err, ErrNotHot)
	_, err = j.Append(p, newBatch(p, 29, 1, 1))
	require.ErrorIs(t, err, ErrOrder)
	closeTest(t, j)
	_, err = j.Append(p, newBatch(p, 30, 1, 1))
	require.ErrorIs(t, err, ErrClosed)
}

func TestDropMovesTheStart(t *testing.T) {
	fs := vfs.NewMem()
	j, _ := openTest(t, testConfig(fs))
	m := model{}
	fill(t, j, m, 300, 5, 1)
	commit(t, j)
	require.NoError(t, j.Roll())
	fill(t, j, m, 10, 3, 2)
	commit(t, j)
	segments := j.Segments()
	require.ErrorIs(t, j.Drop(segments[len(segments)-1].ID), ErrActive)
	for _, s := range segments[:len(segments)-1] {
		require.True(t, s.Rolled)
		require.NoError(t, j.Drop(s.ID))
		require.NoError(t, j.Drop(s.ID), "dropping twice is no error")
		for p, x := range s.Partitions {
			_, err := j.Read(p, x.Next-1, math.MaxInt64, 1)
			require.ErrorIs(t, err, ErrNotHot)
		}
	}
	left := map[id.Partition]id.Offset{}
	for p, x := range j.Segments()[0].Partitions {
		left[p] = x.First
	}
	for p := range m {
		start, ok := j.HotStart(p)
		want, hot := left[p]
		require.Equal(t, hot, ok)
		require.Equal(t, want, start)
	}
	held, marked, err := j.index.tallies()
	require.NoError(t, err)
	require.Empty(t, held)
	require.Empty(t, marked)
	closeTest(t, j)
	j, rec := openTest(t, testConfig(fs))
	require.Equal(t, 1, rec.Segments)
	closeTest(t, j)
}

func TestReplayInOrder(t *testing.T) {
	fs := vfs.NewMem()
	j, _ := openTest(t, testConfig(fs))
	m := model{}
	fill(t, j, m, 200, 5, 1)
	commit(t, j)
	from := func(p id.Partition) id.Offset { return id.Offset(p.Index * 10) }
	want := map[id.Partition][]batch.View{}
	for p, list := range m {
		for _, v := range list {
			if v.NextOffset() > from(p) {
				want[p] = append(want[p], v)
			}
		}
	}
	got := map[id.Partition][]batch.View{}
	var last Position
	require.NoError(t, j.Replay(context.Background(), from, func(p id.Partition, e Entry, v batch.View) error {
		at := Position{e.Segment, e.Pos}
		require.Positive(t, at.Compare(last))
		last = at
		same, err := j.Batch(p, e)
		require.NoError(t, err)
		require.Equal(t, v, same)
		got[p] = append(got[p], append(batch.View(nil), v...))
		return nil
	}))
	require.Equal(t, want, got)
	for p, list := range m {
		i := 0
		for e, err := range j.Entries(p, 0) {
			require.NoError(t, err)
			require.Equal(t, list[i].BaseOffset(), e.Base)
			require.Equal(t, list[i].NextOffset(), e.Next)
			require.Equal(t, list[i].MaxTimestamp(), e.MaxTimestamp)
			i++
		}
		require.Len(t, list, i)
	}
	closeTest(t, j)
}

func TestBatchLargerThanASegment(t *testing.T) {
	fs := vfs.NewMem()
	j, _ := openTest(t, testConfig(fs))
	m := model{}
	for i := range 4 {
		p := partition(i % 2)
		v := newBatch(p, m.next(p), 1, 40<<10)
		_, err := j.Append(p, v)
		require.NoError(t, err)
		m[p] = append(m[p], v)
		if i == 1 {
			fill(t, j, m, 3, 2, 4)
		}
	}
	commit(t, j)
	requireModel(t, j, m, 1<<20)
	closeTest(t, j)
	j, _ = openTest(t, testConfig(fs))
	requireModel(t, j, m, 1)
	closeTest(t, j)
}

func TestForeignCluster(t *testing.T) {
	fs := vfs.NewMem()
	j, _ := openTest(t, testConfig(fs))
	fill(t, j, model{}, 20, 2, 1)
	commit(t, j)
	crashed := fs.Crash()
	_ = j.Close(context.Background())
	cfg := testConfig(vfs.Inject(crashed, func(op vfs.Op) error {
		require.False(t, op.Kind == vfs.OpWrite || op.Kind == vfs.OpTruncate || op.Kind == vfs.OpRemove, "touched: %+v", op)
		return nil
	}))
	cfg.Cluster = "cluster-b"
	_, _, err := Open(context.Background(), cfg)
	require.ErrorIs(t, err, ErrForeign)
}

// Whoever calls Close again is told of the end of what the first call has begun.
func TestCloseIsWaitedForAgain(t *testing.T) {
	j, _ := openTest(t, testConfig(vfs.NewMem()))
	j.tend.Lock() // somebody is at work
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, j.Close(ended), context.Canceled)
	require.ErrorIs(t, j.Close(ended), context.Canceled)
	j.tend.Unlock()
	require.NoError(t, j.Close(t.Context()))
}
