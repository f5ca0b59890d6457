package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tieringOf is the one broker's state.
func tieringOf(t *testing.T) tieringState {
	t.Helper()
	var states []tieringState
	require.NoError(t, json.Unmarshal([]byte(succeed(t, "", "tiering", "status", "-o", "json")), &states))
	require.Len(t, states, 1)
	return states[0]
}

func TestTieringCommands(t *testing.T) {
	startBroker(t, "--cache-bytes", "8388608")
	golden(t, "tiering-status", succeed(t, "", "tiering", "status"))
	succeed(t, "", "topic", "create", "events")
	succeed(t, "a\nb\nc\n", "produce", "events")
	require.EqualValues(t, 3, tieringOf(t).Lag)

	require.Equal(t, "Paused sealing of all brokers.\n", succeed(t, "", "tiering", "pause"))
	r := forebay(t, "", "tiering", "seal")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "resume")
	succeed(t, "", "tiering", "resume", "--broker", "1")
	require.Equal(t, "DYNAMIC_BROKER_CONFIG", tieringOf(t).SealingFrom)
	succeed(t, "", "tiering", "pause")
	require.False(t, tieringOf(t).Sealing, "the broker's own setting is gone")
	require.Equal(t, "Resumed sealing of all brokers.\n", succeed(t, "", "tiering", "resume"))

	require.Equal(t, "All that was committed at all brokers is sealed.\n", succeed(t, "", "tiering", "seal", "--wait"))
	state := tieringOf(t)
	require.Zero(t, state.Lag)
	require.Equal(t, state.Hot, state.Sealed)
	require.InDelta(t, time.Now().UnixMilli(), state.SealBefore, 60_000)
	succeed(t, "", "tiering", "seal", "--wait", "--broker", "1")
	var topics []describedTopic
	require.NoError(t, json.Unmarshal([]byte(succeed(t, "", "topic", "describe", "events", "-o", "json")), &topics))
	p := topics[0].Partitions[0]
	require.Equal(t, state.Sealed, *p.SealedBytes)
	require.Zero(t, *p.SealLag)
	require.Nil(t, p.SealLagAge)
	require.Nil(t, p.WALBytes)

	require.Equal(t, "STATIC_BROKER_CONFIG", state.CacheFrom)
	succeed(t, "", "tiering", "set", "--cache-bytes", "9000000", "--hot-bytes", "5000", "--broker", "1")
	state = tieringOf(t)
	require.Equal(t, []any{int64(9000000), "DYNAMIC_BROKER_CONFIG", int64(5000), "DYNAMIC_BROKER_CONFIG"},
		[]any{state.CacheBytes, state.CacheFrom, state.HotBudget, state.HotFrom})
	succeed(t, "", "tiering", "set", "--cache-bytes", "0")
	state = tieringOf(t)
	require.Equal(t, []any{int64(8388608), int64(5000)}, []any{state.CacheBytes, state.HotBudget})
}

func TestTieringMistakes(t *testing.T) {
	startBroker(t)
	require.Equal(t, exitUsage, forebay(t, "", "tiering", "set").code)
	r := forebay(t, "", "tiering", "set", "--cache-bytes", "1")
	require.Equal(t, exitFailed, r.code)
	require.Contains(t, r.err, "at least")
	require.Equal(t, exitFailed, forebay(t, "", "tiering", "pause", "--broker", "9").code)
}
