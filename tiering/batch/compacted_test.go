package batch_test

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/tiering/batch"
)

// What compaction leaves of a batch is read; a producer may not send the like.
func TestCompactedBatches(t *testing.T) {
	hollow := batch.New(batch.None).Base(40).Producer(7, 1, 3).Build()
	binary.BigEndian.PutUint32(hollow[23:], 9) // the offsets 40 to 49, and no record
	reseal(hollow)
	v, rest, err := batch.Parse(hollow)
	require.NoError(t, err)
	require.Empty(t, rest)
	require.NoError(t, v.Verify())
	require.Equal(t, int32(0), v.Records())
	require.Equal(t, int32(12), v.LastSequence(), "the sequence numbers are those of what was there")
	for _, err := range batch.Decode(v, 0) {
		require.NoError(t, err)
		t.Fatal("a record")
	}
	binary.BigEndian.PutUint64(hollow, 0)
	sent, _, err := batch.ParseSent(reseal(hollow))
	require.NoError(t, err)
	require.ErrorIs(t, batch.ValidateProduce(sent, batch.Rules{}), batch.ErrInvalidRecord)

	few := build(batch.New(batch.None), records(3))
	binary.BigEndian.PutUint32(few[23:], 9)
	v, _, err = batch.Parse(reseal(few))
	require.NoError(t, err)
	n := 0
	for _, err := range batch.Decode(v, 0) {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, 3, n)
	require.ErrorIs(t, batch.ValidateProduce(v, batch.Rules{}), batch.ErrInvalidRecord)

	horizon := build(batch.New(batch.None), records(3))
	binary.BigEndian.PutUint16(horizon[21:], 0x40) // Kafka takes the bit from producers
	v, _, err = batch.Parse(reseal(horizon))
	require.NoError(t, err)
	require.NoError(t, batch.ValidateProduce(v, batch.Rules{}))
}
