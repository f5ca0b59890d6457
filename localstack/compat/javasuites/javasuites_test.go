package javasuites

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCompare(t *testing.T) {
	want := counted{"a": 1, "b": 2}
	require.NoError(t, counted{"a": 1, "b": 2}.compare(want, false))
	require.NoError(t, counted{"a": 3, "b": 2}.compare(want, true))
	require.ErrorContains(t, counted{"a": 3, "b": 2}.compare(want, false), "a (3 instead of 1 times)")
	require.ErrorContains(t, counted{"a": 1, "b": 1}.compare(want, true), "1 are missing such as b")
	require.ErrorContains(t, counted{"a": 1, "b": 2, "c": 1}.compare(want, true), "c (1 instead of 0 times)", "what nobody sent is wrong however often it may come")
}

func TestLines(t *testing.T) {
	var got []string
	var log bytes.Buffer
	l := &lines{name: "tool", log: &log, each: func(line string) { got = append(got, line) }}
	for _, part := range []string{"{\"name\":", "\"x\"}\nwarn", "ing\r\n", "unfinished"} {
		_, err := io.WriteString(l, part)
		require.NoError(t, err)
	}
	require.Equal(t, []string{`{"name":"x"}`, "warning"}, got)
	require.Equal(t, "tool: warning\n", log.String(), "no events")
}

func TestEvents(t *testing.T) {
	acked, consumed := newEvents(), newEvents()
	acked.listen(0, "sent")(`{"name":"sent","value":"7","partition":1,"offset":5}`)
	acked.listen(0, "sent")(`{"name":"failed","value":"8"}`)
	acked.listen(0, "sent")(`no event`)
	require.Equal(t, 1, acked.len())
	require.ErrorContains(t, consumed.requireAll(acked), "7 at offset 5 of partition 1")
	consumed.listen(1, "got")(`{"name":"got","value":"7","partition":1,"offset":6}`)
	require.Error(t, consumed.requireAll(acked), "another offset is another record")
	consumed.listen(1, "got")(`{"name":"got","value":"7","partition":1,"offset":5}`)
	require.NoError(t, consumed.requireAll(acked))
	require.Error(t, consumed.requireShared(2))
	require.NoError(t, consumed.requireShared(1))
}

func TestCountByHand(t *testing.T) {
	require.Equal(t, flightsBegin%time.Hour.Milliseconds(), int64(0))
	require.Equal(t, map[string]sums{
		"4@1704103200000": {2, 5}, "4@1704105000000": {1, 1}, "5@1704103200000": {1, 9},
	}, countByHand([]flight{
		{Delay: 7, Distance: 416, Time: 10}, {Delay: -2, Distance: 499, Time: 10.49}, {Delay: 1, Distance: 400, Time: 10.5}, {Delay: 9, Distance: 500, Time: 10.1},
	}))
}

func TestAwait(t *testing.T) {
	tries := 0
	require.NoError(t, await(t.Context(), func(context.Context) error {
		if tries++; tries < 3 {
			return io.ErrUnexpectedEOF
		}
		return nil
	}))
	require.ErrorIs(t, await(t.Context(), func(context.Context) error { return errors.Join(io.EOF, errHopeless) }), io.EOF)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, await(ended, func(context.Context) error { return io.ErrUnexpectedEOF }), io.ErrUnexpectedEOF, "the last try says why")
}
