package broker

import (
	"context"
	"fmt"
	stdsync "sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/txn"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// AddPartitionsToTxn (key 24), versions 0 to 5. Up to 3 it is a client's, for one transaction; from
// 4 on it comes from other brokers, for many, which may also ask whether partitions were
// added (KIP-890). No deviations, but that an Add waits a moment for the transaction of before.

func handleAddPartitionsToTxn(_ context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.AddPartitionsToTxnRequest](c)
	resp := responseTo[*kmsg.AddPartitionsToTxnResponse](req)
	txns := req.Transactions
	if req.Version < 4 {
		t := kmsg.NewAddPartitionsToTxnRequestTransaction()
		t.TransactionalID, t.ProducerID, t.ProducerEpoch = req.TransactionalID, req.ProducerID, req.ProducerEpoch
		for _, rt := range req.Topics {
			t.Topics = append(t.Topics, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: rt.Topic, Partitions: rt.Partitions})
		}
		txns = []kmsg.AddPartitionsToTxnRequestTransaction{t}
	}
	resp.Transactions = make([]kmsg.AddPartitionsToTxnResponseTransaction, len(txns))
	var answers stdsync.Mutex
	left := len(txns)
	if left == 0 {
		c.reply(resp)
		return
	}
	for i := range txns {
		b.addPartitions(c, &txns[i], func(answer kmsg.AddPartitionsToTxnResponseTransaction) {
			answers.Lock()
			resp.Transactions[i] = answer
			left--
			last := left == 0
			answers.Unlock()
			if last {
				c.reply(addedByClient(resp))
			}
		})
	}
}

// addedByClient moves the answer to where versions up to 3 have it.
func addedByClient(resp *kmsg.AddPartitionsToTxnResponse) *kmsg.AddPartitionsToTxnResponse {
	if resp.Version < 4 {
		for _, t := range resp.Transactions[0].Topics {
			rt := kmsg.NewAddPartitionsToTxnResponseTopic()
			rt.Topic = t.Topic
			for _, p := range t.Partitions {
				rt.Partitions = append(rt.Partitions, kmsg.AddPartitionsToTxnResponseTopicPartition{Partition: p.Partition, ErrorCode: p.ErrorCode})
			}
			resp.Topics = append(resp.Topics, rt)
		}
		resp.Transactions = nil
	}
	return resp
}

// addPartitions adds or verifies the partitions of one transaction. answer is called once.
func (b *Broker) addPartitions(c *call, t *kmsg.AddPartitionsToTxnRequestTransaction, answer func(kmsg.AddPartitionsToTxnResponseTransaction)) {
	if t.TransactionalID == "" {
		answer(answerAdd(c, t, func(string, int32) error {
			return fmt.Errorf("add partitions to a transaction: no transactional id: %w", kerr.InvalidRequest)
		}))
		return
	}
	img := b.meta.Image()
	for i := range t.Topics {
		if at := &t.Topics[i]; !knowsTagged(img, at.Topic, &at.UnknownTags) {
			answer(answerAdd(c, t, func(string, int32) error {
				return fmt.Errorf("add partitions of topic %q to a transaction: its leader knows another topic of that name: %w", at.Topic, kerr.NotCoordinator)
			}))
			return
		}
	}
	ps, refused := txnPartitions(img, t, c.version < 4)
	if len(refused) > 0 { // then none is added
		answer(answerAdd(c, t, func(topic string, index int32) error {
			if why := refused[topicIndex{topic, index}]; why != nil {
				return fmt.Errorf("add partition %s-%d to a transaction: %w", topic, index, why)
			}
			return kerr.OperationNotAttempted
		}))
		return
	}
	var ev txn.Event = txn.Add{Producer: id.Producer(t.ProducerID), Epoch: t.ProducerEpoch, Partitions: ps, Version: addVersion(c.version)}
	if t.VerifyOnly && c.version >= 4 {
		ev = txn.Verify{Producer: id.Producer(t.ProducerID), Epoch: t.ProducerEpoch, Partitions: ps}
	}
	b.txns.step(t.TransactionalID, ev, func(o txn.Outcome) {
		missing := map[id.Partition]bool{}
		for _, p := range o.Missing {
			missing[p] = true
		}
		err := fencedBefore(c, 2, o.Err)
		answer(answerAdd(c, t, func(topic string, index int32) error {
			if known, ok := img.Topic(topic); ok && missing[id.Partition{Topic: known.ID, Index: index}] {
				return txnError(t.TransactionalID, txn.ErrAbortable)
			}
			return err
		}))
	})
}

// addVersion is the transaction version of the client for whom partitions are added.
func addVersion(version int16) int8 {
	if version >= 4 {
		return txnVersion2
	}
	return 0
}

// fencedBefore is err as clients know it that speak versions before first: for those
// PRODUCER_FENCED is INVALID_PRODUCER_EPOCH.
func fencedBefore(c *call, first int16, err error) error {
	if c.version < first && err != nil && translate(err) == kerr.ProducerFenced {
		return kerr.InvalidProducerEpoch
	}
	return err
}

type topicIndex struct {
	topic string
	index int32
}

// txnPartitions returns the partitions that a request names, and why those of them are refused that
// do not exist, or that a client has no business with.
func txnPartitions(img *metalog.Image, t *kmsg.AddPartitionsToTxnRequestTransaction, ofClient bool) (ps []id.Partition, refused map[topicIndex]error) {
	refused = map[topicIndex]error{}
	for _, rt := range t.Topics {
		topic, ok := img.Topic(rt.Topic)
		for _, index := range rt.Partitions {
			switch {
			case ofClient && admin.IsInternal(rt.Topic):
				refused[topicIndex{rt.Topic, index}] = kerr.TopicAuthorizationFailed
			case !ok || index < 0 || int(index) >= len(topic.Partitions):
				refused[topicIndex{rt.Topic, index}] = kerr.UnknownTopicOrPartition
			default:
				ps = append(ps, id.Partition{Topic: topic.ID, Index: index})
			}
		}
	}
	return ps, refused
}

// answerAdd is the answer for one transaction.
func answerAdd(c *call, t *kmsg.AddPartitionsToTxnRequestTransaction, failed func(topic string, index int32) error) kmsg.AddPartitionsToTxnResponseTransaction {
	a := kmsg.NewAddPartitionsToTxnResponseTransaction()
	a.TransactionalID = t.TransactionalID
	for _, rt := range t.Topics {
		topic := kmsg.NewAddPartitionsToTxnResponseTransactionTopic()
		topic.Topic = rt.Topic
		for _, index := range rt.Partitions {
			p := kmsg.NewAddPartitionsToTxnResponseTransactionTopicPartition()
			p.Partition, p.ErrorCode = index, c.code(failed(rt.Topic, index))
			topic.Partitions = append(topic.Partitions, p)
		}
		a.Topics = append(a.Topics, topic)
	}
	return a
}
