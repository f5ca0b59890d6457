package broker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/metalog"
)

// Metadata (key 3), versions 0 to 13.
//
// Clients are told the live brokers, with the endpoints of the listener that they asked
// on; the controller is the one with the lowest id. Every live replica is in sync: what it
// does not hold it reads from the object store. A topic that is created on the way is
// returned at once, where Kafka answers UNKNOWN_TOPIC_OR_PARTITION and expects the client
// to ask again.

// Operations that a client may do where nothing restricts it, as bits by the code
// of the operation (KIP-430).
const (
	topicOperations   = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	clusterOperations = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
)

// handleMetadata answers with brokers and topics, and creates the topics asked for
// by name that do not exist, if it may.
func handleMetadata(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.MetadataRequest](c)
	resp := responseTo[*kmsg.MetadataResponse](req)
	b.lookAgain(ctx, req)
	failed := b.autoCreate(ctx, c.actor(), req)
	img := b.told()
	cluster := img.ClusterID()
	resp.ClusterID, resp.ControllerID = &cluster, controller(img)
	for _, e := range endpoints(img, c.listener().Name, false) {
		rb := kmsg.NewMetadataResponseBroker()
		rb.NodeID, rb.Host, rb.Port, rb.Rack = int32(e.id), e.host, e.port, e.rack
		resp.Brokers = append(resp.Brokers, rb)
	}
	if req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = clusterOperations
	}
	if req.Topics == nil || c.version == 0 && len(req.Topics) == 0 {
		for _, t := range img.Topics() {
			resp.Topics = append(resp.Topics, describeTopic(img, t, c, req.IncludeTopicAuthorizedOperations))
		}
		return resp
	}
	resp.Topics = make([]kmsg.MetadataResponseTopic, 0, len(req.Topics))
	for _, rt := range req.Topics {
		t, err := findTopic(img, rt, c.version)
		if err == nil {
			resp.Topics = append(resp.Topics, describeTopic(img, t, c, req.IncludeTopicAuthorizedOperations))
			continue
		}
		if rt.Topic != nil && failed[*rt.Topic] != nil {
			err = failed[*rt.Topic]
		}
		resp.Topics = append(resp.Topics, missingTopic(c, rt, err))
	}
	return resp
}

// lookAgainTime is how long an answer may be held up by a look at the metadata log.
const lookAgainTime = 500 * time.Millisecond

// lookAgain brings the metadata up to date if they lack a topic that is asked for: it may have
// been created a moment ago, through another broker.
func (b *Broker) lookAgain(ctx context.Context, req *kmsg.MetadataRequest) {
	if b.cluster == nil { // nobody else creates topics
		return
	}
	img := b.meta.Image()
	missing := slices.ContainsFunc(req.Topics, func(rt kmsg.MetadataRequestTopic) bool {
		_, err := findTopic(img, rt, req.Version)
		return err != nil
	})
	if !missing {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookAgainTime)
	defer cancel()
	if err := b.meta.Refresh(ctx); err != nil {
		b.log.Debug("answer from metadata that may be a moment old", "err", err)
	}
}

// autoCreate creates the topics of req that do not exist, if client and broker
// allow it, and returns why for those it could not create.
func (b *Broker) autoCreate(ctx context.Context, who admin.Actor, req *kmsg.MetadataRequest) map[string]error {
	if b.cfg.Defaults.NoAutoCreateTopics || req.Version >= 4 && !req.AllowAutoTopicCreation {
		return nil
	}
	img := b.meta.Image()
	changes, collisions := make(map[string]*admin.Change), make(map[string]bool)
	var list []*admin.Change
	for _, rt := range req.Topics {
		if rt.Topic == nil || changes[*rt.Topic] != nil || rt.TopicID != [16]byte{} {
			continue
		}
		name := *rt.Topic
		if _, ok := img.Topic(name); ok {
			continue
		}
		changes[name] = b.settings().CreateTopic(admin.NewTopic{Name: name, Partitions: -1, Replicas: -1})
		if admin.HoldsShards(name) {
			changes[name] = b.shardsCreation(name)
		}
		err := admin.CheckNewTopic(img, name)
		if key := admin.CollisionKey(name); err == nil && collisions[key] {
			err = fmt.Errorf("topic %q collides with another one in the request: %w", name, kerr.InvalidTopicException)
		} else if err == nil {
			collisions[key] = true
			list = append(list, changes[name])
		}
		changes[name].Err = err
	}
	b.update(ctx, who, list)
	failed := make(map[string]error, len(changes))
	for name, ch := range changes {
		failed[name] = ch.Err
	}
	return failed
}

// findTopic finds what an element of a request names, by name or, from version 12
// on, by id.
func findTopic(img *metalog.Image, rt kmsg.MetadataRequestTopic, version int16) (*metalog.Topic, error) {
	if rt.TopicID != [16]byte{} || rt.Topic == nil {
		if version < 12 {
			return nil, fmt.Errorf("metadata version %d by topic id: %w", version, kerr.InvalidRequest)
		}
		if t, ok := img.TopicByID(rt.TopicID); ok {
			return t, nil
		}
		return nil, kerr.UnknownTopicID
	}
	if t, ok := img.Topic(*rt.Topic); ok {
		return t, nil
	}
	if err := admin.CheckTopicName(*rt.Topic); err != nil {
		return nil, err
	}
	return nil, kerr.UnknownTopicOrPartition
}

// missingTopic is the response for a topic that is not there.
func missingTopic(c *call, rt kmsg.MetadataRequestTopic, err error) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.ErrorCode, t.Topic, t.TopicID = c.code(err), rt.Topic, rt.TopicID
	if t.Topic == nil && c.version < 12 { // not nullable there
		t.Topic = new(string)
	}
	t.Partitions = []kmsg.MetadataResponseTopicPartition{}
	t.IsInternal = rt.Topic != nil && admin.IsInternal(*rt.Topic)
	return t
}

// describeTopic is the response for a topic.
func describeTopic(img *metalog.Image, t *metalog.Topic, c *call, operations bool) kmsg.MetadataResponseTopic {
	rt := kmsg.NewMetadataResponseTopic()
	rt.Topic, rt.TopicID, rt.IsInternal = &t.Name, t.ID, admin.IsInternal(t.Name)
	if operations {
		rt.AuthorizedOperations = topicOperations
	}
	rt.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	view := replicaView{img: img, slab: make([]int32, 0, len(t.Partitions)*int(t.ReplicationFactor))}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		rp := kmsg.NewMetadataResponseTopicPartition()
		rp.Partition, rp.Leader, rp.LeaderEpoch = int32(i), int32(p.Leader), int32(p.Epoch)
		rp.Replicas, rp.ISR, rp.OfflineReplicas = view.of(p)
		if code := leaderError(img, p, c); code != 0 {
			rp.ErrorCode, rp.Leader = code, int32(metalog.NoBroker)
		}
		rt.Partitions[i] = rp
	}
	return rt
}
