package broker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

// Every version stores every codec that it may carry, for both acks that are answered.
func TestProduceVersions(t *testing.T) {
	n := startNode(t)
	for version := int16(3); version <= 13; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			n := &node{Broker: n.Broker, t: t}
			topic := fmt.Sprintf("v%d", version)
			n.mustCreate(wantTopic(topic, 1, 1))
			next := int64(0)
			for codec := batch.None; codec <= batch.Zstd; codec++ {
				for _, acks := range []int16{-1, 1} {
					if codec == batch.Zstd && version < 7 {
						continue
					}
					got := n.produce(version, acks, put{topic, 0, batchOfNow(codec, 3)})[0]
					require.Zero(t, got.ErrorCode, "%s: %v", codec, got.ErrorMessage)
					require.Nil(t, got.ErrorMessage)
					require.Empty(t, got.ErrorRecords)
					require.Equal(t, next, got.BaseOffset)
					require.Equal(t, int64(-1), got.LogAppendTime)
					if version >= 5 {
						require.Zero(t, got.LogStartOffset)
					}
					next += 3
				}
			}
			n.mustProduce(topic, 0, batchOfNow(batch.None, 1)) // acks=all: what came before is committed
			raw := n.fetch(n.fetchRequest(12, want{topic: topic}))[0].RecordBatches
			for offset := id.Offset(0); len(raw) > 0; {
				v, rest, err := batch.Parse(raw)
				require.NoError(t, err)
				for r, err := range batch.Decode(v, 1<<20) {
					require.NoError(t, err)
					require.Equal(t, offset, r.Offset)
					require.Equal(t, "key", string(r.Key))
					offset++
				}
				raw = rest
				require.True(t, len(raw) > 0 || int64(offset) == next+1, "all records came back")
			}
		})
	}
}

// A client's own batches come back as it sent them, by every codec.
func TestProduceByClient(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 4, 1))
	sent := make(map[string]bool)
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		cl := n.kgo(kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic("t"))
		var records []*kgo.Record
		for i := range 50 {
			v := fmt.Sprintf("%s %d %s", name, i, bytes.Repeat([]byte("x"), i))
			sent[v] = true
			records = append(records, kgo.KeyStringRecord(fmt.Sprint(i), v))
		}
		require.NoError(t, cl.ProduceSync(t.Context(), records...).FirstErr())
	}
	consumer := n.kgo(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for len(sent) > 0 {
		f := consumer.PollFetches(t.Context())
		require.NoError(t, f.Err())
		f.EachRecord(func(r *kgo.Record) {
			require.True(t, sent[string(r.Value)], "a record that was sent, once: %s", r.Value)
			delete(sent, string(r.Value))
		})
	}
}

// Requests that are sent without waiting are appended and answered in their order.
func TestProducePipelined(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	const requests = 100
	var all []byte
	for i := range int32(requests) {
		acks := int16(-1)
		if i%3 == 0 {
			acks = 1
		}
		all = append(all, encoded(n.produceRequest(9, acks, put{"t", 0, batchOfProducer(5, 0, i, 1)}), i)...)
	}
	c := n.dial()
	go func() { _, _ = c.nc.Write(all) }()
	for i := range int32(requests) {
		resp := kmsg.NewPtrProduceResponse()
		resp.SetVersion(9)
		c.response(i, resp)
		require.Zero(t, resp.Topics[0].Partitions[0].ErrorCode)
		require.Equal(t, int64(i), resp.Topics[0].Partitions[0].BaseOffset)
	}
}

func TestProduceIdempotent(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 2, 1))
	init := kmsg.NewPtrInitProducerIDRequest()
	init.SetVersion(4)
	init.ProducerID, init.ProducerEpoch = -1, -1
	granted := ask(n, init, kmsg.NewPtrInitProducerIDResponse())
	require.Zero(t, granted.ErrorCode)
	p := id.Producer(granted.ProducerID)
	for i, step := range []struct {
		index    int32
		epoch    int16
		sequence int32
		records  int
		want     *kerr.Error
		base     int64
	}{
		{0, 0, 0, 3, nil, 0},
		{0, 0, 3, 2, nil, 3},
		{0, 0, 0, 3, nil, 0}, // both again
		{0, 0, 3, 2, nil, 3},
		{0, 0, 3, 1, kerr.OutOfOrderSequenceNumber, -1}, // a part of one
		{0, 0, 9, 1, kerr.OutOfOrderSequenceNumber, -1}, // a gap
		{0, 0, 5, 1, nil, 5},
		{1, 0, 0, 1, nil, 0},                            // each partition counts for itself
		{0, 1, 6, 1, kerr.OutOfOrderSequenceNumber, -1}, // a new epoch begins at 0
		{0, 1, 0, 1, nil, 6},
		{0, 0, 6, 1, kerr.InvalidProducerEpoch, -1},
		{0, 0, 5, 1, kerr.InvalidProducerEpoch, -1}, // even what is a duplicate
		{0, 1, 1, 1, nil, 7},
	} {
		got := n.produce(9, -1, put{"t", step.index, batchOfProducer(p, step.epoch, step.sequence, step.records)})[0]
		require.Equal(t, step.want, errorOf(got.ErrorCode), "step %d", i)
		require.Equal(t, step.base, got.BaseOffset, "step %d", i)
		require.Equal(t, step.want == nil, got.ErrorMessage == nil, "step %d", i)
	}
	require.Equal(t, id.Offset(8), n.logOf("t", 0).Watermarks().End)

	const last = 1<<31 - 1
	n.mustProduce("t", 1, batchOfProducer(99, 0, last-1, 2), batchOfProducer(99, 0, 0, 1), batchOfProducer(98, 0, last, 2), batchOfProducer(98, 0, 1, 1))
	require.Equal(t, id.Offset(7), n.logOf("t", 1).Watermarks().End, "sequences wrap, between batches and within one")
}

// errorOf is nil for no error.
func errorOf(code int16) *kerr.Error {
	if code == 0 {
		return nil
	}
	return kerr.TypedErrorForCode(code)
}

func TestProduceLogAppendTime(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1, with("message.timestamp.type", value("LogAppendTime"))))
	begun := time.Now().UnixMilli()
	first := batch.New(batch.None).Producer(3, 0, 0).Add(batch.Record{Timestamp: 17, Key: []byte("k")}).Build()
	got := n.produce(9, -1, put{"t", 0, first})[0]
	require.Zero(t, got.ErrorCode)
	require.GreaterOrEqual(t, got.LogAppendTime, begun)
	require.LessOrEqual(t, got.LogAppendTime, time.Now().UnixMilli())
	require.Equal(t, got.LogAppendTime, n.produce(9, -1, put{"t", 0, first})[0].LogAppendTime, "a duplicate tells the time of the original")
	packed := n.produce(3, 1, put{"t", 0, batchAt(batch.Gzip, 1, 2, 3)})[0]
	require.GreaterOrEqual(t, packed.LogAppendTime, got.LogAppendTime)

	n.mustProduce("t", 0, batchAt(batch.None, 5))
	raw := n.fetch(n.fetchRequest(12, want{topic: "t"}))[0].RecordBatches
	require.Equal(t, []int64{0, 1, 4}, n.basesOf(raw))
	v, rest, err := batch.Parse(raw)
	require.NoError(t, err)
	require.True(t, v.LogAppendTime())
	require.Equal(t, got.LogAppendTime, v.MaxTimestamp())
	v, _, err = batch.Parse(rest)
	require.NoError(t, err)
	require.Equal(t, packed.LogAppendTime, v.MaxTimestamp())
}

// refusal is a batch that is not accepted.
type refusal struct {
	name    string
	topic   string
	records []byte
	want    *kerr.Error
	message string
	bad     []int32 // the records that are to blame
}

func refusals() []refusal {
	now := time.Now().UnixMilli()
	good := func() batch.View { return batchOfNow(batch.None, 2) }
	attribute := func(bit byte) batch.View {
		return spoiled(good(), func(v batch.View) { v[posOfAttributes+1] |= bit })
	}
	keyless := batch.New(batch.None).Add(batch.Record{Timestamp: now, Key: []byte("k")}).Add(batch.Record{Timestamp: now}).
		Add(batch.Record{Timestamp: now, Key: []byte{}}).Add(batch.Record{Timestamp: now})
	squeezed := batch.New(batch.Zstd).Add(batch.Record{Timestamp: now})
	cut := good()
	return []refusal{
		{"wrong checksum", "t", damagedIn(good(), batch.HeaderSize), kerr.CorruptMessage, "CRC32C is", nil},
		{"cut short", "t", cut[:len(cut)-1], kerr.InvalidRecord, "cut short", nil},
		{"a header cut short", "t", cut[:batch.HeaderSize-1], kerr.InvalidRecord, "cut short", nil},
		{"a length below that of a header", "t", spoiled(good(), func(v batch.View) { v[11] = 48 }), kerr.CorruptMessage, "length field is 48", nil},
		{"a damaged length", "t", damagedIn(good(), 11), kerr.CorruptMessage, "CRC32C is", nil},
		{"more records than offsets", "t", spoiled(good(), func(v batch.View) { v[posOfCount+3] = 3 }), kerr.InvalidRecord, "3 records", nil},
		{"more records than offsets, and damaged", "t", damagedIn(good(), posOfCount+3), kerr.CorruptMessage, "CRC32C is", nil},
		{"a negative number of records", "t", spoiled(good(), func(v batch.View) { v[posOfCount] = 0x80 }), kerr.InvalidRecord, "records, but", nil},
		{"a negative last offset", "t", spoiled(good(), func(v batch.View) { v[posOfAttributes+2] = 0x80 }), kerr.InvalidRecord, "last offset delta is", nil},
		{"a negative base offset", "t", spoiled(good(), func(v batch.View) { v[0] = 0x80 }), kerr.InvalidRecord, "base offset is -", nil},
		{"a record's length", "t", spoiled(good(), func(v batch.View) { v[batch.HeaderSize] ^= 1 }), kerr.InvalidRecord, "record 0", nil},
		{"not what its codec makes", "compacted", spoiled(good(), func(v batch.View) { v[posOfAttributes+1] |= 1 }), kerr.InvalidRecord, "decompress", nil},
		{"no records", "t", []byte{}, kerr.InvalidRecord, "no record batch", nil},
		{"null records", "t", nil, kerr.InvalidRecord, "no record batch", nil},
		{"two batches", "t", append(good(), good()...), kerr.InvalidRecord, "follow the one batch", nil},
		{"magic 1", "t", spoiled(good(), func(v batch.View) { v[posMagic] = 1 }), kerr.InvalidRecord, "magic 1", nil},
		{"a short message of magic 0", "t", make([]byte, 34), kerr.InvalidRecord, "magic 0", nil},
		{"magic 3", "t", spoiled(good(), func(v batch.View) { v[posMagic] = 3 }), kerr.CorruptMessage, "magic 3", nil},
		{"control batch", "t", attribute(1 << 5), kerr.InvalidRecord, "control batch", nil},
		{"LogAppendTime of a producer", "t", attribute(1 << 3), kerr.InvalidTimestamp, "LogAppendTime", nil},
		{"a codec that does not exist", "t", attribute(5), kerr.UnsupportedCompressionType, "codec", nil},
		{"base offset", "t", spoiled(good(), func(v batch.View) { v[7] = 9 }), kerr.InvalidRecord, "base offset is 9", nil},
		{"sequence without an epoch", "t", batchOfProducer(4, -1, 0, 1), kerr.InvalidRecord, "epoch -1", nil},
		{"too large", "small", batchOfSize(500), kerr.MessageTooLarge, "the topic allows 500", nil},
		{"null keys", "compacted", keyless.Build(), kerr.InvalidRecord, "needs a key", []int32{1, 3}},
		{"a null key, compressed", "compacted", squeezed.Build(), kerr.InvalidRecord, "needs a key", []int32{0}},
		{"too late", "t", batchAt(batch.None, now, now+2*time.Hour.Milliseconds()), kerr.InvalidTimestamp, "is not within", []int32{1}},
		{"too late, compressed", "t", batchAt(batch.LZ4, now, now+2*time.Hour.Milliseconds()), kerr.InvalidTimestamp, "is after", nil},
		{"too early", "recent", batchAt(batch.None, now-120_000, now, now-120_000), kerr.InvalidTimestamp, "is not within", []int32{0, 2}},
	}
}

// damagedIn changes a byte on the way, so to speak.
func damagedIn(v batch.View, at int) batch.View {
	v[at] ^= 1
	return v
}

// refuseNode has the topics that refusals are for.
func refuseNode(t *testing.T) *node {
	n := startNode(t)
	n.mustCreate(
		wantTopic("t", 1, 1), wantTopic("good", 1, 1),
		wantTopic("small", 1, 1, with("max.message.bytes", value("500"))),
		wantTopic("compacted", 1, 1, with("cleanup.policy", value("compact"))),
		wantTopic("recent", 1, 1, with("message.timestamp.before.max.ms", value("60000"))),
		wantTopic("safe", 1, 1, with("min.insync.replicas", value("2"))),
	)
	return n
}

// Each bad batch is answered with its error, and the good ones around it are appended.
func TestProduceRefuses(t *testing.T) {
	n := refuseNode(t)
	next := int64(0)
	for _, tc := range refusals() {
		for _, version := range []int16{7, 8, 13} {
			t.Run(fmt.Sprintf("%s/%d", tc.name, version), func(t *testing.T) {
				n := &node{Broker: n.Broker, t: t}
				got := n.produce(version, -1, put{"good", 0, batchOfNow(batch.None, 1)}, put{tc.topic, 0, tc.records}, put{"good", 0, batchOfNow(batch.None, 1)})
				require.Zero(t, got[0].ErrorCode)
				require.Zero(t, got[2].ErrorCode)
				require.Equal(t, []int64{next, -1, next + 1}, []int64{got[0].BaseOffset, got[1].BaseOffset, got[2].BaseOffset})
				next += 2
				require.Equal(t, tc.want, errorOf(got[1].ErrorCode))
				require.Equal(t, int64(-1), got[1].LogAppendTime)
				if version < 8 {
					return
				}
				require.Contains(t, *got[1].ErrorMessage, tc.message)
				var bad []int32
				for _, r := range got[1].ErrorRecords {
					bad = append(bad, r.RelativeOffset)
					require.Contains(t, *got[1].ErrorMessage, tc.message)
					require.NotEmpty(t, *r.ErrorMessage)
				}
				require.Equal(t, tc.bad, bad)
			})
		}
		require.Equal(t, id.Offset(0), n.logOf(tc.topic, 0).Watermarks().End, "%s: nothing was appended", tc.name)
	}
}

// Where the log starts is told by the log that refuses a batch, as Kafka does.
func TestProduceTellsWhereTheLogStarts(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1, with("max.message.bytes", value("500"))))
	n.mustProduce("t", 0, batchOfProducer(7, 1, 0, 3))
	_, err := n.deleteRecords(2, "t", 0, 2)
	require.NoError(t, err)
	unsound := spoiled(batchOfNow(batch.None, 2), func(v batch.View) { v[posOfCount+3] = 3 })
	for name, tc := range map[string]struct {
		records []byte
		want    *kerr.Error
		start   int64
	}{
		"appended":         {batchOfNow(batch.None, 1), nil, 2},
		"a duplicate":      {batchOfProducer(7, 1, 0, 3), nil, 2},
		"unsound":          {unsound, kerr.InvalidRecord, 2},
		"out of order":     {batchOfProducer(7, 1, 9, 1), kerr.OutOfOrderSequenceNumber, 2},
		"of an old epoch":  {batchOfProducer(7, 0, 0, 1), kerr.InvalidProducerEpoch, 2},
		"damaged":          {damagedIn(batchOfNow(batch.None, 1), batch.HeaderSize), kerr.CorruptMessage, -1},
		"too large":        {batchOfSize(500), kerr.MessageTooLarge, -1},
		"not even a batch": {[]byte{1}, kerr.InvalidRecord, -1},
	} {
		got := n.produce(9, -1, put{"t", 0, tc.records})[0]
		require.Equal(t, tc.want, errorOf(got.ErrorCode), name)
		require.Equal(t, tc.start, got.LogStartOffset, name)
	}
}

func TestProduceRefusesZstdBeforeItsVersion(t *testing.T) {
	n := refuseNode(t)
	for version := int16(3); version < 7; version++ {
		got := n.produce(version, 1, put{"t", 0, batchOfNow(batch.Zstd, 1)})[0]
		require.Equal(t, kerr.UnsupportedCompressionType, errorOf(got.ErrorCode))
	}
	require.Equal(t, id.Offset(0), n.logOf("t", 0).Watermarks().End)
}

func TestProduceToWhatDoesNotExist(t *testing.T) {
	n := refuseNode(t)
	v := batchOfNow(batch.None, 1)
	for _, tc := range []struct {
		version int16
		acks    int16
		put     put
		want    *kerr.Error
	}{
		{12, -1, put{"none", 0, v}, kerr.UnknownTopicOrPartition},
		{13, -1, put{"none", 0, v}, kerr.UnknownTopicID},
		{12, 1, put{"t", 1, v}, kerr.UnknownTopicOrPartition},
		{13, 1, put{"t", -1, v}, kerr.UnknownTopicOrPartition},
		{12, 2, put{"t", 0, v}, kerr.InvalidRequiredAcks},
		{13, -2, put{"t", 0, v}, kerr.InvalidRequiredAcks},
	} {
		got := n.produce(tc.version, tc.acks, put{"safe", 0, v}, tc.put)
		require.Equal(t, tc.want, errorOf(got[1].ErrorCode))
		require.NotEmpty(t, *got[1].ErrorMessage)
	}
	require.Equal(t, id.Offset(0), n.logOf("t", 0).Watermarks().End)
}

// Of a min.insync.replicas above the replication factor as many count as there are.
func TestProduceWithFewReplicas(t *testing.T) {
	n := refuseNode(t)
	for _, acks := range []int16{1, -1} {
		require.Zero(t, n.produce(9, acks, put{"safe", 0, batchOfNow(batch.None, 1)})[0].ErrorCode)
	}
	require.Equal(t, id.Offset(2), n.logOf("safe", 0).Watermarks().High)
}

// With acks=0 nothing is answered, and an error can only be told by closing the connection.
func TestProduceWithoutAcks(t *testing.T) {
	n := refuseNode(t)
	for version := int16(3); version <= 13; version++ {
		c := n.dial()
		c.send(n.produceRequest(version, 0, put{"t", 0, batchOfNow(batch.None, 2)}))
		c.send(heartbeat("none"))
		c.response(1, newHeartbeatResponse())
		end := id.Offset(2 * (version - 2))
		require.Equal(t, end, n.logOf("t", 0).Watermarks().End)

		c.send(n.produceRequest(version, 0, put{"good", 0, batchOfNow(batch.None, 1)}, put{"small", 0, batchOfSize(500)}))
		c.closed()
		require.Equal(t, id.Offset(version-2), n.logOf("good", 0).Watermarks().End, "the good batch beside it is kept")
	}
	n.mustProduce("t", 0, batchOfNow(batch.None, 1))
	require.Equal(t, id.Offset(23), n.logOf("t", 0).Watermarks().High)
}

// The tiny batch of a request with a huge bad one is kept, and readable.
func TestProduceTinyBesideHuge(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 2, 1))
	tiny := batchOfNow(batch.None, 1)
	got := n.produce(9, -1, put{"t", 0, tiny}, put{"t", 1, batchOfSize(8 << 20)})
	require.Zero(t, got[0].ErrorCode)
	require.Equal(t, kerr.MessageTooLarge, errorOf(got[1].ErrorCode))
	raw := n.fetch(n.fetchRequest(12, want{topic: "t"}))[0].RecordBatches
	require.Len(t, raw, len(tiny))
	require.Equal(t, tiny[posOfCRC:], batch.View(raw[posOfCRC:]))
	require.Equal(t, uint64(0), binary.BigEndian.Uint64(raw))
}
