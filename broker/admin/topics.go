package admin

import (
	"fmt"
	"maps"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// MaxPartitions is the largest number of partitions that one request may create.
const MaxPartitions = 10_000

// NewTopic is a topic to be created.
type NewTopic struct {
	Name       string
	Partitions int32 // -1: the default
	Replicas   int16 // -1: the default
	// Assignments are the replicas of each partition, in order of partition, where the client
	// chooses them; then the two above are -1.
	Assignments [][]int32
	Configs     map[string]string
}

// CreateTopic is the change that creates t; its record is a TopicCreated. It fails with
// TOPIC_ALREADY_EXISTS, INVALID_TOPIC_EXCEPTION, INVALID_PARTITIONS, INVALID_REPLICATION_FACTOR,
// INVALID_REPLICA_ASSIGNMENT, INVALID_CONFIG, POLICY_VIOLATION and INVALID_REQUEST.
func (s Settings) CreateTopic(t NewTopic) *Change {
	return &Change{
		Action: ActionCreateTopic, Resource: topic(t.Name), Size: s.sizeOf(&t),
		Decide: func(img *metalog.Image) ([]metalog.Record, error) {
			r, err := s.decideTopic(img, &t)
			if err != nil {
				return nil, err
			}
			return []metalog.Record{r}, nil
		},
	}
}

// CreateShards is CreateTopic for a topic of shards: while there are fewer brokers than
// replicas wanted, it gets as many as there are brokers.
func (s Settings) CreateShards(t NewTopic) *Change {
	ch := s.CreateTopic(t)
	ch.Decide = func(img *metalog.Image) ([]metalog.Record, error) {
		fewer := t
		fewer.Replicas = min(t.Replicas, int16(min(len(placement.Live(img)), 1<<15-1)))
		return s.CreateTopic(fewer).Decide(img)
	}
	return ch
}

// sizeOf is about how many bytes the record of t takes.
func (s Settings) sizeOf(t *NewTopic) int {
	size := 256 + len(t.Name)
	for name, value := range t.Configs {
		size += len(name) + len(value)
	}
	perPartition := 24 + 4*int(max(t.Replicas, s.replicas()))
	if len(t.Assignments) > 0 {
		perPartition = 24 + 4*len(t.Assignments[0])
	}
	return size + perPartition*max(int(t.Partitions), len(t.Assignments), int(s.PartitionsOf(t)))
}

func (s Settings) replicas() int16 { return max(s.Replicas, 1) }

// PartitionsOf is how many partitions t is to have, as it asks for or by default: at
// most MaxPartitions+1 and not below 0.
func (s Settings) PartitionsOf(t *NewTopic) int32 {
	n := t.Partitions
	switch {
	case len(t.Assignments) > 0:
		n = int32(min(len(t.Assignments), MaxPartitions+1))
	case n == -1:
		n = max(s.Partitions, 1)
	}
	return min(max(n, 0), MaxPartitions+1)
}

// decideTopic returns the record for an Image on which t may be created.
func (s Settings) decideTopic(img *metalog.Image, t *NewTopic) (metalog.TopicCreated, error) {
	created := metalog.TopicCreated{Name: t.Name, ID: id.NewTopic(), Configs: maps.Clone(t.Configs)}
	if len(t.Assignments) > 0 && (t.Replicas != -1 || t.Partitions != -1) {
		return created, fmt.Errorf("topic %q has an assignment: partitions and replication factor must be -1: %w", t.Name, kerr.InvalidRequest)
	}
	if err := s.checkTopicConfigs(t.Configs); err != nil {
		return created, err
	}
	if t.Name == reservedTopic {
		return created, fmt.Errorf("create topic %q: the name is reserved: %w", t.Name, kerr.InvalidRequest)
	}
	if err := CheckNewTopic(img, t.Name); err != nil {
		return created, err
	}
	if s.PartitionsOf(t) > MaxPartitions {
		return created, fmt.Errorf("topic %q with more than %d partitions: create it with fewer and add the rest: %w", t.Name, MaxPartitions, kerr.PolicyViolation)
	}
	var err error
	if len(t.Assignments) > 0 {
		created.Partitions, err = assignments(img, t.Assignments, 0, 0)
		if err == nil {
			created.ReplicationFactor = int16(len(created.Partitions[0].Replicas))
		}
	} else {
		created.ReplicationFactor, created.Partitions, err = s.placeTopic(img, t)
	}
	return created, err
}

// checkTopicConfigs validates configs of a topic.
func (s Settings) checkTopicConfigs(configs map[string]string) error {
	for name, value := range configs {
		d, ok := config.Topic(name)
		if !ok {
			return fmt.Errorf("topic config %s: %w", name, config.ErrUnknown)
		}
		if err := checkValue(d, value); err != nil {
			return err
		}
	}
	if err := config.Consistent(configs); err != nil {
		return err
	}
	if class, set := configs[DurabilityConfig]; set {
		return s.CheckDurability(class)
	}
	return nil
}

// placeTopic assigns the partitions of t to brokers.
func (s Settings) placeTopic(img *metalog.Image, t *NewTopic) (int16, []metalog.Assignment, error) {
	n, rf := t.Partitions, t.Replicas
	if n == -1 {
		n = s.PartitionsOf(t)
	}
	if rf == -1 {
		rf = s.replicas()
	}
	if n <= 0 {
		return 0, nil, fmt.Errorf("topic %q with %d partitions: must be at least 1, or -1 for the default: %w", t.Name, n, kerr.InvalidPartitions)
	}
	if rf <= 0 {
		return 0, nil, fmt.Errorf("topic %q with replication factor %d: must be at least 1, or -1 for the default: %w", t.Name, rf, kerr.InvalidReplicationFactor)
	}
	placed, err := placement.Place(img, startOf(t.Name), 0, int(n), rf)
	return rf, placed, err
}

// DeleteTopic is the change that deletes a topic; name is for the audit. It names it by id, so that
// a topic created under the same name meanwhile stays. It fails with UNKNOWN_TOPIC_ID, and with
// INVALID_TOPIC_EXCEPTION for topics of shards.
func DeleteTopic(id id.Topic, name string) *Change {
	return &Change{
		Action: ActionDeleteTopic, Resource: topic(name), Size: 64,
		Decide: func(img *metalog.Image) ([]metalog.Record, error) {
			t, ok := img.TopicByID(id)
			if !ok {
				return nil, kerr.UnknownTopicID
			}
			if err := keepShards("delete", t.Name); err != nil {
				return nil, err
			}
			return []metalog.Record{metalog.TopicDeleted{ID: id}}, nil
		},
	}
}

// AddPartitions is the change that brings a topic to count partitions; its record is a
// PartitionsAdded. assigned are the replicas of each further one, where the client chooses them, and
// else nil. It fails with UNKNOWN_TOPIC_OR_PARTITION, INVALID_PARTITIONS,
// INVALID_REPLICA_ASSIGNMENT, INVALID_REPLICATION_FACTOR and, for topics of shards,
// INVALID_TOPIC_EXCEPTION.
func AddPartitions(name string, count int32, assigned [][]int32) *Change {
	return &Change{
		Action: ActionAddPartitions, Resource: topic(name), Size: 64 + 32*int(min(max(count, 0), MaxPartitions)),
		Decide: func(img *metalog.Image) ([]metalog.Record, error) {
			t, ok := img.Topic(name)
			if !ok {
				return nil, fmt.Errorf("topic %q: %w", name, kerr.UnknownTopicOrPartition)
			}
			if err := keepShards("grow", t.Name); err != nil {
				return nil, err
			}
			have := int32(len(t.Partitions))
			if count <= have {
				return nil, fmt.Errorf("topic %q has %d partitions, %d would not be an increase: %w", t.Name, have, count, kerr.InvalidPartitions)
			}
			added := int(count - have)
			if added > MaxPartitions {
				return nil, fmt.Errorf("add %d partitions to topic %q: at most %d in one request: %w", added, t.Name, MaxPartitions, kerr.InvalidPartitions)
			}
			placed, err := placeMore(img, t, assigned, added)
			if err != nil {
				return nil, err
			}
			return []metalog.Record{metalog.PartitionsAdded{ID: t.ID, Partitions: placed}}, nil
		},
	}
}

// placeMore assigns added further partitions of t, as the client says or in turn.
func placeMore(img *metalog.Image, t *metalog.Topic, assigned [][]int32, added int) ([]metalog.Assignment, error) {
	if assigned == nil {
		return placement.Place(img, startOf(t.Name), len(t.Partitions), added, t.ReplicationFactor)
	}
	if len(assigned) != added {
		return nil, fmt.Errorf("assignment of %d partitions to topic %q, which gets %d more: %w", len(assigned), t.Name, added, kerr.InvalidReplicaAssignment)
	}
	return assignments(img, assigned, len(t.Partitions), t.ReplicationFactor)
}
