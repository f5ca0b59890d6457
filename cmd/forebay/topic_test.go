package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTopicCommands(t *testing.T) {
	startBroker(t)
	golden(t, "topic-create", succeed(t, "", "topic", "create", "events", "orders", "--partitions", "2", "--config", "retention.ms=86400000"))
	r := forebay(t, "", "topic", "create", "events", "more")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "TOPIC_ALREADY_EXISTS")
	require.Contains(t, r.out, "more", "the topic that could be created is")
	require.Contains(t, succeed(t, "", "topic", "create", "events", "--if-not-exists"), "exists")

	golden(t, "topic-list", succeed(t, "", "topic", "list"))
	succeed(t, "a\nb\nc\n", "produce", "events", "-p", "1")
	golden(t, "topic-describe", succeed(t, "", "topic", "describe", "events"))

	succeed(t, "", "topic", "alter", "events", "--partitions", "4", "--config", "cleanup.policy=compact", "--delete-config", "retention.ms")
	var topics []describedTopic
	require.NoError(t, json.Unmarshal([]byte(succeed(t, "", "topic", "describe", "events", "-o", "json")), &topics))
	require.Len(t, topics[0].Partitions, 4)
	require.Equal(t, []describedConfig{{"cleanup.policy", "compact", "DYNAMIC_TOPIC_CONFIG"}}, topics[0].Configs)
	require.EqualValues(t, 3, *topics[0].Partitions[1].End)
	require.Positive(t, *topics[0].Partitions[1].HotBytes)

	succeed(t, "", "topic", "delete", "orders", "more", "--yes")
	var listed []listedTopic
	require.NoError(t, json.Unmarshal([]byte(succeed(t, "", "topic", "list", "-o", "json")), &listed))
	require.Len(t, listed, 1)
	require.Equal(t, "events", listed[0].Name)
}

func TestTopicMistakes(t *testing.T) {
	startBroker(t)
	succeed(t, "", "topic", "create", "events")
	tests := []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no name", []string{"topic", "create"}, exitUsage, "requires at least 1 arg"},
		{"no partitions", []string{"topic", "create", "x", "--partitions", "0"}, exitUsage, "--partitions 0"},
		{"no replicas", []string{"topic", "create", "x", "--replication-factor", "-3"}, exitUsage, "--replication-factor -3"},
		{"config", []string{"topic", "create", "x", "--config", "retention.ms"}, exitUsage, "want name=value"},
		{"config twice", []string{"topic", "create", "x", "--config", "a=1", "--config", "a=2"}, exitUsage, "a is given twice"},
		{"unknown config", []string{"topic", "create", "x", "--config", "bogus=1"}, exitFailed, "bogus"},
		{"bad name", []string{"topic", "create", "a b"}, exitFailed, "INVALID_TOPIC"},
		{"too many replicas", []string{"topic", "create", "x", "--replication-factor", "3"}, exitFailed, "INVALID_REPLICATION_FACTOR"},
		{"unknown topic", []string{"topic", "describe", "nope"}, exitFailed, "topic nope does not exist"},
		{"nothing to change", []string{"topic", "alter", "events"}, exitUsage, "nothing to change"},
		{"fewer partitions", []string{"topic", "alter", "events", "--partitions", "1"}, exitFailed, "INVALID_PARTITIONS"},
		{"set and delete", []string{"topic", "alter", "events", "--config", "a=1", "--delete-config", "a"}, exitUsage, "--delete-config"},
		{"nobody to ask", []string{"topic", "delete", "events"}, exitUsage, "--yes"},
		{"delete unknown", []string{"topic", "delete", "events", "nope", "--yes"}, exitFailed, "nothing was deleted"},
		{"output", []string{"topic", "list", "-o", "xml"}, exitUsage, "use table or json"},
		{"timeout", []string{"topic", "list", "--timeout", "0s"}, exitUsage, "--timeout"},
		{"near miss", []string{"topic", "lst"}, exitUsage, "did you mean list?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := forebay(t, "", tt.args...)
			require.Equal(t, tt.code, r.code, r.err)
			require.Contains(t, r.err, tt.says)
			require.Empty(t, r.out)
		})
	}
	require.Contains(t, succeed(t, "", "topic", "list"), "events", "no mistake has deleted it")
	require.Contains(t, succeed(t, "", "topic", "alter", "events", "--partitions", "9", "--dry-run"), "would alter")
	require.NotContains(t, succeed(t, "", "topic", "list"), "9")
}
