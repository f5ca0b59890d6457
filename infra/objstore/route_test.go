package objstore_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/objstore"
)

// keys lists what a store has.
func keys(t *testing.T, s objstore.Store, prefix, after string) []string {
	t.Helper()
	var all []string
	for info, err := range s.List(context.Background(), prefix, after) {
		require.NoError(t, err)
		all = append(all, info.Key)
	}
	return all
}

func TestRoute(t *testing.T) {
	ctx := context.Background()
	rest, special := objstore.NewMem(), objstore.NewMem()
	s := objstore.Route(rest, "wal/", special)
	for _, key := range []string{"packs/1", "wal", "wal/a/1", "wal/b/1", "walls/1", "metalog/1"} {
		require.NoError(t, s.Put(ctx, key, strings.NewReader(key)))
		p := make([]byte, len(key))
		n, err := s.ReadAt(ctx, key, p, 0)
		require.NoError(t, err)
		require.Equal(t, key, string(p[:n]))
		info, err := s.Stat(ctx, key)
		require.NoError(t, err)
		require.Equal(t, key, info.Key)
		require.ErrorIs(t, s.Put(ctx, key, strings.NewReader("")), objstore.ErrExists)
	}
	require.Equal(t, []string{"metalog/1", "packs/1", "wal", "walls/1"}, keys(t, rest, "", ""))
	require.Equal(t, []string{"wal/a/1", "wal/b/1"}, keys(t, special, "", ""))

	require.NoError(t, rest.Put(ctx, "wal/a/0", strings.NewReader("from before there was a route")))
	for _, c := range []struct {
		prefix, after string
		want          []string
	}{
		{"", "", []string{"metalog/1", "packs/1", "wal", "wal/a/1", "wal/b/1", "walls/1"}},
		{"wa", "", []string{"wal", "wal/a/1", "wal/b/1", "walls/1"}},
		{"wal", "wal/a/1", []string{"wal/b/1", "walls/1"}},
		{"", "wal/b/1", []string{"walls/1"}},
		{"", "walls/1", nil},
		{"wal/", "", []string{"wal/a/1", "wal/b/1"}},
		{"wal/b", "", []string{"wal/b/1"}},
		{"walls/", "", []string{"walls/1"}},
		{"x", "", nil},
	} {
		require.Equal(t, c.want, keys(t, s, c.prefix, c.after), "%q after %q", c.prefix, c.after)
	}
	for n := range 7 {
		seen := 0
		for _, err := range s.List(ctx, "", "") {
			require.NoError(t, err)
			if seen++; seen > n {
				break
			}
		}
		require.Equal(t, min(n+1, 6), seen, "a List may be left")
	}

	require.NoError(t, s.Delete(ctx, "wal/a/1"))
	require.Equal(t, []string{"wal/b/1"}, keys(t, special, "", ""))
	require.NoError(t, s.Close())
	for _, store := range []objstore.Store{rest, special} {
		_, err := store.Stat(ctx, "wal/b/1")
		require.ErrorIs(t, err, fs.ErrClosed)
	}
}

// TestRouteListStopsAfterAnError: of either store.
func TestRouteListStopsAfterAnError(t *testing.T) {
	ctx, boom := context.Background(), errors.New("boom")
	broken := objstore.Inject(objstore.NewMem(), func(objstore.Op) error { return boom })
	whole := objstore.NewMem()
	require.NoError(t, whole.Put(ctx, "zoo", strings.NewReader("")))
	require.NoError(t, whole.Put(ctx, "wal/1", strings.NewReader("")))
	for _, s := range []objstore.Store{objstore.Route(broken, "wal/", whole), objstore.Route(whole, "wal/", broken)} {
		var got []error
		for _, err := range s.List(ctx, "", "") {
			got = append(got, err)
		}
		require.Equal(t, []error{boom}, got)
	}
}
