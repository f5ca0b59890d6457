package batch_test

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// records returns n records whose payloads compress, with nulls and headers among them.
func records(n int) []batch.Record {
	out := make([]batch.Record, n)
	for i := range out {
		out[i] = batch.Record{
			Timestamp: 1_700_000_000_000 + int64(i*37%11),
			Key:       []byte{byte(i), byte(i >> 8)},
			Value:     bytes.Repeat([]byte{'a' + byte(i%26)}, 100+i),
			Headers:   []batch.Header{{Key: "trace", Value: []byte("abc")}, {Key: "", Value: nil}},
		}
	}
	if n > 2 {
		out[1].Key, out[2].Value, out[2].Headers = nil, nil, nil
	}
	return out
}

func build(b *batch.Builder, recs []batch.Record) batch.View {
	for _, r := range recs {
		b.Add(r)
	}
	return b.Build()
}

// decoded copies the records of v out of the iteration.
func decoded(t testing.TB, v batch.View) []batch.Record {
	t.Helper()
	var out []batch.Record
	for r, err := range batch.Decode(v, 0) {
		require.NoError(t, err)
		r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
		headers := []batch.Header(nil)
		for _, h := range r.Headers {
			headers = append(headers, batch.Header{Key: h.Key, Value: bytes.Clone(h.Value)})
		}
		r.Headers = headers
		out = append(out, r)
	}
	return out
}

func TestAccessorsAgreeWithKmsg(t *testing.T) {
	recs := records(5)
	v := build(batch.New(batch.Zstd).Base(100).Epoch(4).Producer(77, 5, 900).Transactional(), recs)
	var ref kmsg.RecordBatch
	require.NoError(t, ref.ReadFrom(v))
	require.Equal(t, id.Offset(ref.FirstOffset), v.BaseOffset())
	require.Equal(t, id.Offset(104), v.LastOffset())
	require.Equal(t, id.Offset(105), v.NextOffset())
	require.Equal(t, len(v), v.Length())
	require.Equal(t, int(ref.Length)+12, v.Length())
	require.Equal(t, id.Epoch(ref.PartitionLeaderEpoch), v.LeaderEpoch())
	require.Equal(t, ref.Magic, v.Magic())
	require.Equal(t, uint32(ref.CRC), v.CRC())
	require.Equal(t, ref.Attributes, v.Attributes())
	require.Equal(t, batch.Zstd, v.Codec())
	require.True(t, v.IsTransactional())
	require.False(t, v.IsControl())
	require.False(t, v.LogAppendTime())
	require.Equal(t, ref.FirstTimestamp, v.BaseTimestamp())
	require.Equal(t, ref.MaxTimestamp, v.MaxTimestamp())
	require.Equal(t, id.Producer(ref.ProducerID), v.ProducerID())
	require.Equal(t, ref.ProducerEpoch, v.ProducerEpoch())
	require.Equal(t, ref.FirstSequence, v.BaseSequence())
	require.Equal(t, int32(904), v.LastSequence())
	require.Equal(t, ref.LastOffsetDelta, v.LastOffsetDelta())
	require.Equal(t, ref.NumRecords, v.Records())
	require.NoError(t, v.Verify())
}

func TestClientBatchesAreAccepted(t *testing.T) {
	at := time.UnixMilli(1_600_000_000_123)
	sent := clientRecords()
	for codec, clientCodec := range clientCodecs {
		t.Run(codec.String(), func(t *testing.T) {
			views := clientBatches(t, clientCodec, sent...)
			require.Len(t, views, 1)
			v := views[0]
			require.Equal(t, codec, v.Codec())
			require.NoError(t, batch.ValidateProduce(v, batch.Rules{Deep: true}))
			require.Equal(t, id.Producer(7), v.ProducerID())
			require.Equal(t, int16(3), v.ProducerEpoch())
			require.Equal(t, at.Add(time.Hour).UnixMilli(), v.MaxTimestamp())
			v.Stamp(1000, 2)
			got := decoded(t, v)
			require.Len(t, got, len(sent))
			for i, r := range got {
				require.Equal(t, id.Offset(1000+i), r.Offset)
				require.Equal(t, sent[i].Timestamp.UnixMilli(), r.Timestamp)
				require.True(t, bytes.Equal(sent[i].Key, r.Key))
				require.Equal(t, sent[i].Key == nil, r.Key == nil)
				require.Equal(t, sent[i].Value, r.Value)
				require.Len(t, r.Headers, len(sent[i].Headers))
			}
			require.Nil(t, got[0].Headers[1].Value)
		})
	}
}

func TestClientReadsBuiltBatches(t *testing.T) {
	recs := records(400) // above 32 KiB, so that snappy has several blocks
	for codec := range clientCodecs {
		t.Run(codec.String(), func(t *testing.T) {
			v := build(batch.New(codec).Base(50), recs)
			part := kgo.ProcessFetchPartitionOpts{Topic: "events", KeepControlRecords: true}
			raw := kmsg.NewFetchResponseTopicPartition()
			raw.RecordBatches, raw.HighWatermark = v, 1000
			got, _ := kgo.ProcessFetchPartition(part, &raw, kgo.DefaultDecompressor(), nil)
			require.NoError(t, got.Err)
			require.Len(t, got.Records, len(recs))
			ours := decoded(t, v)
			for i, r := range got.Records {
				require.Equal(t, int64(50+i), r.Offset)
				require.Equal(t, recs[i].Timestamp, r.Timestamp.UnixMilli())
				require.Equal(t, recs[i].Value, r.Value)
				require.Equal(t, recs[i].Key, r.Key)
				require.Equal(t, r.Value, ours[i].Value)
				require.Equal(t, recs[i].Headers, ours[i].Headers)
			}
		})
	}
}

func TestParse(t *testing.T) {
	one, two := build(batch.New(batch.None), records(3)), build(batch.New(batch.Gzip), records(2))
	v, rest, err := batch.Parse(append(bytes.Clone(one), two...))
	require.NoError(t, err)
	require.Equal(t, one, v)
	require.Equal(t, []byte(two), rest)
	require.Equal(t, len(v), cap(v), "a view must not reach into its neighbour")

	for n := range len(one) {
		_, _, err := batch.Parse(one[:n])
		require.ErrorIs(t, err, batch.ErrTruncated)
		require.ErrorIs(t, err, batch.ErrCorrupt)
	}
	h, err := batch.ParseHeader(one[:batch.HeaderSize])
	require.NoError(t, err)
	require.Equal(t, len(one), h.Length())

	for name, change := range map[string]func(v batch.View){
		"old magic":        func(v batch.View) { v[16] = 1 },
		"negative length":  func(v batch.View) { v[8] = 0xff },
		"short length":     func(v batch.View) { copy(v[8:], []byte{0, 0, 0, 48}) },
		"negative base":    func(v batch.View) { v[0] = 0x80 },
		"overflowing base": func(v batch.View) { copy(v, []byte{0x7f, 255, 255, 255, 255, 255, 255, 255}) },
		"negative delta":   func(v batch.View) { v[23] = 0x80 },
		"negative count":   func(v batch.View) { v[57] = 0x80 },
		"count too large":  func(v batch.View) { v[58] = 1 },
		"more than fit":    func(v batch.View) { v[24], v[58] = 1, 1 },
	} {
		t.Run(name, func(t *testing.T) {
			v := batch.View(bytes.Clone(one))
			change(v)
			_, _, err := batch.Parse(v)
			require.ErrorIs(t, err, batch.ErrCorrupt)
			require.NotErrorIs(t, err, batch.ErrTruncated)
			if sent, _, err := batch.ParseSent(v); err == nil { // what does not say where the batch ends
				require.ErrorIs(t, batch.ValidateProduce(sent, batch.Rules{}), firstOf(sent, batch.ErrInvalidRecord))
				require.ErrorIs(t, batch.ValidateProduce(reseal(sent), batch.Rules{}), batch.ErrInvalidRecord)
			} else {
				require.Contains(t, []string{"old magic", "negative length", "short length"}, name)
			}
		})
	}
}

func TestVerifyFindsEveryBit(t *testing.T) {
	v := build(batch.New(batch.None), records(2))
	for bit := 17 * 8; bit < len(v)*8; bit++ {
		v[bit/8] ^= 1 << (bit % 8)
		require.ErrorIs(t, v.Verify(), batch.ErrCorrupt, "bit %d", bit)
		v[bit/8] ^= 1 << (bit % 8)
	}
	require.NoError(t, v.Verify())
}

func TestStampAndLogAppendTime(t *testing.T) {
	v := build(batch.New(batch.LZ4), records(4))
	crc := v.CRC()
	v.Stamp(1<<40, 9)
	require.Equal(t, id.Offset(1<<40), v.BaseOffset())
	require.Equal(t, id.Epoch(9), v.LeaderEpoch())
	require.Equal(t, crc, v.CRC())
	require.NoError(t, v.Verify())

	v.SetLogAppendTime(1_800_000_000_000)
	require.True(t, v.LogAppendTime())
	require.Equal(t, batch.LZ4, v.Codec())
	require.NoError(t, v.Verify())
	for _, r := range decoded(t, v) {
		require.Equal(t, int64(1_800_000_000_000), r.Timestamp)
	}
}

func TestSequencesWrap(t *testing.T) {
	for _, c := range []struct {
		base, n, last int32
	}{{0, 1, 0}, {10, 5, 14}, {math.MaxInt32, 1, math.MaxInt32}, {math.MaxInt32, 2, 0}, {math.MaxInt32 - 1, 5, 2}, {-1, 3, -1}} {
		v := build(batch.New(batch.None).Producer(1, 0, c.base), records(int(c.n)))
		require.Equal(t, c.last, v.LastSequence(), "%+v", c)
	}
}

func TestMarkers(t *testing.T) {
	for _, m := range []batch.Marker{{Commit: true, CoordinatorEpoch: 12}, {CoordinatorEpoch: 3}} {
		v := batch.NewMarker(m, 44, 6, 1234)
		_, _, err := batch.Parse(v)
		require.NoError(t, err)
		require.NoError(t, v.Verify())
		require.True(t, v.IsControl() && v.IsTransactional())
		require.Equal(t, id.Producer(44), v.ProducerID())
		require.Equal(t, int32(-1), v.LastSequence())
		got, ok, err := batch.ParseMarker(v)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, m, got)

		key := kmsg.NewControlRecordKey()
		require.NoError(t, key.ReadFrom(decoded(t, v)[0].Key))
		require.Equal(t, m.Commit, key.Type == kmsg.ControlRecordKeyTypeCommit)
	}
	_, _, err := batch.ParseMarker(build(batch.New(batch.None), records(1)))
	require.ErrorIs(t, err, batch.ErrCorrupt)
}
