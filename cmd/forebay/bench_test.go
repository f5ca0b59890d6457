package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBench(t *testing.T) {
	startBroker(t)
	bench := func(args ...string) benchReport {
		t.Helper()
		var r benchReport
		require.NoError(t, json.Unmarshal([]byte(succeed(t, "", append([]string{"bench"}, append(args, "-o", "json")...)...)), &r))
		return r
	}
	r := bench("produce", "--records", "5001", "--size", "100", "--clients", "3", "--partitions", "4")
	require.EqualValues(t, 5001, r.Records)
	require.EqualValues(t, 500100, r.Bytes)
	require.Positive(t, r.Latency.P50)
	require.LessOrEqual(t, r.Latency.P50, r.Latency.P99)
	require.LessOrEqual(t, r.Latency.P99, r.Latency.Max)
	require.Len(t, strings.Fields(consumed(t, "bench", "--from-beginning", "-f", `x\n`)), 5001)

	require.EqualValues(t, 5001, bench("consume", "--clients", "9").Records)
	require.GreaterOrEqual(t, bench("consume", "--records", "100").Records, int64(100))

	r = bench("produce", "--records", "200", "--rate", "2000", "--acks", "1", "-z", "lz4")
	require.Greater(t, r.Seconds, 0.05, "the rate is not exceeded")

	r = bench("e2e", "--records", "300", "--rate", "3000", "--warmup", "20ms")
	require.EqualValues(t, 300, r.Records)
	require.Positive(t, r.Latency.P50)
	require.EqualValues(t, 100, bench("e2e", "--records", "100", "--rate", "1000", "--warmup", "0s", "--size", "16").Records, "what is there already is left out")

	text := succeed(t, "", "bench", "consume")
	require.Contains(t, text, "RECORDS/S")
}

func TestBenchMistakes(t *testing.T) {
	startBroker(t)
	succeed(t, "", "topic", "create", "small", "--config", "max.message.bytes=500")
	tests := []struct {
		args, says string
		code       int
	}{
		{"bench consume --topic nope", "topic nope does not exist", exitFailed},
		{"bench consume --topic small", "holds 0 records", exitFailed},
		{"bench produce --records 0", "--records 0", exitUsage},
		{"bench produce --clients 0", "--clients 0", exitUsage},
		{"bench produce --size 0", "--size 0", exitUsage},
		{"bench produce --rate -1", "--rate -1", exitUsage},
		{"bench produce --linger -1s", "--linger", exitUsage},
		{"bench e2e --size 8", "want at least 16", exitUsage},
		{"bench e2e --rate 0", "want more than 0", exitUsage},
		{"bench e2e --records 10", "--warmup", exitUsage},
		{"bench produce --topic small --records 5 --size 1000", "MESSAGE_TOO_LARGE", exitFailed},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			r := forebay(t, "", strings.Fields(tt.args)...)
			require.Equal(t, tt.code, r.code, r.err)
			require.Contains(t, r.err, tt.says)
		})
	}
}
