package broker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/txn"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// InitProducerId (key 22), versions 0 to 5.
//
// With a transactional id it is for the transaction coordinator; see package txn. Without one, a
// producer gets a new id, even if it names the one that it has (KIP-360). No deviations.

// producerIDBlock is how many producer ids a broker takes at a time.
const producerIDBlock = 1000

// producerIDs hands out ids of the block that this broker has taken. Ids left over
// when it stops are never used.
type producerIDs struct {
	mu        sync.Mutex
	next, end int64
}

// handleInitProducerID gives a producer its id and epoch.
func handleInitProducerID(ctx context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.InitProducerIDRequest](c)
	resp := responseTo[*kmsg.InitProducerIDResponse](req)
	answer := func(producer id.Producer, epoch int16, err error) {
		resp.ProducerID, resp.ProducerEpoch = int64(producer), epoch
		if err != nil {
			resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = c.code(fencedBefore(c, 4, err)), int64(id.NoProducer), -1
		}
		c.reply(resp)
	}
	known := req.Version >= 3 && req.ProducerID != int64(id.NoProducer)
	switch {
	case known != (req.Version >= 3 && req.ProducerEpoch != -1):
		answer(0, 0, fmt.Errorf("producer id %d with epoch %d: %w", req.ProducerID, req.ProducerEpoch, kerr.InvalidRequest))
	case req.TransactionalID == nil:
		producer, err := b.newProducerID(ctx)
		answer(producer, 0, err)
	default:
		b.initTransactional(ctx, req, known, answer)
	}
}

// initTransactional gives the producer of a transactional id its id and epoch. answer is called once.
func (b *Broker) initTransactional(ctx context.Context, req *kmsg.InitProducerIDRequest, known bool, answer func(id.Producer, int16, error)) {
	timeout := time.Duration(req.TransactionTimeoutMillis) * time.Millisecond
	switch {
	case *req.TransactionalID == "":
		answer(0, 0, fmt.Errorf("transactional id is empty: %w", kerr.InvalidRequest))
		return
	case timeout <= 0 || timeout > b.cfg.Transactions.MaxTimeout:
		answer(0, 0, fmt.Errorf("transaction timeout %v of %q: at most %v: %w", timeout, *req.TransactionalID, b.cfg.Transactions.MaxTimeout, kerr.InvalidTransactionTimeout))
		return
	}
	if err := b.createShardsOf(ctx, admin.TxnTopic); err != nil {
		answer(0, 0, fmt.Errorf("find the coordinator of %q: %w: %w", *req.TransactionalID, kerr.CoordinatorNotAvailable, err))
		return
	}
	ev := txn.Init{Timeout: timeout, Producer: id.NoProducer, Epoch: -1, Fresh: id.NoProducer, Server: b.transactionVersion()}
	if known {
		ev.Producer, ev.Epoch = id.Producer(req.ProducerID), req.ProducerEpoch
	}
	b.txns.step(*req.TransactionalID, ev, func(o txn.Outcome) { answer(o.Producer, o.Epoch, o.Err) })
}

// newProducerID returns an id that nobody has had. It fails with COORDINATOR_LOAD_IN_PROGRESS, as
// Kafka does: producers try that again, and take REQUEST_TIMED_OUT for fatal (KAFKA-14417).
//
// Commit point: the slot that allocates a block. After a crash behind it the block
// is lost, which harms nothing.
func (b *Broker) newProducerID(ctx context.Context) (id.Producer, error) {
	ids := &b.producerIDs
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if ids.next == ids.end {
		var first int64
		_, err := b.meta.Update(ctx, func(img *metalog.Image) ([]metalog.Record, error) {
			first = img.NextProducerID()
			return []metalog.Record{metalog.ProducerIDsAllocated{Broker: b.cfg.NodeID, First: first, Count: producerIDBlock}}, nil
		})
		if err != nil {
			b.log.Warn("cannot allocate producer ids", "err", err)
			return 0, fmt.Errorf("allocate producer ids: %w: %w", kerr.CoordinatorLoadInProgress, err)
		}
		ids.next, ids.end = first, first+producerIDBlock
	}
	ids.next++
	return id.Producer(ids.next - 1), nil
}
