package broker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

// batchOfTxn is a batch of n records of a transaction.
func batchOfTxn(p id.Producer, epoch int16, sequence int32, n int) batch.View {
	b := batch.New(batch.None).Producer(p, epoch, sequence).Transactional()
	for i := range n {
		b.Add(batch.Record{Timestamp: time.Now().UnixMilli(), Key: []byte("key"), Value: fmt.Appendf(nil, "%d/%d", p, sequence+int32(i))})
	}
	return b.Build()
}

// verifier stands for the coordinators of transactions.
type verifier struct {
	mu    sync.Mutex
	asked []txnVerification
	// answer, if not nil, is what they say of a partition.
	answer func(id.Partition) error
}

func (n *node) verifier() *verifier {
	v := &verifier{}
	n.storage.verifyTxn = v.verify
	return v
}

func (v *verifier) verify(_ context.Context, ask txnVerification) map[id.Partition]error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = append(v.asked, ask)
	errs := map[id.Partition]error{}
	for _, p := range ask.Partitions {
		if v.answer != nil {
			errs[p] = v.answer(p)
		}
	}
	return errs
}

// answers sets what they say from now on.
func (v *verifier) answers(f func(id.Partition) error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.answer = f
}

// took returns what was asked since it was called last.
func (v *verifier) took() []txnVerification {
	v.mu.Lock()
	defer v.mu.Unlock()
	asked := v.asked
	v.asked = nil
	return asked
}

// produceTxn is produce in a transaction.
func (n *node) produceTxn(version int16, txn string, puts ...put) []kmsg.ProduceResponseTopicPartition {
	n.t.Helper()
	req := n.produceRequest(version, -1, puts...)
	req.TransactionID = &txn
	var all []kmsg.ProduceResponseTopicPartition
	for _, t := range ask(n, req, kmsg.NewPtrProduceResponse()).Topics {
		all = append(all, t.Partitions...)
	}
	return all
}

// mark ends a transaction on partitions of a topic and returns the error codes.
func (n *node) mark(topic string, m txnMarker, partitions ...int32) []int16 {
	n.t.Helper()
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	req.SetVersion(2)
	rm := kmsg.NewWriteTxnMarkersRequestMarker()
	rm.ProducerID, rm.ProducerEpoch, rm.Committed = int64(m.Producer), m.Epoch, m.Commit
	rm.CoordinatorEpoch, rm.TransactionVersion = m.CoordinatorEpoch, m.Version
	rt := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
	rt.Topic, rt.Partitions = topic, partitions
	rm.Topics = append(rm.Topics, rt)
	req.Markers = append(req.Markers, rm)
	resp := ask(n, req, kmsg.NewPtrWriteTxnMarkersResponse())
	require.Len(n.t, resp.Markers, 1)
	require.Equal(n.t, int64(m.Producer), resp.Markers[0].ProducerID)
	require.Equal(n.t, topic, resp.Markers[0].Topics[0].Topic)
	var codes []int16
	for i, p := range resp.Markers[0].Topics[0].Partitions {
		require.Equal(n.t, partitions[i], p.Partition)
		codes = append(codes, p.ErrorCode)
	}
	return codes
}

// mustMark is mark on one partition.
func (n *node) mustMark(topic string, index int32, m txnMarker) {
	n.t.Helper()
	require.Equal(n.t, []int16{0}, n.mark(topic, m, index))
}

// fetchCommitted fetches a partition with read_committed.
func (n *node) fetchCommitted(topic string, offset int64) kmsg.FetchResponseTopicPartition {
	n.t.Helper()
	req := n.fetchRequest(12, want{topic: topic, offset: offset})
	req.IsolationLevel = 1
	return n.fetch(req)[0]
}

func TestTransactionsAreVerified(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 3, 1))
	v := n.verifier()
	topic := n.topicID("t")
	got := n.produceTxn(11, "txn", put{"t", 0, batchOfTxn(7, 0, 0, 2)}, put{"t", 1, batchOfTxn(7, 0, 0, 2)})
	require.Zero(t, got[0].ErrorCode)
	require.Zero(t, got[1].ErrorCode)
	require.Equal(t, []txnVerification{{TransactionalID: "txn", Producer: 7, Partitions: []id.Partition{{Topic: topic}, {Topic: topic, Index: 1}}}}, v.took(), "all at once")

	require.Zero(t, n.produceTxn(11, "txn", put{"t", 0, batchOfTxn(7, 0, 2, 1)})[0].ErrorCode)
	got = n.produceTxn(11, "txn", put{"t", 0, batchOfTxn(7, 0, 0, 2)})
	require.Equal(t, [2]int64{0, 0}, [2]int64{int64(got[0].ErrorCode), got[0].BaseOffset}, "a duplicate")
	require.Empty(t, v.took(), "the transaction is open")

	n.mustMark("t", 0, txnMarker{Producer: 7, Epoch: 0, Commit: true})
	got = n.produceTxn(11, "txn", put{"t", 0, batchOfTxn(7, 0, 2, 1)})
	require.Equal(t, [2]int64{0, 2}, [2]int64{int64(got[0].ErrorCode), got[0].BaseOffset}, "a duplicate of a transaction that has ended")
	require.Empty(t, v.took())
	require.Zero(t, n.produceTxn(12, "txn", put{"t", 0, batchOfTxn(7, 0, 3, 1)})[0].ErrorCode)
	require.Equal(t, []txnVerification{{TransactionalID: "txn", Producer: 7, Add: true, Partitions: []id.Partition{{Topic: topic}}}}, v.took())

	require.Equal(t, kerr.InvalidTxnState, errorOf(n.produce(9, -1, put{"t", 0, batchOfProducer(7, 0, 4, 1)})[0].ErrorCode), "not transactional, with a transaction open")
	require.Equal(t, kerr.TransactionalIDAuthorizationFailed, errorOf(n.produce(9, -1, put{"t", 0, batchOfTxn(7, 0, 4, 1)})[0].ErrorCode), "of no transactional id")
	for _, p := range n.produceTxn(11, "txn", put{"t", 0, batchOfTxn(7, 0, 4, 1)}, put{"t", 1, batchOfTxn(8, 0, 0, 1)}, put{"t", 2, batchOfNow(batch.None, 1)}) {
		require.Equal(t, kerr.InvalidProducerIDMapping, errorOf(p.ErrorCode))
	}
	require.Empty(t, v.took())
}

func TestCoordinatorErrors(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 2, 1))
	v := n.verifier()
	for _, tc := range []struct {
		version    int16
		says, want *kerr.Error
	}{
		{9, kerr.InvalidTxnState, kerr.InvalidTxnState},
		{9, kerr.TransactionAbortable, kerr.InvalidTxnState},
		{11, kerr.TransactionAbortable, kerr.TransactionAbortable},
		{11, kerr.ProducerFenced, kerr.InvalidProducerEpoch},
		{11, kerr.ConcurrentTransactions, kerr.NotEnoughReplicas},
		{12, kerr.ConcurrentTransactions, kerr.ConcurrentTransactions},
		{12, kerr.NotCoordinator, kerr.NotEnoughReplicas},
		{12, kerr.CoordinatorNotAvailable, kerr.NotEnoughReplicas},
		{12, kerr.CoordinatorLoadInProgress, kerr.NotEnoughReplicas},
		{12, kerr.NetworkException, kerr.NotEnoughReplicas},
		{12, kerr.InvalidProducerIDMapping, kerr.InvalidProducerIDMapping},
	} {
		v.answers(func(p id.Partition) error {
			if p.Index == 1 {
				return nil
			}
			return fmt.Errorf("the coordinator says: %w", tc.says)
		})
		p := id.Producer(100 + tc.says.Code)
		got := n.produceTxn(tc.version, "txn", put{"t", 0, batchOfTxn(p, 0, 0, 1)}, put{"t", 1, batchOfTxn(p, 0, 0, 1)})
		require.Equal(t, tc.want, errorOf(got[0].ErrorCode), "version %d, %s", tc.version, tc.says.Message)
	}
	require.Zero(t, n.logOf("t", 0).Watermarks().End)
}

// A log that comes while the coordinator is asked about others takes nothing that it was not asked about: the client tries again.
func TestTransactionBeginsOnALogThatComesMeanwhile(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	v := n.verifier()
	v.answers(func(id.Partition) error {
		if _, ok := n.meta.Image().Topic("late"); !ok {
			n.create(5, false, wantTopic("late", 1, 1))
		}
		return nil
	})
	answers := n.produceTxn(12, "txn", put{"t", 0, batchOfTxn(7, 0, 0, 1)}, put{"late", 0, batchOfTxn(7, 0, 0, 1)})
	require.Zero(t, answers[0].ErrorCode)
	require.Equal(t, kerr.UnknownTopicOrPartition.Code, answers[1].ErrorCode)
	require.Zero(t, n.produceTxn(12, "txn", put{"late", 0, batchOfTxn(7, 0, 0, 1)})[0].ErrorCode)
}

// A transaction whose predecessor still ends is begun a moment later.
func TestTransactionsBeginAMomentLater(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 2, 1))
	v := n.verifier()
	refusals := 0
	v.answers(func(p id.Partition) error {
		if refusals++; p.Index == 1 || refusals > 4 {
			return nil
		}
		return kerr.ConcurrentTransactions
	})
	for _, p := range n.produceTxn(12, "txn", put{"t", 0, batchOfTxn(7, 0, 0, 1)}, put{"t", 1, batchOfTxn(7, 0, 0, 1)}) {
		require.Zero(t, p.ErrorCode)
	}
	asked := v.took()
	require.Greater(t, len(asked), 2)
	require.Len(t, asked[0].Partitions, 2)
	require.Equal(t, []id.Partition{{Topic: n.topicID("t")}}, asked[1].Partitions)
}

func TestMarkers(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	n.verifier()
	end := func() id.Offset { return n.logOf("t", 0).Watermarks().End }
	send := func(epoch int16, sequence int32) *kerr.Error {
		return errorOf(n.produceTxn(12, "txn", put{"t", 0, batchOfTxn(7, epoch, sequence, 1)})[0].ErrorCode)
	}
	mark := func(m txnMarker) *kerr.Error {
		m.Producer = 7
		return errorOf(n.mark("t", m, 0)[0])
	}
	require.Nil(t, mark(txnMarker{Epoch: 2, CoordinatorEpoch: 4}), "of a producer that is not known")
	require.Equal(t, id.Offset(1), end(), "it is written nonetheless")
	require.Equal(t, kerr.TransactionCoordinatorFenced, mark(txnMarker{Epoch: 2, CoordinatorEpoch: 3}))
	require.Equal(t, kerr.InvalidProducerEpoch, mark(txnMarker{Epoch: 1, CoordinatorEpoch: 4}))
	require.Equal(t, kerr.InvalidProducerEpoch, send(1, 0), "the marker fences")
	require.Equal(t, kerr.OutOfOrderSequenceNumber, send(2, 1))
	require.Nil(t, send(2, 0))
	require.Equal(t, kerr.InvalidProducerEpoch, mark(txnMarker{Epoch: 2, CoordinatorEpoch: 4, Version: 2}), "it belongs to the transaction before")
	require.Nil(t, mark(txnMarker{Epoch: 3, CoordinatorEpoch: 4, Version: 2, Commit: true}))
	require.Equal(t, id.Offset(3), n.logOf("t", 0).Watermarks().Stable)
	require.Nil(t, mark(txnMarker{Epoch: 3, CoordinatorEpoch: 5, Version: 2, Commit: true}), "again, by the next coordinator")
	require.Equal(t, id.Offset(4), end())
	require.Equal(t, kerr.InvalidProducerEpoch, send(2, 1))
	require.Equal(t, kerr.OutOfOrderSequenceNumber, send(3, 1))
	require.Nil(t, send(3, 0))
	require.Nil(t, mark(txnMarker{Epoch: 3, CoordinatorEpoch: 5, Commit: true}))
	require.Nil(t, send(3, 1), "an epoch of more than one transaction goes on")

	require.Equal(t, []int16{kerr.UnknownTopicOrPartition.Code, kerr.UnknownTopicOrPartition.Code}, n.mark("none", txnMarker{}, 0, 5))
	require.Equal(t, []int16{kerr.UnknownTopicOrPartition.Code}, n.mark("t", txnMarker{}, 1))
	none := kmsg.NewPtrWriteTxnMarkersRequest()
	none.SetVersion(1)
	require.Empty(t, ask(n, none, kmsg.NewPtrWriteTxnMarkersResponse()).Markers)
}

func TestReadCommitted(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	n.verifier()
	n.mustProduce("t", 0, batchOfNow(batch.None, 1))                                         // 0
	require.Zero(t, n.produceTxn(12, "a", put{"t", 0, batchOfTxn(1, 0, 0, 2)})[0].ErrorCode) // 1, 2
	require.Zero(t, n.produceTxn(12, "b", put{"t", 0, batchOfTxn(2, 0, 0, 1)})[0].ErrorCode) // 3
	got := n.fetchCommitted("t", 0)
	require.Equal(t, [2]int64{1, 4}, [2]int64{got.LastStableOffset, got.HighWatermark})
	require.Equal(t, []int64{0}, n.basesOf(got.RecordBatches))
	require.Empty(t, got.AbortedTransactions)
	require.Empty(t, n.fetchCommitted("t", 1).RecordBatches)
	require.Equal(t, []int64{0, 1, 3}, n.basesOf(n.fetch(n.fetchRequest(12, want{topic: "t"}))[0].RecordBatches))

	n.mustMark("t", 0, txnMarker{Producer: 2, Epoch: 1, Version: 2, Commit: true}) // 4
	require.Equal(t, int64(1), n.fetchCommitted("t", 0).LastStableOffset, "the first one is open")
	n.mustMark("t", 0, txnMarker{Producer: 1, Epoch: 1, Version: 2}) // 5
	got = n.fetchCommitted("t", 0)
	require.Equal(t, int64(6), got.LastStableOffset)
	require.Equal(t, []int64{0, 1, 3, 4, 5}, n.basesOf(got.RecordBatches))
	require.Equal(t, []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 1, FirstOffset: 1}}, got.AbortedTransactions)
	require.Nil(t, n.fetch(n.fetchRequest(12, want{topic: "t"}))[0].AbortedTransactions)

	consumer := n.kgo(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	n.mustProduce("t", 0, batchOfNow(batch.None, 1)) // 6
	var offsets []int64
	for len(offsets) < 3 {
		f := consumer.PollFetches(t.Context())
		require.NoError(t, f.Err())
		f.EachRecord(func(r *kgo.Record) { offsets = append(offsets, r.Offset) })
	}
	require.Equal(t, []int64{0, 3, 6}, offsets)
}

// A read of what is committed that waits is answered when a transaction ends, and not before.
func TestReadCommittedWaits(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	n.verifier()
	req := n.fetchRequest(12, want{topic: "t"})
	req.IsolationLevel, req.MaxWaitMillis = 1, 60_000
	c := n.dial()
	c.send(req)
	answered := make(chan kmsg.FetchResponseTopicPartition)
	go func() {
		resp := kmsg.NewPtrFetchResponse()
		resp.SetVersion(12)
		c.response(0, resp)
		answered <- resp.Topics[0].Partitions[0]
	}()
	require.Eventually(t, func() bool { return n.inFlight() == 1 }, 10*time.Second, time.Millisecond)
	require.Zero(t, n.produceTxn(12, "a", put{"t", 0, batchOfTxn(1, 0, 0, 2)})[0].ErrorCode)
	n.mustProduce("t", 0, batchOfNow(batch.None, 1))
	select {
	case <-answered:
		require.Fail(t, "answered before the transaction has ended")
	default:
	}
	n.mustMark("t", 0, txnMarker{Producer: 1, Epoch: 1, Version: 2, Commit: true})
	got := <-answered
	require.Equal(t, []int64{0, 2, 3}, n.basesOf(got.RecordBatches))
	require.Equal(t, int64(4), got.LastStableOffset)
}

func TestDescribeProducers(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	n.verifier()
	n.mustProduce("t", 0, batchOfProducer(5, 3, 0, 4))
	require.Zero(t, n.produceTxn(12, "a", put{"t", 0, batchOfTxn(9, 0, 0, 2)})[0].ErrorCode)
	n.mustMark("t", 0, txnMarker{Producer: 11, Epoch: 6, CoordinatorEpoch: 2})
	req := kmsg.NewPtrDescribeProducersRequest()
	for _, name := range []string{"t", "none", "bad name"} {
		topic := kmsg.NewDescribeProducersRequestTopic()
		topic.Topic, topic.Partitions = name, []int32{0}
		req.Topics = append(req.Topics, topic)
	}
	resp := ask(n, req, kmsg.NewPtrDescribeProducersResponse())
	require.Len(t, resp.Topics, 3)
	require.Zero(t, resp.Topics[0].Partitions[0].ErrorCode)
	require.Nil(t, resp.Topics[0].Partitions[0].ErrorMessage)
	active := resp.Topics[0].Partitions[0].ActiveProducers
	for i := range active {
		require.InDelta(t, time.Now().UnixMilli(), active[i].LastTimestamp, 60_000)
		active[i].LastTimestamp = 0
	}
	require.Equal(t, []kmsg.DescribeProducersResponseTopicPartitionActiveProducer{
		{ProducerID: 5, ProducerEpoch: 3, LastSequence: 3, CoordinatorEpoch: -1, CurrentTxnStartOffset: -1},
		{ProducerID: 9, LastSequence: 1, CoordinatorEpoch: -1, CurrentTxnStartOffset: 4},
		{ProducerID: 11, ProducerEpoch: 6, LastSequence: -1, CoordinatorEpoch: 2, CurrentTxnStartOffset: -1},
	}, active)
	require.Equal(t, kerr.UnknownTopicOrPartition.Code, resp.Topics[1].Partitions[0].ErrorCode)
	require.Equal(t, kerr.InvalidTopicException.Code, resp.Topics[2].Partitions[0].ErrorCode)
}
