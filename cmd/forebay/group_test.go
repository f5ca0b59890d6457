package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseDuration(t *testing.T) {
	tests := map[string]time.Duration{
		"PT1H30M": 90 * time.Minute, "P1D": 24 * time.Hour, "P1DT1S": 24*time.Hour + time.Second, "PT0.5S": 500 * time.Millisecond,
		"PT90M": 90 * time.Minute, "pt1h": time.Hour, "90m": 90 * time.Minute, "0s": 0,
	}
	for text, want := range tests {
		got, err := parseDuration(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, bad := range []string{"", "P", "PT", "1D", "-5m", "PT-1H", "P999999999D", "tomorrow"} {
		_, err := parseDuration(bad)
		require.Error(t, err, "%q", bad)
	}
}

func TestParseTime(t *testing.T) {
	noon := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for _, text := range []string{"1769860800000", "2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", "2026-01-31T13:00:00.000+01", "2026-01-31T12:00:00.000", "2026-01-31T12:00:00"} {
		got, err := parseTime(text)
		require.NoError(t, err, text)
		require.True(t, noon.Equal(got), "%s is %v", text, got)
	}
	for _, bad := range []string{"", "-1", "noon", "2026-13-01"} {
		_, err := parseTime(bad)
		require.Error(t, err, "%q", bad)
	}
}

func TestParseSelection(t *testing.T) {
	got, err := parseSelection([]string{"a", "b:0,2"})
	require.NoError(t, err)
	require.Equal(t, map[string][]int32{"a": nil, "b": {0, 2}}, got)
	for _, bad := range [][]string{{""}, {":1"}, {"a:"}, {"a:x"}, {"a:-1"}, {"a", "a:1"}} {
		_, err := parseSelection(bad)
		require.Error(t, err, "%q", bad)
	}
}

func TestParseResetPlan(t *testing.T) {
	plan := func(text string) (resetPlan, error) { return parseResetPlan(strings.NewReader(text), "g") }
	want := resetPlan{{"a", 0}: 5, {"a", 1}: -1, {"b,c", 0}: 7}
	got, err := plan("a,0,5\na,1,-1\n\"b,c\",0,7\n")
	require.NoError(t, err)
	require.Equal(t, want, got)
	got, err = plan("\"g\",\"a\",0,5\nother,a,0,9\ng,a,1,-1\ng,\"b,c\",0,7")
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.ElementsMatch(t, []int32{0, 1}, got.selection()["a"])
	for text, says := range map[string]string{
		"": "no offset of group g", "other,a,0,1": "no offset of group g", "a,0": "line 1: want topic", "g,a,0,1,2": "line 1: want topic",
		",0,1": "want topic", "a,0,1\na,x,1": `line 2: "x" is no partition`, "a,-1,1": "is no partition", "a,0,x": "is no offset",
		"a,0,1\na,0,2": "line 2: a-0 is named twice", "a,0,1\ng,a,0,1": "wrong number of fields",
	} {
		_, err := plan(text)
		require.ErrorContains(t, err, says, "%q", text)
	}
}

// planned runs group reset and returns the new offsets of the topic's partitions.
func planned(t *testing.T, args ...string) []int64 {
	t.Helper()
	var doc resetDocument
	require.NoError(t, json.Unmarshal([]byte(succeed(t, "", append([]string{"group", "reset", "g", "-o", "json"}, args...)...)), &doc))
	var offsets []int64
	for _, p := range doc.Partitions {
		offsets = append(offsets, p.New)
	}
	return offsets
}

func TestGroupCommands(t *testing.T) {
	startBroker(t)
	succeed(t, "", "topic", "create", "events", "--partitions", "2")
	succeed(t, "1000 a\n2000 b\n3000 c\n", "produce", "events", "-p", "0", "-F", `%T %s\n`)
	succeed(t, "1500 d\n", "produce", "events", "-p", "1", "-F", `%T %s\n`)
	succeed(t, "", "consume", "events", "-g", "g", "--from-beginning", "-e")

	golden(t, "group-list", succeed(t, "", "group", "list"))
	golden(t, "group-describe", succeed(t, "", "group", "describe", "g"))

	require.Equal(t, []int64{0, 0}, planned(t, "--topic", "events", "--to-earliest"))
	require.Equal(t, []int64{3, 1}, planned(t, "--all-topics", "--to-latest"))
	require.Equal(t, []int64{3, 1}, planned(t, "--all-topics", "--to-current"))
	require.Equal(t, []int64{2, 1}, planned(t, "--topic", "events", "--to-offset", "2"), "an offset outside is moved inside")
	require.Equal(t, []int64{1, 0}, planned(t, "--topic", "events", "--shift-by", "-2"))
	require.Equal(t, []int64{1, 0}, planned(t, "--topic", "events", "--to-datetime", "1970-01-01T00:00:01.2"))
	require.Equal(t, []int64{3, 1}, planned(t, "--topic", "events", "--by-duration", "P1D"))
	require.Equal(t, []int64{3, 1}, planned(t, "--topic", "events", "--shift-by", "9223372036854775807"))
	file := filepath.Join(t.TempDir(), "plan.csv")
	require.NoError(t, os.WriteFile(file, []byte("events,1,7\nevents,0,2\n"), 0o600))
	require.Equal(t, []int64{2, 1}, planned(t, "--from-file", file))
	require.NoError(t, os.WriteFile(file, []byte("g,events,1,0\nother,events,0,2\n"), 0o600))
	require.Equal(t, []int64{0}, planned(t, "--from-file", file))
	require.Empty(t, succeed(t, "", "consume", "events", "-g", "g", "-e"), "a plan changes nothing")
	var fresh resetDocument
	require.NoError(t, json.Unmarshal([]byte(succeed(t, "", "group", "reset", "fresh", "-o", "json", "--topic", "events", "--to-current")), &fresh))
	require.EqualValues(t, []int64{3, 1}, []int64{fresh.Partitions[0].New, fresh.Partitions[1].New}, "nothing committed: the end, as in Kafka")

	golden(t, "group-reset", succeed(t, "", "group", "reset", "g", "--topic", "events:0", "--shift-by", "-1"))
	require.Equal(t, []int64{2}, planned(t, "--topic", "events:0", "--shift-by", "-1", "--execute"))
	require.Equal(t, "c\n", succeed(t, "", "consume", "events", "-g", "g", "-e"))

	succeed(t, "", "group", "delete", "g", "--yes")
	require.Equal(t, "[]\n", succeed(t, "", "group", "list", "-o", "json"))
}

func TestGroupMistakes(t *testing.T) {
	startBroker(t)
	succeed(t, "x\n", "produce", "events")
	c := start(t, "consume", "events", "-g", "busy", "--from-beginning")
	c.out.await(t, "x\n")
	plan := filepath.Join(t.TempDir(), "plan.csv")
	require.NoError(t, os.WriteFile(plan, []byte("fresh,events,99,0\n"), 0o600))
	tests := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"unknown", []string{"group", "describe", "nope"}, exitFailed, "nope"},
		{"delete unknown", []string{"group", "delete", "nope", "-y"}, exitFailed, "GROUP_ID_NOT_FOUND"},
		{"delete busy", []string{"group", "delete", "busy", "-y"}, exitFailed, "NON_EMPTY_GROUP"},
		{"reset busy", []string{"group", "reset", "busy", "--topic", "events", "--to-earliest", "--execute"}, exitFailed, "stop them first"},
		{"no target", []string{"group", "reset", "busy", "--topic", "events"}, exitUsage, "say where to"},
		{"two targets", []string{"group", "reset", "busy", "--topic", "events", "--to-latest", "--to-earliest"}, exitUsage, "give one of"},
		{"no topic", []string{"group", "reset", "busy", "--to-latest"}, exitUsage, "--all-topics"},
		{"nothing committed", []string{"group", "reset", "nope", "--all-topics", "--to-latest"}, exitFailed, "nope"},
		{"shift of nothing", []string{"group", "reset", "fresh", "--topic", "events", "--shift-by", "1"}, exitFailed, "events-0"},
		{"no file", []string{"group", "reset", "fresh", "--from-file", "none.csv"}, exitFailed, "none.csv"},
		{"file and topic", []string{"group", "reset", "fresh", "--from-file", plan, "--topic", "events"}, exitUsage, "no --topic"},
		{"file of another group", []string{"group", "reset", "other", "--from-file", plan}, exitFailed, "no offset of group other"},
		{"file of an unknown partition", []string{"group", "reset", "fresh", "--from-file", plan}, exitFailed, "events-99"},
		{"negative", []string{"group", "reset", "busy", "--topic", "events", "--to-offset", "-1"}, exitUsage, "--to-offset -1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := forebay(t, "", tt.args...)
			require.Equal(t, tt.code, r.code, r.err)
			require.Contains(t, r.err, tt.says)
			require.Empty(t, r.out)
		})
	}
	require.Equal(t, exitOK, c.stop(t))
}
