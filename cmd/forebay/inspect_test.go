package main

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInspect(t *testing.T) {
	dir := makeDataDir(t)
	glob := func(parts ...string) []string {
		files, err := filepath.Glob(filepath.Join(append([]string{dir}, parts...)...))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		return files
	}
	document := func(into any, args ...string) {
		t.Helper()
		require.NoError(t, json.Unmarshal([]byte(succeed(t, "", append(args, "-o", "json")...)), into))
	}
	var metalog shownMetalog
	document(&metalog, "inspect", "metalog", "--dir", dir)
	require.Equal(t, 3, metalog.Topics, "two, and that of the group coordinators")
	require.Equal(t, 53, metalog.Partitions)
	require.Equal(t, "ClusterCreated", metalog.Slots[0].Records[0].Type)
	require.Contains(t, succeed(t, "", "inspect", "metalog", "--dir", dir), "TopicCreated")

	var links []shownLink
	document(&links, "inspect", "chain", "--dir", dir, "--topic", "events")
	ends := map[int32]int64{}
	for _, l := range links {
		require.Equal(t, "events", l.Topic)
		require.Equal(t, ends[l.Partition], l.Base, "each starts where the one before ended")
		ends[l.Partition] = l.Next
	}

	// Sealed and hot together hold every record once, with its bytes.
	values := map[string]map[string]bool{}
	note := func(topic string, records []shownRecord) {
		for _, r := range records {
			if values[topic] == nil {
				values[topic] = map[string]bool{}
			}
			values[topic][*r.Value] = true
		}
	}
	for _, file := range glob("objects", "packs.d", "*", "*", "*", "*.pack") {
		var pack shownPack
		document(&pack, "inspect", "pack", file, "--records")
		for _, r := range pack.Runs {
			require.Len(t, r.Records, int(r.Count))
			note(r.Topic, r.Records)
		}
		require.Contains(t, succeed(t, "", "inspect", "pack", file), "MAX TIME")
	}
	batches := 0
	for _, file := range glob("hot", "*.hot") {
		var segment shownSegment
		document(&segment, "inspect", "segment", file, "--records")
		require.True(t, segment.Rolled)
		for _, f := range segment.Frames {
			note(f.Topic, f.Records)
			if f.Kind == "batch" {
				batches++
			}
		}
		require.Contains(t, succeed(t, "", "inspect", "segment", file, "--records"), "OFFSET")
	}
	require.Len(t, values["events"], 120)
	require.Len(t, values["orders"], 120)

	var entries []shownEntry
	document(&entries, "inspect", "index", dir)
	require.Len(t, entries, batches)
	require.Contains(t, succeed(t, "", "inspect", "index", filepath.Join(dir, "index")), "SEGMENT")

	hot := glob("hot", "*.hot")[0]
	flipByte(t, hot, 700)
	r := forebay(t, "", "inspect", "segment", hot)
	require.Equal(t, exitDamaged, r.code)
	require.Contains(t, r.out, "DAMAGED")
	require.Contains(t, r.err, "is damaged in 1 places")
	pack := glob("objects", "packs.d", "*", "*", "*", "*.pack")[0]
	flipByte(t, pack, 300)
	require.Equal(t, exitDamaged, forebay(t, "", "inspect", "pack", pack, "--records").code)
	require.Equal(t, exitFailed, forebay(t, "", "inspect", "pack", filepath.Join(dir, "nope")).code)
}

func TestHelpIsThere(t *testing.T) {
	require.Contains(t, succeed(t, "", "inspect"), "forebay inspect [command]")
	require.Contains(t, succeed(t, "", "topic", "create", "--help"), "Examples:")
	require.Contains(t, succeed(t, "", "version"), "forebay ")
	require.Contains(t, succeed(t, "", "completion", "bash"), "forebay")
	r := forebay(t, "", "tpoic")
	require.Equal(t, exitUsage, r.code)
	require.Contains(t, r.err, "did you mean topic?")
}
