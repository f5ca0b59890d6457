package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// ElectLeaders (key 43), versions 0 to 2.
//
// A preferred election asks leaders to hand over to the preferred replica and is answered
// when they have, or with REQUEST_TIMED_OUT after the timeout, which ends the waiting and
// not the move. An unclean election gives leaders to partitions that have none.
//
// Deviations: an unclean election loses nothing, since records are in the object store.
// A partition whose leader is dead and not replaced yet is answered with
// ELIGIBLE_LEADERS_NOT_AVAILABLE in an unclean election: the other brokers are about to
// take it over.

// The types of elections.
const (
	electPreferred = 0
	electUnclean   = 1
)

// election is what a request asks for one partition.
type election struct {
	topic     string
	partition int32
	at        id.Partition // set by decide
	to        id.Broker    // set by decide: who is to lead; NoBroker: nothing to wait for
	err       error
}

// handleElectLeaders elects leaders of the partitions asked for, or of all, each of which
// succeeds or fails on its own.
func handleElectLeaders(ctx context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.ElectLeadersRequest](c)
	kind := req.ElectionType
	if req.Version == 0 {
		kind = electPreferred
	}
	if kind != electPreferred && kind != electUnclean {
		resp := responseTo[*kmsg.ElectLeadersResponse](req)
		resp.ErrorCode = c.code(fmt.Errorf("elections of type %d: %w", kind, kerr.InvalidRequest))
		c.reply(resp)
		return
	}
	all := elections(b.meta.Image(), req.Topics)
	for some := range slices.Chunk(all, partitionsPerSlot) {
		b.elect(ctx, some, kind == electUnclean)
	}
	b.waits.await(ctx, time.Duration(req.TimeoutMillis)*time.Millisecond,
		func(img *metalog.Image) bool {
			return !slices.ContainsFunc(all, func(e *election) bool { return e.pending(img) })
		},
		func(img *metalog.Image) { c.reply(electedLeaders(c, req, img, all)) })
}

// elections are those of the topics asked for, or of all if topics is nil.
func elections(img *metalog.Image, topics []kmsg.ElectLeadersRequestTopic) []*election {
	var all []*election
	for _, rt := range topics {
		for _, p := range rt.Partitions {
			all = append(all, &election{topic: rt.Topic, partition: p})
		}
	}
	if topics != nil {
		return all
	}
	for _, t := range img.Topics() {
		for i := range t.Partitions {
			all = append(all, &election{topic: t.Name, partition: int32(i)})
		}
	}
	return all
}

// elect decides on elections in one slot, which is the commit point.
func (b *Broker) elect(ctx context.Context, all []*election, unclean bool) {
	_, err := b.meta.Update(ctx, func(img *metalog.Image) ([]metalog.Record, error) {
		var changes metalog.LeadersChanged
		var targets metalog.TargetsSet
		leaders := make(map[id.Partition]metalog.LeaderChange)
		if unclean {
			for _, change := range placement.Leaderless(img) {
				leaders[change.Partition] = change
			}
		}
		for _, e := range all {
			var p metalog.PartitionState
			e.to = metalog.NoBroker
			if e.at, p, e.err = findPartition(img, e.topic, e.partition); e.err != nil {
				continue
			}
			if unclean {
				e.err = e.decideUnclean(img, &p, leaders, &changes)
			} else {
				e.err = e.decidePreferred(img, &p, &changes, &targets)
			}
		}
		var records []metalog.Record
		if len(changes.Changes) > 0 {
			records = append(records, changes)
		}
		if len(targets.Targets) > 0 {
			records = append(records, targets)
		}
		return records, nil
	})
	for _, e := range all {
		if err != nil && e.err == nil {
			e.err = fmt.Errorf("append to the metadata log: %w", err)
		}
	}
}

// decideUnclean takes the leader that is chosen for a partition without one.
func (e *election) decideUnclean(img *metalog.Image, p *metalog.PartitionState, leaders map[id.Partition]metalog.LeaderChange, changes *metalog.LeadersChanged) error {
	change, chosen := leaders[e.at]
	switch {
	case placement.IsLive(img, p.Leader):
		return kerr.ElectionNotNeeded
	case !chosen:
		return fmt.Errorf("elect a leader of partition %d of topic %q: %w", e.partition, e.topic, kerr.EligibleLeadersNotAvailable)
	}
	changes.Changes = append(changes.Changes, change)
	return nil
}

// decidePreferred asks the leader to hand over to the preferred replica, which takes over
// by itself where there is no leader.
func (e *election) decidePreferred(img *metalog.Image, p *metalog.PartitionState, changes *metalog.LeadersChanged, targets *metalog.TargetsSet) error {
	if len(p.Replicas) == 0 || !placement.IsLive(img, p.Replicas[0]) {
		return fmt.Errorf("elect the preferred leader of partition %d of topic %q: of the replicas %v the first is not alive: %w",
			e.partition, e.topic, p.Replicas, kerr.PreferredLeaderNotAvailable)
	}
	preferred := p.Replicas[0]
	switch p.Leader {
	case preferred:
		return kerr.ElectionNotNeeded
	case metalog.NoBroker:
		changes.Changes = append(changes.Changes, metalog.LeaderChange{Partition: e.at, Leader: preferred, Epoch: p.Epoch + 1})
	default:
		e.to = preferred
		targets.Targets = append(targets.Targets, metalog.PartitionTarget{Partition: e.at, Target: preferred})
	}
	return nil
}

// pending reports whether the leader is still to hand over.
func (e *election) pending(img *metalog.Image) bool {
	if e.err != nil || e.to == metalog.NoBroker {
		return false
	}
	p, ok := img.Partition(e.at)
	return ok && p.Leader != e.to && p.Target == e.to
}

// outcome returns what has become of an election that is decided.
func (e *election) outcome(img *metalog.Image) error {
	if e.err != nil || e.to == metalog.NoBroker {
		return e.err
	}
	p, ok := img.Partition(e.at)
	switch {
	case !ok:
		return kerr.UnknownTopicOrPartition
	case p.Leader == e.to:
		return nil
	case e.pending(img):
		return fmt.Errorf("the leader %v has not handed over to %v yet: %w", p.Leader, e.to, kerr.RequestTimedOut)
	}
	return fmt.Errorf("%v leads, and hands over to %v no more: %w", p.Leader, e.to, kerr.PreferredLeaderNotAvailable)
}

// electedLeaders is the response. Where all partitions were asked for, those that have
// the leader they should have are left out.
func electedLeaders(c *call, req *kmsg.ElectLeadersRequest, img *metalog.Image, all []*election) kmsg.Response {
	resp := responseTo[*kmsg.ElectLeadersResponse](req)
	for _, e := range all {
		err := e.outcome(img)
		if req.Topics == nil && errors.Is(err, kerr.ElectionNotNeeded) {
			continue
		}
		if last := len(resp.Topics) - 1; last < 0 || resp.Topics[last].Topic != e.topic {
			rt := kmsg.NewElectLeadersResponseTopic()
			rt.Topic = e.topic
			resp.Topics = append(resp.Topics, rt)
		}
		rp := kmsg.NewElectLeadersResponseTopicPartition()
		rp.Partition, rp.ErrorCode, rp.ErrorMessage = e.partition, c.code(err), message(err)
		rt := &resp.Topics[len(resp.Topics)-1]
		rt.Partitions = append(rt.Partitions, rp)
	}
	return resp
}
