package differential

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func txnIsolation(s *session) {
	topic := s.topic("t", 1)
	t, u := s.transactional("t"), s.transactional("u")
	s.fill(topic, 0, newBatch("plain"))
	s.send(t.add(3, topic, 0))
	s.send(u.add(3, topic, 0))
	s.send(t.produce(11, topic, 0, 0, "t"))
	s.send(u.produce(11, topic, 0, 0, "u"))
	s.fill(topic, 0, newBatch("plain"))
	look := func() {
		for _, level := range []int8{0, 1} {
			for _, offset := range []int64{0, 1, 2, 3} {
				req := fetch(12, topic, 0, offset)
				req.IsolationLevel = level
				s.send(req)
			}
			s.send(listOffsets(7, level, topic, 0, -1, -1))
			s.send(listOffsets(7, level, topic, 0, batchTime, -1))
			s.send(listOffsets(7, level, topic, 0, -3, -1))
		}
	}
	look()
	u.ended(4, false)
	look()
	t.ended(4, true)
	look()
	s.send(deleteRecords(2, topic, 0, 3))
	look()
}

func txnDescribe(s *session) {
	topic := s.topic("t", 2)
	t := s.transactional("t")
	look := func() {
		req := kmsg.NewPtrDescribeTransactionsRequest()
		req.TransactionalIDs = []string{t.name, s.name("unknown"), ""}
		s.send(req)
	}
	look()
	s.send(t.add(3, topic, 0, 1))
	look()
	t.ended(4, true)
	look()
	s.send(t.produce(12, topic, 0, 0, "v"))
	look()
	t.ended(5, false)
	look()
	s.send(kmsg.NewPtrDescribeTransactionsRequest())
}

func txnList(s *session) {
	topic := s.topic("t", 1)
	t, u := s.transactional("t"), s.transactional("u")
	s.send(t.add(3, topic, 0))
	list := func(what string, change func(*kmsg.ListTransactionsRequest)) {
		for version := int16(0); version <= 2; version++ {
			req := kmsg.NewPtrListTransactionsRequest()
			req.Version, req.DurationFilterMillis = version, -1
			change(req)
			resp := do[*kmsg.ListTransactionsResponse](s.quiet(), req)
			var own []kmsg.ListTransactionsResponseTransactionState
			for _, state := range resp.TransactionStates {
				if strings.HasPrefix(state.TransactionalID, s.prefix) {
					own = append(own, state)
				}
			}
			resp.TransactionStates = own
			s.answered(fmt.Sprintf("list %s v%d", what, version), resp, nil)
		}
	}
	list("all", func(*kmsg.ListTransactionsRequest) {})
	for _, state := range []string{"Ongoing", "Empty", "ongoing", "CompleteCommit", "nonsense"} {
		list(state, func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{state} })
	}
	list("by producer", func(r *kmsg.ListTransactionsRequest) { r.ProducerIDFilters = []int64{u.id} })
	list("by unknown producer", func(r *kmsg.ListTransactionsRequest) { r.ProducerIDFilters = []int64{-5} })
	list("long ones", func(r *kmsg.ListTransactionsRequest) { r.DurationFilterMillis = 3600_000 })
	list("any duration", func(r *kmsg.ListTransactionsRequest) { r.DurationFilterMillis = 0 })
	list("by pattern", func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = ptr(".*-t") })
	list("by part of a name", func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = ptr("-t") })
	list("by a bad pattern", func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = ptr("(") })
}

func txnProducers(s *session) {
	topic := s.topic("t", 2)
	t := s.transactional("t")
	look := func(name string, partitions ...int32) {
		req := kmsg.NewPtrDescribeProducersRequest()
		rt := kmsg.NewDescribeProducersRequestTopic()
		rt.Topic, rt.Partitions = name, partitions
		req.Topics = append(req.Topics, rt)
		s.send(req)
	}
	look(topic, 0, 1, 9)
	look(s.name("unknown"), 0)
	s.send(t.add(3, topic, 0))
	s.send(t.produce(11, topic, 0, 0, "a", "b"))
	look(topic, 0)
	t.ended(4, true)
	look(topic, 0)
	id, epoch := s.producerID()
	s.fill(topic, 1, newBatch("begun")) // see idempotenceEmpty
	s.fill(topic, 1, producerBatch(id, epoch, 5, "v"))
	look(topic, 1)
}

func txnMarkers(s *session) {
	topic := s.topic("t", 1)
	t := s.transactional("t")
	s.send(t.add(3, topic, 0))
	s.send(t.produce(11, topic, 0, 0, "a"))
	mark := func(epoch int16, coordinator int32, name string, partitions ...int32) {
		req := kmsg.NewPtrWriteTxnMarkersRequest()
		req.Version = 1
		m := kmsg.NewWriteTxnMarkersRequestMarker()
		m.ProducerID, m.ProducerEpoch, m.Committed, m.CoordinatorEpoch = t.id, epoch, false, coordinator
		mt := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
		mt.Topic, mt.Partitions = name, partitions
		m.Topics = append(m.Topics, mt)
		req.Markers = append(req.Markers, m)
		s.send(req)
	}
	mark(t.epoch, 5, s.name("unknown"), 0)
	mark(t.epoch, 5, topic, 9)
	mark(t.epoch-1, 5, topic, 0)
	mark(t.epoch, 5, topic, 0)
	s.send(t.produce(11, topic, 0, 1, "after"))
	mark(t.epoch, 4, topic, 0)
	mark(t.epoch, 5, topic, 0)
	s.ends(topic, 0)
	none := kmsg.NewPtrWriteTxnMarkersRequest()
	none.Version = 1
	s.send(none)
}
