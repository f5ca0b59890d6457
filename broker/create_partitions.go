package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/metalog"
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
	outcome := make([]*change, len(req.Topics))
	var changes []*change
	for i := range req.Topics {
		rt := &req.Topics[i]
		if counts[rt.Topic] > 1 {
			outcome[i] = &change{err: fmt.Errorf("topic %q stands more than once in the request: %w", rt.Topic, kerr.InvalidRequest)}
			continue
		}
		outcome[i] = growth(rt)
		changes = append(changes, outcome[i])
	}
	b.apply(ctx, changes, req.ValidateOnly)
	for i := range req.Topics {
		t := kmsg.NewCreatePartitionsResponseTopic()
		t.Topic, t.ErrorCode, t.ErrorMessage = req.Topics[i].Topic, c.code(outcome[i].err), message(outcome[i].err)
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

// growth is the change that brings a topic to rt.Count partitions.
func growth(rt *kmsg.CreatePartitionsRequestTopic) *change {
	size := 64 + 32*int(min(max(rt.Count, 0), maxPartitions))
	return &change{size: size, decide: func(img *metalog.Image) (metalog.Record, error) {
		t, ok := img.Topic(rt.Topic)
		if !ok {
			return nil, fmt.Errorf("topic %q: %w", rt.Topic, kerr.UnknownTopicOrPartition)
		}
		if err := keepShards("grow", t.Name); err != nil {
			return nil, err
		}
		have := int32(len(t.Partitions))
		if rt.Count <= have {
			return nil, fmt.Errorf("topic %q has %d partitions, %d would not be an increase: %w", t.Name, have, rt.Count, kerr.InvalidPartitions)
		}
		added := int(rt.Count - have)
		if added > maxPartitions {
			return nil, fmt.Errorf("add %d partitions to topic %q: at most %d in one request: %w", added, t.Name, maxPartitions, kerr.InvalidPartitions)
		}
		placed, err := placeMore(img, t, rt, added)
		return metalog.PartitionsAdded{ID: t.ID, Partitions: placed}, err
	}}
}

// placeMore assigns added further partitions of t, as the client says or in turn.
func placeMore(img *metalog.Image, t *metalog.Topic, rt *kmsg.CreatePartitionsRequestTopic, added int) ([]metalog.Assignment, error) {
	if rt.Assignment == nil {
		return placement.Place(img, startOf(t.Name), len(t.Partitions), added, t.ReplicationFactor)
	}
	if len(rt.Assignment) != added {
		return nil, fmt.Errorf("assignment of %d partitions to topic %q, which gets %d more: %w", len(rt.Assignment), t.Name, added, kerr.InvalidReplicaAssignment)
	}
	placed := make([]metalog.Assignment, added)
	for i := range rt.Assignment {
		a, err := assignment(img, int32(len(t.Partitions)+i), rt.Assignment[i].Replicas, t.ReplicationFactor)
		if err != nil {
			return nil, err
		}
		placed[i] = a
	}
	return placed, nil
}
