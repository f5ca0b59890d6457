package cold

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/objstore"
)

// flipped is a store with one bit changed in what is read.
type flipped struct {
	objstore.Store
	pos   int64
	bit   byte
	times int // how many reads of the place are bad; below 0 all
}

func (f *flipped) ReadAt(ctx context.Context, key string, p []byte, off int64) (int, error) {
	n, err := f.Store.ReadAt(ctx, key, p, off)
	if at := f.pos - off; at >= 0 && at < int64(n) && f.times != 0 {
		p[at] ^= f.bit
		f.times--
	}
	return n, err
}

// TestEveryFlippedBitIsFound: whichever bit of the run is wrong, a read returns
// right bytes or an error that names the object and the place.
func TestEveryFlippedBitIsFound(t *testing.T) {
	f := newFixture(t, []int{10, 40}, []int{30, 10, 60, 20, 100}, []int{50})
	p := partition(2)
	seg := f.segs[p]
	for pos := seg.Pos; pos < seg.Pos+seg.Length; pos++ {
		for bit := range 8 {
			r := New(&flipped{f.store, pos, 1 << bit, -1}, small)
			got, err := r.Read(ctx, p, seg, seg.Base, seg.Next, 1<<20)
			if err == nil { // the batches before the damaged one
				require.Less(t, len(got), len(f.batches[p]), "position %d bit %d", pos, bit)
				for i, b := range got {
					require.True(t, bytes.Equal(f.batches[p][i], b), "position %d bit %d", pos, bit)
				}
				next := f.batches[p][len(got)].BaseOffset()
				_, err = r.Read(ctx, p, seg, next, seg.Next, 1<<20)
			}
			require.ErrorIs(t, err, ErrCorrupt, "position %d bit %d", pos, bit)
			require.ErrorContains(t, err, f.name)
			require.ErrorContains(t, err, "position ")
			require.NoError(t, r.Close(ctx))
		}
	}
}

func TestDamageOnTheWayIsMended(t *testing.T) {
	f := newFixture(t, []int{10, 40, 3000, 9000, 20}, []int{50})
	p := partition(1)
	seg := f.segs[p]
	for _, pos := range []int64{seg.Pos, seg.Pos + 70, seg.Pos + 5000, seg.Pos + seg.Length - 1} {
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

func TestDamagedFooter(t *testing.T) {
	f := newFixture(t, []int{10, 40})
	seg := f.segs[partition(1)]
	r := New(&flipped{f.store, seg.ObjectSize - 20, 4, 1}, small)
	_, err := r.Footer(ctx, f.name, seg.ObjectSize)
	require.ErrorIs(t, err, ErrCorrupt)
	_, err = r.Footer(ctx, f.name, seg.ObjectSize)
	require.NoError(t, err, "an error is not kept")
	require.NoError(t, r.Close(ctx))
}

// TestChainAndObjectDisagree: a segment that the object's footer contradicts is refused.
func TestChainAndObjectDisagree(t *testing.T) {
	f := newFixture(t, []int{10, 40}, []int{10})
	r, p := f.reader(t, small), partition(1)
	good := f.segs[p]
	wrong := good
	wrong.CRC++
	_, err := r.Read(ctx, p, wrong, 0, wrong.Next, 1000)
	require.ErrorIs(t, err, ErrCorrupt)
	_, err = r.Read(ctx, partition(9), good, 0, good.Next, 1000)
	require.ErrorIs(t, err, ErrCorrupt)
	_, err = r.Read(ctx, p, good, 0, good.Next, 1000)
	require.NoError(t, err)
}

func TestStoreErrorsPassAndAreNotKept(t *testing.T) {
	f := newFixture(t, []int{10, 40})
	r, p := f.reader(t, small), partition(1)
	boom := errors.New("injected")
	f.hook = func(objstore.Op) error { return boom }
	_, err := r.Read(ctx, p, f.segs[p], 0, 1, 1)
	require.ErrorIs(t, err, boom)
	f.hook = func(op objstore.Op) error { // the footer comes, the chunk does not
		if op.Offset == 0 && op.Length == f.segs[p].ObjectSize && r.Stats().FooterBytes > 0 {
			return boom
		}
		return nil
	}
	_, err = r.Read(ctx, p, f.segs[p], 0, 1, 1)
	require.ErrorIs(t, err, boom)
	f.hook = nil
	got, err := r.Read(ctx, p, f.segs[p], 0, 1, 1)
	require.NoError(t, err)
	require.Len(t, got, 1)

	gone := f.segs[p]
	gone.Object = "packs/gone"
	_, err = r.Read(ctx, p, gone, 0, 1, 1)
	require.ErrorIs(t, err, objstore.ErrNotFound)
}

// TestBatchesBeforeAFailureAreReturned: the failure shows when it is the first thing read.
func TestBatchesBeforeAFailureAreReturned(t *testing.T) {
	f := newFixture(t, []int{1000, 1000, 9000, 1000})
	r, p := f.reader(t, small), partition(1)
	_, err := r.Footer(ctx, f.name, f.segs[p].ObjectSize)
	require.NoError(t, err)
	f.hook = func(op objstore.Op) error {
		if op.Offset > 0 {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	got, err := r.Read(ctx, p, f.segs[p], 0, f.segs[p].Next, 1<<20)
	require.NoError(t, err)
	require.Len(t, got, 2)
	_, err = r.Read(ctx, p, f.segs[p], f.batches[p][2].BaseOffset(), f.segs[p].Next, 1<<20)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestShortObject(t *testing.T) {
	f := newFixture(t, []int{9000})
	p := partition(1)
	r := f.reader(t, small)
	_, err := r.Footer(ctx, f.name, f.segs[p].ObjectSize)
	require.NoError(t, err)
	whole := make([]byte, f.segs[p].ObjectSize)
	_, err = f.store.ReadAt(ctx, f.name, whole, 0)
	require.NoError(t, err)
	require.NoError(t, f.store.Delete(ctx, f.name))
	require.NoError(t, f.store.Put(ctx, f.name, bytes.NewReader(whole[:5000])))
	_, err = r.Read(ctx, p, f.segs[p], 0, 1, 1)
	require.ErrorIs(t, err, ErrCorrupt)
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	f := newFixture(t, []int{1000})
	p := partition(1)
	asked := make(chan struct{})
	r := New(stuck{f.store, asked}, small)
	done := make(chan error, 1)
	go func() {
		_, err := r.Read(ctx, p, f.segs[p], 0, 1, 1)
		done <- err
	}()
	<-asked
	require.NoError(t, r.Close(ctx))
	require.ErrorIs(t, <-done, ErrClosed)
	_, err := r.Read(ctx, p, f.segs[p], 0, 1, 1)
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, r.Close(ctx), "twice")
}

// stuck is a store that answers no read before its context ends.
type stuck struct {
	objstore.Store
	asked chan struct{}
}

func (s stuck) ReadAt(ctx context.Context, _ string, _ []byte, _ int64) (int, error) {
	close(s.asked)
	<-ctx.Done()
	return 0, ctx.Err()
}

func TestFetchTimeout(t *testing.T) {
	f := newFixture(t, []int{1000})
	p := partition(1)
	cfg := small
	cfg.FetchTimeout = time.Millisecond
	r := New(stuck{f.store, make(chan struct{})}, cfg)
	_, err := r.Read(ctx, p, f.segs[p], 0, 1, 1)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, r.Close(ctx))
}

func TestFootersAreBounded(t *testing.T) {
	f := newFixture(t, []int{10, 40})
	seg := f.segs[partition(1)]
	whole := make([]byte, seg.ObjectSize)
	_, err := f.store.ReadAt(ctx, f.name, whole, 0)
	require.NoError(t, err)
	cfg := small
	cfg.FooterBytes = 3000
	r := f.reader(t, cfg)
	for i := range 50 {
		name := "packs/" + id.Offset(i).String()
		require.NoError(t, f.store.Put(ctx, name, bytes.NewReader(whole)))
		for range 3 {
			_, err := r.Footer(ctx, name, seg.ObjectSize)
			require.NoError(t, err)
		}
	}
	stats := r.Stats()
	require.Equal(t, int64(50), stats.FooterRequests)
	require.Equal(t, int64(100), stats.FooterHits)
	require.LessOrEqual(t, stats.FooterBytes, cfg.FooterBytes)
}
