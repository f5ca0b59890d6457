package metalog

import (
	"slices"

	"github.com/forebaylog/forebay/infra/id"
)

// This file folds the records of brokers and of their streams.

func (f *folder) brokerRegistered(r BrokerRegistered) bool {
	if !f.putBroker(r) {
		return false
	}
	if _, known := f.img.Stream(r.Incarnation); !known && r.Incarnation != "" {
		f.img.streams = append(slices.Clip(f.img.streams), Stream{Session: r.Incarnation, Node: r.ID})
	}
	return true
}

func (f *folder) putBroker(r BrokerRegistered) bool {
	if r.ID < 0 {
		return false
	}
	b := &Broker{ID: r.ID, Incarnation: r.Incarnation, Rack: r.Rack, Endpoints: r.Endpoints}
	brokers := slices.Clone(f.img.brokers)
	i, known := slices.BinarySearchFunc(brokers, b, byNodeID)
	if known {
		brokers[i] = b
	} else {
		brokers = slices.Insert(brokers, i, b)
	}
	f.img.brokers = brokers
	return true
}

func (f *folder) brokerFenced(r BrokerFenced) bool {
	i, known := slices.BinarySearchFunc(f.img.brokers, &Broker{ID: r.ID}, byNodeID)
	if !known || f.img.brokers[i].Fenced || f.img.brokers[i].Incarnation != r.Session {
		return false
	}
	b := *f.img.brokers[i]
	b.Fenced = true
	f.img.brokers = slices.Clone(f.img.brokers)
	f.img.brokers[i] = &b
	f.clearTargets(r.ID)
	return true
}

func (f *folder) brokerRemoved(r BrokerRemoved) bool {
	i, known := slices.BinarySearchFunc(f.img.brokers, &Broker{ID: r.ID}, byNodeID)
	if !known {
		return false
	}
	f.img.brokers = slices.Delete(slices.Clone(f.img.brokers), i, i+1)
	f.clearTargets(r.ID)
	return true
}

// clearTargets ends the moves to a broker that is not there any more.
func (f *folder) clearTargets(node id.Broker) {
	f.changePartitions(
		func(p *PartitionState) bool { return p.Target == node },
		func(p *PartitionState) { p.Target = NoBroker },
	)
}

// streamsReleased counts each session that does not apply by itself.
func (f *folder) streamsReleased(r StreamsReleased) bool {
	left := map[id.Session]bool{} // false once something named it
	for _, session := range r.Sessions {
		if _, doubled := left[session]; doubled || f.live(session) {
			f.img.ignored++
			continue
		}
		left[session] = true
	}
	released := func(session id.Session) bool {
		_, ok := left[session]
		if ok {
			left[session] = false
		}
		return ok
	}
	f.img.streams = slices.DeleteFunc(slices.Clone(f.img.streams), func(s Stream) bool { return released(s.Session) })
	named := func(t Tail) bool { return released(t.Session) }
	f.changePartitions(
		func(p *PartitionState) bool { return slices.ContainsFunc(p.Tails, named) },
		func(p *PartitionState) {
			if p.Tails = slices.DeleteFunc(slices.Clone(p.Tails), named); len(p.Tails) == 0 {
				p.Tails = nil
			}
		},
	)
	for _, unknown := range left {
		if unknown {
			f.img.ignored++
		}
	}
	return true
}

// live reports whether a broker that is not fenced is registered with the session.
func (f *folder) live(session id.Session) bool {
	return slices.ContainsFunc(f.img.brokers, func(b *Broker) bool { return !b.Fenced && b.Incarnation == session })
}
