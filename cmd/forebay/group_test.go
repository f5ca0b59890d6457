package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseDuration(t *testing.T) {
	tests := map[string]time.Duration{
		"PT1H30M": 90 * time.Minute, "P1D": 24 * time.Hour, "P1DT1S": 24*time.Hour + time.Second, "PT0.5S": 500 * time.Millisecond,
		"PT90M": 90 * time.Minute, "90m": 90 * time.Minute, "0s": 0,
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
	for _, text := range []string{"1769860800000", "2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00.000", "2026-01-31T12:00:00"} {
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
	require.Empty(t, succeed(t, "", "consume", "events", "-g", "g", "-e"), "a plan changes nothing")

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
