package batch_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/tiering/batch"
)

// reseal computes the checksum of a batch that a test has changed.
func reseal(v batch.View) batch.View {
	binary.BigEndian.PutUint32(v[17:], crc32.Checksum(v[21:], crc32.MakeTable(crc32.Castagnoli)))
	return v
}

func TestValidateRefuses(t *testing.T) {
	put16 := func(at int, n uint16) func(batch.View) {
		return func(v batch.View) { binary.BigEndian.PutUint16(v[at:], n) }
	}
	put32 := func(at int, n int32) func(batch.View) {
		return func(v batch.View) { binary.BigEndian.PutUint32(v[at:], uint32(n)) }
	}
	for name, c := range map[string]struct {
		change func(batch.View)
		want   error
	}{
		"base offset not 0":        {func(v batch.View) { v[7] = 1 }, batch.ErrInvalidRecord},
		"delta above the count":    {put32(23, 5), batch.ErrInvalidRecord},
		"no records":               {put32(57, 0), batch.ErrInvalidRecord},
		"one record fewer":         {func(v batch.View) { put32(57, 2)(v); put32(23, 1)(v) }, batch.ErrInvalidRecord},
		"one record more":          {func(v batch.View) { put32(57, 4)(v); put32(23, 3)(v) }, batch.ErrInvalidRecord},
		"control":                  {put16(21, 0x20), batch.ErrInvalidRecord},
		"log append time":          {put16(21, 0x08), batch.ErrInvalidTimestamp},
		"unknown codec":            {put16(21, 5), batch.ErrUnsupportedCodec},
		"no producer, transaction": {put16(21, 0x10), batch.ErrInvalidRecord},
		"producer below -1":        {put32(47, -2), batch.ErrInvalidRecord},
		"producer, no sequence":    {func(v batch.View) { copy(v[43:], make([]byte, 10)) }, batch.ErrInvalidRecord},
		"producer, no epoch":       {func(v batch.View) { copy(v[43:], make([]byte, 8)); put32(53, 0)(v) }, batch.ErrInvalidRecord},
		"record length":            {func(v batch.View) { v[batch.HeaderSize]++ }, batch.ErrInvalidRecord},
		"offset delta":             {func(v batch.View) { v[batch.HeaderSize+4] = 2 }, batch.ErrInvalidRecord},
	} {
		t.Run(name, func(t *testing.T) {
			v := build(batch.New(batch.None), records(3))
			require.NoError(t, batch.ValidateProduce(v, batch.Rules{}))
			c.change(v)
			require.ErrorIs(t, batch.ValidateProduce(v, batch.Rules{}), firstOf(v, c.want))
			require.ErrorIs(t, batch.ValidateProduce(reseal(v), batch.Rules{}), c.want)
		})
	}
}

// firstOf is what a batch is refused for before it is sealed again.
func firstOf(v batch.View, want error) error {
	if v.Verify() != nil {
		return batch.ErrCorrupt
	}
	return want
}

func TestValidateSize(t *testing.T) {
	v := build(batch.New(batch.None), records(3))
	require.NoError(t, batch.ValidateProduce(v, batch.Rules{MaxBytes: len(v)}))
	require.ErrorIs(t, batch.ValidateProduce(v, batch.Rules{MaxBytes: len(v) - 1}), batch.ErrTooLarge)
}

// Some clients leave epoch and sequence at 0 although they have no producer id.
func TestValidateIgnoresSequenceWithoutProducer(t *testing.T) {
	require.NoError(t, batch.ValidateProduce(build(batch.New(batch.None).Producer(-1, 0, 0), records(3)), batch.Rules{}))
}

func TestValidateCompacted(t *testing.T) {
	for _, codec := range []batch.Codec{batch.None, batch.Snappy} {
		v := build(batch.New(codec), records(3))
		err := batch.ValidateProduce(v, batch.Rules{Compacted: true})
		require.ErrorIs(t, err, batch.ErrInvalidRecord)
		var bad *batch.RecordErrors
		require.ErrorAs(t, err, &bad)
		require.Len(t, bad.Records, 1)
		require.Equal(t, int32(1), bad.Records[0].Index)
	}
	many := batch.New(batch.None)
	for range 3 * batch.MaxRecordErrors {
		many.Add(batch.Record{})
	}
	var bad *batch.RecordErrors
	require.ErrorAs(t, batch.ValidateProduce(many.Build(), batch.Rules{Compacted: true}), &bad)
	require.Len(t, bad.Records, batch.MaxRecordErrors)
}

func TestValidateTimes(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	rules := batch.Rules{Now: now, BeforeMaxMs: 1000, AfterMaxMs: 500}
	for _, c := range []struct {
		at   []int64
		want []int32
	}{
		{[]int64{-1000, 500, 0}, nil},
		{[]int64{-1001, 0, 501}, []int32{0, 2}},
		{[]int64{0, 0, 501}, []int32{2}},
	} {
		for _, codec := range []batch.Codec{batch.None, batch.Zstd} {
			b := batch.New(codec)
			for _, d := range c.at {
				b.Add(batch.Record{Timestamp: now.UnixMilli() + d})
			}
			v := b.Build()
			shallow, deep := rules, rules
			deep.Deep = true
			if c.want == nil {
				require.NoError(t, batch.ValidateProduce(v, shallow))
				require.NoError(t, batch.ValidateProduce(v, deep))
				continue
			}
			require.ErrorIs(t, batch.ValidateProduce(v, shallow), batch.ErrInvalidTimestamp)
			var bad *batch.RecordErrors
			err := batch.ValidateProduce(v, deep)
			require.ErrorIs(t, err, batch.ErrInvalidTimestamp)
			require.ErrorAs(t, err, &bad)
			require.Len(t, bad.Records, len(c.want))
			for i, index := range c.want {
				require.Equal(t, index, bad.Records[i].Index)
			}
			deep.TimestampType = batch.LogAppendTime
			require.NoError(t, batch.ValidateProduce(v, deep))
		}
	}
	require.NoError(t, batch.ValidateProduce(batch.New(batch.None).Add(batch.Record{Timestamp: -1}).Build(), rules))
}

func TestValidateCorrectsMaxTimestamp(t *testing.T) {
	for _, codec := range []batch.Codec{batch.None, batch.Gzip} {
		v := build(batch.New(codec), records(4))
		want := bytes.Clone(v)
		binary.BigEndian.PutUint64(v[35:], 1<<62)
		require.NoError(t, batch.ValidateProduce(reseal(v), batch.Rules{Deep: true}))
		require.Equal(t, want, []byte(v))
	}
}

func TestValidateDeepFindsWhatShallowTrusts(t *testing.T) {
	v := build(batch.New(batch.Gzip), records(3))
	binary.BigEndian.PutUint32(v[57:], 4)
	binary.BigEndian.PutUint32(v[23:], 3)
	require.NoError(t, batch.ValidateProduce(reseal(v), batch.Rules{}))
	require.ErrorIs(t, batch.ValidateProduce(v, batch.Rules{Deep: true}), batch.ErrInvalidRecord)

	v = build(batch.New(batch.Gzip), records(3))
	v[batch.HeaderSize] ^= 0xff
	err := batch.ValidateProduce(reseal(v), batch.Rules{Deep: true})
	require.ErrorIs(t, err, batch.ErrInvalidRecord)
	require.NotErrorIs(t, err, batch.ErrCorrupt, "the producer sent it so")
}

func TestHotPathAllocatesNothing(t *testing.T) {
	raw := build(batch.New(batch.None).Producer(9, 0, 0), records(16))
	rules := batch.Rules{Compacted: false, MaxBytes: 1 << 20, AfterMaxMs: 3_600_000, Now: time.UnixMilli(1_700_000_000_000)}
	allocs := testing.AllocsPerRun(100, func() {
		raw.Stamp(0, -1)
		v, _, err := batch.ParseSent(raw)
		if err != nil || batch.ValidateProduce(v, rules) != nil || v.LastSequence() != 15 {
			t.Fatal("the batch must be valid")
		}
		v.Stamp(1<<33, 4)
		v.SetLogAppendTime(5)
		if v.Verify() != nil || v.NextOffset() != 1<<33+16 {
			t.Fatal("the batch must stay valid")
		}
		binary.BigEndian.PutUint16(v[21:], 0)
		reseal(v)
	})
	require.Zero(t, allocs)
}
