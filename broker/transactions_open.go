package broker

import (
	"context"
	"fmt"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/transactions"
)

// txnVersion2 is the transaction.version of clients that bump the epoch with each transaction
// and have partitions added as they write to them (KIP-890).
const txnVersion2 = 2

// openTransactions starts the transaction coordinator.
func openTransactions(_ context.Context, b *Broker) (part, error) {
	metrics, err := newTxnMetrics(b.cfg.Registerer)
	if err != nil {
		return nil, err
	}
	self, ok := b.meta.Image().Broker(b.cfg.NodeID)
	if !ok {
		return nil, fmt.Errorf("open transactions: broker %d is not registered", b.cfg.NodeID)
	}
	led := &shards{topic: admin.TxnTopic, self: self, image: b.meta.Image, refresh: b.meta.Refresh, lease: b.valid}
	m := newTxnCoordinator(txnConfig{
		Transactions: b.cfg.Transactions, Table: transactions.Open(b.cfg.Offsets, led), Shards: led,
		Image: b.meta.Image, Fresh: b.newProducerID, Level: b.transactionVersion, Now: b.cfg.Now, Logger: b.log, Metrics: metrics,
		Markers: b.sendMarkers,
	})
	b.txns = m
	unsubscribe := b.meta.Subscribe(m.imageChanged)
	if err := metrics.watch(b.cfg.Registerer, m); err != nil {
		unsubscribe()
		return nil, fmt.Errorf("%w (%w)", err, m.close(context.Background()))
	}
	return &txnPart{txnCoordinator: m, unsubscribe: unsubscribe}, nil
}

// txnPart ties the coordinator to its broker.
type txnPart struct {
	*txnCoordinator
	unsubscribe func()
}

func (p *txnPart) close(ctx context.Context) error {
	p.unsubscribe()
	return p.txnCoordinator.close(ctx)
}
