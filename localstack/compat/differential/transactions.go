package differential

import (
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
