package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/compat/suite"
)

func TestSurprises(t *testing.T) {
	s := suite.Suite{Name: "s", Known: map[string]string{
		"A": "not served", "B@3": "only of three", "C": "mended long ago", "D": "skipped", "absent": "of other runs",
	}}
	cases := []suite.Case{
		{Name: "A/one", Outcome: suite.Failed},
		{Name: "A/two", Outcome: suite.Passed},
		{Name: "B", Outcome: suite.Failed, Reason: "why"},
		{Name: "C", Outcome: suite.Passed},
		{Name: "D", Outcome: suite.Skipped},
		{Name: "E", Outcome: suite.Skipped, Reason: "by itself"},
	}
	for _, test := range []struct {
		name string
		r    result
		want []string
	}{
		{"alone", result{Nodes: 1, Cases: cases}, []string{"failed: B: why", "passed: C, which is known as: mended long ago"}},
		{"three", result{Nodes: 3, Cases: cases}, []string{"passed: C, which is known as: mended long ago"}},
		{"broken", result{Nodes: 1, Error: "no brokers:\nboth ended"}, []string{"error: no brokers: both ended"}},
		{
			"verbose",
			result{Nodes: 1, Cases: []suite.Case{{Name: "V", Outcome: suite.Failed, Reason: "why\n" + strings.Repeat("x\n", 300)}}},
			[]string{"failed: V: why" + strings.Repeat(" x", 148) + " …"},
		},
	} {
		t.Run(test.name, func(t *testing.T) { require.Equal(t, test.want, test.r.surprises(s)) })
	}
}

func TestLastResultOfEachRunIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "results.json")
	for _, r := range []result{
		{Suite: "b", Nodes: 1, Error: "first"},
		{Suite: "a", Nodes: 3},
		{Suite: "a", Nodes: 1},
		{Suite: "b", Nodes: 1, Cases: []suite.Case{{Name: "T<1>", Outcome: suite.Passed}}},
	} {
		require.NoError(t, keepResult(path, r))
	}
	got, err := readResults(path)
	require.NoError(t, err)
	require.Equal(t, []result{
		{Suite: "a", Nodes: 1},
		{Suite: "a", Nodes: 3},
		{Suite: "b", Nodes: 1, Cases: []suite.Case{{Name: "T<1>", Outcome: suite.Passed}}},
	}, got)
}

func TestDocs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	suites := []suite.Suite{
		{Name: "a", About: "a suite", Nodes: []int{1, 3}, Known: map[string]string{"X": "not served."}},
		{Name: "b", About: "another", Nodes: []int{1}},
	}
	results := []result{
		{Suite: "a", Nodes: 1, Cases: []suite.Case{
			{Name: "P", Outcome: suite.Passed},
			{Name: "X/1", Outcome: suite.Failed},
			{Name: "X/2", Outcome: suite.Failed},
			{Name: "S", Outcome: suite.Skipped, Reason: "no | SASL\nmore"},
		}},
		{Suite: "b", Nodes: 1, Cases: []suite.Case{{Name: "U", Outcome: suite.Failed, Reason: "timeout"}}},
	}
	require.Error(t, writeDocs(path, suites, results), "there is no file")
	require.NoError(t, os.WriteFile(path, []byte("# Title\n"), 0o644))
	require.Error(t, writeDocs(path, suites, results), "there are no markers")
	require.NoError(t, os.WriteFile(path, []byte("# Title\n"+beginTable+"\nold\n"+endTable+"\nrest\n"), 0o644))
	want := "# Title\n" + beginTable + `

| suite | what it is | brokers | ran | passed | failed | skipped |
|---|---|--:|--:|--:|--:|--:|
| ` + "`a`" + ` | a suite | 1 | 3 | 1 | 2 | 1 |
| ` + "`a`" + ` | a suite | 3 | not run | | | |
| ` + "`b`" + ` | another | 1 | 1 | 0 | 1 | 0 |

` + "`a`:\n\n- failed: not served. Cases: `X/1`, `X/2`\n- skipped: no \\| SASL. Cases: `S`\n\n" +
		"`b`:\n\n- failed: **unexpected**: timeout. Cases: `U`\n\n" + endTable + "\nrest\n"
	for range 2 {
		require.NoError(t, writeDocs(path, suites, results))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}

func TestChoose(t *testing.T) {
	all := allSuites()
	chosen, err := choose(all, []string{"sarama", "kgo"})
	require.NoError(t, err)
	require.Len(t, chosen, 2)
	require.Equal(t, "sarama", chosen[0].Name)
	_, err = choose(all, []string{"none"})
	require.Error(t, err)
}

func TestSuitesAreWellFormed(t *testing.T) {
	names := make(map[string]bool)
	for _, s := range allSuites() {
		require.NotEmpty(t, s.Name)
		require.False(t, names[s.Name], "two suites are called %s", s.Name)
		names[s.Name] = true
		require.NotEmpty(t, s.About, s.Name)
		require.NotEmpty(t, s.Nodes, s.Name)
		require.Positive(t, s.Limit, s.Name)
		require.NotNil(t, s.Run, s.Name)
	}
}
