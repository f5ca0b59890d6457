package placement

import (
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// Rebalance returns at most limit targets that bring the leaders closer to where they
// should be, and none once they are there. In order of importance:
//
//  1. A leader is one of the live replicas.
//  2. Every live broker leads as many partitions as any other, as far as the live replicas
//     allow. A partition with one replica may move to every live broker.
//  3. The leader is the preferred replica, Replicas[0], where that lives and costs no evenness.
//
// It moves no more than that takes, and leaves alone what has a target, what a draining broker
// leads (see Drained), or no live leader (see Failover and Leaderless).
func Rebalance(img *metalog.Image, limit int) []metalog.PartitionTarget {
	r := newRebalance(img)
	if len(r.nodes) < 2 || r.settled() {
		return nil
	}
	r.limit = limit
	r.index()
	r.comeHome()
	for r.apply(r.evenPath()) {
	}
	for r.apply(r.preferredPath()) {
	}
	var targets []metalog.PartitionTarget
	for i := range r.parts {
		if p := &r.parts[i]; p.leader != p.was {
			targets = append(targets, metalog.PartitionTarget{Partition: p.id, Target: r.nodes[p.leader]})
		}
	}
	return targets
}

// rebalance is a plan under way. Brokers and partitions are numbers, indexes into nodes
// and parts. The brokers are a graph: there is an edge from one to another if a partition of
// the one may be led by the other, and moves are paths in it.
type rebalance struct {
	nodes []id.Broker // the live ones that do not drain, in order of id
	loads []int       // partitions that each leads in the plan
	parts []part      // those that may move
	moved int         // of parts
	limit int
	edges map[[2]int]*edge
	free  [][]int // by broker: partitions with one replica that it led, whoever leads them now
}

// part is a partition that may move.
type part struct {
	id        id.Partition
	was       int  // its leader now
	stray     bool // that is no live replica, and there is one
	leader    int  // in the plan
	preferred int  // -1: not live, or the leader for want of choice
	replicas  []int
}

// free reports whether every broker may lead p.
func (p *part) free() bool { return p.replicas == nil }

// edge has the partitions that may go from one broker to another, the best to move
// last: those that become preferred leaderships, those that are none before and after,
// those that end being one. Entries of partitions that have moved on are stale.
type edge [3][]int

const (
	gains = iota
	equals
	loses
)

// newRebalance reads the Image.
func newRebalance(img *metalog.Image) *rebalance {
	r := &rebalance{}
	number := map[id.Broker]int{}
	for _, b := range willing(img) {
		number[b.ID] = len(r.nodes)
		r.nodes = append(r.nodes, b.ID)
	}
	r.loads = make([]int, len(r.nodes))
	for at, p := range partitions(img) {
		leader, live := number[p.Leader]
		if p.Target != metalog.NoBroker {
			if target, ok := number[p.Target]; ok {
				r.loads[target]++
			}
			continue
		}
		if !live {
			continue
		}
		r.loads[leader]++
		if next := newPart(at, p, leader, number); next.stray || next.free() || len(next.replicas) > 1 {
			r.parts = append(r.parts, next)
		}
	}
	return r
}

// newPart reads a partition whose leader lives.
func newPart(at id.Partition, p *metalog.PartitionState, leader int, number map[id.Broker]int) part {
	next := part{id: at, was: leader, leader: leader, preferred: -1}
	if len(p.Replicas) == 0 {
		return next
	}
	if preferred, ok := number[p.Replicas[0]]; ok {
		next.preferred = preferred
	}
	if len(p.Replicas) == 1 && next.preferred == leader {
		next.preferred = -1 // the replica follows the leader
		return next
	}
	next.replicas = make([]int, 0, len(p.Replicas))
	for _, n := range p.Replicas {
		if replica, ok := number[n]; ok {
			next.replicas = append(next.replicas, replica)
		}
	}
	next.stray = len(next.replicas) > 0 && !slices.Contains(next.replicas, leader)
	return next
}

// settled reports whether nothing is to be done, which is so nearly always.
func (r *rebalance) settled() bool {
	for i := range r.parts {
		if p := &r.parts[i]; p.stray || p.preferred >= 0 && p.preferred != p.leader {
			return false
		}
	}
	return slices.Max(r.loads)-slices.Min(r.loads) <= 1
}

// index makes the edges.
func (r *rebalance) index() {
	r.edges, r.free = map[[2]int]*edge{}, make([][]int, len(r.nodes))
	for i := range r.parts {
		r.indexPart(i)
	}
}

// indexPart enters a partition at its leader.
func (r *rebalance) indexPart(i int) {
	p := &r.parts[i]
	if p.free() {
		r.free[p.leader] = append(r.free[p.leader], i)
		return
	}
	for _, to := range p.replicas {
		if to == p.leader {
			continue
		}
		class := equals
		switch p.preferred {
		case to:
			class = gains
		case p.leader:
			class = loses
		}
		key := [2]int{p.leader, to}
		if r.edges[key] == nil {
			r.edges[key] = &edge{}
		}
		e := r.edges[key]
		e[class] = append(e[class], i)
	}
}

// candidate returns the partition that is best moved from one broker to another, of
// the first classes only; -1: none.
func (r *rebalance) candidate(from, to, classes int) int {
	e := r.edges[[2]int{from, to}]
	for class := range classes {
		if e != nil {
			if i := r.last(&e[class], from); i >= 0 {
				return i
			}
		}
		if class == equals {
			if i := r.last(&r.free[from], from); i >= 0 {
				return i
			}
		}
	}
	return -1
}

// last returns the last of list that from still leads, and drops those behind it.
func (r *rebalance) last(list *[]int, from int) int {
	for n := len(*list); n > 0; n-- {
		if i := (*list)[n-1]; r.parts[i].leader == from {
			return i
		}
		*list = (*list)[:n-1]
	}
	return -1
}

// comeHome moves partitions whose leader is no replica to the replica that leads the
// fewest.
func (r *rebalance) comeHome() {
	for i := range r.parts {
		p := &r.parts[i]
		if !p.stray || r.moved >= r.limit {
			continue
		}
		to := p.replicas[0]
		for _, n := range p.replicas {
			if r.loads[n] < r.loads[to] {
				to = n
			}
		}
		r.move(i, to)
	}
}

// step is the move of one partition.
type step struct{ part, to int }

// evenPath returns moves that take one partition off a broker with many and give one
// to a broker that leads at least two fewer, over others in between that lead as many as
// before; nil if there is no such path. It is the shortest from the broker that leads
// most, to the one that leads fewest. Without such a path the loads are as even as they can be.
func (r *rebalance) evenPath() []step {
	sources := r.byLoad()
	for _, from := range sources {
		if r.loads[from]-1 <= slices.Min(r.loads) {
			return nil
		}
		if path := r.path(from, loses+1, func(to int) bool { return r.loads[to] <= r.loads[from]-2 }); path != nil {
			return path
		}
	}
	return nil
}

// preferredPath returns moves each of which makes a leader preferred: a path to a broker
// that leads fewer, or a circle; nil if there is none.
func (r *rebalance) preferredPath() []step {
	for from := range r.nodes {
		if path := r.path(from, gains+1, func(to int) bool { return to == from || r.loads[to] < r.loads[from] }); path != nil {
			return path
		}
	}
	return nil
}

// byLoad returns the brokers, those that lead most first.
func (r *rebalance) byLoad() []int {
	order := make([]int, len(r.nodes))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return r.loads[b] - r.loads[a] })
	return order
}

// path looks for the shortest way from a broker to one that is good, over moves of the
// first classes; among equally long ones to the broker that leads fewest.
func (r *rebalance) path(from, classes int, good func(to int) bool) []step {
	came := make([]step, len(r.nodes)) // the move by which each broker was reached
	seen := make([]bool, len(r.nodes))
	level := []int{from}
	for len(level) > 0 {
		var next []int
		best := -1
		for _, at := range level {
			for to := range r.nodes {
				if to == at || seen[to] {
					continue
				}
				i := r.candidate(at, to, classes)
				if i < 0 {
					continue
				}
				seen[to], came[to] = true, step{i, to}
				next = append(next, to)
				if good(to) && (best < 0 || r.loads[to] < r.loads[best]) {
					best = to
				}
			}
		}
		if best >= 0 {
			return r.trace(came, from, best)
		}
		level = next
	}
	return nil
}

// trace returns the moves that lead from a broker to another.
func (r *rebalance) trace(came []step, from, to int) []step {
	path := []step{came[to]}
	for at := r.parts[came[to].part].leader; at != from; at = r.parts[came[at].part].leader {
		path = append(path, came[at])
	}
	return path
}

// apply makes the moves of a path. It reports false when there are none, or more than the
// limit leaves.
func (r *rebalance) apply(path []step) bool {
	if len(path) == 0 || r.moved+len(path) > r.limit {
		return false
	}
	for _, s := range path {
		r.move(s.part, s.to)
	}
	return true
}

// move gives a partition to a broker.
func (r *rebalance) move(i, to int) {
	p := &r.parts[i]
	if p.leader == p.was {
		r.moved++
	}
	r.loads[p.leader]--
	r.loads[to]++
	if p.leader = to; p.leader == p.was {
		r.moved--
	}
	r.indexPart(i)
}
