package differential

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var produceScenarios = []scenario{
	{"versions", produceVersions},
	{"acks", produceAcks},
	{"malformed batches", produceMalformed},
	{"malformed records", produceMalformedRecords},
	{"batch header", produceHeaders},
	{"several batches", produceSeveral},
	{"timestamps", produceTimestamps},
	{"log append time", produceLogAppendTime},
	{"sizes", produceSizes},
	{"compacted", produceCompacted},
	{"unknown", produceUnknown},
	{"codecs", produceCodecs},
	{"several partitions", produceSeveralPartitions},
	{"internal topics", produceInternal},
	{"min insync", produceMinInsync},
}

// attempt produces what is changed of a sound batch and writes down whether it was taken.
func (s *session) attempt(what, topic string, records []byte) {
	resp := do[*kmsg.ProduceResponse](s.quiet(), produce(topic, 0, records))
	if len(resp.Topics) == 0 || len(resp.Topics[0].Partitions) == 0 {
		s.note(what, "connection closed")
		return
	}
	p := resp.Topics[0].Partitions[0]
	saw := errorName(p.ErrorCode)
	for _, r := range p.ErrorRecords {
		saw += fmt.Sprintf(", record %d", r.RelativeOffset)
	}
	if p.LogAppendTime != -1 {
		saw += ", time " + moment(p.LogAppendTime)
	}
	s.note(what, saw)
}

func produceVersions(s *session) {
	topic := s.topic("t", 1)
	id := s.topicID(topic)
	for version := int16(0); version <= 14; version++ {
		req := produceAt(min(version, 13), -1, topic, 0, encode(newBatch("v")))
		req.Topics[0].TopicID = id
		if version > 13 {
			frame := s.conn().frame(req)
			binary.BigEndian.PutUint16(frame[6:], uint16(version))
			s.raw("Produce v14", frame, req)
			continue
		}
		s.send(req)
	}
	s.ends(topic, 0)
}

func produceAcks(s *session) {
	topic := s.topic("t", 1)
	for _, acks := range []int16{-1, 1, 2, -2, 7} {
		s.send(produceAt(produceVersion, acks, topic, 0, encode(newBatch("v"))))
	}
	for _, topic := range []string{topic, s.name("unknown")} {
		c := s.on("silent")
		if err := c.conn().write(c.conn().frame(produceAt(produceVersion, 0, topic, 0, encode(newBatch("v"))))); err != nil {
			s.note("write acks=0", err.Error())
		}
		c.send(metadata(9, topic))               // answered if the connection is still there
		s.fill(s.name("t"), 0, newBatch("last")) // what is before it is committed, too
		s.ends(s.name("t"), 0)
	}
}

func produceMalformed(s *session) {
	topic := s.topic("t", 1)
	sound := encode(newBatch("one", "two"))
	change := func(f func(b []byte)) []byte {
		b := bytes.Clone(sound)
		f(b)
		return b
	}
	s.attempt("null records", topic, nil)
	s.attempt("no records", topic, []byte{})
	s.attempt("one byte", topic, sound[:1])
	s.attempt("half a header", topic, sound[:30])
	s.attempt("cut off", topic, sound[:len(sound)-1])
	s.attempt("a byte too many", topic, append(bytes.Clone(sound), 0))
	s.attempt("wrong CRC", topic, change(func(b []byte) { b[posCRC] ^= 1 }))
	s.attempt("changed record", topic, change(func(b []byte) { b[len(b)-2] ^= 1 }))
	for _, magic := range []byte{0, 1, 3, 127, 0xff} {
		s.attempt(fmt.Sprintf("magic %d", int8(magic)), topic, change(func(b []byte) { b[16] = magic }))
	}
	for _, length := range []int32{-1, 0, 1, 48, 49, 1 << 30, 1<<31 - 1} {
		s.attempt(fmt.Sprintf("length %d", length), topic, change(func(b []byte) { binary.BigEndian.PutUint32(b[8:], uint32(length)) }))
	}
}

func produceMalformedRecords(s *session) {
	topic := s.topic("t", 1)
	with := func(count int32, records ...byte) []byte {
		b := newBatch()
		b.NumRecords, b.LastOffsetDelta, b.Records = count, count-1, records
		return encode(b)
	}
	one := record(0, 0, []byte("k"), []byte("v"))
	s.attempt("no record", topic, with(0))
	s.attempt("count without records", topic, with(1))
	s.attempt("garbage", topic, with(1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
	s.attempt("record cut off", topic, with(1, one[:len(one)-1]...))
	s.attempt("bytes after the last record", topic, with(1, append(bytes.Clone(one), 1, 2, 3)...))
	s.attempt("negative record length", topic, with(1, 0x01))
	s.attempt("huge record length", topic, with(1, 0xfe, 0xff, 0xff, 0xff, 0x0f))
	for i, negative := range [][]byte{record(0, 0, nil, nil), record(0, 0, []byte{}, nil), record(0, 0, nil, []byte{})} {
		s.attempt(fmt.Sprintf("nulls %d", i), topic, with(1, negative...))
	}
	s.attempt("second offset 0", topic, with(2, append(bytes.Clone(one), one...)...))
	s.attempt("offsets with a gap", topic, with(2, append(bytes.Clone(one), record(2, 0, nil, nil)...)...))
	s.attempt("first offset 1", topic, with(1, record(1, 0, nil, nil)...))
	s.attempt("negative offset", topic, with(1, record(-1, 0, nil, nil)...))
	s.attempt("header with an empty key", topic, with(1, record(0, 0, nil, nil, kmsg.Header{})...))
	s.attempt("header without value", topic, with(1, record(0, 0, nil, nil, kmsg.Header{Key: "h"})...))
	s.attempt("bad key length", topic, with(1, 0x0c, 0, 0, 0, 0x7e, 0, 0))
}

func produceHeaders(s *session) {
	topic := s.topic("t", 1)
	for _, c := range []struct {
		what   string
		change func(b *kmsg.RecordBatch)
	}{
		{"base offset 5", func(b *kmsg.RecordBatch) { b.FirstOffset = 5 }},
		{"base offset -1", func(b *kmsg.RecordBatch) { b.FirstOffset = -1 }},
		{"leader epoch 7", func(b *kmsg.RecordBatch) { b.PartitionLeaderEpoch = 7 }},
		{"last offset delta too large", func(b *kmsg.RecordBatch) { b.LastOffsetDelta = 5 }},
		{"last offset delta too small", func(b *kmsg.RecordBatch) { b.LastOffsetDelta = 0 }},
		{"negative last offset delta", func(b *kmsg.RecordBatch) { b.LastOffsetDelta = -1 }},
		{"count too large", func(b *kmsg.RecordBatch) { b.NumRecords = 3 }},
		{"count and delta too large", func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta = 3, 2 }},
		{"count and delta too small", func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta = 1, 0 }},
		{"negative count", func(b *kmsg.RecordBatch) { b.NumRecords = -1 }},
		{"huge count", func(b *kmsg.RecordBatch) { b.NumRecords, b.LastOffsetDelta = 1<<31-1, 1<<31-2 }},
		{"control batch", func(b *kmsg.RecordBatch) { b.Attributes = attrControl }},
		{"transactional control batch", func(b *kmsg.RecordBatch) { b.Attributes = attrControl | attrTransactional }},
		{"transactional without producer", func(b *kmsg.RecordBatch) { b.Attributes = attrTransactional }},
		{"log append time", func(b *kmsg.RecordBatch) { b.Attributes = attrLogAppendTime }},
		{"codec 5", func(b *kmsg.RecordBatch) { b.Attributes = 5 }},
		{"codec 7", func(b *kmsg.RecordBatch) { b.Attributes = 7 }},
		{"gzip that is none", func(b *kmsg.RecordBatch) { b.Attributes = 1 }},
		{"snappy that is none", func(b *kmsg.RecordBatch) { b.Attributes = 2 }},
		{"lz4 that is none", func(b *kmsg.RecordBatch) { b.Attributes = 3 }},
		{"zstd that is none", func(b *kmsg.RecordBatch) { b.Attributes = 4 }},
		{"delete horizon", func(b *kmsg.RecordBatch) { b.Attributes = 1 << 6 }},
		{"unknown attribute", func(b *kmsg.RecordBatch) { b.Attributes = 1 << 9 }},
		{"sequence without producer", func(b *kmsg.RecordBatch) { b.FirstSequence = 0 }},
		{"epoch without producer", func(b *kmsg.RecordBatch) { b.ProducerEpoch = 0 }},
		{"producer without epoch", func(b *kmsg.RecordBatch) { b.ProducerID, b.FirstSequence = 900001, 0 }},
		{"producer without sequence", func(b *kmsg.RecordBatch) { b.ProducerID, b.ProducerEpoch = 900002, 0 }},
		{"producer -2", func(b *kmsg.RecordBatch) { b.ProducerID, b.ProducerEpoch, b.FirstSequence = -2, 0, 0 }},
		{"wrong max timestamp", func(b *kmsg.RecordBatch) { b.MaxTimestamp = batchTime + 5 }},
		{"max timestamp before the first", func(b *kmsg.RecordBatch) { b.MaxTimestamp = batchTime - 5 }},
	} {
		b := newBatch("one", "two")
		c.change(b)
		s.attempt(c.what, topic, encode(b))
	}
}

func produceSeveral(s *session) {
	topic := s.topic("t", 1)
	one, two := encode(newBatch("one")), encode(newBatch("two"))
	s.attempt("two batches", topic, append(bytes.Clone(one), two...))
	s.attempt("a batch and a half", topic, append(bytes.Clone(one), two[:20]...))
	bad := bytes.Clone(two)
	bad[posCRC] ^= 1
	s.attempt("the second is bad", topic, append(bytes.Clone(one), bad...))
}

func produceTimestamps(s *session) {
	topic := s.topic("t", 1)
	strict := s.topic("strict", 1, "message.timestamp.after.max.ms", "1000", "message.timestamp.before.max.ms", "1000")
	now := time.Now().UnixMilli()
	for _, c := range []struct {
		what string
		at   int64
	}{
		{"now", now},
		{"two hours ahead", now + 7200_000},
		{"minute ahead", now + 60_000},
		{"minute behind", now - 60_000},
		{"long ago", 1},
		{"zero", 0},
		{"none", -1},
		{"before none", -2},
		{"far ahead", 1 << 60},
	} {
		for _, to := range []string{topic, strict} {
			b := newBatch("v")
			b.FirstTimestamp, b.MaxTimestamp = c.at, c.at
			s.attempt(c.what+" to "+strings.TrimPrefix(to, s.name("")), to, encode(b))
		}
	}
	b := newBatch()
	b.Records, b.NumRecords, b.LastOffsetDelta = append(record(0, 0, nil, nil), record(1, -5, nil, nil)...), 2, 1
	s.attempt("descending times", topic, encode(b))
	s.ends(topic, 0)
	s.ends(strict, 0)
}

func produceLogAppendTime(s *session) {
	topic := s.topic("t", 1, "message.timestamp.type", "LogAppendTime")
	s.attempt("sound", topic, encode(newBatch("v")))
	b := newBatch("v")
	b.Attributes = attrLogAppendTime
	s.attempt("with the bit", topic, encode(b))
	b = newBatch("v")
	b.FirstTimestamp, b.MaxTimestamp = 1<<60, 1<<60
	s.attempt("far ahead", topic, encode(b))
	id, epoch := s.producerID()
	for range 2 {
		s.attempt("by a producer, again", topic, encode(producerBatch(id, epoch, 0, "v")))
	}
	s.send(fetch(12, topic, 0, 0))
}

func produceSizes(s *session) {
	topic := s.topic("t", 1, "max.message.bytes", "200")
	for _, n := range []int{1, 100, 120, 130, 131, 132, 133, 134, 140, 200, 10000} {
		b := newBatch(strings.Repeat("x", n))
		s.attempt(fmt.Sprintf("%d bytes", len(encode(b))), topic, encode(b))
	}
	zero := s.topic("zero", 1, "max.message.bytes", "0")
	s.attempt("to a topic for none", zero, encode(newBatch("v")))
	s.ends(topic, 0)
}

func produceCompacted(s *session) {
	for _, policy := range []string{"compact", "compact,delete"} {
		topic := s.topic(strings.ReplaceAll(policy, ",", "-"), 1, "cleanup.policy", policy)
		s.attempt("with key", topic, encode(newBatch("v")))
		b := newBatch()
		b.Records = append(record(0, 0, []byte("k"), nil), record(1, 0, nil, []byte("v"))...)
		b.Records = append(b.Records, record(2, 0, nil, nil)...)
		b.NumRecords, b.LastOffsetDelta = 3, 2
		s.attempt("two without key", topic, encode(b))
		s.send(produceAt(7, -1, topic, 0, encode(b)))
		b = newBatch()
		b.Records, b.NumRecords, b.LastOffsetDelta = record(0, 0, []byte{}, nil), 1, 0
		s.attempt("empty key", topic, encode(b))
		s.ends(topic, 0)
	}
}

func produceUnknown(s *session) {
	topic := s.topic("t", 2)
	v := encode(newBatch("v"))
	for _, version := range []int16{3, 9, 12} {
		s.send(produceAt(version, -1, s.name("unknown"), 0, v))
		for _, partition := range []int32{2, -1, 1<<31 - 1} {
			s.send(produceAt(version, -1, topic, partition, v))
		}
		for _, bad := range []string{"", "bad name", "..", strings.Repeat("x", 250)} {
			s.send(produceAt(version, -1, bad, 0, v))
		}
	}
	req := produceAt(13, -1, "", 0, v)
	s.send(req) // the zero id
	req = produceAt(13, -1, "", 0, v)
	req.Topics[0].TopicID = [16]byte{1, 2, 3}
	s.send(req)
	req = produceAt(13, -1, "", 5, v)
	req.Topics[0].TopicID = s.topicID(topic)
	s.send(req)
	empty := kmsg.NewPtrProduceRequest()
	empty.Version, empty.Acks = produceVersion, -1
	s.send(empty)
}

func produceCodecs(s *session) {
	topic := s.topic("t", 1)
	compressed := newBatch("v")
	compressed.Attributes, compressed.Records = 4, zstdOf(compressed.Records)
	for _, version := range []int16{3, 6, 7, 9} {
		s.send(produceAt(version, -1, topic, 0, encode(compressed)))
	}
	gzipped := newBatch("v", "w")
	gzipped.Attributes, gzipped.Records = 1, gzipOf(gzipped.Records)
	s.attempt("gzip", topic, encode(gzipped))
	gzipped.NumRecords, gzipped.LastOffsetDelta = 3, 2
	s.attempt("gzip, count too large", topic, encode(gzipped))
	gzipped.NumRecords, gzipped.LastOffsetDelta, gzipped.Records = 2, 1, gzipped.Records[:len(gzipped.Records)-9]
	s.attempt("gzip, cut off", topic, encode(gzipped))
	for _, version := range []int16{9, 10, 12} {
		s.send(fetch(version, topic, 0, 0))
	}
	for i, codec := range []string{"gzip", "zstd", "uncompressed", "producer"} {
		to := s.topic("to-"+codec, 1, "compression.type", codec)
		s.attempt("plain to "+codec, to, encode(newBatch("v", strings.Repeat("w", i))))
	}
}

func produceSeveralPartitions(s *session) {
	topic := s.topic("t", 3)
	req := produce(topic, 0, encode(newBatch("v")))
	bad := encode(newBatch("v"))
	bad[posCRC] ^= 1
	for i, records := range [][]byte{bad, encode(newBatch("v", "w")), encode(newBatch("v"))} {
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = int32(i+1), records
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
	}
	req.Topics = append(req.Topics, produceTopic(s.name("unknown"), 0, encode(newBatch("v"))))
	s.send(req)
	twice := produce(topic, 0, encode(newBatch("first")))
	twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, produceTopic(topic, 0, encode(newBatch("second"))).Partitions...)
	s.send(twice)
	s.ends(topic, 0)
}

func produceInternal(s *session) {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKey = "g"
	s.await("the topic of the offsets", func() bool { return do[*kmsg.FindCoordinatorResponse](s.quiet(), req).ErrorCode == 0 })
	for _, version := range []int16{3, 12} {
		s.send(produceAt(version, -1, "__consumer_offsets", 0, encode(newBatch("v"))))
	}
}

func produceMinInsync(s *session) {
	topic := s.topic("t", 1, "min.insync.replicas", "2")
	for _, acks := range []int16{1, -1} {
		s.send(produceAt(produceVersion, acks, topic, 0, encode(newBatch("v"))))
	}
	s.ends(topic, 0)
}
