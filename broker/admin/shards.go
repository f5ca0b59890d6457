package admin

import (
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// ShardOf returns the partition of a topic of shards that a group or a transactional id belongs to, or
// false while there is none.
func ShardOf(img *metalog.Image, topic, name string) (id.Partition, metalog.PartitionState, bool) {
	t, ok := img.Topic(topic)
	if !ok {
		return id.Partition{}, metalog.PartitionState{}, false
	}
	i := group.Shard(name, len(t.Partitions))
	return id.Partition{Topic: t.ID, Index: int32(i)}, t.Partitions[i], true
}
