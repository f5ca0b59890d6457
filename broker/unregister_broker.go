package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// UnregisterBroker (key 64), version 0.
//
// Deviation: Kafka removes a broker that lives as well, which then cannot go on; here it is
// refused with POLICY_VIOLATION, and so is a fenced one whose partitions the others have
// not taken over yet.

// handleUnregisterBroker removes a fenced broker.
func handleUnregisterBroker(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.UnregisterBrokerRequest](c)
	resp := responseTo[*kmsg.UnregisterBrokerResponse](req)
	removal := &change{size: 64, decide: func(img *metalog.Image) (metalog.Record, error) {
		return metalog.BrokerRemoved{ID: id.Broker(req.BrokerID)}, checkRemoval(img, id.Broker(req.BrokerID))
	}}
	b.update(ctx, []*change{removal})
	resp.ErrorCode, resp.ErrorMessage = c.code(removal.err), message(removal.err)
	return resp
}

// checkRemoval says why a broker may not be removed.
func checkRemoval(img *metalog.Image, node id.Broker) error {
	b, ok := img.Broker(node)
	if !ok {
		return fmt.Errorf("unregister broker %v: %w", node, kerr.BrokerIDNotRegistered)
	}
	if !b.Fenced {
		return fmt.Errorf("unregister broker %v: it is alive, stop it first: %w", node, kerr.PolicyViolation)
	}
	for _, t := range img.Topics() {
		for i := range t.Partitions {
			if t.Partitions[i].Leader == node {
				return fmt.Errorf("unregister broker %v: partition %d of topic %q is still to be taken over, try again: %w", node, i, t.Name, kerr.PolicyViolation)
			}
		}
	}
	return nil
}
