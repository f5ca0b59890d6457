package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
)

// TestAudit: who made the topic is told, also when a snapshot has replaced the slot since.
func TestAudit(t *testing.T) {
	c := makeCluster(t)
	audit := func(args ...string) shownAudit {
		t.Helper()
		var doc shownAudit
		require.NoError(t, json.Unmarshal([]byte(succeed(t, "", c.args(append([]string{"audit", "-o", "json"}, args...)...)...)), &doc))
		return doc
	}
	check := func() {
		t.Helper()
		doc := audit("--resource", "topic/events")
		require.NotEmpty(t, doc.Cluster)
		require.Len(t, doc.Changes, 1)
		change := doc.Changes[0]
		require.Equal(t, "topic.create", change.Action)
		require.Equal(t, "User:ANONYMOUS", change.By)
		require.Equal(t, "CreateTopics", change.Via.API)
		require.NotEmpty(t, change.Via.Client)
		require.Len(t, change.Records, 1)
		require.Equal(t, "TopicCreated", change.Records[0].Type)
		require.WithinDuration(t, time.Now(), change.At, 10*time.Minute)
		require.Len(t, audit("--resource", "topic").Changes, 1)
		require.Empty(t, audit("--resource", "broker").Changes)
		require.Empty(t, audit("--by", "User:nobody").Changes)
		require.Len(t, audit("--since", "1h").Changes, 1)
		require.Empty(t, audit("--since", "2100-01-01T00:00:00Z").Changes)
	}
	check()
	c.control(t, func(control kv.Store) {
		objects, err := objstore.OpenURL(t.Context(), "file://"+c.objects(), objstore.URLOptions{})
		require.NoError(t, err)
		log, err := metalog.Open(t.Context(), metalog.Options{Store: control, Objects: objects, KeepSlots: 1})
		require.NoError(t, err)
		require.NoError(t, log.Snapshot(t.Context()))
		require.NoError(t, log.Close(t.Context()))
	})
	check()
	table := succeed(t, "", c.args("audit")...)
	require.Regexp(t, `TIME +BY +ACTION +RESOURCE +VIA +SLOT`, table)
	require.Regexp(t, `User:ANONYMOUS +topic.create +topic/events +CreateTopics`, table)
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "90m": now.Add(-90 * time.Minute), "2026-01-30T12:00:00Z": now.Add(-24 * time.Hour),
	} {
		got, err := parseSince(text, now)
		require.NoError(t, err)
		require.True(t, want.Equal(got), text)
	}
	_, err := parseSince("yesterday", now)
	require.Error(t, err)
}
