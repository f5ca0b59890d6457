package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// offsetsTopic is the internal topic whose partitions are the shards of the groups: who
// leads a partition coordinates the groups that hash to it. It holds no records;
// offsets are items of the offsets table.
const offsetsTopic = "__consumer_offsets"

// offsetsTopicConfigs are the configs that Kafka gives the topic.
var offsetsTopicConfigs = map[string]string{"cleanup.policy": "compact", "segment.bytes": "104857600"}

// shards tells which groups this broker coordinates, and under which epoch: the leader
// epoch of their shard. It is the offsets.Authority of the broker. It has no state; the
// metadata log decides. All of it is safe for concurrent use.
type shards struct {
	self    *metalog.Broker // as this process has registered it
	image   func() *metalog.Image
	refresh func(context.Context) error // makes image current
	lease   func() bool                 // whether this process may still answer
}

// Refresh implements offsets.Authority: what was appended to the metadata log before is known after.
func (s *shards) Refresh(ctx context.Context) error { return s.refresh(ctx) }

// Holds implements offsets.Authority.
func (s *shards) Holds(stored string, epoch id.Epoch) bool {
	now, err := s.lead(groupOfStored(stored))
	return err == nil && now == epoch
}

// lead returns the epoch under which this broker coordinates the group, or
// group.ErrNotCoordinator. Another process that runs under the same node id, before or
// after this one, is another broker.
func (s *shards) lead(groupID string) (id.Epoch, error) {
	img := s.image()
	shard, ok := shardOf(img, groupID)
	if !ok || shard.Leader != s.self.ID || !s.lease() {
		return -1, group.ErrNotCoordinator
	}
	if b, ok := liveBroker(img, s.self.ID); !ok || b.Incarnation != s.self.Incarnation {
		return -1, group.ErrNotCoordinator
	}
	return shard.Epoch, nil
}

// moved reports whether a broker may have got or lost shards between two Images.
func (s *shards) moved(before, after *metalog.Image) bool {
	t, _ := before.Topic(offsetsTopic)
	u, _ := after.Topic(offsetsTopic)
	b, _ := before.Broker(s.self.ID)
	c, _ := after.Broker(s.self.ID)
	return t != u || b != c
}

// shardOf returns the partition that a group belongs to, or false while there is none.
func shardOf(img *metalog.Image, groupID string) (metalog.PartitionState, bool) {
	t, ok := img.Topic(offsetsTopic)
	if !ok {
		return metalog.PartitionState{}, false
	}
	return t.Partitions[groupShard(groupID, len(t.Partitions))], true
}

// groupShard is Kafka's choice of the partition for a group: abs(hash) % partitions,
// where the hash is Java's String.hashCode, over UTF-16, and abs(MIN_VALUE) is 0.
func groupShard(groupID string, partitions int) int {
	var h int32
	for _, r := range groupID {
		if r > 0xffff {
			r -= 0x10000
			h = 31*h + (0xd800 + r>>10)
			r = 0xdc00 + r&0x3ff
		}
		h = 31*h + r
	}
	if h < 0 {
		h = max(-h, 0) // -MinInt32 overflows to itself
	}
	return int(h) % partitions
}

// liveBroker returns a broker that is registered and may lead.
func liveBroker(img *metalog.Image, node id.Broker) (*metalog.Broker, bool) {
	b, ok := img.Broker(node)
	return b, ok && !b.Fenced
}

// coordinator returns where clients of the listener reach the coordinator of a group. It creates
// the shards if there are none yet, and fails with COORDINATOR_NOT_AVAILABLE.
func (b *Broker) coordinator(ctx context.Context, groupID, listener string) (endpoint, error) {
	if err := b.createShards(ctx); err != nil {
		return endpoint{}, fmt.Errorf("find the coordinator of group %q: %w: %w", groupID, kerr.CoordinatorNotAvailable, err)
	}
	img := b.meta.Image()
	shard, _ := shardOf(img, groupID)
	if node, live := liveBroker(img, shard.Leader); live {
		if e, ok := endpointOf(node, listener); ok {
			return e, nil
		}
	}
	return endpoint{}, fmt.Errorf("find the coordinator of group %q on listener %s: %w", groupID, listener, kerr.CoordinatorNotAvailable)
}

// createShards creates the topic of the shards unless it exists. Of several brokers that
// want to, the first one in the metadata log does.
func (b *Broker) createShards(ctx context.Context) error {
	if _, ok := b.meta.Image().Topic(offsetsTopic); ok {
		return nil
	}
	creation := b.shardsCreation()
	b.update(ctx, []*change{creation})
	if errors.Is(creation.err, kerr.TopicAlreadyExists) {
		return nil
	}
	if creation.err != nil {
		b.log.Warn("cannot create the topic of the group coordinators", "topic", offsetsTopic, "err", creation.err)
	}
	return creation.err
}

// shardsCreation is the change that creates the topic. While there are fewer brokers than
// replicas wanted, it gets as many as there are brokers.
func (b *Broker) shardsCreation() *change {
	t := &newTopic{
		name: offsetsTopic, partitions: b.cfg.Groups.OffsetsTopicPartitions, replicas: b.cfg.Groups.OffsetsTopicReplicas,
		configs: offsetsTopicConfigs,
	}
	creation := b.creation(t)
	decide := creation.decide
	creation.decide = func(img *metalog.Image) (metalog.Record, error) {
		t.replicas = min(b.cfg.Groups.OffsetsTopicReplicas, int16(min(len(placement.Live(img)), 1<<15-1)))
		return decide(img)
	}
	return creation
}

// keepShards refuses changes by clients that would leave groups without their coordinators'
// epochs. It fails with INVALID_TOPIC_EXCEPTION.
func keepShards(verb, topic string) error {
	if topic == offsetsTopic {
		return fmt.Errorf("%s topic %q: it holds the group coordinators together: %w", verb, topic, kerr.InvalidTopicException)
	}
	return nil
}
