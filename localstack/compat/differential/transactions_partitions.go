package differential

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func txnFirst(s *session) {
	topic := s.topic("t", 2)
	t := s.transactional("t")
	s.send(t.produce(11, topic, 0, 0, "too early"))
	s.send(t.add(3, topic, 0))
	s.send(t.add(3, topic, 0))
	s.send(t.produce(11, topic, 0, 0, "a", "b"))
	s.send(t.produce(11, topic, 1, 0, "not added"))
	s.send(fetch(12, topic, 0, 0))
	t.ended(4, true)
	s.send(t.produce(11, topic, 0, 2, "not added again"))
	s.send(t.add(3, topic, 0, 1))
	s.send(t.produce(11, topic, 0, 2, "c"))
	s.send(t.produce(11, topic, 1, 0, "d"))
	t.ended(4, false)
	s.ends(topic, 0)
	s.ends(topic, 1)
	for _, level := range []int8{0, 1} {
		req := fetch(12, topic, 0, 0)
		req.IsolationLevel = level
		s.send(req)
	}
}

func txnSecond(s *session) {
	topic := s.topic("t", 2)
	t := s.transactional("t")
	s.send(t.produce(12, topic, 0, 0, "a", "b"))
	s.send(t.produce(12, topic, 0, 2, "c"))
	s.send(t.produce(12, topic, 1, 0, "d"))
	t.ended(5, true)
	s.send(t.produce(12, topic, 0, 3, "old sequence"))
	s.send(t.produce(12, topic, 0, 0, "e"))
	t.ended(5, false)
	s.send(t.produce(12, topic, 0, 0, "f"))
	t.epoch--
	s.send(t.produce(12, topic, 0, 1, "old epoch"))
	t.epoch++
	t.ended(5, true)
	s.ends(topic, 0)
	for _, level := range []int8{0, 1} {
		req := fetch(12, topic, 0, 0)
		req.IsolationLevel = level
		s.send(req)
	}
}

func txnRepeated(s *session) {
	topic := s.topic("t", 1)
	for _, commit := range []bool{true, false} {
		t := s.transactional(fmt.Sprintf("first-%t", commit))
		s.send(t.add(3, topic, 0))
		s.send(t.produce(11, topic, 0, 0, "a"))
		t.ended(3, commit)
		s.send(t.end(3, commit))
		s.send(t.end(3, !commit))
		s.send(t.end(4, commit))
		t = s.transactional(fmt.Sprintf("second-%t", commit))
		s.send(t.produce(12, topic, 0, 0, "a"))
		old := *t
		t.ended(5, commit)
		s.send(old.end(5, commit))
		s.send(old.end(5, !commit))
		s.send(t.produce(12, topic, 0, 0, "b"))
		s.send(old.end(5, commit))
		t.ended(5, commit)
		s.send(old.end(5, commit))
	}
}

func txnEmptyEnds(s *session) {
	t := s.transactional("t")
	for version := int16(0); version <= 5; version++ {
		for _, commit := range []bool{true, false} {
			resp := do[*kmsg.EndTxnResponse](s, t.end(version, commit))
			if version == 5 && resp.ErrorCode == 0 {
				t.id, t.epoch = resp.ProducerID, resp.ProducerEpoch
			}
		}
	}
	t.settled()
	s.note("state", t.state())
	unknown := *t
	unknown.name = s.name("unknown")
	s.send(unknown.end(4, true))
	unknown.name = ""
	s.send(unknown.end(4, true))
}

func txnAddPartitions(s *session) {
	topic := s.topic("t", 2)
	t := s.transactional("t")
	for version := int16(0); version <= 3; version++ {
		s.send(t.add(version, topic, 0))
	}
	s.send(t.add(3, topic, 1, 7))
	s.send(t.add(3, s.name("unknown"), 0))
	mixed := t.add(3, topic, 0, 1)
	mixed.Topics = append(mixed.Topics, t.add(3, s.name("unknown"), 0).Topics...)
	s.send(mixed)
	s.send(t.add(3, "__consumer_offsets", 0))
	none := t.add(3, topic, 0)
	none.Topics = nil
	s.send(none)
	unknown := *t
	unknown.name = s.name("unknown")
	s.send(unknown.add(3, topic, 0))
	unknown.name = ""
	s.send(unknown.add(3, topic, 0))
	t.ended(4, false)
}

func txnBatched(s *session) {
	topic := s.topic("t", 2)
	t, u := s.transactional("t"), s.transactional("u")
	for version := int16(4); version <= 5; version++ {
		s.send(t.add(version, topic, 0))
		both := t.add(version, topic, 1)
		both.Transactions = append(both.Transactions, u.add(version, topic, 0).Transactions...)
		s.send(both)
	}
	none := t.add(4, topic, 0)
	none.Transactions = nil
	s.send(none)
}

func txnVerification(s *session) {
	topic := s.topic("t", 2)
	t := s.transactional("t")
	verify := func(version int16, partitions ...int32) {
		req := t.add(version, topic, partitions...)
		req.Transactions[0].VerifyOnly = true
		s.send(req)
	}
	verify(4, 0)
	s.send(t.add(3, topic, 0))
	verify(4, 0, 1)
	verify(5, 0, 1)
	t.ended(4, true)
	verify(4, 0)
}

func txnPlain(s *session) {
	topic := s.topic("t", 1)
	t := s.transactional("t")
	s.send(produce(topic, 0, encode(producerBatch(t.id, t.epoch, 0, "plain"))))
	s.send(t.add(3, topic, 0))
	s.send(t.produce(11, topic, 0, 1, "in it"))
	s.send(produce(topic, 0, encode(producerBatch(t.id, t.epoch, 2, "plain"))))
	t.ended(4, true)
	s.send(produce(topic, 0, encode(producerBatch(t.id, t.epoch, 2, "plain"))))
}
