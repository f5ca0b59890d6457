package rights

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLike(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true},
		{"", "a", false},
		{"a", "a", true},
		{"a", "ab", false},
		{"a", "A", false},
		{"a*", "ab", true},
		{"*", "", true},
		{"**", "ab", true},
		{"a*c", "abc", true},
		{"a*c", "abd", false},
		{"a*b*c", "axbyc", true},
		{"a*b*c", "axyc", false},
		{"x*", "ab", false},
		{"ab*ba", "aba", false},
		{"*ab", "aab", true},
		{"?", "", false},
		{"?", "ü", true},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"a?", "a/", true},
		{"*?", "a", true},
		{"?*?", "a", false},
		{"[ab]", "a", false},
		{"[ab]", "[ab]", true},
		{`a\*`, `a\b`, true},
		{`a\*`, "a*", false},
		{"arn:aws:sts::*:assumed-role/ops/*", "arn:aws:sts::1:assumed-role/ops/ada/x", true},
		{"arn:aws:sts::?:assumed-role/ops/ad?", "arn:aws:sts::1:assumed-role/ops/ada", true},
		{"arn:aws:sts::1:assumed-role/ops/*", "arn:aws:sts::12:assumed-role/ops/ada", false},
	} {
		require.Equal(t, c.want, Like(c.pattern, c.text), c)
	}
	require.True(t, AnyLike([]string{"b", "a*"}, "ab"))
	require.False(t, AnyLike(nil, "ab"))
}

// FuzzLike: a pattern means what the regular expression means that it is rewritten to.
func FuzzLike(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("*a*a*a*b", strings.Repeat("a", 50))
	f.Fuzz(func(t *testing.T, pattern, text string) {
		pattern, text = strings.ToValidUTF8(pattern, ""), strings.ToValidUTF8(text, "")
		expr := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
		re, err := regexp.Compile("(?s)^" + expr + "$")
		if err != nil {
			t.Skip("larger than a regular expression may be")
		}
		require.Equal(t, re.MatchString(text), Like(pattern, text))
	})
}
