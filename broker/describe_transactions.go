package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	stdsync "sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/transactions"
)

// DescribeTransactions (key 65), version 0. No deviations, but that partitions whose marker is
// written already are listed until all are.

func handleDescribeTransactions(_ context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.DescribeTransactionsRequest](c)
	resp := responseTo[*kmsg.DescribeTransactionsResponse](req)
	resp.TransactionStates = make([]kmsg.DescribeTransactionsResponseTransactionState, len(req.TransactionalIDs))
	var mu stdsync.Mutex
	left := len(req.TransactionalIDs)
	if left == 0 {
		c.reply(resp)
		return
	}
	for i, name := range req.TransactionalIDs {
		b.describeTransaction(c, name, func(s kmsg.DescribeTransactionsResponseTransactionState) {
			mu.Lock()
			resp.TransactionStates[i] = s
			left--
			last := left == 0
			mu.Unlock()
			if last {
				c.reply(resp)
			}
		})
	}
}

// describeTransaction describes one transactional id. answer is called once.
func (b *Broker) describeTransaction(c *call, name string, answer func(kmsg.DescribeTransactionsResponseTransactionState)) {
	s := kmsg.NewDescribeTransactionsResponseTransactionState()
	s.TransactionalID = name
	if name == "" {
		s.ErrorCode = c.code(fmt.Errorf("describe a transaction: no transactional id: %w", kerr.InvalidRequest))
		answer(s)
		return
	}
	b.txns.read(name, func(t transactions.Transaction, err error) {
		if err == nil && t.State == transactions.None {
			err = fmt.Errorf("transactional id %q: %w", name, kerr.TransactionalIDNotFound)
		}
		if err != nil {
			s.ErrorCode = c.code(err)
			answer(s)
			return
		}
		s.State, s.ProducerID, s.ProducerEpoch = t.State.String(), int64(t.Producer), t.Epoch
		s.TimeoutMillis, s.StartTimestamp = int32(t.Timeout.Milliseconds()), startMillis(&t)
		s.Topics = b.transactionTopics(t.Partitions)
		answer(s)
	})
}

// startMillis is when the transaction began, in ms since 1970; -1: there is none.
func startMillis(t *transactions.Transaction) int64 {
	if t.Started.IsZero() {
		return -1
	}
	return t.Started.UnixMilli()
}

// transactionTopics lists partitions by the names of their topics, without topics that were deleted.
func (b *Broker) transactionTopics(ps []id.Partition) (topics []kmsg.DescribeTransactionsResponseTransactionStateTopic) {
	img, named := b.meta.Image(), map[string][]int32{}
	for topic, indexes := range byTopic(ps) {
		if t, ok := img.TopicByID(topic); ok {
			named[t.Name] = indexes
		}
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		topics = append(topics, kmsg.DescribeTransactionsResponseTransactionStateTopic{Topic: name, Partitions: named[name]})
	}
	return topics
}

// read gives the state of a transactional id as it is now, None for one that does not exist.
// answer is called once, now or later, without the lock, with the state or a Kafka error.
func (m *txnCoordinator) read(transactionalID string, answer func(transactions.Transaction, error)) {
	fail := func(err error) { answer(transactions.Transaction{}, txnError(transactionalID, err)) }
	m.with(transactionalID, fail, func(s *txnShard) {
		var t transactions.Transaction
		if e := s.byID[transactionalID]; e != nil {
			t = e.item.Transaction
		}
		m.after = append(m.after, func() { answer(t, nil) })
	})
}

// openFor reports whether a transaction has been open for longer than d, as Kafka counts it: from its
// start until now, also if it has ended.
func openFor(t *transactions.Transaction, now time.Time, d time.Duration) bool {
	return now.UnixMilli()-startMillis(t) > d.Milliseconds()
}
