package admin

import (
	"strings"

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
	i := Shard(name, len(t.Partitions))
	return id.Partition{Topic: t.ID, Index: int32(i)}, t.Partitions[i], true
}

// Shard is Kafka's choice of the partition for a group or a transactional id: abs(hash) % partitions,
// where the hash is Java's String.hashCode, over UTF-16, and abs(MIN_VALUE) is 0.
func Shard(name string, partitions int) int {
	var h int32
	for _, r := range name {
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

// StoredGroup is the name of a group in the table of the offsets, which has no empty names: Kafka lets
// consumers without a group commit to the group "". It is stored as a zero byte, and one more
// stands before every name that begins with one.
func StoredGroup(group string) string {
	if group == "" || group[0] == 0 {
		return "\x00" + group
	}
	return group
}

// GroupOfStored is the inverse of StoredGroup.
func GroupOfStored(name string) string { return strings.TrimPrefix(name, "\x00") }
