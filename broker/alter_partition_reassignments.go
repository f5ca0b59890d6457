package broker

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// AlterPartitionReassignments (key 45), versions 0 and 1.
//
// Records are not bound to brokers, so nothing is copied: the replicas are replaced at once,
// and a leader that is none of them any more hands over to the first of them that lives.
// Until it has, the reassignment is in progress.
//
// Deviations: the timeout is not looked at. Replicas are not remembered once they are
// replaced, so a reassignment is cancelled by putting the leader back in the place of the
// broker that it was to hand over to; the other replicas stay as they were asked for.

// partitionsPerSlot is how many partitions a request changes in one slot of the metadata
// log, well below what fits.
const partitionsPerSlot = 2000

// reassignment is what a request asks for one partition.
type reassignment struct {
	topic     string
	partition int32
	replicas  []int32 // nil: cancel
	keepCount bool    // there must be as many as there are
	err       error
}

// handleAlterPartitionReassignments changes the replicas of partitions, each of which
// succeeds or fails on its own.
func handleAlterPartitionReassignments(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.AlterPartitionAssignmentsRequest](c)
	resp := responseTo[*kmsg.AlterPartitionAssignmentsResponse](req)
	resp.AllowReplicationFactorChange = req.AllowReplicationFactorChange
	var all []*reassignment
	for _, rt := range req.Topics {
		for _, rp := range rt.Partitions {
			all = append(all, &reassignment{
				topic: rt.Topic, partition: rp.Partition, replicas: rp.Replicas,
				keepCount: !req.AllowReplicationFactorChange,
			})
		}
	}
	for some := range slices.Chunk(all, partitionsPerSlot) {
		b.reassign(ctx, some)
	}
	for _, rt := range req.Topics {
		t := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		t.Topic = rt.Topic
		for range rt.Partitions {
			p := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			p.Partition, p.ErrorCode, p.ErrorMessage = all[0].partition, c.code(all[0].err), message(all[0].err)
			t.Partitions, all = append(t.Partitions, p), all[1:]
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}

// reassign makes changes in one slot, which is the commit point.
func (b *Broker) reassign(ctx context.Context, all []*reassignment) {
	_, err := b.meta.Update(ctx, func(img *metalog.Image) ([]metalog.Record, error) {
		var replicas metalog.ReplicasChanged
		var targets metalog.TargetsSet
		for _, r := range all {
			change, target, err := r.decide(img)
			if r.err = err; err == nil {
				replicas.Changes, targets.Targets = append(replicas.Changes, change), append(targets.Targets, target)
			}
		}
		if len(replicas.Changes) == 0 {
			return nil, nil
		}
		return []metalog.Record{replicas, targets}, nil
	})
	for _, r := range all {
		if err != nil && r.err == nil {
			r.err = fmt.Errorf("append to the metadata log: %w", err)
		}
	}
}

// decide returns the replicas of the partition and the target that goes with them.
func (r *reassignment) decide(img *metalog.Image) (metalog.ReplicasChange, metalog.PartitionTarget, error) {
	at, p, err := findPartition(img, r.topic, r.partition)
	if err != nil {
		return metalog.ReplicasChange{}, metalog.PartitionTarget{}, err
	}
	replicas, err := r.wanted(img, &p)
	if err != nil {
		err = fmt.Errorf("reassign partition %d of topic %q: %w", r.partition, r.topic, err)
	}
	return metalog.ReplicasChange{Partition: at, Replicas: replicas}, metalog.PartitionTarget{Partition: at, Target: handover(img, &p, replicas)}, err
}

// wanted returns the replicas that the partition is to have.
func (r *reassignment) wanted(img *metalog.Image, p *metalog.PartitionState) ([]id.Broker, error) {
	if r.replicas == nil {
		if !reassigning(p) || len(p.Replicas) == 0 {
			return nil, kerr.NoReassignmentInProgress
		}
		back := slices.Clone(p.Replicas)
		back[max(slices.Index(back, p.Target), 0)] = p.Leader
		return back, nil
	}
	if len(r.replicas) == 0 {
		return nil, fmt.Errorf("no replicas: %w", kerr.InvalidReplicaAssignment)
	}
	replicas, err := registered(img, r.replicas)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, kerr.InvalidReplicaAssignment)
	}
	if r.keepCount && len(replicas) != len(p.Replicas) {
		return nil, fmt.Errorf("%d replicas where there are %d: %w", len(replicas), len(p.Replicas), kerr.InvalidReplicationFactor)
	}
	return replicas, nil
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

// findPartition finds a partition by the name of its topic.
func findPartition(img *metalog.Image, topic string, index int32) (id.Partition, metalog.PartitionState, error) {
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
