package batch_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/tiering/batch"
)

func TestHollow(t *testing.T) {
	b := batch.New(batch.Gzip).Epoch(3).Producer(7, 2, 100).Transactional()
	for range 5 {
		b.Add(batch.Record{Timestamp: 1000, Value: []byte("value")})
	}
	v := b.Build()
	v.Stamp(40, 3)
	before := append(batch.View(nil), v...)
	h := v.Hollow()
	require.Equal(t, before, v, "it was changed")
	require.NoError(t, h.Verify())
	parsed, rest, err := batch.Parse(h)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.Equal(t, h, parsed)
	require.Equal(t, batch.HeaderSize, h.Length())
	require.Zero(t, h.Records())
	require.Equal(t, batch.None, h.Codec())
	require.True(t, h.IsTransactional())
	require.Equal(t, v.BaseOffset(), h.BaseOffset())
	require.Equal(t, v.LastOffset(), h.LastOffset())
	require.Equal(t, v.LeaderEpoch(), h.LeaderEpoch())
	require.Equal(t, v.ProducerID(), h.ProducerID())
	require.Equal(t, v.LastSequence(), h.LastSequence())
	require.Equal(t, v.MaxTimestamp(), h.MaxTimestamp())

	v[22] |= 0x40 // a delete horizon in the place of the base timestamp
	h = v.Hollow()
	require.Zero(t, h.Attributes()&0x40)
	require.Equal(t, v.MaxTimestamp(), h.BaseTimestamp())
}
