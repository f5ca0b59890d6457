package broker

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// This file says what clients are told of brokers, leaders and replicas, where some
// brokers may be fenced.

// told is the metadata that clients are told. This broker is fenced there from the moment on that others may have
// declared it dead, which it may be unable to read: what it led, its clients are to look for elsewhere.
func (b *Broker) told() *metalog.Image {
	if b.valid() {
		return b.meta.Image()
	}
	return b.meta.Image().WithFenced(b.cfg.NodeID)
}

// controller is the live broker of the lowest id, which stands for the controller: every
// broker does what a controller does. It is -1 if nobody lives.
func controller(img *metalog.Image) int32 {
	for _, b := range img.Brokers() {
		if !b.Fenced {
			return int32(b.ID)
		}
	}
	return int32(metalog.NoBroker)
}

// leaderError is the code for a partition whose leader the client cannot reach: there is
// none, it is fenced, or it has no endpoint on the client's listener.
func leaderError(img *metalog.Image, p *metalog.PartitionState, c *call) int16 {
	leader, ok := img.Broker(p.Leader)
	if !ok || leader.Fenced {
		return kerr.LeaderNotAvailable.Code
	}
	if _, ok := endpointOf(leader, c.listener().Name); !ok {
		return kerr.ListenerNotFound.Code
	}
	return 0
}

// endpoint is where the clients of one listener reach a broker.
type endpoint struct {
	id     id.Broker
	host   string
	port   int32
	rack   *string // nil: none
	fenced bool
}

// endpoints lists the brokers that have the named listener: the live ones or, with
// fenced, all of them.
func endpoints(img *metalog.Image, listener string, fenced bool) []endpoint {
	var list []endpoint
	for _, node := range img.Brokers() {
		if node.Fenced && !fenced {
			continue
		}
		if e, ok := endpointOf(node, listener); ok {
			list = append(list, e)
		}
	}
	return list
}

// endpointOf is where the clients of the named listener reach a broker, if it has that listener.
func endpointOf(node *metalog.Broker, listener string) (endpoint, bool) {
	for _, e := range node.Endpoints {
		if e.Listener != listener {
			continue
		}
		ep := endpoint{id: node.ID, host: e.Host, port: e.Port, fenced: node.Fenced}
		if node.Rack != "" {
			ep.rack = &node.Rack
		}
		return ep, true
	}
	return endpoint{}, false
}

// replicaView turns the replicas of partitions into what clients are told of them.
type replicaView struct {
	img  *metalog.Image
	slab []int32 // memory for the lists
}

// of returns all replicas of a partition, those that are in sync and those that are
// offline. The live ones are in sync, and the leader is one of them even where it is
// about to hand over to those that are to be the replicas.
func (v *replicaView) of(p *metalog.PartitionState) (all, isr, offline []int32) {
	all, offline = v.list(p), []int32{}
	live := func(r int32) bool { return placement.IsLive(v.img, id.Broker(r)) }
	dead := slices.IndexFunc(all, func(r int32) bool { return !live(r) })
	if dead < 0 {
		return all, all, offline
	}
	isr = []int32{}
	for _, r := range all {
		if live(r) {
			isr = append(isr, r)
		} else {
			offline = append(offline, r)
		}
	}
	return all, isr, offline
}

// list returns the replicas of a partition and, if it is none of them, its leader.
func (v *replicaView) list(p *metalog.PartitionState) []int32 {
	from := len(v.slab)
	for _, r := range p.Replicas {
		v.slab = append(v.slab, int32(r))
	}
	if p.Leader != metalog.NoBroker && !slices.Contains(p.Replicas, p.Leader) {
		v.slab = append(v.slab, int32(p.Leader))
	}
	return v.slab[from:len(v.slab):len(v.slab)]
}
