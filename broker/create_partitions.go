package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
)

// CreatePartitions (key 37), versions 0 to 3.
//
// Deviations: the timeout is not looked at, since partitions can be used when the
// response is sent; the topic of the group coordinators is refused with
// INVALID_TOPIC_EXCEPTION, since every group would change its coordinator.

// handleCreatePartitions adds partitions to topics, each of which succeeds or fails
// on its own.
func handleCreatePartitions(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.CreatePartitionsRequest](c)
	resp := responseTo[*kmsg.CreatePartitionsResponse](req)
	counts := make(map[string]int)
	for i := range req.Topics {
		counts[req.Topics[i].Topic]++
	}
	outcome := make([]*admin.Change, len(req.Topics))
	var changes []*admin.Change
	for i := range req.Topics {
		rt := &req.Topics[i]
		if counts[rt.Topic] > 1 {
			outcome[i] = refused(fmt.Errorf("topic %q stands more than once in the request: %w", rt.Topic, kerr.InvalidRequest))
			continue
		}
		outcome[i] = growth(rt)
		changes = append(changes, outcome[i])
	}
	b.apply(ctx, c.actor(), changes, req.ValidateOnly)
	for i := range req.Topics {
		t := kmsg.NewCreatePartitionsResponseTopic()
		t.Topic, t.ErrorCode, t.ErrorMessage = req.Topics[i].Topic, c.code(outcome[i].Err), message(outcome[i].Err)
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

// growth is the change that brings a topic to rt.Count partitions.
func growth(rt *kmsg.CreatePartitionsRequestTopic) *admin.Change {
	if rt.Assignment == nil {
		return admin.AddPartitions(rt.Topic, rt.Count, nil)
	}
	assigned := make([][]int32, len(rt.Assignment))
	for i := range assigned {
		assigned[i] = rt.Assignment[i].Replicas
	}
	return admin.AddPartitions(rt.Topic, rt.Count, assigned)
}
