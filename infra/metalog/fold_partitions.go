package metalog

import (
	"slices"

	"github.com/forebaylog/forebay/infra/id"
)

// This file folds the records of who leads partitions.

// leadersChanged counts each change that does not apply by itself, and so do
// targetsSet, replicasChanged and logStartsMoved.
func (f *folder) leadersChanged(r LeadersChanged) bool {
	for _, c := range r.Changes {
		now, ok := f.img.Partition(c.Partition)
		if !ok || c.Epoch != now.Epoch+1 || c.Leader < NoBroker {
			f.img.ignored++
			continue
		}
		p := f.partition(c.Partition)
		p.lead(c.Leader, r.Tail)
		if c.Replicas != nil {
			p.Replicas = c.Replicas
		}
	}
	return true
}

func (f *folder) leadershipTaken(r LeadershipTaken) bool {
	if r.From < 0 || r.To < 0 {
		return false
	}
	if n := len(f.old.topics); len(f.fresh)+len(f.replaced) == 0 { // likely to change them all
		f.fresh, f.replaced = make(map[*Topic]bool, n), make(map[*Topic]*Topic, n)
	}
	f.changePartitions(
		func(p *PartitionState) bool { return p.Leader == r.From },
		func(p *PartitionState) { p.lead(r.To, r.Tail) },
	)
	return true
}

func (f *folder) targetsSet(r TargetsSet) bool {
	for _, t := range r.Targets {
		now, ok := f.img.Partition(t.Partition)
		if !ok || t.Target < NoBroker {
			f.img.ignored++
			continue
		}
		if t.Target == now.Leader {
			t.Target = NoBroker
		}
		if t.Target != now.Target {
			f.partition(t.Partition).Target = t.Target
		}
	}
	return true
}

func (f *folder) replicasChanged(r ReplicasChanged) bool {
	for _, c := range r.Changes {
		if _, ok := f.img.Partition(c.Partition); !ok || len(c.Replicas) == 0 {
			f.img.ignored++
			continue
		}
		f.partition(c.Partition).Replicas = c.Replicas
		if c.Partition.Index == 0 {
			t, _ := f.img.TopicByID(c.Partition.Topic)
			t.ReplicationFactor = int16(len(c.Replicas)) // t is the changed one by now
		}
	}
	return true
}

func (f *folder) logStartsMoved(r LogStartsMoved) bool {
	for _, m := range r.Moves {
		now, ok := f.img.Partition(m.Partition)
		if !ok || m.Epoch != now.Epoch {
			f.img.ignored++
			continue
		}
		if m.Start > now.Start {
			f.partition(m.Partition).Start = m.Start
		}
	}
	return true
}

// lead begins the next leadership of a partition.
func (p *PartitionState) lead(leader id.Broker, tail *Tail) {
	p.Leader, p.Target = leader, NoBroker
	p.Epoch++
	if tail == nil {
		return
	}
	last := len(p.Tails) - 1
	if last < 0 || p.Tails[last].Session != tail.Session {
		p.Tails = append(slices.Clip(p.Tails), *tail)
		return
	}
	if tail.Through > p.Tails[last].Through {
		p.Tails = slices.Clone(p.Tails)
		p.Tails[last].Through = tail.Through
	}
}

// partition returns the state of a partition that exists, to be changed.
func (f *folder) partition(p id.Partition) *PartitionState {
	t, _ := f.img.TopicByID(p.Topic)
	return &f.mutable(t).Partitions[p.Index]
}

// changePartitions changes the partitions that match.
func (f *folder) changePartitions(match func(*PartitionState) bool, change func(*PartitionState)) {
	for _, shard := range f.img.byName {
		for _, t := range shard {
			i := 0
			for i < len(t.Partitions) && !match(&t.Partitions[i]) {
				i++
			}
			if i == len(t.Partitions) {
				continue
			}
			for t = f.mutable(t); i < len(t.Partitions); i++ {
				if p := &t.Partitions[i]; match(p) {
					change(p)
				}
			}
		}
	}
}
