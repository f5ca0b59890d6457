package admin

import (
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/infra/metalog"
)

// The internal topics whose partitions are the shards of the coordinators: who leads one
// coordinates the groups, or the transactional ids, that hash to it. They hold no records.
const (
	OffsetsTopic = "__consumer_offsets"
	TxnTopic     = "__transaction_state"
)

// maxTopicName is the longest name of a topic in bytes.
const maxTopicName = 249

// reservedTopic is the log of KRaft's metadata, which is no topic.
const reservedTopic = "__cluster_metadata"

// IsInternal reports whether it is a name that Kafka keeps for itself. Forebay stores nothing
// in such topics, and clients may not produce to them; they may be created, as in Kafka, and are
// reported as internal.
func IsInternal(topic string) bool { return HoldsShards(topic) || topic == "__share_group_state" }

// HoldsShards reports whether it is a topic of shards.
func HoldsShards(topic string) bool { return topic == OffsetsTopic || topic == TxnTopic }

// keepShards refuses changes that would leave groups or transactional ids without
// their coordinators' epochs. It fails with INVALID_TOPIC_EXCEPTION.
func keepShards(verb, topic string) error {
	if HoldsShards(topic) {
		return fmt.Errorf("%s topic %q: it holds the coordinators together: %w", verb, topic, kerr.InvalidTopicException)
	}
	return nil
}

// CheckTopicName checks a name by Kafka's rules. It fails with INVALID_TOPIC_EXCEPTION.
func CheckTopicName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("topic name is empty: %w", kerr.InvalidTopicException)
	case name == "." || name == "..":
		return fmt.Errorf("topic name %q is not allowed: %w", name, kerr.InvalidTopicException)
	case len(name) > maxTopicName:
		return fmt.Errorf("topic name of %d bytes is longer than %d: %w", len(name), maxTopicName, kerr.InvalidTopicException)
	}
	for i := range len(name) {
		if c := name[i]; !alphanumeric(c) && c != '.' && c != '_' && c != '-' {
			return fmt.Errorf("topic name %q holds other than letters, digits, '.', '_' and '-': %w", name, kerr.InvalidTopicException)
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// CollisionKey is equal for names that Kafka's metrics cannot tell apart: of the topics that one
// request creates, no two may have the same.
func CollisionKey(name string) string { return strings.ReplaceAll(name, ".", "_") }

// CheckNewTopic checks that a topic of that name may be created. It fails with
// TOPIC_ALREADY_EXISTS and INVALID_TOPIC_EXCEPTION.
func CheckNewTopic(img *metalog.Image, name string) error {
	if err := CheckTopicName(name); err != nil {
		return err
	}
	if _, ok := img.Topic(name); ok {
		return fmt.Errorf("topic %q exists: %w", name, kerr.TopicAlreadyExists)
	}
	if !strings.ContainsAny(name, "._") {
		return nil // collides with nothing but itself
	}
	key := CollisionKey(name)
	for _, t := range img.Topics() {
		if len(t.Name) == len(name) && CollisionKey(t.Name) == key {
			return fmt.Errorf("topic %q collides with %q, since '.' and '_' count as the same: %w", name, t.Name, kerr.InvalidTopicException)
		}
	}
	return nil
}

// startOf is where placing the partitions of a topic begins.
func startOf(name string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return int(h.Sum32() >> 1)
}

// topic is a topic as a resource.
func topic(name string) metalog.Resource {
	return metalog.Resource{Type: metalog.ResourceTopic, Name: name}
}
