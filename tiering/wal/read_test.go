package wal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/wal"
)

// indexEvery makes a stream store an index after so many objects.
func indexEvery(n int) func(*wal.StreamConfig, *wal.Config) {
	return func(c *wal.StreamConfig, _ *wal.Config) { c.IndexEvery = n }
}

// indexes lists the index objects that are stored.
func (r *streamRig) indexes() []string {
	var names []string
	for name := range r.stored() {
		if strings.HasSuffix(name, ".index") {
			names = append(names, name)
		}
	}
	return names
}

// newestIndex returns the one that the newest slot names which names one.
func (r *streamRig) newestIndex() (ref wal.ObjectRef, seq uint64) {
	r.t.Helper()
	for n, slot := range r.payloads() {
		if slot.Index != nil && n > seq {
			ref, seq = *slot.Index, n
		}
	}
	require.NotZero(r.t, seq, "no slot names an index")
	return ref, seq
}

// fill commits chunks of partition 0, one slot each.
func (r *streamRig) fill(n int) {
	r.t.Helper()
	for range n {
		require.NoError(r.t, r.chunk(0).await())
	}
}

// TestReadWithIndex: footers that an index has are not read, and what is read is the same.
func TestReadWithIndex(t *testing.T) {
	inBubble(t, func(t *testing.T, r *streamRig) {
		r.fill(19)
		through := r.fence()
		require.Len(t, r.indexes(), 1, "those before were removed")
		_, seq := r.newestIndex()
		require.EqualValues(t, 17, seq)
		var read atomic.Int64
		list, err := wal.ReadStream(context.Background(), r.slots(), r.bucket, through, func(ctx context.Context, name string, size int64) (*pack.Footer, error) {
			read.Add(1)
			return r.footer(ctx, name, size)
		})
		require.NoError(t, err)
		require.EqualValues(t, 19-16, read.Load())
		require.Len(t, list, 19)
		for _, o := range list {
			f, err := r.footer(context.Background(), o.Name, o.Size)
			require.NoError(t, err)
			require.Equal(t, f, o.Footer)
		}
		require.Equal(t, span{0, 19}, r.spans(list)[partition(0)])
		require.Equal(t, span{0, 5}, r.spans(r.read(5))[partition(0)], "up to an older slot, whose index is gone")
		require.Empty(t, r.read(0))
		_, err = wal.ReadStream(context.Background(), r.slots(), r.bucket, through+5, r.footer)
		require.ErrorIs(t, err, wal.ErrCorrupt, "slots that there should be")
	}, indexEvery(8))
}

// TestIndexCannotBeStored: the next one is.
func TestIndexCannotBeStored(t *testing.T) {
	inBubble(t, func(t *testing.T, r *streamRig) {
		failed := 0
		r.faults(nil, func(op objstore.Op) error {
			if op.Kind == objstore.OpPut && strings.HasSuffix(op.Key, ".index") && failed == 0 {
				failed++
				return errStore
			}
			return nil
		})
		r.fill(10)
		require.Equal(t, 1, failed)
		require.Positive(t, r.stream.Stats().Indexes)
		r.complete(r.fence(), nil)
	}, indexEvery(3))
}

// TestIndexReplacedMeanwhile: the index that the slots named is gone when it is read.
func TestIndexReplacedMeanwhile(t *testing.T) {
	inBubble(t, func(t *testing.T, r *streamRig) {
		r.fill(9)
		through := r.stream.Through()
		replaced := false
		store := objstore.Inject(r.bucket, func(op objstore.Op) error {
			if op.Kind == objstore.OpRead && strings.HasSuffix(op.Key, ".index") && !replaced {
				replaced = true
				r.fill(9)
			}
			return nil
		})
		list, err := wal.ReadStream(context.Background(), r.slots(), store, through, r.footer)
		require.NoError(t, err)
		require.True(t, replaced)
		require.Equal(t, span{0, 9}, r.spans(list)[partition(0)])
	}, indexEvery(4))
}

// TestReleasedMeanwhile: objects that are released while they are read are left out.
func TestReleasedMeanwhile(t *testing.T) {
	inBubble(t, func(t *testing.T, r *streamRig) {
		r.fill(6)
		through, released := r.stream.Through(), false
		var one sync.Mutex
		list, err := wal.ReadStream(context.Background(), r.slots(), r.bucket, through, func(ctx context.Context, name string, size int64) (*pack.Footer, error) {
			one.Lock()
			defer one.Unlock()
			if !released {
				released = true
				require.NoError(t, r.stream.Release(ctx, sealedAt(map[id.Partition]id.Offset{partition(0): 4})))
			}
			return r.footer(ctx, name, size)
		})
		require.NoError(t, err)
		require.Equal(t, span{4, 6}, r.spans(list)[partition(0)])
	}, func(c *wal.StreamConfig, _ *wal.Config) { c.IndexEvery = 100 })
}

// TestGoneForGood: an object that a slot names and that is gone is an error.
func TestGoneForGood(t *testing.T) {
	inBubble(t, func(t *testing.T, r *streamRig) {
		r.fill(3)
		name := r.payloads()[2].Objects[0].Name
		require.NoError(t, r.bucket.Delete(context.Background(), name))
		_, err := wal.ReadStream(context.Background(), r.slots(), r.bucket, 3, r.footer)
		require.ErrorIs(t, err, objstore.ErrNotFound)
		require.ErrorContains(t, err, "slot 2")
	})
}

// TestDamagedIndexIsRefused: no bit of it can change unseen, nor can it be cut short.
func TestDamagedIndexIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, r *streamRig) {
		r.fill(4)
		ref, _ := r.newestIndex()
		good := make([]byte, ref.Size)
		_, err := r.bucket.ReadAt(context.Background(), ref.Name, good, 0)
		require.NoError(t, err)
		for name, bad := range map[string][]byte{
			"bit":   append(append(bytes.Clone(good[:60]), good[60]^4), good[61:]...),
			"short": good[:len(good)-1],
			"empty": {},
			"newer": append([]byte("FBAYWIDX\x02"), good[9:]...),
			"other": append([]byte("FBAYPACK"), good[8:]...),
		} {
			require.NoError(t, r.bucket.Delete(context.Background(), ref.Name))
			require.NoError(t, r.bucket.Put(context.Background(), ref.Name, bytes.NewReader(bad)))
			_, err := wal.ReadStream(context.Background(), r.slots(), r.bucket, 4, r.footer)
			want := wal.ErrCorrupt
			if name == "newer" {
				want = wal.ErrVersion
			}
			require.ErrorIs(t, err, want, name)
			require.ErrorContains(t, err, ref.Name)
		}
	}, indexEvery(3))
}

func TestDamagedSlotIsRefused(t *testing.T) {
	for payload, want := range map[string]error{
		`{`:       wal.ErrCorrupt,
		`{"v":1}`: wal.ErrCorrupt,
		`{"v":2}`: wal.ErrVersion,
		`{"v":0,"objects":[{"name":"a","size":1}]}`:                    wal.ErrCorrupt,
		`{"v":1,"objects":[{"name":"","size":1}]}`:                     wal.ErrCorrupt,
		`{"v":1,"objects":[{"name":"a","size":0}]}`:                    wal.ErrCorrupt,
		`{"v":1,"objects":[{"name":"a","size":1}],"index":{"size":1}}`: wal.ErrCorrupt,
		`{"v":1,"objects":[{"name":"a","size":1}],"fence":{"by":1}}`:   wal.ErrCorrupt,
	} {
		table := kv.NewMem()
		slots := wal.Slots(table, testSession)
		require.NoError(t, slots.Append(context.Background(), 1, []byte(payload)))
		_, err := wal.ReadStream(context.Background(), slots, objstore.NewMem(), 1, nil)
		require.ErrorIs(t, err, want, payload)
		require.ErrorContains(t, err, "slot 1")
		_, err = wal.Fence(context.Background(), slots, fencer)
		require.ErrorIs(t, err, want, payload)
	}
}

func TestMissingSlot(t *testing.T) {
	table := kv.NewMem()
	slots := wal.Slots(table, testSession)
	for _, seq := range []uint64{1, 3} {
		payload := fmt.Sprintf(`{"v":1,"objects":[{"name":"o%d","size":1}]}`, seq)
		require.NoError(t, slots.Append(context.Background(), seq, []byte(payload)))
	}
	footer := func(context.Context, string, int64) (*pack.Footer, error) { return &pack.Footer{}, nil }
	_, err := wal.ReadStream(context.Background(), slots, objstore.NewMem(), 3, footer)
	require.ErrorIs(t, err, wal.ErrCorrupt)
	require.ErrorContains(t, err, "slot 2")
	list, err := wal.ReadStream(context.Background(), slots, objstore.NewMem(), 1, footer)
	require.NoError(t, err)
	require.Len(t, list, 1)
}

// TestFence: of an empty stream, again, by two at once, and without a table.
func TestFence(t *testing.T) {
	ctx := context.Background()
	table := kv.NewMem()
	slots := wal.Slots(table, testSession)
	for range 2 {
		through, err := wal.Fence(ctx, slots, fencer)
		require.NoError(t, err)
		require.Zero(t, through)
	}
	inBubble(t, func(t *testing.T, r *streamRig) {
		a := r.chunk(0)
		require.NoError(t, a.await())
		answers := make(chan uint64, 8)
		for by := range id.Broker(8) {
			go func() {
				through, err := wal.Fence(ctx, wal.Slots(kv.NewFlaky(r.mem, uint64(by), kv.FlakyRates{Lost: 0.3, Landed: 0.3, Late: 0.2}), testSession), by)
				if err != nil {
					through = 99
				}
				answers <- through
			}()
		}
		for range 8 {
			require.EqualValues(t, 1, <-answers)
		}
		require.Len(t, r.payloads(), 2)
	})
	_, err := wal.Fence(ctx, wal.Slots(kv.Inject(table, func(kv.Op) kv.Fault { return kv.FaultFail }), testSession), fencer)
	require.ErrorIs(t, err, kv.ErrInjected)
	require.False(t, errors.Is(err, wal.ErrCorrupt))
}
