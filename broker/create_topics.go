package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/metalog"
)

// CreateTopics (key 19), versions 2 to 7.
//
// Deviations: the timeout is not looked at, since a topic can be used when the
// response is sent; with validate_only no topic id is returned.

// handleCreateTopics creates topics, each of which succeeds or fails on its own.
func handleCreateTopics(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.CreateTopicsRequest](c)
	resp := responseTo[*kmsg.CreateTopicsResponse](req)
	settings := b.settings()
	counts, collisions, total := make(map[string]int), make(map[string]int), int32(0)
	for i := range req.Topics {
		rt := &req.Topics[i]
		counts[rt.Topic]++
		total += settings.PartitionsOf(&admin.NewTopic{Partitions: rt.NumPartitions, Assignments: make([][]int32, len(rt.ReplicaAssignment))})
	}
	var changes []*admin.Change
	outcome := make([]*admin.Change, len(req.Topics))
	for i := range req.Topics {
		t, err := newTopicOf(&req.Topics[i])
		key := admin.CollisionKey(t.Name)
		collisions[key]++
		switch {
		case counts[t.Name] > 1:
			err = fmt.Errorf("topic %q stands more than once in the request: %w", t.Name, kerr.InvalidRequest)
		case total > admin.MaxPartitions || total < 0:
			err = fmt.Errorf("request for more than %d partitions: split it: %w", admin.MaxPartitions, kerr.PolicyViolation)
		case collisions[key] > 1:
			err = fmt.Errorf("topic %q collides with another one in the request: %w", t.Name, kerr.InvalidTopicException)
		}
		outcome[i] = refused(err)
		if err == nil {
			outcome[i] = settings.CreateTopic(t)
			changes = append(changes, outcome[i])
		}
	}
	b.apply(ctx, c.actor(), changes, req.ValidateOnly)
	for i := range outcome {
		resp.Topics = append(resp.Topics, b.createdTopic(c, req.Topics[i].Topic, outcome[i], req.ValidateOnly))
	}
	return resp
}

// newTopicOf reads what a request asks for.
func newTopicOf(rt *kmsg.CreateTopicsRequestTopic) (admin.NewTopic, error) {
	t := admin.NewTopic{Name: rt.Topic, Partitions: rt.NumPartitions, Replicas: rt.ReplicationFactor}
	for _, rc := range rt.Configs {
		if rc.Value == nil {
			return t, fmt.Errorf("config %s of topic %q is null: %w", rc.Name, t.Name, kerr.InvalidConfig)
		}
		if _, twice := t.Configs[rc.Name]; twice {
			return t, fmt.Errorf("config %s of topic %q is given twice: %w", rc.Name, t.Name, kerr.InvalidConfig)
		}
		if t.Configs == nil {
			t.Configs = make(map[string]string)
		}
		t.Configs[rc.Name] = *rc.Value
	}
	if len(rt.ReplicaAssignment) == 0 {
		return t, nil
	}
	t.Assignments = make([][]int32, len(rt.ReplicaAssignment))
	for _, m := range rt.ReplicaAssignment {
		if m.Partition < 0 || int(m.Partition) >= len(t.Assignments) || t.Assignments[m.Partition] != nil {
			return t, fmt.Errorf("assignment of partition %d: partitions must be numbered from 0 without gaps: %w", m.Partition, kerr.InvalidReplicaAssignment)
		}
		t.Assignments[m.Partition] = append([]int32{}, m.Replicas...)
	}
	return t, nil
}

// createdTopic is the response for one topic.
func (b *Broker) createdTopic(c *call, name string, ch *admin.Change, validated bool) kmsg.CreateTopicsResponseTopic {
	rt := kmsg.NewCreateTopicsResponseTopic()
	rt.Topic, rt.ErrorCode, rt.ErrorMessage = name, c.code(ch.Err), message(ch.Err)
	rt.Configs = []kmsg.CreateTopicsResponseTopicConfig{} // never null
	created, made := admin.Made[metalog.TopicCreated](ch)
	if !made {
		return rt
	}
	if !validated {
		rt.TopicID = created.ID
	}
	rt.NumPartitions, rt.ReplicationFactor = int32(len(created.Partitions)), created.ReplicationFactor
	layers := b.topicLayers(b.meta.Image(), created.Configs)
	defs := config.Topics()
	for i := range defs {
		v := defs[i].Resolve(layers)[0]
		rc := kmsg.NewCreateTopicsResponseTopicConfig()
		rc.Name, rc.Value, rc.Source = defs[i].Name, &v.Value, int8(v.Source)
		rt.Configs = append(rt.Configs, rc)
	}
	return rt
}
