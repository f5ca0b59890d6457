package batch_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

// keep rebuilds v with the records whose number f accepts.
func keep(t *testing.T, b *batch.Builder, v batch.View, f func(i int) bool) (batch.View, []batch.Record) {
	t.Helper()
	var want []batch.Record
	for i, r := range decoded(t, v) {
		if f(i) {
			b.Keep(r)
			want = append(want, r)
		}
	}
	return b.Build(), want
}

func TestRebuildKeepsWhatABatchIs(t *testing.T) {
	for codec := range clientCodecs {
		v := build(batch.New(codec).Base(100).Epoch(4).Producer(77, 5, 900).Transactional(), records(20))
		got, want := keep(t, batch.Rebuild(v), v, func(i int) bool { return i%3 == 1 })
		require.NoError(t, got.Verify())
		_, rest, err := batch.Parse(got)
		require.NoError(t, err)
		require.Empty(t, rest)
		require.Equal(t, want, decoded(t, got), codec)
		require.EqualValues(t, len(want), got.Records())
		require.Equal(t, v.BaseOffset(), got.BaseOffset())
		require.Equal(t, v.LastOffset(), got.LastOffset())
		require.Equal(t, v.LeaderEpoch(), got.LeaderEpoch())
		require.Equal(t, v.Attributes(), got.Attributes())
		require.Equal(t, v.LastSequence(), got.LastSequence())
		require.Equal(t, v.ProducerID(), got.ProducerID())
		require.Equal(t, want[0].Timestamp, got.BaseTimestamp())
		newest := int64(-1)
		for _, r := range want {
			newest = max(newest, r.Timestamp)
		}
		require.Equal(t, newest, got.MaxTimestamp())
	}
}

func TestRebuildWithADeleteHorizon(t *testing.T) {
	v := build(batch.New(batch.LZ4).Base(7), records(9))
	_, ok := v.DeleteHorizon()
	require.False(t, ok)
	const horizon = 1_800_000_000_000
	got, want := keep(t, batch.Rebuild(v).DeleteHorizon(horizon), v, func(i int) bool { return i > 4 })
	ms, ok := got.DeleteHorizon()
	require.True(t, ok)
	require.EqualValues(t, horizon, ms)
	require.Equal(t, want, decoded(t, got))

	again, want := keep(t, batch.Rebuild(got), got, func(i int) bool { return i > 1 })
	ms, ok = again.DeleteHorizon()
	require.True(t, ok, "it stays when the batch is rebuilt once more")
	require.EqualValues(t, horizon, ms)
	require.Equal(t, want, decoded(t, again))
}

func TestRebuildInLogAppendTime(t *testing.T) {
	v := build(batch.New(batch.None), records(9))
	v.SetLogAppendTime(1_900_000_000_000)
	got, want := keep(t, batch.Rebuild(v), v, func(i int) bool { return i == 3 })
	require.True(t, got.LogAppendTime())
	require.EqualValues(t, 1_900_000_000_000, got.MaxTimestamp())
	require.Equal(t, want, decoded(t, got))
}

func TestABuilderRebuildsAgain(t *testing.T) {
	v := build(batch.New(batch.Gzip).Base(30).Producer(77, 5, 900).Transactional(), records(4))
	b := batch.Rebuild(v).DeleteHorizon(5)
	var into batch.View
	for i := range 3 {
		b.Rebuild(v)
		_, want := keep(t, b, v, func(n int) bool { return n != i })
		into = b.BuildInto(into)
		require.NoError(t, into.Verify())
		require.Equal(t, want, decoded(t, into))
		require.Equal(t, id.Offset(34), into.NextOffset())
		_, ok := into.DeleteHorizon()
		require.False(t, ok)
	}
}
