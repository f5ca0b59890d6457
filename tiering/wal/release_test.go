package wal_test

import (
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/wal"
)

// shared commits n chunks of partition 0 by one slot.
func (r *streamRig) shared(n int) {
	r.t.Helper()
	h := &holds{}
	r.faults(nil, h.put)
	var last *appended
	for range n {
		last = r.chunk(0)
	}
	for i := range n {
		h.release(n-1-i, nil)
	}
	require.NoError(r.t, last.await())
	r.faults(nil, nil)
}

// first is the first slot that can be read.
func (r *streamRig) first() uint64 {
	first, err := r.slots().First(context.Background())
	require.NoError(r.t, err)
	return first
}

// TestRelease: whole slots only, sealed ones only, and not the last.
func TestRelease(t *testing.T) {
	inBubble(t, func(t *testing.T, r *streamRig) {
		ctx := context.Background()
		require.NoError(t, r.stream.Release(ctx, sealedAt(nil)), "an empty stream")
		r.shared(3) // slot 1: [0, 3)
		r.fill(1)   // slot 2: [3, 4)
		r.shared(2) // slot 3: [4, 6)
		for _, c := range []struct {
			sealed id.Offset
			first  uint64
			kept   int
		}{{0, 0, 6}, {2, 0, 6}, {3, 2, 3}, {3, 2, 3}, {5, 3, 2}, {math.MaxInt64, 3, 2}} {
			require.NoError(t, r.stream.Release(ctx, sealedAt(map[id.Partition]id.Offset{partition(0): c.sealed})))
			require.Equal(t, c.first, r.first(), "sealed up to %d", c.sealed)
			require.Len(t, r.stored(), c.kept)
			require.Equal(t, c.kept, r.stream.Stats().Kept)
			r.noneMissing()
			r.spans(r.read(3))
		}
		r.fill(1)
		everything := func(context.Context, id.Partition) (id.Offset, error) { return wal.Everything, nil }
		require.NoError(t, r.stream.Release(ctx, everything))
		require.Equal(t, uint64(4), r.first(), "once another follows")
		r.noneMissing()
		require.EqualValues(t, 6, r.stream.Stats().Released)

		boom := errors.New("chain out of reach")
		r.fill(1)
		require.ErrorIs(t, r.stream.Release(ctx, func(context.Context, id.Partition) (id.Offset, error) { return 0, boom }), boom)
		require.Equal(t, uint64(4), r.first())
		asked := 0
		r.fill(1)
		require.ErrorIs(t, r.stream.Release(ctx, func(context.Context, id.Partition) (id.Offset, error) {
			if asked++; asked == 2 {
				return 0, boom
			}
			return wal.Everything, nil
		}), boom)
		require.Equal(t, uint64(5), r.first(), "what lies before it goes")
		require.Equal(t, span{7, 9}, r.spans(r.read(r.fence()))[partition(0)], "an idle stream can be taken over")
	})
}

// TestReleaseRemovesTheIndex: one that no slot names any more is of no use.
func TestReleaseRemovesTheIndex(t *testing.T) {
	inBubble(t, func(t *testing.T, r *streamRig) {
		ctx := context.Background()
		r.fill(6)
		_, seq := r.newestIndex()
		require.NoError(t, r.stream.Release(ctx, sealedAt(map[id.Partition]id.Offset{partition(0): id.Offset(seq) - 1})))
		require.Len(t, r.indexes(), 1)
		require.NoError(t, r.stream.Release(ctx, sealedAt(map[id.Partition]id.Offset{partition(0): id.Offset(seq)})))
		require.Empty(t, r.indexes())
		r.fill(12)
		require.Len(t, r.indexes(), 1, "the next is made")
		require.Equal(t, span{id.Offset(seq), 18}, r.spans(r.read(r.fence()))[partition(0)])
	}, indexEvery(4))
}

// TestReleaseStream: of a session that is over; in the end nothing is left of it.
func TestReleaseStream(t *testing.T) {
	inBubble(t, func(t *testing.T, r *streamRig) {
		ctx := context.Background()
		r.shared(2)
		r.fill(6)
		through := r.fence()
		require.NoError(t, r.bucket.Put(ctx, "wal/"+string(testSession)+"/orphan.pack", &cut{n: 10}))
		require.NoError(t, r.bucket.Put(ctx, "wal/another-session/its.pack", &cut{n: 10}))
		release := func(sealed id.Offset) bool {
			empty, err := wal.ReleaseStream(ctx, r.slots(), r.bucket, testSession, r.read(through), sealedAt(map[id.Partition]id.Offset{partition(0): sealed}))
			require.NoError(t, err)
			r.noneMissing()
			return empty
		}
		require.False(t, release(1))
		require.Len(t, r.read(through), 8)
		require.False(t, release(3))
		require.Len(t, r.read(through), 5)
		require.True(t, release(8))
		require.Empty(t, r.read(through))
		require.True(t, release(8), "again")
		require.Equal(t, map[string]bool{"wal/another-session/its.pack": true}, r.stored())
		require.Equal(t, through, r.fence(), "it stays fenced")
	}, indexEvery(3))
}

// cut is a reader of n zeros.
type cut struct{ n int }

func (c *cut) Read(p []byte) (int, error) {
	n := min(len(p), c.n)
	c.n -= n
	if n == 0 {
		return 0, io.EOF
	}
	clear(p[:n])
	return n, nil
}

// TestReleaseStopped stops Release, and ReleaseStream, at each of its operations. At any time
// the stream can be read, no slot names an object that is gone, and the next release finishes.
func TestReleaseStopped(t *testing.T) {
	down := errors.New("power is off")
	for _, over := range []bool{false, true} {
		stopped := 0
		for stop, finished := 0, false; !finished; stop++ {
			inBubble(t, func(t *testing.T, r *streamRig) {
				ctx := context.Background()
				r.fill(4)
				r.shared(2)
				r.fill(2)
				sealed := sealedAt(map[id.Partition]id.Offset{partition(0): 7})
				release := func() error { return r.stream.Release(ctx, sealed) }
				if over {
					through := r.fence()
					slots := wal.Slots(kv.Inject(r.mem, r.tableFault), testSession)
					release = func() error {
						_, err := wal.ReleaseStream(ctx, slots, objstore.Inject(r.bucket, r.storeFault), testSession, r.read(through), sealed)
						return err
					}
				}
				ops := 0
				on := func() bool { ops++; return ops <= stop }
				r.faults(func(op kv.Op) kv.Fault {
					if op.Kind != kv.OpLand && !on() {
						return kv.FaultFail
					}
					return kv.FaultNone
				}, func(objstore.Op) error {
					if !on() {
						return down
					}
					return nil
				})
				err := release()
				finished = err == nil
				r.faults(nil, nil)
				r.noneMissing()
				got := r.spans(r.read(7))[partition(0)]
				require.Equal(t, id.Offset(8), got.next, "what is not sealed is there")
				require.Contains(t, []id.Offset{0, 7}, got.base)
				if finished {
					return
				}
				stopped++
				require.NoError(t, release())
				require.Equal(t, span{7, 8}, r.spans(r.read(7))[partition(0)])
				if got.base == 0 { // stopped before the commit point: nothing is left behind
					names := slices.Collect(func(yield func(string) bool) {
						for _, o := range r.read(7) {
							yield(o.Name)
						}
					})
					require.Len(t, r.stored(), len(names))
				}
			}, indexEvery(100))
		}
		require.Greater(t, stopped, 8)
	}
}
