// Package placement chooses brokers for partitions: replicas and leaders of new
// ones, leaders in place of a dead broker, and the planned moves that keep the load even
// and let a broker leave.
//
// Records of a partition are not bound to a broker, so replicas are an order of preference
// and nothing is copied when they change. A broker is live when it is registered and not
// fenced; only live brokers are ever chosen, and of those none that drains, unless all do.
//
// All functions are pure: what they return depends on the Image alone, the same on every
// broker. They change nothing, and are safe for concurrent use.
package placement

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// ErrTooFewBrokers means that there are fewer registered brokers than replicas are asked
// for, or no live one.
var ErrTooFewBrokers = errors.New("too few brokers")

// IsLive reports whether a broker is registered and not fenced.
func IsLive(img *metalog.Image, node id.Broker) bool {
	b, ok := img.Broker(node)
	return ok && !b.Fenced
}

// Live returns the live brokers in order of id.
func Live(img *metalog.Image) []*metalog.Broker {
	live := make([]*metalog.Broker, 0, len(img.Brokers()))
	for _, b := range img.Brokers() {
		if !b.Fenced {
			live = append(live, b)
		}
	}
	return live
}

// Draining reports whether a broker was asked to lead nothing: config.Drain is set for it.
func Draining(img *metalog.Image, node id.Broker) bool {
	value := img.Config(metalog.Resource{Type: metalog.ResourceBroker, Name: node.String()})[config.Drain]
	return strings.EqualFold(strings.TrimSpace(value), "true")
}

// willing are the live brokers that may get partitions, in order of id: those that do not drain, or
// all if there is none.
func willing(img *metalog.Image) []*metalog.Broker {
	live := Live(img)
	some := slices.DeleteFunc(slices.Clone(live), func(b *metalog.Broker) bool { return Draining(img, b.ID) })
	if len(some) == 0 {
		return live
	}
	return some
}

// Place assigns n partitions, the first of which has the index first, to live brokers in
// turn, with rf replicas each of which the first leads. The replicas of a partition
// spread over the racks before two of them share one (KIP-36). start is where the turn begins,
// so that topics with few partitions do not all begin at the same broker: it must not be
// negative, and with the same start partitions that are added later go where they would
// have gone. Where the live brokers are too few, draining and fenced ones are the last replicas, as in
// Kafka: a topic can be created while a broker restarts. It fails with ErrTooFewBrokers.
func Place(img *metalog.Image, start, first, n int, rf int16) ([]metalog.Assignment, error) {
	turn := byTurn(willing(img))
	if int(rf) > len(img.Brokers()) || len(turn) == 0 {
		return nil, fmt.Errorf("replication factor %d with %d live brokers of %d registered: %w", rf, len(turn), len(img.Brokers()), ErrTooFewBrokers)
	}
	var last []id.Broker // draining or fenced
	for _, b := range img.Brokers() {
		if !slices.ContainsFunc(turn, func(t *metalog.Broker) bool { return t.ID == b.ID }) {
			last = append(last, b.ID)
		}
	}
	placed := make([]metalog.Assignment, n)
	for i := range placed {
		replicas := replicasFrom(turn, start%len(turn)+first+i, min(int(rf), len(turn)))
		for k := 0; len(replicas) < int(rf); k++ {
			replicas = append(replicas, last[(first+i+k)%len(last)])
		}
		placed[i] = metalog.Assignment{Leader: replicas[0], Replicas: replicas}
	}
	return placed, nil
}

// byTurn orders brokers so that neighbours are in different racks as far as can be:
// the first of each rack, then the second of each, and so on. Brokers without a rack
// count as a rack of their own.
func byTurn(live []*metalog.Broker) []*metalog.Broker {
	racks := map[string]int{} // brokers of it seen
	rank := make(map[id.Broker]int, len(live))
	for _, b := range live {
		rank[b.ID] = racks[b.Rack]
		racks[b.Rack]++
	}
	turn := slices.Clone(live)
	slices.SortStableFunc(turn, func(a, b *metalog.Broker) int { return rank[a.ID] - rank[b.ID] })
	return turn
}

// replicasFrom returns rf brokers, of which the one whose turn it is at position comes
// first. The others follow in the order of the turn, further away with each round, so that
// the partitions of one leader do not all have the same followers.
func replicasFrom(turn []*metalog.Broker, position, rf int) []id.Broker {
	leader, shift := position%len(turn), position/len(turn)
	replicas := append(make([]id.Broker, 0, rf), turn[leader].ID)
	if rf == 1 {
		return replicas
	}
	inRack := map[string]int{turn[leader].Rack: 1}
	others := make([]*metalog.Broker, 0, len(turn)-1)
	for i := range len(turn) - 1 {
		others = append(others, turn[(leader+1+(shift+i)%(len(turn)-1))%len(turn)])
	}
	for len(replicas) < rf {
		best := 0
		for i, b := range others {
			if inRack[b.Rack] < inRack[others[best].Rack] {
				best = i
			}
		}
		replicas = append(replicas, others[best].ID)
		inRack[others[best].Rack]++
		others = slices.Delete(others, best, best+1)
	}
	return replicas
}

// Records returns what brings about targets: the targets themselves and, for those
// that are no replica of their partition, replicas in which the target stands in place of the
// leader of now, or of the first one.
func Records(img *metalog.Image, targets []metalog.PartitionTarget) []metalog.Record {
	if len(targets) == 0 {
		return nil
	}
	var changes []metalog.ReplicasChange
	for _, t := range targets {
		p, ok := img.Partition(t.Partition)
		if ok && t.Target != metalog.NoBroker && !slices.Contains(p.Replicas, t.Target) {
			changes = append(changes, metalog.ReplicasChange{Partition: t.Partition, Replicas: replaced(p.Replicas, p.Leader, t.Target)})
		}
	}
	records := []metalog.Record{metalog.TargetsSet{Targets: targets}}
	if len(changes) > 0 {
		records = append(records, metalog.ReplicasChanged{Changes: changes})
	}
	return records
}

// replaced returns replicas with one of them, or else the first, replaced by another.
func replaced(replicas []id.Broker, old, by id.Broker) []id.Broker {
	if len(replicas) == 0 {
		return []id.Broker{by}
	}
	next := slices.Clone(replicas)
	next[max(slices.Index(next, old), 0)] = by
	return next
}
