// Package kvtest is the conformance suite of package kv. A driver that passes it can
// carry a cluster; every driver runs it. It holds no state.
package kvtest

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
)

// Run tests the Stores that open returns, each of them empty; it closes them.
func Run(t *testing.T, open func(t *testing.T) kv.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, s kv.Store)
	}{
		{"PutIfAbsent", testPutIfAbsent},
		{"PutIf", testPutIf},
		{"Any", testAny},
		{"Delete", testDelete},
		{"ValuesBelongToTheCaller", testOwnership},
		{"VersionsAreNeverRepeated", testVersions},
		{"ManyWritesInOneCall", testManyWrites},
		{"SameKeyTwiceInOneCall", testSameKeyTwice},
		{"LargeValues", testLargeValues},
		{"InvalidKeys", testInvalidKeys},
		{"Cancelled", testCancelled},
		{"Closed", testClosed},
		{"QueryBounds", testQueryBounds},
		{"QueryIsolatesParts", testQueryParts},
		{"QueryOrdersBytes", testQueryOrder},
		{"QueryLarge", testQueryLarge},
		{"QueryMatchesModel", testQueryModel},
		{"RaceForAbsentKey", testRaceAbsent},
		{"RaceForVersion", testRaceVersion},
		{"RaceCounter", testRaceCounter},
		{"RaceDelete", testRaceDelete},
		{"ReadYourWrites", testReadYourWrites},
		{"Resolve", testResolve},
		{"SettleUnknownOutcomes", testSettle},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			defer func() { require.NoError(t, s.Close()) }()
			c.test(t, s)
		})
	}
}

func key(part, sort string) kv.Key { return kv.Key{Part: part, Sort: sort} }

func get(t *testing.T, s kv.Store, k kv.Key) kv.Item {
	t.Helper()
	item, err := s.Get(context.Background(), k)
	require.NoError(t, err)
	require.Equal(t, k, item.Key)
	return item
}

func requireAbsent(t *testing.T, s kv.Store, k kv.Key) {
	t.Helper()
	_, err := s.Get(context.Background(), k)
	require.ErrorIs(t, err, kv.ErrNotFound)
}

func put(t *testing.T, s kv.Store, k kv.Key, value string) kv.Version {
	t.Helper()
	r := s.Write(context.Background(), kv.Write{Key: k, Value: []byte(value), Any: true})
	require.Len(t, r, 1)
	require.NoError(t, r[0].Err)
	require.NotEmpty(t, r[0].Version)
	return r[0].Version
}

func testPutIfAbsent(t *testing.T, s kv.Store) {
	ctx, k := context.Background(), key("p", "s")
	requireAbsent(t, s, k)
	ver, err := kv.PutIfAbsent(ctx, s, k, []byte("one"))
	require.NoError(t, err)
	item := get(t, s, k)
	require.Equal(t, "one", string(item.Value))
	require.Equal(t, ver, item.Version)

	_, err = kv.PutIfAbsent(ctx, s, k, []byte("two"))
	require.ErrorIs(t, err, kv.ErrConflict)
	require.Equal(t, item, get(t, s, k), "a write whose condition fails changes nothing")
}

func testPutIf(t *testing.T, s kv.Store) {
	ctx, k := context.Background(), key("p", "s")
	_, err := kv.PutIf(ctx, s, k, []byte("x"), "no such version")
	require.ErrorIs(t, err, kv.ErrConflict, "an absent item has no version")
	requireAbsent(t, s, k)

	first := put(t, s, k, "one")
	second, err := kv.PutIf(ctx, s, k, []byte("two"), first)
	require.NoError(t, err)
	_, err = kv.PutIf(ctx, s, k, []byte("three"), first)
	require.ErrorIs(t, err, kv.ErrConflict)
	item := get(t, s, k)
	require.Equal(t, "two", string(item.Value))
	require.Equal(t, second, item.Version)
}

func testAny(t *testing.T, s kv.Store) {
	ctx, k := context.Background(), key("p", "s")
	for _, value := range []string{"one", "two", ""} {
		put(t, s, k, value)
		require.Equal(t, value, string(get(t, s, k).Value))
	}
	for range 2 { // the second finds nothing to remove
		r := s.Write(ctx, kv.Write{Key: k, Delete: true, Any: true})
		require.NoError(t, r[0].Err)
		requireAbsent(t, s, k)
	}
}

func testDelete(t *testing.T, s kv.Store) {
	ctx, k := context.Background(), key("p", "s")
	require.ErrorIs(t, kv.Delete(ctx, s, k, "no such version"), kv.ErrConflict)
	first := put(t, s, k, "one")
	second := put(t, s, k, "two")
	require.ErrorIs(t, kv.Delete(ctx, s, k, first), kv.ErrConflict)
	require.Equal(t, "two", string(get(t, s, k).Value))
	require.NoError(t, kv.Delete(ctx, s, k, second))
	requireAbsent(t, s, k)
	require.NoError(t, kv.Delete(ctx, s, k, ""), "whatever is there")

	third, err := kv.PutIfAbsent(ctx, s, k, []byte("three"))
	require.NoError(t, err, "a removed item is absent")
	require.NotContains(t, []kv.Version{first, second}, third)
}

func testOwnership(t *testing.T, s kv.Store) {
	k, value := key("p", "s"), []byte("mine")
	_, err := kv.PutIfAbsent(context.Background(), s, k, value)
	require.NoError(t, err)
	copy(value, "XXXX")
	item := get(t, s, k)
	require.Equal(t, "mine", string(item.Value), "a written value may be changed afterwards")
	copy(item.Value, "YYYY")
	items, err := s.Query(context.Background(), "p", kv.Range{})
	require.NoError(t, err)
	require.Equal(t, "mine", string(items[0].Value), "a value read may be changed")
	copy(items[0].Value, "ZZZZ")
	require.Equal(t, "mine", string(get(t, s, k).Value))
}

func testVersions(t *testing.T, s kv.Store) {
	seen := map[kv.Version]bool{}
	for range 100 {
		v := put(t, s, key("p", "s"), "the same")
		require.False(t, seen[v])
		seen[v] = true
	}
}

func testManyWrites(t *testing.T, s kv.Store) {
	ctx := context.Background()
	old := put(t, s, key("p", "old"), "old")
	put(t, s, key("p", "gone"), "gone")
	results := s.Write(ctx,
		kv.Write{Key: key("p", "new"), Value: []byte("new")},
		kv.Write{Key: key("p", "old"), Value: []byte("taken")}, // must be absent, but is not
		kv.Write{Key: key("", "invalid"), Value: []byte("x")},
		kv.Write{Key: key("p", "old"), Value: []byte("newer"), If: old},
		kv.Write{Key: key("p", "gone"), Delete: true, Any: true},
		kv.Write{Key: key("q", "large"), Value: make([]byte, kv.MaxValue+1)},
	)
	require.Len(t, results, 6)
	require.NoError(t, results[0].Err)
	require.ErrorIs(t, results[1].Err, kv.ErrConflict)
	require.ErrorIs(t, results[2].Err, kv.ErrInvalidKey)
	require.NoError(t, results[3].Err)
	require.NoError(t, results[4].Err)
	require.ErrorIs(t, results[5].Err, kv.ErrTooLarge)

	require.Equal(t, results[0].Version, get(t, s, key("p", "new")).Version)
	require.Equal(t, "newer", string(get(t, s, key("p", "old")).Value))
	requireAbsent(t, s, key("p", "gone"))
	requireAbsent(t, s, key("q", "large"))
	require.Empty(t, s.Write(ctx))
}

// testSameKeyTwice: the writes of a call are not ordered, but two that need the
// item absent cannot both have found it so.
func testSameKeyTwice(t *testing.T, s kv.Store) {
	k := key("p", "s")
	results := s.Write(context.Background(), kv.Write{Key: k, Value: []byte("a")}, kv.Write{Key: k, Value: []byte("b")})
	item, won := get(t, s, k), 0
	for i, r := range results {
		if r.Err == nil {
			won++
			require.Equal(t, r.Version, item.Version)
			require.Equal(t, []string{"a", "b"}[i], string(item.Value))
			continue
		}
		require.ErrorIs(t, r.Err, kv.ErrConflict)
	}
	require.Equal(t, 1, won)
}

func testLargeValues(t *testing.T, s kv.Store) {
	ctx := context.Background()
	value := make([]byte, kv.MaxValue)
	for i := range value {
		value[i] = byte(i * 7 / 3)
	}
	for _, sort := range []string{"a", "b", "c"} {
		_, err := kv.PutIfAbsent(ctx, s, key("large", sort), value)
		require.NoError(t, err)
		require.True(t, string(value) == string(get(t, s, key("large", sort)).Value))
	}
	_, err := kv.PutIfAbsent(ctx, s, key("large", "d"), append(value, 0))
	require.ErrorIs(t, err, kv.ErrTooLarge)
	requireAbsent(t, s, key("large", "d"))
	items, err := s.Query(ctx, "large", kv.Range{})
	require.NoError(t, err, "more than a page of any driver")
	require.Len(t, items, 3)
	require.True(t, string(value) == string(items[2].Value))
}

func testInvalidKeys(t *testing.T, s kv.Store) {
	ctx := context.Background()
	long := strings.Repeat("k", 1023)
	for name, k := range map[string]kv.Key{
		"no part":      key("", "s"),
		"no sort":      key("p", ""),
		"zero in part": key("p\x00q", "s"),
		"zero in sort": key("p", "s\x00"),
		"part no UTF8": key("p\xff", "s"),
		"sort no UTF8": key("p", "\xc3"),
		"too long":     key(long, "s"),
		"too long too": key("p", long),
	} {
		_, err := s.Get(ctx, k)
		require.ErrorIs(t, err, kv.ErrInvalidKey, name)
		_, err = kv.PutIfAbsent(ctx, s, k, nil)
		require.ErrorIs(t, err, kv.ErrInvalidKey, name)
		require.ErrorIs(t, kv.Delete(ctx, s, k, ""), kv.ErrInvalidKey, name)
	}
	_, err := s.Query(ctx, "", kv.Range{})
	require.ErrorIs(t, err, kv.ErrInvalidKey)

	longest := key(long[:1022], "s")
	put(t, s, longest, "fits")
	require.Equal(t, "fits", string(get(t, s, longest).Value))
}

func testCancelled(t *testing.T, s kv.Store) {
	k := key("p", "s")
	put(t, s, k, "kept")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Get(ctx, k)
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Query(ctx, "p", kv.Range{})
	require.ErrorIs(t, err, context.Canceled)
	results := s.Write(ctx, kv.Write{Key: k, Delete: true, Any: true}, kv.Write{Key: key("p", "t")})
	for _, r := range results {
		require.ErrorIs(t, r.Err, context.Canceled)
		require.NotErrorIs(t, r.Err, kv.ErrUnknown, "it was never sent")
	}
	require.Equal(t, "kept", string(get(t, s, k).Value))
	requireAbsent(t, s, key("p", "t"))
}

func testClosed(t *testing.T, s kv.Store) {
	ctx, k := context.Background(), key("p", "s")
	put(t, s, k, "x")
	require.NoError(t, s.Close())
	_, err := s.Get(ctx, k)
	require.ErrorIs(t, err, kv.ErrClosed)
	_, err = s.Query(ctx, "p", kv.Range{})
	require.ErrorIs(t, err, kv.ErrClosed)
	_, err = kv.PutIfAbsent(ctx, s, k, nil)
	require.ErrorIs(t, err, kv.ErrClosed)
}
