package differential

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (t *txn) addOffsets(version int16, group string) *kmsg.AddOffsetsToTxnRequest {
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = version, t.name, t.id, t.epoch, group
	return req
}

func (t *txn) commitOffset(version int16, group, topic string, partition int32, offset int64) *kmsg.TxnOffsetCommitRequest {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = version, t.name, t.id, t.epoch, group
	req.Generation = -1
	rt := kmsg.NewTxnOffsetCommitRequestTopic()
	rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	rt.Topic, rp.Partition, rp.Offset, rp.Metadata = topic, partition, offset, ptr("m")
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

// stableOffsets asks for offsets that no transaction may change.
func stableOffsets(group, topic string) *kmsg.OffsetFetchRequest {
	req := fetchOffsets(8, group, topic, 0)
	req.RequireStable = true
	return req
}

func txnOffsets(s *session) {
	topic, group := s.topic("t", 1), s.group("g")
	t := s.transactional("t")
	s.send(commit(8, group, "", -1, topic, 0, 1))
	s.send(t.addOffsets(3, group))
	s.send(t.commitOffset(3, group, topic, 0, 5))
	s.send(fetchOffsets(8, group, topic, 0))
	s.send(stableOffsets(group, topic))
	t.ended(4, true)
	s.await("the offsets", func() bool {
		return do[*kmsg.OffsetFetchResponse](s.quiet(), stableOffsets(group, topic)).Groups[0].Topics[0].Partitions[0].ErrorCode == 0
	})
	s.send(stableOffsets(group, topic))
	s.send(t.addOffsets(4, group))
	s.send(t.commitOffset(4, group, topic, 0, 9))
	s.send(commit(8, group, "", -1, topic, 0, 6))
	s.send(offsetDelete(group, topic, 0))
	s.send(deleteGroups(2, group))
	t.ended(4, false)
	s.await("the offsets", func() bool {
		return do[*kmsg.OffsetFetchResponse](s.quiet(), stableOffsets(group, topic)).Groups[0].Topics[0].Partitions[0].ErrorCode == 0
	})
	s.send(stableOffsets(group, topic))
	u := s.transactional("second")
	s.send(u.commitOffset(5, group, topic, 0, 20)) // adds itself
	s.send(stableOffsets(group, topic))
	u.ended(5, true)
	s.await("the offsets", func() bool {
		return do[*kmsg.OffsetFetchResponse](s.quiet(), stableOffsets(group, topic)).Groups[0].Topics[0].Partitions[0].ErrorCode == 0
	})
	s.send(stableOffsets(group, topic))
}

func txnOffsetsErrors(s *session) {
	topic, group := s.topic("t", 1), s.group("g")
	t := s.transactional("t")
	s.send(t.commitOffset(3, group, topic, 0, 5)) // not added
	for version := int16(0); version <= 4; version++ {
		s.send(t.addOffsets(version, group))
	}
	s.send(t.addOffsets(3, ""))
	s.send(t.commitOffset(3, "", topic, 0, 5))
	s.send(t.commitOffset(3, group, topic, 7, 5))
	s.send(t.commitOffset(3, group, s.name("unknown"), 0, 5))
	long := t.commitOffset(3, group, topic, 0, 5)
	long.Topics[0].Partitions[0].Metadata = ptr(strings.Repeat("m", 65))
	s.send(long)
	member := t.commitOffset(3, group, topic, 0, 5)
	member.MemberID, member.Generation = "nobody", 3
	s.send(member)
	generation := t.commitOffset(3, group, topic, 0, 5)
	generation.Generation = 3
	s.send(generation)
	static := t.commitOffset(3, group, topic, 0, 5)
	static.InstanceID = ptr("nobody")
	s.send(static)
	live := s.group("live")
	id, now := s.stable(live)
	s.send(t.addOffsets(3, live))
	for _, c := range []struct {
		member     string
		generation int32
	}{{id, now}, {id, now + 1}, {id, now - 1}, {"nobody", now}, {"", -1}, {"", now}, {id, -1}} {
		req := t.commitOffset(3, live, topic, 0, 7)
		req.MemberID, req.Generation = c.member, c.generation
		s.send(req)
	}
	wrong := *t
	wrong.id += 1000
	s.send(wrong.addOffsets(3, group))
	s.send(wrong.commitOffset(3, group, topic, 0, 5))
	wrong.id, wrong.epoch = t.id, t.epoch+3
	s.send(wrong.addOffsets(3, group))
	s.send(wrong.commitOffset(3, group, topic, 0, 5))
	t.ended(4, false)
}
