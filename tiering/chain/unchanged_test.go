package chain

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
)

func TestUnchanged(t *testing.T) {
	s := Open(kv.NewMem())
	p := partition(1)
	appendAll(t, s, link(p, 0, 10, "packs/a"), link(p, 10, 20, "packs/b"), link(p, 20, 30, "packs/c"))
	items, err := s.Items(ctx, p)
	require.NoError(t, err)
	require.NoError(t, s.Unchanged(ctx, p, nil))
	require.NoError(t, s.Unchanged(ctx, p, items))
	require.NoError(t, s.Replace(ctx, p, items[1:2], segment(10, 20, "packs/d")))
	require.ErrorIs(t, s.Unchanged(ctx, p, items[:2]), ErrChanged)
	require.NoError(t, s.Unchanged(ctx, p, items[2:]))
	require.NoError(t, s.Remove(ctx, p, items[2:]))
	require.ErrorIs(t, s.Unchanged(ctx, p, items[2:]), ErrChanged)
}

// Items that are as they were count no more if one in front of them covers them now.
func TestCounts(t *testing.T) {
	s, p, items := threeItems(t, kv.NewMem())
	require.NoError(t, s.Counts(ctx, p, 0, nil))
	require.NoError(t, s.Counts(ctx, p, 0, items))
	require.NoError(t, s.Counts(ctx, p, 0, items[1:2]))
	require.NoError(t, s.Replace(ctx, p, items[:2], segment(0, 20, "packs/d")))
	require.NoError(t, s.Unchanged(ctx, p, items[1:]))
	require.ErrorIs(t, s.Counts(ctx, p, 0, items[1:]), ErrChanged)
	require.ErrorIs(t, s.Counts(ctx, p, 0, items[:2]), ErrChanged)
	require.NoError(t, s.Counts(ctx, p, 0, items[2:]))
}
