package admin

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// Election is what is asked for one partition, with its outcome.
//
// A preferred election asks the leader to hand over to the preferred replica, which it does by
// itself: Pending tells whether it still has to. An unclean one gives a leader to a
// partition that has none; it loses nothing, since records are in the object store.
type Election struct {
	Topic     string
	Partition int32

	// What Apply sets. Err is UNKNOWN_TOPIC_OR_PARTITION, ELECTION_NOT_NEEDED,
	// PREFERRED_LEADER_NOT_AVAILABLE, ELIGIBLE_LEADERS_NOT_AVAILABLE, or what Apply fails with.
	At  id.Partition
	To  id.Broker // who is to lead; NoBroker: nothing to wait for
	Err error
}

// Elect are the changes that elect leaders, one of each topic. The partitions succeed or
// fail on their own.
func Elect(all []*Election, unclean bool) []*Change {
	var seen *metalog.Image
	var chosen map[id.Partition]metalog.LeaderChange
	leaders := func(img *metalog.Image) map[id.Partition]metalog.LeaderChange { // once for all topics
		if unclean && seen != img {
			seen, chosen = img, map[id.Partition]metalog.LeaderChange{}
			for _, change := range placement.Leaderless(img) {
				chosen[change.Partition] = change
			}
		}
		return chosen
	}
	return byTopic(ActionElectLeaders, all, func(e *Election) string { return e.Topic },
		func(some []*Election, img *metalog.Image) []metalog.Record {
			return elect(some, img, unclean, leaders(img))
		},
		func(e *Election, err error) {
			if e.Err == nil {
				e.Err = err
			}
		})
}

// elect decides on elections; leaders are chosen for the partitions that have none.
func elect(some []*Election, img *metalog.Image, unclean bool, leaders map[id.Partition]metalog.LeaderChange) []metalog.Record {
	var changes metalog.LeadersChanged
	var targets metalog.TargetsSet
	for _, e := range some {
		var p metalog.PartitionState
		e.To = metalog.NoBroker
		if e.At, p, e.Err = FindPartition(img, e.Topic, e.Partition); e.Err != nil {
			continue
		}
		if unclean {
			e.Err = e.decideUnclean(img, &p, leaders, &changes)
		} else {
			e.Err = e.decidePreferred(img, &p, &changes, &targets)
		}
	}
	var records []metalog.Record
	if len(changes.Changes) > 0 {
		records = append(records, changes)
	}
	if len(targets.Targets) > 0 {
		records = append(records, targets)
	}
	return records
}

// decideUnclean takes the leader that is chosen for a partition without one.
func (e *Election) decideUnclean(img *metalog.Image, p *metalog.PartitionState, leaders map[id.Partition]metalog.LeaderChange, changes *metalog.LeadersChanged) error {
	change, chosen := leaders[e.At]
	switch {
	case placement.IsLive(img, p.Leader):
		return kerr.ElectionNotNeeded
	case !chosen:
		return fmt.Errorf("elect a leader of partition %d of topic %q: %w", e.Partition, e.Topic, kerr.EligibleLeadersNotAvailable)
	}
	changes.Changes = append(changes.Changes, change)
	return nil
}

// decidePreferred asks the leader to hand over to the preferred replica, which takes over
// by itself where there is no leader.
func (e *Election) decidePreferred(img *metalog.Image, p *metalog.PartitionState, changes *metalog.LeadersChanged, targets *metalog.TargetsSet) error {
	if len(p.Replicas) == 0 || !placement.IsLive(img, p.Replicas[0]) {
		return fmt.Errorf("elect the preferred leader of partition %d of topic %q: of the replicas %v the first is not alive: %w",
			e.Partition, e.Topic, p.Replicas, kerr.PreferredLeaderNotAvailable)
	}
	preferred := p.Replicas[0]
	switch p.Leader {
	case preferred:
		return kerr.ElectionNotNeeded
	case metalog.NoBroker:
		changes.Changes = append(changes.Changes, metalog.LeaderChange{Partition: e.At, Leader: preferred, Epoch: p.Epoch + 1})
	default:
		e.To = preferred
		targets.Targets = append(targets.Targets, metalog.PartitionTarget{Partition: e.At, Target: preferred})
	}
	return nil
}

// Pending reports whether the leader is still to hand over.
func (e *Election) Pending(img *metalog.Image) bool {
	if e.Err != nil || e.To == metalog.NoBroker {
		return false
	}
	p, ok := img.Partition(e.At)
	return ok && p.Leader != e.To && p.Target == e.To
}

// Outcome returns what has become, as of img, of an election that was applied: nil, its Err,
// REQUEST_TIMED_OUT while it is pending, or PREFERRED_LEADER_NOT_AVAILABLE.
func (e *Election) Outcome(img *metalog.Image) error {
	if e.Err != nil || e.To == metalog.NoBroker {
		return e.Err
	}
	p, ok := img.Partition(e.At)
	switch {
	case !ok:
		return kerr.UnknownTopicOrPartition
	case p.Leader == e.To:
		return nil
	case e.Pending(img):
		return fmt.Errorf("the leader %v has not handed over to %v yet: %w", p.Leader, e.To, kerr.RequestTimedOut)
	}
	return fmt.Errorf("%v leads, and hands over to %v no more: %w", p.Leader, e.To, kerr.PreferredLeaderNotAvailable)
}
