package kv_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
)

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"plain", "100%", "\x00", "\xff", "ü€😀", "%41", "a/b c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if s == "" {
			return
		}
		escaped := kv.Escape(s)
		if len(escaped) < 1000 {
			require.NoError(t, kv.Key{Part: "p", Sort: escaped}.Validate())
		}
		back, err := kv.Unescape(escaped)
		require.NoError(t, err)
		require.Equal(t, s, back)
		_, _ = kv.Unescape(s) // does not panic
	})
}

func TestUnescapeRefuses(t *testing.T) {
	for _, s := range []string{"%", "%4", "a%zz", "%-1"} {
		_, err := kv.Unescape(s)
		require.ErrorIs(t, err, kv.ErrCorrupt, s)
	}
}
