package broker

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// InitProducerId (key 22), versions 0 to 5.
//
// A producer that names its id and epoch (KIP-360) keeps the id with the next epoch,
// as long as there is one; Kafka gives it a new id. Deviation: there are no
// transactions yet. A transactional id gets UNSUPPORTED_VERSION, which clients take
// as final, where a coordinator that is not available would be asked again for ever.

// producerIDBlock is how many producer ids a broker takes at a time.
const producerIDBlock = 1000

// producerIDs hands out ids of the block that this broker has taken. Ids left over
// when it stops are never used.
type producerIDs struct {
	mu        sync.Mutex
	next, end int64
}

// handleInitProducerID gives a producer its id and epoch.
func handleInitProducerID(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.InitProducerIDRequest](c)
	resp := responseTo[*kmsg.InitProducerIDResponse](req)
	producer, epoch, err := b.initProducer(ctx, req)
	if err != nil {
		resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = c.code(err), int64(id.NoProducer), -1
		return resp
	}
	resp.ProducerID, resp.ProducerEpoch = int64(producer), epoch
	return resp
}

func (b *Broker) initProducer(ctx context.Context, req *kmsg.InitProducerIDRequest) (id.Producer, int16, error) {
	if req.TransactionalID != nil {
		if *req.TransactionalID == "" {
			return 0, 0, fmt.Errorf("transactional id is empty: %w", kerr.InvalidRequest)
		}
		return 0, 0, fmt.Errorf("transactions are not served: %w", kerr.UnsupportedVersion)
	}
	known := req.Version >= 3 && req.ProducerID != int64(id.NoProducer)
	if known != (req.Version >= 3 && req.ProducerEpoch != -1) {
		return 0, 0, fmt.Errorf("producer id %d with epoch %d: %w", req.ProducerID, req.ProducerEpoch, kerr.InvalidRequest)
	}
	allocated := req.ProducerID >= 0 && req.ProducerID < b.meta.Image().NextProducerID()
	if known && allocated && req.ProducerEpoch >= 0 && req.ProducerEpoch < math.MaxInt16-1 {
		return id.Producer(req.ProducerID), req.ProducerEpoch + 1, nil
	}
	producer, err := b.newProducerID(ctx)
	return producer, 0, err
}

// newProducerID returns an id that nobody has had.
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
			return 0, fmt.Errorf("allocate producer ids: %w", err)
		}
		ids.next, ids.end = first, first+producerIDBlock
	}
	ids.next++
	return id.Producer(ids.next - 1), nil
}
