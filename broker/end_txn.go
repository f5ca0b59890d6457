package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/txn"
	"github.com/forebaylog/forebay/infra/id"
)

// EndTxn (key 26), versions 0 to 5. It is answered when the decision is durable; the markers
// follow. From version 5 on the client is one of transaction version 2, which is told its next epoch. The
// one deviation is in package txn: the end of a transaction that comes before the one before is complete.

func handleEndTxn(_ context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.EndTxnRequest](c)
	resp := responseTo[*kmsg.EndTxnResponse](req)
	if req.TransactionalID == "" {
		resp.ErrorCode = c.code(fmt.Errorf("end a transaction: no transactional id: %w", kerr.InvalidRequest))
		c.reply(resp)
		return
	}
	ev := txn.End{Producer: id.Producer(req.ProducerID), Epoch: req.ProducerEpoch, Commit: req.Commit, Fresh: id.NoProducer}
	if req.Version >= 5 {
		ev.Version = txnVersion2
	}
	b.txns.step(req.TransactionalID, ev, func(o txn.Outcome) {
		resp.ErrorCode = c.code(fencedBefore(c, 2, o.Err))
		if o.Err == nil {
			resp.ProducerID, resp.ProducerEpoch = int64(o.Producer), o.Epoch
		}
		c.reply(resp)
	})
}
