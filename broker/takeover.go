package broker

import (
	"context"
	"time"

	"github.com/forebaylog/forebay/broker/takeover"
)

// observe looks at the sessions of all brokers and takes over from those that are dead.
func (c *cluster) observe(ctx context.Context) error {
	if !c.session.Valid() {
		c.watcher.Restart()
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tableTime)
	defer cancel()
	_, err := c.takeover().Observe(ctx, c.watcher)
	return err
}

func (c *cluster) takeover() *takeover.Takeover {
	began := time.Now()
	return takeover.New(takeover.Config{
		Table: c.b.cfg.Metadata, Meta: c.b.meta, Self: c.b.cfg.NodeID, Logger: c.b.log,
		OnTakeover: func(int) {
			c.metrics.takeovers.Inc()
			c.b.cfg.Tracer.Past(context.Background(), spanTakeOver, time.Since(began), nil)
		},
	})
}
