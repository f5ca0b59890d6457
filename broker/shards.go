package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// offsetsTopicConfigs are the configs that Kafka gives the topic of the groups, and
// txnTopicConfigs those of the topic of the transactional ids.
var offsetsTopicConfigs = map[string]string{"cleanup.policy": "compact", "segment.bytes": "104857600"}

var txnTopicConfigs = map[string]string{
	"cleanup.policy": "compact", "segment.bytes": "104857600", "compression.type": "uncompressed", "unclean.leader.election.enable": "false",
}

// shards tells which groups or transactional ids this broker coordinates, and under which epoch:
// the leader epoch of their shard. It is the Authority of the broker for their items. It has no
// state; the metadata log decides. All of it is safe for concurrent use.
type shards struct {
	topic   string
	stored  func(name string) string // the inverse of the name as Authority has it; nil: they are the same
	self    *metalog.Broker          // as this process has registered it
	image   func() *metalog.Image
	refresh func(context.Context) error // makes image current
	lease   func() bool                 // whether this process may still answer
}

// Refresh implements offsets.Authority: what was appended to the metadata log before is known after.
func (s *shards) Refresh(ctx context.Context) error { return s.refresh(ctx) }

// Holds implements offsets.Authority.
func (s *shards) Holds(stored string, epoch id.Epoch) bool {
	if s.stored != nil {
		stored = s.stored(stored)
	}
	now, err := s.lead(stored)
	return err == nil && now == epoch
}

// lead returns the epoch under which this broker coordinates the name, or
// group.ErrNotCoordinator. Another process that runs under the same node id, before or
// after this one, is another broker.
func (s *shards) lead(name string) (id.Epoch, error) {
	img := s.image()
	shard, ok := shardIn(img, s.topic, name)
	return s.epoch(img, shard, ok)
}

// leadIndex is lead for a shard by its number, which need not exist.
func (s *shards) leadIndex(index int32) (id.Epoch, error) {
	img := s.image()
	t, ok := img.Topic(s.topic)
	if !ok || index < 0 || int(index) >= len(t.Partitions) {
		return -1, group.ErrNotCoordinator
	}
	return s.epoch(img, t.Partitions[index], true)
}

// epoch is the epoch of a shard that exists and that this broker leads, or group.ErrNotCoordinator.
func (s *shards) epoch(img *metalog.Image, shard metalog.PartitionState, exists bool) (id.Epoch, error) {
	if !exists || !s.leads(img, shard) {
		return -1, group.ErrNotCoordinator
	}
	return shard.Epoch, nil
}

// leads reports whether this broker leads the shard, and may still answer for it.
func (s *shards) leads(img *metalog.Image, shard metalog.PartitionState) bool {
	if shard.Leader != s.self.ID || !s.lease() {
		return false
	}
	b, ok := liveBroker(img, s.self.ID)
	return ok && b.Incarnation == s.self.Incarnation
}

// keeps reports whether this broker is still the leader of the shard under the epoch, as far as the
// metadata tells: it may have to wait for its lease before it answers for it again.
func (s *shards) keeps(img *metalog.Image, shard metalog.PartitionState, epoch id.Epoch) bool {
	b, ok := img.Broker(s.self.ID)
	return ok && b.Incarnation == s.self.Incarnation && shard.Leader == s.self.ID && shard.Epoch == epoch
}

// moved reports whether a broker may have got or lost shards between two Images.
func (s *shards) moved(before, after *metalog.Image) bool {
	t, _ := before.Topic(s.topic)
	u, _ := after.Topic(s.topic)
	b, _ := before.Broker(s.self.ID)
	c, _ := after.Broker(s.self.ID)
	return t != u || b != c
}

// shardOf returns the partition that a group belongs to, or false while there is none.
func shardOf(img *metalog.Image, groupID string) (metalog.PartitionState, bool) {
	return shardIn(img, admin.OffsetsTopic, groupID)
}

// shardIn returns the partition of a topic of shards that a name belongs to, or false while there is none.
func shardIn(img *metalog.Image, topic, name string) (metalog.PartitionState, bool) {
	_, shard, ok := admin.ShardOf(img, topic, name)
	return shard, ok
}

// liveBroker returns a broker that is registered and may lead.
func liveBroker(img *metalog.Image, node id.Broker) (*metalog.Broker, bool) {
	b, ok := img.Broker(node)
	return b, ok && !b.Fenced
}

// coordinator returns where clients of the listener reach the coordinator of a name, by the
// topic of its shards. It creates the shards if there are none yet, and fails with COORDINATOR_NOT_AVAILABLE.
func (b *Broker) coordinator(ctx context.Context, topic, name, listener string) (endpoint, error) {
	if err := b.createShardsOf(ctx, topic); err != nil {
		return endpoint{}, fmt.Errorf("find the coordinator of %q: %w: %w", name, kerr.CoordinatorNotAvailable, err)
	}
	img := b.told()
	shard, _ := shardIn(img, topic, name)
	if node, live := liveBroker(img, shard.Leader); live {
		if e, ok := endpointOf(node, listener); ok {
			return e, nil
		}
	}
	return endpoint{}, fmt.Errorf("find the coordinator of %q on listener %s: %w", name, listener, kerr.CoordinatorNotAvailable)
}

// createShards creates the topic of the groups' shards unless it exists.
func (b *Broker) createShards(ctx context.Context) error {
	return b.createShardsOf(ctx, admin.OffsetsTopic)
}

// createShardsOf creates a topic of shards unless it exists. Of several brokers that
// want to, the first one in the metadata log does.
func (b *Broker) createShardsOf(ctx context.Context, topic string) error {
	if _, ok := b.meta.Image().Topic(topic); ok {
		return nil
	}
	creation := b.shardsCreation(topic)
	b.update(ctx, b.actor(), []*admin.Change{creation})
	if errors.Is(creation.Err, kerr.TopicAlreadyExists) {
		return nil
	}
	if creation.Err != nil {
		b.log.Warn("cannot create the topic of the coordinators", "topic", topic, "err", creation.Err)
	}
	return creation.Err
}

// shardsCreation is the change that creates a topic of shards.
func (b *Broker) shardsCreation(topic string) *admin.Change {
	t := admin.NewTopic{Name: topic, Partitions: b.cfg.Groups.OffsetsTopicPartitions, Replicas: b.cfg.Groups.OffsetsTopicReplicas, Configs: offsetsTopicConfigs}
	if topic == admin.TxnTopic {
		t.Partitions, t.Replicas, t.Configs = b.cfg.Transactions.TopicPartitions, b.cfg.Transactions.TopicReplicas, txnTopicConfigs
	}
	return b.settings().CreateShards(t)
}
