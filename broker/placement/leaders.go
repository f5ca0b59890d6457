package placement

import (
	"iter"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// Failover returns new leaders for all partitions that dead leads: where the partition
// was to move anyway, else the live replica that leads the fewest partitions, the preferred one
// among equals. Where no replica lives it is any live broker, which takes the place of dead
// among the replicas, and where nobody lives it is NoBroker. dead counts as not live, whatever
// the Image says.
func Failover(img *metalog.Image, dead id.Broker) []metalog.LeaderChange {
	return leadersAnew(img, dead)
}

// Leaderless returns leaders, chosen as Failover does, for the partitions that have none.
// It returns nothing for those as long as nobody lives.
func Leaderless(img *metalog.Image) []metalog.LeaderChange {
	return leadersAnew(img, metalog.NoBroker)
}

// Drain returns targets for all partitions that node leads, chosen as Failover does,
// so that node can leave; what was to move to node stays where it is. It returns no target
// where no other broker lives. Partitions that are on their way to another broker are left out.
func Drain(img *metalog.Image, node id.Broker) []metalog.PartitionTarget {
	c := newChooser(img, node)
	var targets []metalog.PartitionTarget
	for at, p := range partitions(img) {
		switch {
		case p.Leader != node && p.Target == node:
			targets = append(targets, metalog.PartitionTarget{Partition: at, Target: metalog.NoBroker})
		case p.Leader == node && !c.isLive(p.Target):
			if next := c.choose(p); next != metalog.NoBroker {
				targets = append(targets, metalog.PartitionTarget{Partition: at, Target: next})
			}
		}
	}
	return targets
}

// Drained returns at most limit targets that take partitions off the brokers that drain, none if nobody
// else lives.
func Drained(img *metalog.Image, limit int) (targets []metalog.PartitionTarget) {
	for _, b := range Live(img) {
		if len(targets) < limit && Draining(img, b.ID) && !Draining(img, willing(img)[0].ID) {
			targets = append(targets, Drain(img, b.ID)...)
		}
	}
	return targets[:min(len(targets), limit)]
}

// leadersAnew returns new leaders for what one broker, or NoBroker, leads.
func leadersAnew(img *metalog.Image, old id.Broker) []metalog.LeaderChange {
	c := newChooser(img, old)
	var changes []metalog.LeaderChange
	for at, p := range partitions(img) {
		if p.Leader != old {
			continue
		}
		change := metalog.LeaderChange{Partition: at, Leader: c.choose(p), Epoch: p.Epoch + 1}
		if change.Leader == old {
			continue // nobody led it and nobody lives
		}
		if change.Leader != metalog.NoBroker && !slices.Contains(p.Replicas, change.Leader) {
			change.Replicas = replaced(p.Replicas, old, change.Leader)
		}
		changes = append(changes, change)
	}
	return changes
}

// partitions yields all partitions in order of topic name and index.
func partitions(img *metalog.Image) iter.Seq2[id.Partition, *metalog.PartitionState] {
	return func(yield func(id.Partition, *metalog.PartitionState) bool) {
		for _, t := range img.Topics() {
			for i := range t.Partitions {
				if !yield(id.Partition{Topic: t.ID, Index: int32(i)}, &t.Partitions[i]) {
					return
				}
			}
		}
	}
}

// chooser chooses leaders one after the other, each where the fewest are.
type chooser struct {
	live  []*metalog.Broker // in order of id
	loads map[id.Broker]int // partitions that each live broker leads, or is about to
	racks map[id.Broker]string
}

// newChooser counts what the live brokers other than gone lead that do not drain, or all if
// each does. A partition on its way to one of them counts there.
func newChooser(img *metalog.Image, gone id.Broker) *chooser {
	c := &chooser{loads: map[id.Broker]int{}, racks: map[id.Broker]string{}}
	for _, b := range img.Brokers() {
		c.racks[b.ID] = b.Rack
	}
	drains := true // all that live do
	for _, b := range Live(img) {
		drains = drains && (b.ID == gone || Draining(img, b.ID))
	}
	for _, b := range Live(img) {
		if b.ID != gone && (drains || !Draining(img, b.ID)) {
			c.live = append(c.live, b)
			c.loads[b.ID] = 0
		}
	}
	for _, p := range partitions(img) {
		if c.isLive(p.Target) {
			c.loads[p.Target]++
		} else if c.isLive(p.Leader) {
			c.loads[p.Leader]++
		}
	}
	return c
}

// isLive reports whether node may be chosen.
func (c *chooser) isLive(node id.Broker) bool {
	_, live := c.loads[node]
	return live
}

// choose returns the next leader of p and counts it.
func (c *chooser) choose(p *metalog.PartitionState) id.Broker {
	if c.isLive(p.Target) {
		return p.Target // counted already
	}
	best := metalog.NoBroker
	for _, r := range p.Replicas {
		if load, live := c.loads[r]; live && (best == metalog.NoBroker || load < c.loads[best]) {
			best = r
		}
	}
	if best == metalog.NoBroker {
		best = c.stranger(p)
	}
	if best != metalog.NoBroker {
		c.loads[best]++
	}
	return best
}

// stranger returns the live broker that leads the fewest partitions; among equals one of a
// rack that no other replica of p is in.
func (c *chooser) stranger(p *metalog.PartitionState) id.Broker {
	shared := func(b *metalog.Broker) bool {
		return slices.ContainsFunc(p.Replicas, func(r id.Broker) bool { return r != p.Leader && c.racks[r] == b.Rack })
	}
	var best *metalog.Broker
	for _, b := range c.live {
		if best == nil || c.loads[b.ID] < c.loads[best.ID] || c.loads[b.ID] == c.loads[best.ID] && shared(best) && !shared(b) {
			best = b
		}
	}
	if best == nil {
		return metalog.NoBroker
	}
	return best.ID
}
