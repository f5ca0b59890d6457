package differential

import (
	"fmt"
	"math"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func txnInit(s *session) {
	t := s.transactional("t")
	for _, timeout := range []int32{60000, 1, 0, -1, 900000, 900001, math.MaxInt32} {
		s.answered(fmt.Sprintf("init with time-out %d", timeout), do[*kmsg.InitProducerIDResponse](s.quiet(), initProducer(4, &t.name, timeout)), nil)
	}
	s.send(initProducer(4, ptr(""), 60000))
	s.send(initProducer(4, nil, 60000))
	s.send(initProducer(4, nil, -1))
	with := initProducer(4, nil, 60000)
	with.ProducerID, with.ProducerEpoch = 5, 1
	s.send(with)
}

func txnInitVersions(s *session) {
	s.transactional("first")
	for version := int16(0); version <= 5; version++ {
		name := s.name(fmt.Sprintf("v%d", version))
		for range 3 {
			s.send(initProducer(version, &name, 60000))
		}
		s.send(initProducer(version, nil, 60000))
	}
}

func txnInitProducer(s *session) {
	t := s.transactional("t")
	try := func(what string, id int64, epoch int16) {
		req := initProducer(4, &t.name, 60000)
		req.ProducerID, req.ProducerEpoch = id, epoch
		resp := do[*kmsg.InitProducerIDResponse](s.quiet(), req)
		s.answered(what, resp, nil)
		if resp.ErrorCode == 0 {
			t.id, t.epoch = resp.ProducerID, resp.ProducerEpoch
		}
	}
	try("own", t.id, t.epoch)
	try("own again", t.id, t.epoch-1)
	try("an older epoch", t.id, t.epoch-2)
	try("a newer epoch", t.id, t.epoch+1)
	try("another id", t.id+1000, t.epoch)
	try("no id but an epoch", -1, t.epoch)
	try("id without epoch", t.id, -1)
	try("own", t.id, t.epoch)
	fresh := initProducer(4, ptr(s.name("fresh")), 60000)
	fresh.ProducerID, fresh.ProducerEpoch = 12345, 3
	s.send(fresh)
}

func txnWrong(s *session) {
	topic := s.topic("t", 1)
	t := s.transactional("t")
	s.send(t.add(3, topic, 0))
	for _, c := range []struct{ id, epoch int }{{1000, 0}, {0, 1}, {0, -1}, {0, 100}} {
		w := *t
		w.id, w.epoch = t.id+int64(c.id), t.epoch+int16(c.epoch)
		s.send(w.add(3, topic, 0))
		s.send(w.add(4, topic, 0))
		s.send(w.produce(11, topic, 0, 0, "v"))
		s.send(w.end(4, true))
		s.send(w.end(5, true))
	}
	w := *t
	w.name = s.name("other")
	s.send(w.add(3, topic, 0))
	s.send(w.produce(11, topic, 0, 0, "v"))
	none := t.produce(11, topic, 0, 0, "v")
	none.TransactionID = nil
	s.send(none)
	empty := t.produce(11, topic, 0, 0, "v")
	empty.TransactionID = ptr("")
	s.send(empty)
}

func txnFencing(s *session) {
	topic := s.topic("t", 1)
	t := s.transactional("t")
	s.send(t.add(3, topic, 0))
	s.send(t.produce(11, topic, 0, 0, "a"))
	old := *t
	s.send(initProducer(4, &t.name, 60000)) // over an open transaction
	t.settled()
	t.init()
	s.send(old.produce(11, topic, 0, 1, "fenced"))
	s.send(old.add(3, topic, 0))
	s.send(old.add(1, topic, 0))
	s.send(old.end(4, true))
	s.send(old.end(1, true))
	again := initProducer(4, &t.name, 60000)
	again.ProducerID, again.ProducerEpoch = old.id, old.epoch
	s.send(again)
	s.send(t.add(3, topic, 0))
	s.send(t.produce(11, topic, 0, 0, "b"))
	t.ended(4, true)
	req := fetch(12, topic, 0, 0)
	req.IsolationLevel = 1
	s.send(req)
}

func txnTimeout(s *session) {
	topic := s.topic("t", 1)
	t := s.transactional("t")
	resp := do[*kmsg.InitProducerIDResponse](s, initProducer(4, &t.name, 1000))
	t.id, t.epoch = resp.ProducerID, resp.ProducerEpoch
	s.send(t.add(3, topic, 0))
	s.send(t.produce(11, topic, 0, 0, "a"))
	for range 3 { // Apache Kafka looks for them every 10 s
		if strings.HasPrefix(t.state(), "Complete") {
			break
		}
		_, _ = s.on("idle").start(slow(topic)).poll(answerLimit)
		s.on("idle").hangUp()
	}
	s.note("state", t.state())
	s.send(t.produce(11, topic, 0, 1, "late"))
	s.send(t.add(3, topic, 0))
	s.send(t.end(4, true))
	s.send(initProducer(4, &t.name, 1000))
}

// slow is a fetch that takes its time.
func slow(topic string) *kmsg.FetchRequest {
	req := fetch(12, topic, 0, 1<<20)
	req.Topics[0].Topic, req.MaxWaitMillis, req.MinBytes = topic, 5000, 1<<20
	req.Topics[0].Partitions[0].FetchOffset = 2
	return req
}
