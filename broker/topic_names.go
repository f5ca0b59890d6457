package broker

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/infra/metalog"
)

// maxTopicName is the longest name of a topic in bytes.
const maxTopicName = 249

// internalTopics are the names that Kafka keeps for itself. Forebay stores nothing
// in them, and clients may not produce to them; they may be created, as in Kafka, and are
// reported as internal.
var internalTopics = map[string]bool{
	offsetsTopic:          true,
	txnTopic:              true,
	"__share_group_state": true,
}

// reservedTopic is the log of KRaft's metadata, which is no topic.
const reservedTopic = "__cluster_metadata"

// checkTopicName checks a name by Kafka's rules. It fails with INVALID_TOPIC_EXCEPTION.
func checkTopicName(name string) error {
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

// collisionKey is equal for names that Kafka's metrics cannot tell apart.
func collisionKey(name string) string { return strings.ReplaceAll(name, ".", "_") }

// checkNewTopic checks that a topic of that name may be created. It fails with
// TOPIC_ALREADY_EXISTS and INVALID_TOPIC_EXCEPTION.
func checkNewTopic(img *metalog.Image, name string) error {
	if err := checkTopicName(name); err != nil {
		return err
	}
	if _, ok := img.Topic(name); ok {
		return fmt.Errorf("topic %q exists: %w", name, kerr.TopicAlreadyExists)
	}
	if !strings.ContainsAny(name, "._") {
		return nil // collides with nothing but itself
	}
	key := collisionKey(name)
	for _, t := range img.Topics() {
		if len(t.Name) == len(name) && collisionKey(t.Name) == key {
			return fmt.Errorf("topic %q collides with %q, since '.' and '_' count as the same: %w", name, t.Name, kerr.InvalidTopicException)
		}
	}
	return nil
}
