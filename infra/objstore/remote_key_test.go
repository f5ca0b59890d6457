package objstore

import (
	"cmp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestObjectNames(t *testing.T) {
	x240 := strings.Repeat("x", 240)
	for key, want := range map[string]string{
		"packs/2026/1-0-abc.pack": "packs/2026/1-0-abc.pack",
		"wal/session/17":          "wal/session/17!",
		"a.d":                     "a.d",
		"a.d/b":                   "a.d./b!",
		"a.b.c/..d":               "a.b.+c./..+d",
		"nul\x00 !":               "nul!00!20!21!",
		"ä/é.x":                   "ä/é.x",
		x240:                      x240 + "/_!",
		x240 + ".x/y":             x240 + "/_.x./y!",
	} {
		require.Equal(t, want, objectNameOf(key))
		got, ok := keyOf(want)
		require.True(t, ok, want)
		require.Equal(t, key, got)
	}
	for _, name := range []string{"", "!", "a", "a!20", "a.b./", "a.b/c!", "a.b.c", "a b!", x240 + "!", "a.b!", "a/!", "a!zz!", "\xff!"} {
		_, ok := keyOf(name)
		require.False(t, ok, "%q is the name of no key", name)
	}
}

// nearKey draws keys and texts that nearly collide.
var nearKey = rapid.Custom(func(t *rapid.T) string {
	piece := rapid.SampledFrom([]string{
		"", "a", "a.d", "a.", "/", ".", "!", "!00", " ", "\x00", "-", "+", "0", "_", "ä", "/_",
		strings.Repeat("x", 238), strings.Repeat("x", 240), strings.Repeat("ü", 120),
	})
	return strings.Join(rapid.SliceOfN(piece, 1, 6).Draw(t, "pieces"), "")
})

// TestObjectNamesKeepOrder also of what is no key, since List is asked for such.
func TestObjectNamesKeepOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := nearKey.Draw(t, "a"), nearKey.Draw(t, "b")
		nameA, nameB := objectNameOf(a), objectNameOf(b)
		require.Equal(t, cmp.Compare(a, b), cmp.Compare(nameA, nameB), "%q and %q", nameA, nameB)
		begin, _ := encodeKey(a)
		require.Equal(t, strings.HasPrefix(b, a), strings.HasPrefix(nameB, begin), "%q and %q", begin, nameB)
		require.False(t, strings.HasPrefix(nameB, nameA+"/"), "%q is a directory of %q", nameA, nameB)
	})
}

// TestObjectNamesAreReversible, valid in MinIO, and short enough for files.
func TestObjectNamesAreReversible(t *testing.T) {
	key := nearKey.Filter(func(key string) bool { return CheckKey(key) == nil })
	rapid.Check(t, func(t *rapid.T) {
		want := key.Draw(t, "key")
		name := objectNameOf(want)
		got, ok := keyOf(name)
		require.True(t, ok, "%q", name)
		require.Equal(t, want, got)
		for element := range strings.SplitSeq(name, "/") {
			require.NotContains(t, []string{"", ".", ".."}, element, "%q", name)
			require.LessOrEqual(t, len(element), 255)
		}
		require.NotContains(t, name, "\x00")
	})
}

// FuzzObjectNames: no name makes it panic, and one that is accepted is what its key makes.
func FuzzObjectNames(f *testing.F) {
	f.Add("packs/2026/1.pack")
	f.Add("a.d./b!")
	f.Fuzz(func(t *testing.T, name string) {
		if key, ok := keyOf(name); ok && (objectNameOf(key) != name || CheckKey(key) != nil) {
			t.Errorf("%q is taken for the name of %q", name, key)
		}
	})
}

// TestListSpan: what is asked for holds all that is wanted.
func TestListSpan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cut := func(text string) string { return text[:rapid.IntRange(0, len(text)).Draw(t, "cut")] } // also within a character
		key := nearKey.Filter(func(key string) bool { return CheckKey(key) == nil }).Draw(t, "key")
		prefix, after := cut(rapid.OneOf(rapid.Just(key), nearKey).Draw(t, "prefix")), cut(nearKey.Draw(t, "after"))
		s, ok := listSpan("base/", prefix, after)
		if ok && s.after != "" {
			require.True(t, strings.HasPrefix(s.after, s.prefix), "MinIO wants that")
		}
		if strings.HasPrefix(key, prefix) && key > after {
			name := "base/" + objectNameOf(key)
			require.True(t, ok && strings.HasPrefix(name, s.prefix) && name > s.after, "%q is not in %+v", name, s)
		}
	})
}
