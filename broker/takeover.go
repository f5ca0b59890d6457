package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/tiering/wal"
)

// observe looks at the sessions of all brokers and takes over from those that are dead: those
// whose session item has not changed for the TTL, is gone, or is another session's.
//
// The Image is read before the sessions: a broker takes its session before it registers.
func (c *cluster) observe(ctx context.Context) error {
	if !c.session.Valid() {
		c.watcher.Restart()
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tableTime)
	defer cancel()
	img := c.b.meta.Image()
	items, err := c.watcher.Poll(ctx)
	if err != nil {
		return err
	}
	seen := make(map[id.Broker]session.Seen, len(items))
	for _, s := range items {
		seen[s.Node] = s
	}
	var errs []error
	for _, node := range img.Brokers() {
		if node.ID == c.b.cfg.NodeID || node.Incarnation == "" || !c.bereaved(img, node) {
			continue
		}
		s, there := seen[node.ID]
		if there && s.Session == node.Incarnation {
			if !s.Expired {
				continue
			}
			err := session.Kill(ctx, c.b.cfg.Metadata, s)
			if errors.Is(err, session.ErrAlive) {
				continue
			}
			if err != nil {
				errs = append(errs, err)
				continue
			}
		}
		errs = append(errs, c.takeOver(ctx, node.ID, node.Incarnation))
	}
	return errors.Join(errs...)
}

// bereaved reports whether the death of a broker would change anything.
func (c *cluster) bereaved(img *metalog.Image, node *metalog.Broker) bool {
	return !node.Fenced || len(placement.Failover(img, node.ID)) > 0
}

// takeOver gives the partitions of a dead session to live brokers.
//
// Its session item is gone before. Then the session's stream is fenced, so that nothing
// that it still tries is committed; then the new leaders are in the metadata log, with the
// last slot that counts. A crash, or another broker's takeover, between any two of these
// leaves the rest to whoever sees it next.
func (c *cluster) takeOver(ctx context.Context, node id.Broker, dead id.Session) error {
	through, err := wal.Fence(ctx, wal.Slots(c.b.cfg.Metadata, dead), c.b.cfg.NodeID)
	if err != nil {
		return fmt.Errorf("take over from broker %d: %w", node, err)
	}
	changed := 0
	for more := true; more; {
		n := 0
		_, err := c.b.meta.Update(ctx, func(img *metalog.Image) ([]metalog.Record, error) {
			more, n = false, 0
			was, ok := img.Broker(node)
			if !ok || was.Incarnation != dead {
				return nil, nil
			}
			var records []metalog.Record
			if !was.Fenced {
				records = append(records, metalog.BrokerFenced{ID: node, Session: dead})
			}
			changes := placement.Failover(img, node)
			if len(changes) > maxChanges {
				changes, more = changes[:maxChanges], true
			}
			if len(changes) > 0 {
				n = len(changes)
				records = append(records, metalog.LeadersChanged{Changes: changes, Tail: &metalog.Tail{Session: dead, Through: through}})
			}
			return records, nil
		})
		if err != nil {
			return fmt.Errorf("take over from broker %d: %w", node, err)
		}
		changed += n
	}
	if changed > 0 {
		c.metrics.takeovers.Inc()
		c.b.log.Warn("took over from a dead broker", "node", node.String(), "session", dead.String(), "partitions", changed, "fenced_after_slot", through)
	}
	return nil
}
