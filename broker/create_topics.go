package broker

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// CreateTopics (key 19), versions 2 to 7.
//
// Deviations: the timeout is not looked at, since a topic can be used when the
// response is sent; with validate_only no topic id is returned.

// maxPartitions is the largest number of partitions that one request may create.
const maxPartitions = 10_000

// newTopic is a topic to be created.
type newTopic struct {
	name       string
	partitions int32 // -1: the default
	replicas   int16 // -1: the default
	manual     []kmsg.CreateTopicsRequestTopicReplicaAssignment
	configs    map[string]string

	created metalog.TopicCreated // set by decide
}

// handleCreateTopics creates topics, each of which succeeds or fails on its own.
func handleCreateTopics(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.CreateTopicsRequest](c)
	resp := responseTo[*kmsg.CreateTopicsResponse](req)
	counts, collisions, total := make(map[string]int), make(map[string]int), int32(0)
	for i := range req.Topics {
		counts[req.Topics[i].Topic]++
		total += b.askedPartitions(&req.Topics[i])
	}
	topics := make([]*newTopic, len(req.Topics))
	var changes []*change
	outcome := make([]*change, len(req.Topics))
	for i := range req.Topics {
		t, err := b.newTopicOf(&req.Topics[i])
		key := collisionKey(t.name)
		collisions[key]++
		switch {
		case counts[t.name] > 1:
			err = fmt.Errorf("topic %q stands more than once in the request: %w", t.name, kerr.InvalidRequest)
		case total > maxPartitions || total < 0:
			err = fmt.Errorf("request for more than %d partitions: split it: %w", maxPartitions, kerr.PolicyViolation)
		case collisions[key] > 1:
			err = fmt.Errorf("topic %q collides with another one in the request: %w", t.name, kerr.InvalidTopicException)
		}
		topics[i], outcome[i] = t, &change{err: err}
		if err == nil {
			outcome[i] = b.creation(t)
			changes = append(changes, outcome[i])
		}
	}
	b.apply(ctx, changes, req.ValidateOnly)
	for i := range topics {
		resp.Topics = append(resp.Topics, b.createdTopic(c, topics[i], outcome[i].err, req.ValidateOnly))
	}
	return resp
}

// askedPartitions is how many partitions a topic is to have, at most maxPartitions+1
// and not below 0.
func (b *Broker) askedPartitions(rt *kmsg.CreateTopicsRequestTopic) int32 {
	n := rt.NumPartitions
	switch {
	case len(rt.ReplicaAssignment) > 0:
		n = int32(min(len(rt.ReplicaAssignment), maxPartitions+1))
	case n == -1:
		n = b.cfg.Defaults.NumPartitions
	}
	return min(max(n, 0), maxPartitions+1)
}

// newTopicOf reads what a request asks for.
func (b *Broker) newTopicOf(rt *kmsg.CreateTopicsRequestTopic) (*newTopic, error) {
	t := &newTopic{name: rt.Topic, partitions: rt.NumPartitions, replicas: rt.ReplicationFactor, manual: rt.ReplicaAssignment}
	if len(t.manual) > 0 && (t.replicas != -1 || t.partitions != -1) {
		return t, fmt.Errorf("topic %q has an assignment: partitions and replication factor must be -1: %w", t.name, kerr.InvalidRequest)
	}
	for _, rc := range rt.Configs {
		if rc.Value == nil {
			return t, fmt.Errorf("config %s of topic %q is null: %w", rc.Name, t.name, kerr.InvalidConfig)
		}
		if _, twice := t.configs[rc.Name]; twice {
			return t, fmt.Errorf("config %s of topic %q is given twice: %w", rc.Name, t.name, kerr.InvalidConfig)
		}
		if t.configs == nil {
			t.configs = make(map[string]string)
		}
		t.configs[rc.Name] = *rc.Value
	}
	if err := checkTopicConfigs(t.configs); err != nil {
		return t, err
	}
	if class, set := t.configs[durabilityConfig]; set {
		return t, b.cfg.checkDurability(class)
	}
	return t, nil
}

// checkTopicConfigs validates configs of a topic.
func checkTopicConfigs(configs map[string]string) error {
	for name, value := range configs {
		d, ok := config.Topic(name)
		if !ok {
			return fmt.Errorf("topic config %s: %w", name, config.ErrUnknown)
		}
		if err := d.Validate(value); err != nil {
			return err
		}
	}
	return config.Consistent(configs)
}

// creation is the change that creates t.
func (b *Broker) creation(t *newTopic) *change {
	size := 256 + len(t.name)
	for name, value := range t.configs {
		size += len(name) + len(value)
	}
	perPartition := 24 + 4*int(max(t.replicas, b.cfg.Defaults.ReplicationFactor))
	if len(t.manual) > 0 {
		perPartition = 24 + 4*len(t.manual[0].Replicas)
	}
	size += perPartition * max(int(t.partitions), len(t.manual), int(b.cfg.Defaults.NumPartitions))
	return &change{size: size, decide: func(img *metalog.Image) (metalog.Record, error) {
		err := b.decideTopic(img, t)
		return t.created, err
	}}
}

// decideTopic sets t.created for an Image on which t may be created.
func (b *Broker) decideTopic(img *metalog.Image, t *newTopic) error {
	if t.name == reservedTopic {
		return fmt.Errorf("create topic %q: the name is reserved: %w", t.name, kerr.InvalidRequest)
	}
	if err := checkNewTopic(img, t.name); err != nil {
		return err
	}
	created := metalog.TopicCreated{Name: t.name, ID: id.NewTopic(), Configs: maps.Clone(t.configs)}
	var err error
	if len(t.manual) > 0 {
		created.Partitions, err = manualAssignments(img, t.manual)
		if err == nil {
			created.ReplicationFactor = int16(len(created.Partitions[0].Replicas))
		}
	} else {
		created.ReplicationFactor, created.Partitions, err = b.placeTopic(img, t)
	}
	t.created = created
	return err
}

// placeTopic assigns the partitions of t to brokers.
func (b *Broker) placeTopic(img *metalog.Image, t *newTopic) (int16, []metalog.Assignment, error) {
	n, rf := t.partitions, t.replicas
	if n == -1 {
		n = b.cfg.Defaults.NumPartitions
	}
	if rf == -1 {
		rf = b.cfg.Defaults.ReplicationFactor
	}
	if n <= 0 {
		return 0, nil, fmt.Errorf("topic %q with %d partitions: must be at least 1, or -1 for the default: %w", t.name, n, kerr.InvalidPartitions)
	}
	if rf <= 0 {
		return 0, nil, fmt.Errorf("topic %q with replication factor %d: must be at least 1, or -1 for the default: %w", t.name, rf, kerr.InvalidReplicationFactor)
	}
	placed, err := placement.Place(img, startOf(t.name), 0, int(n), rf)
	return rf, placed, err
}

// startOf is where placing the partitions of a topic begins.
func startOf(name string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return int(h.Sum32() >> 1)
}

// manualAssignments puts a client's assignments in order. They must number the
// partitions from 0 on.
func manualAssignments(img *metalog.Image, manual []kmsg.CreateTopicsRequestTopicReplicaAssignment) ([]metalog.Assignment, error) {
	placed := make([]metalog.Assignment, len(manual))
	rf := int16(0)
	for _, m := range manual {
		if m.Partition < 0 || int(m.Partition) >= len(manual) || placed[m.Partition].Replicas != nil {
			return nil, fmt.Errorf("assignment of partition %d: partitions must be numbered from 0 without gaps: %w", m.Partition, kerr.InvalidReplicaAssignment)
		}
		a, err := assignment(img, m.Partition, m.Replicas, rf)
		if err != nil {
			return nil, err
		}
		placed[m.Partition], rf = a, int16(len(a.Replicas))
	}
	return placed, nil
}

// createdTopic is the response for one topic.
func (b *Broker) createdTopic(c *call, t *newTopic, err error, validated bool) kmsg.CreateTopicsResponseTopic {
	rt := kmsg.NewCreateTopicsResponseTopic()
	rt.Topic, rt.ErrorCode, rt.ErrorMessage = t.name, c.code(err), message(err)
	rt.Configs = []kmsg.CreateTopicsResponseTopicConfig{} // never null
	if err != nil {
		return rt
	}
	if !validated {
		rt.TopicID = t.created.ID
	}
	rt.NumPartitions, rt.ReplicationFactor = int32(len(t.created.Partitions)), t.created.ReplicationFactor
	layers := b.topicLayers(b.meta.Image(), t.configs)
	defs := config.Topics()
	for i := range defs {
		v := defs[i].Resolve(layers)[0]
		rc := kmsg.NewCreateTopicsResponseTopicConfig()
		rc.Name, rc.Value, rc.Source = defs[i].Name, &v.Value, int8(v.Source)
		rt.Configs = append(rt.Configs, rc)
	}
	return rt
}
