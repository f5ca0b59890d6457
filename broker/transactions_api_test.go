package broker

import (
	"context"
	"slices"
	stdsync "sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
)

// fakeMarkers takes the place of the partitions' leaders.
type fakeMarkers struct {
	mu      stdsync.Mutex
	held    bool // nothing can be written
	written []wroteMarker
}

type wroteMarker struct {
	txnMarker
	partitions int
}

func (f *fakeMarkers) write(_ context.Context, m txnMarker, ps []id.Partition) []id.Partition {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held {
		return ps
	}
	f.written = append(f.written, wroteMarker{m, len(ps)})
	return nil
}

func (f *fakeMarkers) hold(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = on
}

func (f *fakeMarkers) seen() []wroteMarker {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.written)
}

// txnNode is a node with a topic of three partitions and fake markers.
type txnNode struct {
	*node
	markers *fakeMarkers
}

func startTxnNode(t *testing.T, change ...func(*Config)) *txnNode {
	n := &txnNode{startNode(t, change...), &fakeMarkers{}}
	n.txns.cfg.Markers = n.markers.write
	require.Zero(t, n.create(7, false, wantTopic("t", 3, 1))[0].ErrorCode)
	return n
}

func (n *txnNode) init(version int16, transactionalID string, change ...func(*kmsg.InitProducerIDRequest)) *kmsg.InitProducerIDResponse {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.SetVersion(version)
	req.TransactionalID, req.TransactionTimeoutMillis = &transactionalID, 60_000
	for _, f := range change {
		f(req)
	}
	return ask(n.node, req, kmsg.NewPtrInitProducerIDResponse())
}

func (n *txnNode) initialized(version int16, transactionalID string) (int64, int16) {
	n.t.Helper()
	var resp *kmsg.InitProducerIDResponse
	eventually(n.t, "a producer id", func() bool {
		resp = n.init(version, transactionalID)
		return resp.ErrorCode != kerr.ConcurrentTransactions.Code
	})
	require.NoError(n.t, kerr.ErrorForCode(resp.ErrorCode))
	return resp.ProducerID, resp.ProducerEpoch
}

// add adds partitions of t as a client of version 1 does.
func (n *txnNode) add(version int16, transactionalID string, producer int64, epoch int16, partitions ...int32) error {
	n.t.Helper()
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.SetVersion(version)
	if version < 4 {
		req.TransactionalID, req.ProducerID, req.ProducerEpoch = transactionalID, producer, epoch
		req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "t", Partitions: partitions}}
		resp := ask(n.node, req, kmsg.NewPtrAddPartitionsToTxnResponse())
		require.Len(n.t, resp.Topics[0].Partitions, len(partitions))
		return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	}
	req.Transactions = []kmsg.AddPartitionsToTxnRequestTransaction{{
		TransactionalID: transactionalID, ProducerID: producer, ProducerEpoch: epoch,
		Topics: []kmsg.AddPartitionsToTxnRequestTransactionTopic{{Topic: "t", Partitions: partitions}},
	}}
	resp := ask(n.node, req, kmsg.NewPtrAddPartitionsToTxnResponse())
	require.Equal(n.t, transactionalID, resp.Transactions[0].TransactionalID)
	return kerr.ErrorForCode(resp.Transactions[0].Topics[0].Partitions[0].ErrorCode)
}

func (n *txnNode) end(version int16, transactionalID string, producer int64, epoch int16, commit bool) *kmsg.EndTxnResponse {
	req := kmsg.NewPtrEndTxnRequest()
	req.SetVersion(version)
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = transactionalID, producer, epoch, commit
	return ask(n.node, req, kmsg.NewPtrEndTxnResponse())
}

// complete waits until no transaction of the node is being ended.
func (n *txnNode) complete() {
	n.t.Helper()
	eventually(n.t, "the end of the transactions", func() bool {
		done := true
		n.txns.each(func(e *txnEntry) { done = done && !e.item.State.Preparing() })
		return done
	})
}

// TestTransactionOfVersion1: a client adds partitions, ends with its epoch, and may repeat that.
func TestTransactionOfVersion1(t *testing.T) {
	n := startTxnNode(t)
	for version := int16(0); version <= 3; version++ {
		transactionalID := "v1-" + decimal(int32(version))
		producer, epoch := n.initialized(version, transactionalID)
		require.Zero(t, epoch)
		require.NoError(t, n.add(version, transactionalID, producer, epoch, 0, 1))
		require.NoError(t, n.add(version, transactionalID, producer, epoch, 1, 2))
		n.markers.hold(true)
		require.Zero(t, n.end(version, transactionalID, producer, epoch, true).ErrorCode)
		require.Equal(t, kerr.ConcurrentTransactions, errorOf(n.end(version, transactionalID, producer, epoch, true).ErrorCode))
		require.Equal(t, kerr.InvalidTxnState, errorOf(n.end(version, transactionalID, producer, epoch, false).ErrorCode))
		require.Equal(t, kerr.ConcurrentTransactions, n.add(version, transactionalID, producer, epoch, 0))
		n.markers.hold(false)
		n.complete()
		require.Zero(t, n.end(version, transactionalID, producer, epoch, true).ErrorCode, "repeated")
		require.Equal(t, kerr.InvalidTxnState, errorOf(n.end(version, transactionalID, producer, epoch, false).ErrorCode))
		seen := n.markers.seen()
		last := seen[len(seen)-1]
		require.Equal(t, wroteMarker{txnMarker{Producer: id.Producer(producer), Epoch: 0, Commit: true}, 3}, last)
	}
}

// TestTransactionOfVersion2: each end gives the next epoch, may be repeated with the one
// before, and a transaction without a partition can only be aborted.
func TestTransactionOfVersion2(t *testing.T) {
	n := startTxnNode(t)
	producer, epoch := n.initialized(5, "x")
	for want := int16(1); want <= 3; want++ {
		require.NoError(t, n.add(5, "x", producer, epoch, 0))
		ended := n.end(5, "x", producer, epoch, true)
		require.Zero(t, ended.ErrorCode)
		require.Equal(t, producer, ended.ProducerID)
		require.Equal(t, want, ended.ProducerEpoch)
		n.complete()
		again := n.end(5, "x", producer, epoch, true)
		require.Zero(t, again.ErrorCode)
		require.Equal(t, want, again.ProducerEpoch)
		epoch = ended.ProducerEpoch
	}
	require.Equal(t, kerr.ProducerFenced, n.add(5, "x", producer, epoch-1, 0))
	require.Equal(t, kerr.InvalidTxnState, errorOf(n.end(5, "x", producer, epoch, true).ErrorCode), "nothing to commit")
	ended := n.end(5, "x", producer, epoch, false)
	require.Zero(t, ended.ErrorCode)
	require.Equal(t, epoch+1, ended.ProducerEpoch)
	for _, m := range n.markers.seen() {
		require.EqualValues(t, 2, m.Version)
	}
	require.Len(t, n.markers.seen(), 3)
}

// TestAddMeetsCompletion: a leader that adds partitions before the transaction of before is complete asks again.
func TestAddMeetsCompletion(t *testing.T) {
	n := startTxnNode(t)
	producer, epoch := n.initialized(5, "x")
	require.NoError(t, n.add(5, "x", producer, epoch, 0))
	n.markers.hold(true)
	require.Zero(t, n.end(5, "x", producer, epoch, true).ErrorCode)
	require.Equal(t, kerr.ConcurrentTransactions, n.add(5, "x", producer, epoch+1, 0))
	added := make(chan error, 1)
	go func() { added <- n.add(5, "x", producer, epoch+1, 0) }()
	n.markers.hold(false)
	err := <-added
	if err != nil { // on a slow machine the wait may have been too short
		require.Equal(t, kerr.ConcurrentTransactions, err)
	}
}

// TestInitFencesOpenTransaction: the client is told to come again, and what was open is aborted.
func TestInitFencesOpenTransaction(t *testing.T) {
	n := startTxnNode(t)
	producer, epoch := n.initialized(3, "x")
	require.NoError(t, n.add(3, "x", producer, epoch, 0))
	require.Equal(t, kerr.ConcurrentTransactions, errorOf(n.init(3, "x").ErrorCode))
	next, nextEpoch := n.initialized(4, "x")
	require.Equal(t, producer, next)
	require.Equal(t, epoch+2, nextEpoch, "no client has had the epoch of the abort")
	require.False(t, n.markers.seen()[0].Commit)
	require.Equal(t, epoch+1, n.markers.seen()[0].Epoch)
	require.Equal(t, kerr.InvalidProducerEpoch, n.add(1, "x", producer, epoch, 0), "as old clients know it")
	require.Equal(t, kerr.ProducerFenced, n.add(2, "x", producer, epoch, 0))
	require.Equal(t, kerr.InvalidProducerEpoch, errorOf(n.end(1, "x", producer, epoch, true).ErrorCode))
	require.Equal(t, kerr.ProducerFenced, errorOf(n.end(2, "x", producer, epoch, true).ErrorCode))
	old := func(req *kmsg.InitProducerIDRequest) { req.ProducerID, req.ProducerEpoch = producer, epoch }
	require.Equal(t, kerr.InvalidProducerEpoch, errorOf(n.init(3, "x", old).ErrorCode))
	require.Equal(t, kerr.ProducerFenced, errorOf(n.init(4, "x", old).ErrorCode))
}

// TestTransactionTimesOut: the coordinator aborts it, and the producer is fenced.
func TestTransactionTimesOut(t *testing.T) {
	n := startTxnNode(t, func(cfg *Config) { cfg.Transactions.AbortInterval = 5 * time.Millisecond })
	short := func(req *kmsg.InitProducerIDRequest) { req.TransactionTimeoutMillis = 1 }
	resp := n.init(4, "x", short)
	require.NoError(t, n.add(3, "x", resp.ProducerID, resp.ProducerEpoch, 0))
	eventually(t, "the abort", func() bool { return len(n.markers.seen()) == 1 })
	require.Equal(t, kerr.ProducerFenced, errorOf(n.end(4, "x", resp.ProducerID, resp.ProducerEpoch, true).ErrorCode))
	eventually(t, "the count of it", func() bool { return valueOf(t, n.txns.cfg.Metrics.timeouts) == 1 })
}

func TestTransactionRequestsRefused(t *testing.T) {
	n := startTxnNode(t)
	producer, epoch := n.initialized(4, "x")
	require.Equal(t, kerr.InvalidRequest, errorOf(n.init(4, "").ErrorCode))
	for _, ms := range []int32{0, -1, 900_001} {
		require.Equal(t, kerr.InvalidTransactionTimeout, errorOf(n.init(4, "x", func(req *kmsg.InitProducerIDRequest) { req.TransactionTimeoutMillis = ms }).ErrorCode))
	}
	half := func(req *kmsg.InitProducerIDRequest) { req.ProducerID = producer }
	require.Equal(t, kerr.InvalidRequest, errorOf(n.init(4, "x", half).ErrorCode))
	require.Equal(t, kerr.InvalidProducerIDMapping, n.add(3, "x", producer+1, epoch, 0))
	require.Equal(t, kerr.InvalidProducerIDMapping, n.add(3, "unknown", producer, epoch, 0))
	require.Equal(t, kerr.InvalidProducerIDMapping, errorOf(n.end(4, "unknown", producer, epoch, true).ErrorCode))
	require.Equal(t, kerr.InvalidRequest, errorOf(n.end(4, "", producer, epoch, true).ErrorCode))
	require.Equal(t, kerr.InvalidRequest, n.add(3, "", producer, epoch, 0))
	require.Equal(t, kerr.UnknownTopicOrPartition, n.add(3, "x", producer, epoch, 3, 0))
	require.Equal(t, kerr.OperationNotAttempted, n.add(3, "x", producer, epoch, 0, 3))
	require.Equal(t, kerr.InvalidTxnState, errorOf(n.end(4, "x", producer, epoch, true).ErrorCode), "nothing was added")
}

// TestVerifyTxn: partitions that were added are fine, others make the transaction one to abort.
func TestVerifyTxn(t *testing.T) {
	n := startTxnNode(t)
	producer, epoch := n.initialized(4, "x")
	topic, _ := n.meta.Image().Topic("t")
	at := func(i int32) id.Partition { return id.Partition{Topic: topic.ID, Index: i} }
	v := txnVerification{TransactionalID: "x", Producer: id.Producer(producer), Epoch: epoch, Partitions: []id.Partition{at(0), at(1)}}
	require.NoError(t, n.add(3, "x", producer, epoch, 0))
	errs := n.verifyTxn(t.Context(), v)
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[at(1)], kerr.TransactionAbortable)
	v.Add = true
	require.Empty(t, n.verifyTxn(t.Context(), v))
	v.Add = false
	require.Empty(t, n.verifyTxn(t.Context(), v))
	v.Epoch++
	require.ErrorIs(t, n.verifyTxn(t.Context(), v)[at(0)], kerr.ProducerFenced)
}

// TestAddOffsetsToTxn: the shard of the group is marked when the transaction ends.
func TestAddOffsetsToTxn(t *testing.T) {
	n := startTxnNode(t)
	producer, epoch := n.initialized(4, "x")
	req := kmsg.NewPtrAddOffsetsToTxnRequest()
	req.SetVersion(4)
	req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = "x", producer, epoch, "g"
	require.Zero(t, ask(n.node, req, kmsg.NewPtrAddOffsetsToTxnResponse()).ErrorCode)
	n.txns.each(func(e *txnEntry) {
		shard, err := n.groupShard(t.Context(), "g")
		require.NoError(t, err)
		require.Equal(t, []id.Partition{shard}, e.item.Partitions)
	})
	require.Zero(t, n.end(4, "x", producer, epoch, true).ErrorCode)
	n.complete()
	require.Len(t, n.markers.seen(), 1)
}

// TestTxnOffsetCommitOfAnotherEpoch: an epoch that is not the producer's is no fatal error, as for a batch.
func TestTxnOffsetCommitOfAnotherEpoch(t *testing.T) {
	n := startTxnNode(t)
	_, err := n.groupShard(t.Context(), "g")
	require.NoError(t, err)
	producer, epoch := n.initialized(4, "x")
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.Generation = "x", "g", producer, -1
	req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Offset: 5}}}}
	for version := int16(3); version <= 5; version++ {
		for _, other := range []int16{epoch - 1, epoch + 3} {
			req.SetVersion(version)
			req.ProducerEpoch = other
			resp := ask(n.node, req, kmsg.NewPtrTxnOffsetCommitResponse())
			require.Equal(t, kerr.InvalidProducerEpoch, errorOf(resp.Topics[0].Partitions[0].ErrorCode), "version %d, epoch %d", version, other)
		}
	}
}

// TestVerifyAtShutdown: who asks about a transaction of a broker that closes is told so, and does not
// hold up its end.
func TestVerifyAtShutdown(t *testing.T) {
	n := startNode(t)
	n.close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	p := id.Partition{Topic: id.NewTopic()}
	errs := n.verifyTxn(ctx, txnVerification{TransactionalID: "tx", Producer: 1, Partitions: []id.Partition{p}, Add: true})
	require.ErrorIs(t, errs[p], kerr.CoordinatorNotAvailable)
	require.NoError(t, ctx.Err())
}

// TestTransactionOfAnotherTopic: a broker that knows another topic of that name than this one is to
// ask again, and its marker is not taken for one of ours.
func TestTransactionOfAnotherTopic(t *testing.T) {
	n := startTxnNode(t)
	producer, epoch := n.initialized(5, "tx")
	topic, _ := n.meta.Image().Topic("t")
	for other, want := range map[id.Topic]*kerr.Error{id.NewTopic(): kerr.NotCoordinator, topic.ID: nil} {
		at := kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: "t", Partitions: []int32{0}}
		tagTopic(&at.UnknownTags, other)
		req := kmsg.NewPtrAddPartitionsToTxnRequest()
		req.SetVersion(5)
		req.Transactions = []kmsg.AddPartitionsToTxnRequestTransaction{{
			TransactionalID: "tx", ProducerID: producer, ProducerEpoch: epoch,
			Topics: []kmsg.AddPartitionsToTxnRequestTransactionTopic{at},
		}}
		resp := ask(n.node, req, kmsg.NewPtrAddPartitionsToTxnResponse())
		require.Equal(t, want, errorOf(resp.Transactions[0].Topics[0].Partitions[0].ErrorCode))
	}
	for other, want := range map[id.Topic]*kerr.Error{id.NewTopic(): kerr.UnknownTopicOrPartition, topic.ID: nil} {
		at := kmsg.WriteTxnMarkersRequestMarkerTopic{Topic: "t", Partitions: []int32{0}}
		tagTopic(&at.UnknownTags, other)
		req := kmsg.NewPtrWriteTxnMarkersRequest()
		req.SetVersion(2)
		req.Markers = []kmsg.WriteTxnMarkersRequestMarker{{ProducerID: 9, Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{at}}}
		resp := ask(n.node, req, kmsg.NewPtrWriteTxnMarkersResponse())
		require.Equal(t, want, errorOf(resp.Markers[0].Topics[0].Partitions[0].ErrorCode))
	}
}

// TestAddInternalTopic: a client does not add the offsets of a group by their partition.
func TestAddInternalTopic(t *testing.T) {
	n := startTxnNode(t)
	_, err := n.groupShard(t.Context(), "g")
	require.NoError(t, err)
	producer, epoch := n.initialized(3, "x")
	req := kmsg.NewPtrAddPartitionsToTxnRequest()
	req.SetVersion(3)
	req.TransactionalID, req.ProducerID, req.ProducerEpoch = "x", producer, epoch
	req.Topics = []kmsg.AddPartitionsToTxnRequestTopic{{Topic: "t", Partitions: []int32{0}}, {Topic: admin.OffsetsTopic, Partitions: []int32{0}}}
	resp := ask(n.node, req, kmsg.NewPtrAddPartitionsToTxnResponse())
	require.Equal(t, kerr.OperationNotAttempted, errorOf(resp.Topics[0].Partitions[0].ErrorCode))
	require.Equal(t, kerr.TopicAuthorizationFailed, errorOf(resp.Topics[1].Partitions[0].ErrorCode))
	require.Equal(t, kerr.InvalidTxnState, errorOf(n.end(3, "x", producer, epoch, true).ErrorCode), "none was added")
}
