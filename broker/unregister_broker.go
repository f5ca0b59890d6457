package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
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
	removal := admin.RemoveBroker(id.Broker(req.BrokerID))
	b.update(ctx, c.actor(), []*admin.Change{removal})
	resp.ErrorCode, resp.ErrorMessage = c.code(removal.Err), message(removal.Err)
	return resp
}
