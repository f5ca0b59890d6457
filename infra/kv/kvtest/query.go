package kvtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
)

// query returns the sort keys found, space-separated.
func query(t *testing.T, s kv.Store, part string, r kv.Range) string {
	t.Helper()
	items, err := s.Query(context.Background(), part, r)
	require.NoError(t, err)
	sorts := make([]string, len(items))
	for i, item := range items {
		require.Equal(t, part, item.Key.Part)
		require.Equal(t, get(t, s, item.Key), item)
		sorts[i] = item.Key.Sort
	}
	return strings.Join(sorts, " ")
}

func testQueryBounds(t *testing.T, s kv.Store) {
	for _, sort := range []string{"d", "b", "a", "c", "e"} {
		put(t, s, key("p", sort), "value of "+sort)
	}
	for _, c := range []struct {
		r    kv.Range
		want string
	}{
		{kv.Range{}, "a b c d e"},
		{kv.Range{Reverse: true}, "e d c b a"},
		{kv.Range{Limit: 2}, "a b"},
		{kv.Range{Limit: 2, Reverse: true}, "e d"},
		{kv.Range{Limit: 5}, "a b c d e"},
		{kv.Range{Limit: 9}, "a b c d e"},
		{kv.Range{From: "b"}, "b c d e"},
		{kv.Range{From: "bb"}, "c d e"},
		{kv.Range{From: "e"}, "e"},
		{kv.Range{From: "f"}, ""},
		{kv.Range{To: "d"}, "a b c"},
		{kv.Range{To: "dd"}, "a b c d"},
		{kv.Range{To: "a"}, ""},
		{kv.Range{From: "b", To: "d"}, "b c"},
		{kv.Range{From: "b", To: "d", Reverse: true}, "c b"},
		{kv.Range{From: "b", To: "d", Reverse: true, Limit: 1}, "c"},
		{kv.Range{From: "b", To: "b"}, ""},
		{kv.Range{From: "d", To: "b"}, ""},
		{kv.Range{From: "d", To: "b", Reverse: true}, ""},
		{kv.Range{To: "c", Reverse: true, Limit: 1}, "b"},
		{kv.Range{To: "zz", Reverse: true, Limit: 1}, "e"},
		{kv.Range{From: "c", Reverse: true}, "e d c"},
	} {
		require.Equal(t, c.want, query(t, s, "p", c.r), "%+v", c.r)
	}
	require.Empty(t, query(t, s, "other", kv.Range{}))
	require.NoError(t, kv.Delete(context.Background(), s, key("p", "e"), ""))
	require.Equal(t, "d c", query(t, s, "p", kv.Range{Reverse: true, Limit: 2}))
}

// testQueryParts: parts that are prefixes or neighbours of each other.
func testQueryParts(t *testing.T, s kv.Store) {
	parts := []string{"a", "a\x01", "a/", "aa", "ab", "b"}
	for _, part := range parts {
		for _, sort := range []string{"1", "2"} {
			put(t, s, key(part, sort), part)
		}
	}
	for _, part := range parts {
		require.Equal(t, "1 2", query(t, s, part, kv.Range{}), "%q", part)
		require.Equal(t, "2 1", query(t, s, part, kv.Range{Reverse: true}), "%q", part)
		require.Equal(t, "2", query(t, s, part, kv.Range{Reverse: true, Limit: 1}), "%q", part)
	}
	require.Empty(t, query(t, s, "a0", kv.Range{Reverse: true}))
}

func testQueryOrder(t *testing.T, s kv.Store) {
	sorts := []string{"\x01", "!", "0", "1", "10", "2", "A", "Z", "a", "aa", "z", "~", "\x7f", "ä", "ß", "€", "\ufffd", "𐍈"}
	for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(len(sorts)) {
		put(t, s, key("p", sorts[i]), sorts[i])
	}
	want := slices.Sorted(slices.Values(sorts))
	require.Equal(t, strings.Join(want, " "), query(t, s, "p", kv.Range{}), "bytes decide, not letters")
	slices.Reverse(want)
	require.Equal(t, strings.Join(want, " "), query(t, s, "p", kv.Range{Reverse: true}))
}

// testQueryLarge reads more than a driver gets in one page.
func testQueryLarge(t *testing.T, s kv.Store) {
	const n = 300
	writes := make([]kv.Write, n)
	for i := range writes {
		writes[i] = kv.Write{Key: key("p", fmt.Sprintf("%05d", i)), Value: make([]byte, 10<<10)}
	}
	for _, r := range s.Write(context.Background(), writes...) {
		require.NoError(t, r.Err)
	}
	items, err := s.Query(context.Background(), "p", kv.Range{})
	require.NoError(t, err)
	require.Len(t, items, n)
	items, err = s.Query(context.Background(), "p", kv.Range{Reverse: true, Limit: n - 1})
	require.NoError(t, err)
	require.Len(t, items, n-1)
	require.Equal(t, "00001", items[n-2].Key.Sort)
}

// testQueryModel compares random ranges over random changes with a plain map.
func testQueryModel(t *testing.T, s kv.Store) {
	rng := rand.New(rand.NewPCG(7, 7))
	word := func(n int) string {
		b := make([]byte, rng.IntN(n))
		for i := range b {
			b[i] = "abc"[rng.IntN(3)]
		}
		return string(b)
	}
	model := map[kv.Key]string{}
	for step := range 400 {
		k := key("p"+word(2), "s"+word(4))
		if rng.IntN(3) == 0 {
			delete(model, k)
			require.NoError(t, kv.Delete(context.Background(), s, k, ""))
		} else {
			model[k] = fmt.Sprint(step)
			put(t, s, k, model[k])
		}
		r := kv.Range{From: "s" + word(4), To: "s" + word(4), Limit: rng.IntN(4), Reverse: rng.IntN(2) == 0}
		if rng.IntN(4) == 0 {
			r.To = ""
		}
		part := "p" + word(2)
		require.Equal(t, modelQuery(model, part, r), query(t, s, part, r), "step %d: %q %+v", step, part, r)
	}
	for k, value := range model {
		require.Equal(t, value, string(get(t, s, k).Value))
	}
}

func modelQuery(model map[kv.Key]string, part string, r kv.Range) string {
	var sorts []string
	for k := range model {
		if k.Part == part && k.Sort >= r.From && (r.To == "" || k.Sort < r.To) {
			sorts = append(sorts, k.Sort)
		}
	}
	slices.Sort(sorts)
	if r.Reverse {
		slices.Reverse(sorts)
	}
	if r.Limit > 0 && len(sorts) > r.Limit {
		sorts = sorts[:r.Limit]
	}
	return strings.Join(sorts, " ")
}
