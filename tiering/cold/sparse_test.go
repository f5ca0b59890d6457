package cold

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/pack"
)

// newSparse stores a pack with a sparse run of partition 1 that has gaps at both ends and
// before every second batch.
func newSparse(t *testing.T, sizes ...int) *fixture {
	t.Helper()
	p := partition(1)
	f := newFixture(t)
	rng := rand.New(rand.NewPCG(3, 4))
	next := id.Offset(103)
	for i, size := range sizes {
		v := makeBatch(rng, next+id.Offset(5*(i%2)), id.Epoch(i/3), 1+i%4, size)
		f.batches[p] = append(f.batches[p], v)
		next = v.NextOffset()
	}
	epochs := []pack.EpochStart{{Epoch: 0, Start: 100}}
	for _, v := range f.batches[p] {
		if v.LeaderEpoch() != epochs[len(epochs)-1].Epoch {
			epochs = append(epochs, pack.EpochStart{Epoch: v.LeaderEpoch(), Start: v.BaseOffset()})
		}
	}
	epochs = append(epochs, pack.EpochStart{Epoch: epochs[len(epochs)-1].Epoch + 1, Start: next})
	var object bytes.Buffer
	w := pack.NewWriter(&object, pack.Header{Cluster: "test", Created: time.UnixMilli(1)})
	require.NoError(t, w.BeginSparse(p, 100, next+20))
	for _, v := range f.batches[p] {
		require.NoError(t, w.Append(v))
	}
	require.NoError(t, w.EndSparse(epochs, nil, nil))
	footer, err := w.Close()
	require.NoError(t, err)
	f.name = "packs/sparse.pack"
	f.segs[p] = chain.SegmentOf(&footer.Runs[0], f.name, int64(object.Len()))
	require.NoError(t, f.store.Put(ctx, f.name, &object))
	return f
}

func TestReadOfSparseRuns(t *testing.T) {
	f := newSparse(t, sizes(40, mixed)...)
	p := partition(1)
	seg, all := f.segs[p], f.batches[p]
	for _, chunk := range []int64{128, 4 << 10, 1 << 20} {
		t.Run(fmt.Sprintf("chunks of %d", chunk), func(t *testing.T) {
			r := f.reader(t, Config{ChunkBytes: chunk, CacheBytes: 1 << 20})
			for from := seg.Base - 1; from <= seg.Next; from++ {
				for _, limit := range []id.Offset{seg.Next, seg.Base, from + 5} {
					for _, maxBytes := range []int{0, 4000, 1 << 20} {
						got, err := r.Read(ctx, p, seg, from, limit, maxBytes)
						require.NoError(t, err)
						require.Equal(t, expect(all, from, limit, maxBytes), got, "from %d limit %d max %d", from, limit, maxBytes)
					}
				}
			}
			n := 0
			for v, err := range r.Batches(ctx, p, seg, seg.Base) {
				require.NoError(t, err)
				require.Equal(t, all[n], v)
				n++
			}
			require.Len(t, all, n)
			require.Zero(t, r.Stats().Corrupt)
		})
	}
}

// Where a batch of a sparse run belongs its neighbours do not tell; still no wrong byte gets out.
func TestEveryFlippedBitOfASparseRunIsFound(t *testing.T) {
	f := newSparse(t, 30, 10, 60, 20, 100)
	p := partition(1)
	seg, all := f.segs[p], f.batches[p]
	for pos := seg.Pos; pos < seg.Pos+seg.Length; pos++ {
		for bit := range 8 {
			r := New(&flipped{f.store, pos, 1 << bit, -1}, small)
			var got [][]byte
			var err error
			for from := seg.Base; err == nil && from < all[len(all)-1].NextOffset(); {
				var some [][]byte
				some, err = r.Read(ctx, p, seg, from, seg.Next, 1<<20)
				got = append(got, some...)
				if err == nil {
					from = all[len(got)-1].NextOffset()
				}
			}
			require.ErrorIs(t, err, ErrCorrupt, "position %d bit %d", pos, bit)
			require.ErrorContains(t, err, f.name)
			for i, b := range got {
				require.True(t, bytes.Equal(all[i], b), "position %d bit %d", pos, bit)
			}
			require.NoError(t, r.Close(ctx))
		}
	}
}

func TestDamageOfASparseRunOnTheWayIsMended(t *testing.T) {
	f := newSparse(t, 10, 40, 3000, 9000, 20)
	p := partition(1)
	seg := f.segs[p]
	for _, pos := range []int64{seg.Pos, seg.Pos + 7, seg.Pos + 70, seg.Pos + 5000, seg.Pos + seg.Length - 1} {
		store := &flipped{f.store, pos, 4, 0}
		r := New(store, small)
		_, err := r.Footer(ctx, f.name, seg.ObjectSize)
		require.NoError(t, err)
		store.times = 1
		got, err := r.Read(ctx, p, seg, seg.Base, seg.Next, 1<<20)
		require.NoError(t, err)
		require.Equal(t, expect(f.batches[p], seg.Base, seg.Next, 1<<20), got)
		require.Equal(t, int64(1), r.Stats().Corrupt)
		require.NoError(t, r.Close(ctx))
	}
}

func TestEmptySegmentsHaveNoBatches(t *testing.T) {
	f := newFixture(t)
	f.hook = func(op objstore.Op) error { return fmt.Errorf("read of %q", op.Key) }
	r := f.reader(t, small)
	got, err := r.Read(ctx, partition(1), chain.Segment{Base: 3, Next: 9, MaxTimestamp: -1}, 3, 9, 1000)
	require.NoError(t, err)
	require.Empty(t, got)
}
