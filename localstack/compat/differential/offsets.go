package differential

import (
	"math"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var offsetScenarios = []scenario{
	{"versions", offsetsVersions},
	{"special times", offsetsSpecial},
	{"times", offsetsTimes},
	{"leader epochs", offsetsEpochs},
	{"unknown", offsetsUnknown},
	{"after delete", offsetsAfterDelete},
	{"for leader epoch", offsetsForLeaderEpoch},
	{"delete records", offsetsDeleteRecords},
}

func deleteRecords(version int16, topic string, partition int32, offset int64) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Version, req.TimeoutMillis = version, 10000
	t := kmsg.NewDeleteRecordsRequestTopic()
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	t.Topic, p.Partition, p.Offset = topic, partition, offset
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// timed fills a partition with records of the times given.
func (s *session) timed(topic string, times ...int64) {
	keep := incremental(onTopic, topic, setting{"retention.ms", 0, ptr("-1")}) // both look half a minute after their start
	must(s, keep, func(r *kmsg.IncrementalAlterConfigsResponse) int16 { return r.Resources[0].ErrorCode })
	for _, at := range times {
		b := newBatch("v")
		b.FirstTimestamp, b.MaxTimestamp = at, at
		s.fill(topic, 0, b)
	}
}

func offsetsVersions(s *session) {
	topic := s.topic("t", 1)
	s.timed(topic, 100, 300, 200)
	for version := int16(0); version <= 11; version++ {
		for _, at := range []int64{-1, -2, 150} {
			s.send(listOffsets(version, 0, topic, 0, at, -1))
		}
	}
}

func offsetsSpecial(s *session) {
	topic, empty := s.topic("t", 1), s.topic("empty", 1)
	s.timed(topic, 100, 300, 300, 200)
	for _, name := range []string{topic, empty} {
		for _, version := range []int16{5, 7, 8, 9, 10, 11} {
			for at := int64(-1); at >= -7; at-- {
				for _, isolation := range []int8{0, 1} {
					s.send(listOffsets(version, isolation, name, 0, at, -1))
				}
			}
		}
	}
}

func offsetsTimes(s *session) {
	topic := s.topic("t", 1)
	s.timed(topic, 100, 300, 200, 400)
	b := newBatch()
	for i, at := range []int64{0, 50, 20} {
		b.Records = append(b.Records, record(int32(i), at, nil, nil)...)
	}
	b.NumRecords, b.LastOffsetDelta, b.FirstTimestamp, b.MaxTimestamp = 3, 2, 500, 550
	s.fill(topic, 0, b)
	for _, at := range []int64{0, 1, 100, 101, 200, 201, 300, 301, 400, 401, 500, 501, 521, 550, 551, math.MaxInt64, math.MinInt64} {
		s.send(listOffsets(7, 0, topic, 0, at, -1))
	}
}

func offsetsEpochs(s *session) {
	topic := s.topic("t", 1)
	s.timed(topic, 100)
	for _, epoch := range []int32{-1, 0, 1, 9, -3} {
		for _, at := range []int64{-1, -2, 50} {
			s.send(listOffsets(7, 0, topic, 0, at, epoch))
		}
	}
}

func offsetsUnknown(s *session) {
	topic := s.topic("t", 1)
	for _, version := range []int16{1, 5, 7} {
		s.send(listOffsets(version, 0, s.name("unknown"), 0, -1, -1))
		s.send(listOffsets(version, 0, topic, 3, -1, -1))
		s.send(listOffsets(version, 0, topic, -1, -1, -1))
		s.send(listOffsets(version, 0, "", 0, -1, -1))
		s.send(listOffsets(version, 5, topic, 0, -1, -1))
	}
	for _, replica := range []int32{-2, -3, 1, 5} {
		req := listOffsets(7, 0, topic, 0, -1, -1)
		req.ReplicaID = replica
		s.send(req)
	}
	req := listOffsets(7, 0, topic, 0, -1, -1)
	req.Topics[0].Partitions = append(req.Topics[0].Partitions, req.Topics[0].Partitions[0])
	s.send(req)
	empty := listOffsets(7, 0, topic, 0, -1, -1)
	empty.Topics = nil
	s.send(empty)
}

func offsetsAfterDelete(s *session) {
	topic := s.topic("t", 1)
	s.timed(topic, 100, 200, 300)
	s.send(deleteRecords(2, topic, 0, 2))
	for _, at := range []int64{-1, -2, -3, -4, -5, 100, 250, 301} {
		s.send(listOffsets(9, 0, topic, 0, at, -1))
	}
	s.send(deleteRecords(2, topic, 0, 3))
	for _, at := range []int64{-1, -2, -3, -4, 100} {
		s.send(listOffsets(9, 0, topic, 0, at, -1))
	}
}

func offsetsForLeaderEpoch(s *session) {
	topic := s.topic("t", 1)
	empty := s.topic("empty", 1)
	s.timed(topic, 100, 200)
	ask := func(version int16, topic string, partition, current, epoch int32) {
		req := kmsg.NewPtrOffsetForLeaderEpochRequest()
		req.Version, req.ReplicaID = version, -1
		t := kmsg.NewOffsetForLeaderEpochRequestTopic()
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		t.Topic, p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = topic, partition, current, epoch
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
		s.send(req)
	}
	for version := int16(0); version <= 4; version++ {
		ask(version, topic, 0, -1, 0)
	}
	for _, name := range []string{topic, empty} {
		for _, epoch := range []int32{-1, -2, 0, 1, 2, math.MaxInt32} {
			ask(4, name, 0, -1, epoch)
		}
	}
	for _, current := range []int32{0, 1, -2, math.MaxInt32} {
		ask(4, topic, 0, current, 0)
	}
	ask(4, topic, 4, -1, 0)
	ask(4, topic, -1, -1, 0)
	ask(4, s.name("unknown"), 0, -1, 0)
}

func offsetsDeleteRecords(s *session) {
	topic := s.topic("t", 1)
	compacted := s.topic("compacted", 1, "cleanup.policy", "compact")
	both := s.topic("both", 1, "cleanup.policy", "compact,delete")
	for _, name := range []string{topic, compacted, both} {
		s.fill(name, 0, newBatch("a", "b", "c", "d"))
		s.send(deleteRecords(2, name, 0, 1))
	}
	for _, offset := range []int64{0, 1, 2, -1, -2, 5, math.MaxInt64, 3, -1} {
		s.send(deleteRecords(2, topic, 0, offset))
	}
	for version := int16(0); version <= 2; version++ {
		s.send(deleteRecords(version, topic, 0, 4))
	}
	s.send(deleteRecords(2, topic, 7, 0))
	s.send(deleteRecords(2, topic, -1, 0))
	s.send(deleteRecords(2, s.name("unknown"), 0, 0))
	s.send(deleteRecords(2, "__consumer_offsets", 0, 0))
	twice := deleteRecords(2, topic, 0, 4)
	twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, twice.Topics[0].Partitions[0])
	s.send(twice)
	s.ends(topic, 0)
	s.fill(topic, 0, newBatch("e"))
	s.send(fetch(12, topic, 0, 4))
}
