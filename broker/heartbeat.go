package broker

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/group"
)

// Heartbeat (key 12), versions 0 to 4. While the group is being read the answer is that all is well, as in
// Kafka: consumers do not expect COORDINATOR_LOAD_IN_PROGRESS here. No deviations.

func handleHeartbeat(ctx context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.HeartbeatRequest](c)
	reply := func(a group.HeartbeatAnswer, err error) {
		if err == nil {
			err = a.Err
		}
		if errors.Is(err, kerr.CoordinatorLoadInProgress) {
			err = nil
		}
		resp := responseTo[*kmsg.HeartbeatResponse](req)
		resp.ErrorCode = c.code(err)
		c.reply(resp)
	}
	if req.Group == "" {
		reply(group.HeartbeatAnswer{}, group.ErrInvalidGroupID)
		return
	}
	step(ctx, b.groups, req.Group, func(t group.Ticket) group.Event {
		return group.Heartbeat{Ticket: t, MemberID: req.MemberID, Instance: req.InstanceID, Generation: req.Generation}
	}, reply)
}
