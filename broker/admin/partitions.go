package admin

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// partitionsPerChange is how many partitions one change reassigns or elects for, well below what
// fits in a slot.
const partitionsPerChange = 2000

// FindPartition finds a partition by the name of its topic. It fails with UNKNOWN_TOPIC_OR_PARTITION.
func FindPartition(img *metalog.Image, topic string, index int32) (id.Partition, metalog.PartitionState, error) {
	t, ok := img.Topic(topic)
	if !ok {
		return id.Partition{}, metalog.PartitionState{}, fmt.Errorf("topic %q: %w", topic, kerr.UnknownTopicOrPartition)
	}
	at := id.Partition{Topic: t.ID, Index: index}
	p, ok := img.Partition(at)
	if !ok {
		return at, p, fmt.Errorf("partition %d of topic %q: %w", index, topic, kerr.UnknownTopicOrPartition)
	}
	return at, p, nil
}

// byTopic makes one change of each topic, or of partitionsPerChange partitions of it, in the order
// that all is in. Consecutive elements of one topic go together. decide is as in Change, and sets the
// errors of the elements by itself; refused sets those of elements that have none.
func byTopic[E any](action string, all []*E, name func(*E) string,
	decide func(some []*E, img *metalog.Image) []metalog.Record, refused func(*E, error),
) []*Change {
	var changes []*Change
	for len(all) > 0 {
		n, of := 1, name(all[0])
		for n < len(all) && n < partitionsPerChange && name(all[n]) == of {
			n++
		}
		some := all[:n]
		all = all[n:]
		changes = append(changes, &Change{
			Action: action, Resource: topic(of), Size: 48 * n,
			Decide: func(img *metalog.Image) ([]metalog.Record, error) { return decide(some, img), nil },
			refused: func(err error) {
				for _, e := range some {
					refused(e, err)
				}
			},
		})
	}
	return changes
}

// Reassignment is what is asked for one partition (KIP-455), with its outcome.
//
// Records are not bound to brokers, so nothing is copied: the replicas are replaced at once,
// and a leader that is none of them any more hands over to the first of them that lives.
type Reassignment struct {
	Topic     string
	Partition int32
	Replicas  []int32 // in order of preference; nil: cancel the one in progress
	KeepCount bool    // there must be as many as there are

	// Err is set by Apply: UNKNOWN_TOPIC_OR_PARTITION, INVALID_REPLICA_ASSIGNMENT,
	// INVALID_REPLICATION_FACTOR, NO_REASSIGNMENT_IN_PROGRESS, or what Apply fails with.
	Err error
}

// Reassign are the changes that reassign partitions, one of each topic. The partitions
// succeed or fail on their own.
func Reassign(all []*Reassignment) []*Change {
	return byTopic(ActionReassign, all, func(r *Reassignment) string { return r.Topic }, reassign,
		func(r *Reassignment, err error) {
			if r.Err == nil {
				r.Err = err
			}
		})
}

func reassign(some []*Reassignment, img *metalog.Image) []metalog.Record {
	var replicas metalog.ReplicasChanged
	var targets metalog.TargetsSet
	for _, r := range some {
		change, target, err := r.decide(img)
		if r.Err = err; err == nil {
			replicas.Changes, targets.Targets = append(replicas.Changes, change), append(targets.Targets, target)
		}
	}
	if len(replicas.Changes) == 0 {
		return nil
	}
	return []metalog.Record{replicas, targets}
}

// decide returns the replicas of the partition and the target that goes with them.
func (r *Reassignment) decide(img *metalog.Image) (metalog.ReplicasChange, metalog.PartitionTarget, error) {
	at, p, err := FindPartition(img, r.Topic, r.Partition)
	if err != nil {
		return metalog.ReplicasChange{}, metalog.PartitionTarget{}, err
	}
	replicas, err := r.wanted(img, &p)
	if err != nil {
		err = fmt.Errorf("reassign partition %d of topic %q: %w", r.Partition, r.Topic, err)
	}
	return metalog.ReplicasChange{Partition: at, Replicas: replicas}, metalog.PartitionTarget{Partition: at, Target: handover(img, &p, replicas)}, err
}

// wanted returns the replicas that the partition is to have.
func (r *Reassignment) wanted(img *metalog.Image, p *metalog.PartitionState) ([]id.Broker, error) {
	if r.Replicas == nil {
		if !Reassigning(p) || len(p.Replicas) == 0 {
			return nil, kerr.NoReassignmentInProgress
		}
		back := slices.Clone(p.Replicas)
		back[max(slices.Index(back, p.Target), 0)] = p.Leader
		return back, nil
	}
	if len(r.Replicas) == 0 {
		return nil, fmt.Errorf("no replicas: %w", kerr.InvalidReplicaAssignment)
	}
	replicas, err := registered(img, r.Replicas)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, kerr.InvalidReplicaAssignment)
	}
	if r.KeepCount && len(replicas) != len(p.Replicas) {
		return nil, fmt.Errorf("%d replicas where there are %d: %w", len(replicas), len(p.Replicas), kerr.InvalidReplicationFactor)
	}
	return replicas, nil
}

// Reassigning reports whether the leader has yet to hand over to one of the replicas.
func Reassigning(p *metalog.PartitionState) bool {
	return p.Leader != metalog.NoBroker && !slices.Contains(p.Replicas, p.Leader)
}

// handover returns the broker that p is to move to when it gets replicas: where it is moving
// already, if that is one of them; nowhere, if its leader is; else to the first that lives. A
// partition that nobody leads has nobody to hand over.
func handover(img *metalog.Image, p *metalog.PartitionState, replicas []id.Broker) id.Broker {
	if slices.Contains(replicas, p.Target) {
		return p.Target
	}
	if p.Leader == metalog.NoBroker || slices.Contains(replicas, p.Leader) {
		return metalog.NoBroker
	}
	for _, r := range replicas {
		if placement.IsLive(img, r) {
			return r
		}
	}
	return metalog.NoBroker
}
