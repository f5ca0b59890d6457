package seal

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/chain"
)

// afterPut acts once a pack is uploaded.
type afterPut struct {
	objstore.Store
	act func(ctx context.Context)
}

func (a *afterPut) Put(ctx context.Context, key string, body io.Reader) error {
	err := a.Store.Put(ctx, key, body)
	if a.act != nil {
		a.act(ctx)
	}
	return err
}

// newBound is a world whose uploads are followed by what the test has in mind.
func newBound(t *testing.T, options ...func(*Config)) (*world, *afterPut) {
	put := &afterPut{}
	options = append(options, func(c *Config) { put.Store, c.Objects = c.Objects, put })
	return newWorld(t, vfs.NewMem(), kv.NewMem(), options...), put
}

// What took longer than chain.CommitWithin is in no chain, and is sealed anew.
func TestLateCommits(t *testing.T) {
	w, put := newBound(t)
	var late time.Duration
	w.sealer.clock = func() time.Time { return time.Now().Add(late) }
	w.fill(3, 20)
	put.act = func(ctx context.Context) {
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		require.LessOrEqual(t, time.Until(deadline), chain.CommitWithin)
		late, put.act = chain.CommitWithin+time.Second, nil
	}
	require.NoError(t, w.sealer.SealAll(ctx))
	w.sealedAll()
	w.check()
	require.Equal(t, 1, w.verify().Orphans)
}

func TestNothingIsCommittedWithoutASession(t *testing.T) {
	valid := true
	w, put := newBound(t, func(c *Config) { c.Valid = func() bool { return valid } })
	w.fill(3, 20)
	put.act = func(context.Context) { valid = false }
	require.ErrorIs(t, w.sealer.SealAll(ctx), errNotValid)
	require.Zero(t, w.verify().Segments)
	valid, put.act = true, nil
	require.NoError(t, w.sealer.SealAll(ctx))
	w.sealedAll()
}

func TestPartitionsThatWentDuringTheUpload(t *testing.T) {
	gone := map[id.Partition]bool{}
	w, put := newBound(t, func(c *Config) { c.Live = func(p id.Partition) bool { return !gone[p] } })
	w.fill(3, 30)
	put.act = func(context.Context) { gone[partition(2)] = true }
	require.NoError(t, w.sealer.SealAll(ctx))
	for n := 1; n <= 3; n++ {
		end, _, _, err := w.chain.End(ctx, partition(n))
		require.NoError(t, err)
		require.Equal(t, n != 2, end > 0)
	}
}

// replaceAll puts seg in the place of all segments of p and removes their items.
func (w *world) replaceAll(p id.Partition, seg chain.Segment) {
	w.t.Helper()
	items, err := w.chain.Items(ctx, p)
	require.NoError(w.t, err)
	last := items[len(items)-1].Segment
	seg.Base, seg.Next, seg.FirstEpoch, seg.LastEpoch = 0, last.Next, items[0].FirstEpoch, last.LastEpoch
	require.NoError(w.t, w.chain.Replace(ctx, p, items, seg))
	require.NoError(w.t, w.chain.Remove(ctx, p, items[1:]))
}

// The end of a chain that was seen long ago may be the place of an item that is gone since.
func TestOldTailsAreReadAnew(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem())
	var later time.Duration
	w.sealer.clock = func() time.Time { return time.Now().Add(later) }
	w.fill(1, 5)
	require.NoError(t, w.sealer.SealAll(ctx))
	w.fill(1, 5)
	other := New(w.sealer.cfg)
	require.NoError(t, other.SealAll(ctx))
	require.NoError(t, other.Close(ctx))
	w.replaceAll(partition(1), chain.Segment{MaxTimestamp: -1})
	end := w.next[partition(1)]
	w.fill(1, 5)
	later = tailAge + time.Second
	require.NoError(t, w.sealer.SealAll(ctx))
	items, err := w.chain.Items(ctx, partition(1))
	require.NoError(t, err)
	require.Len(t, items, 2)
	require.Equal(t, end, items[1].Base)
	require.Equal(t, w.next[partition(1)], items[1].Next)
}

// The last segment of a chain may be replaced, and its object be gone, before its tail is old.
func TestTailWhoseObjectHasGone(t *testing.T) {
	p := partition(1)
	for _, empty := range []bool{false, true} {
		w := newWorld(t, vfs.NewMem(), kv.NewMem())
		w.append(p, w.build(p, 9, 2, 100))
		w.sync()
		require.NoError(t, w.sealer.SealAll(ctx))
		_, seg, _, err := w.chain.End(ctx, p)
		require.NoError(t, err)
		whole := make([]byte, seg.ObjectSize)
		_, err = w.objects.ReadAt(ctx, seg.Object, whole, 0)
		require.NoError(t, err)
		old := seg.Object
		seg.Object = "packs/moved.pack"
		require.NoError(t, w.objects.Put(ctx, seg.Object, bytes.NewReader(whole)))
		if empty {
			seg = chain.Segment{MaxTimestamp: -1}
		}
		w.replaceAll(p, seg)
		require.NoError(t, w.objects.Delete(ctx, old))

		w.append(p, w.build(p, 10, 2, 100))
		w.sync()
		require.NoError(t, w.sealer.SealAll(ctx))
		w.sealedAll()
		want := 2
		if empty {
			want = 1
		}
		require.Len(t, w.producers(p), want)
	}
}
