package differential

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var transactionScenarios = []scenario{
	{"init", txnInit},
	{"init versions", txnInitVersions},
	{"init with a producer", txnInitProducer},
	{"first version", txnFirst},
	{"second version", txnSecond},
	{"repeated ends", txnRepeated},
	{"end without a transaction", txnEmptyEnds},
	{"wrong producers", txnWrong},
	{"add partitions", txnAddPartitions},
	{"batched add partitions", txnBatched},
	{"verification", txnVerification},
	{"plain batches", txnPlain},
	{"fencing", txnFencing},
	{"time-out", txnTimeout},
	{"offsets", txnOffsets},
	{"offsets errors", txnOffsetsErrors},
	{"isolation", txnIsolation},
	{"describe", txnDescribe},
	{"list", txnList},
	{"describe producers", txnProducers},
	{"markers", txnMarkers},
}

// txn is one transactional producer as a client keeps it.
type txn struct {
	s     *session
	name  string
	id    int64
	epoch int16
}

func initProducer(version int16, name *string, timeout int32) *kmsg.InitProducerIDRequest {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version, req.TransactionalID, req.TransactionTimeoutMillis = version, name, timeout
	req.ProducerID, req.ProducerEpoch = -1, -1
	return req
}

// transactional makes a producer whose coordinator serves.
func (s *session) transactional(suffix string) *txn {
	t := &txn{s: s, name: s.name(suffix)}
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.Version, find.CoordinatorKey, find.CoordinatorType = 3, t.name, 1
	s.await("a coordinator", func() bool { return do[*kmsg.FindCoordinatorResponse](s.quiet(), find).ErrorCode == 0 })
	t.init()
	s.canon.called("producer", strconv.FormatInt(t.id, 10))
	return t
}

// init takes an id or a new epoch, quietly.
func (t *txn) init() {
	t.s.await("a transactional producer", func() bool {
		resp := do[*kmsg.InitProducerIDResponse](t.s.quiet(), initProducer(4, &t.name, 60000))
		t.id, t.epoch = resp.ProducerID, resp.ProducerEpoch
		return resp.ErrorCode == 0
	})
}

func (t *txn) add(version int16, topic string, partitions ...int32) *kmsg.AddPartitionsToTxnRequest {
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch = version, t.name, t.id, t.epoch
	rt := kmsg.NewAddPartitionsToTxnRequestTopic()
	rt.Topic, rt.Partitions = topic, partitions
	req.Topics = append(req.Topics, rt)
	if version >= 4 {
		tx := kmsg.NewAddPartitionsToTxnRequestTransaction()
		tx.TransactionalID, tx.ProducerID, tx.ProducerEpoch = t.name, t.id, t.epoch
		tt := kmsg.NewAddPartitionsToTxnRequestTransactionTopic()
		tt.Topic, tt.Partitions = topic, partitions
		tx.Topics = append(tx.Topics, tt)
		req.Transactions = append(req.Transactions, tx)
	}
	return req
}

func (t *txn) end(version int16, commit bool) *kmsg.EndTxnRequest {
	req := kmsg.NewPtrEndTxnRequest()
	req.Version, req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = version, t.name, t.id, t.epoch, commit
	return req
}

// batch is a transactional batch.
func (t *txn) batch(sequence int32, values ...string) *kmsg.RecordBatch {
	b := producerBatch(t.id, t.epoch, sequence, values...)
	b.Attributes = attrTransactional
	return b
}

func (t *txn) produce(version int16, topic string, partition, sequence int32, values ...string) *kmsg.ProduceRequest {
	req := produceAt(version, -1, topic, partition, encode(t.batch(sequence, values...)))
	req.TransactionID = &t.name
	return req
}

// ended ends the transaction and waits until it is complete, so that what follows does not
// depend on how fast markers are written. From version 5 on the producer has its new epoch.
func (t *txn) ended(version int16, commit bool) {
	resp := do[*kmsg.EndTxnResponse](t.s, t.end(version, commit))
	if version >= 5 && resp.ErrorCode == 0 {
		t.id, t.epoch = resp.ProducerID, resp.ProducerEpoch
	}
	t.settled()
}

// state is the state of the transaction as its coordinator describes it.
func (t *txn) state() string {
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = []string{t.name}
	resp := do[*kmsg.DescribeTransactionsResponse](t.s.quiet(), req)
	if len(resp.TransactionStates) != 1 {
		return ""
	}
	return resp.TransactionStates[0].State
}

func (t *txn) settled() {
	t.s.await("the markers", func() bool { return !strings.HasPrefix(t.state(), "Prepare") })
}

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
