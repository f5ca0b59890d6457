package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
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
	b.update(ctx, c.actor(), admin.Elect(all, kind == electUnclean))
	b.waits.await(ctx, time.Duration(req.TimeoutMillis)*time.Millisecond,
		func(img *metalog.Image) bool {
			return !slices.ContainsFunc(all, func(e *admin.Election) bool { return e.Pending(img) })
		},
		func(img *metalog.Image) { c.reply(electedLeaders(c, req, img, all)) })
}

// elections are those of the topics asked for, or of all if topics is nil.
func elections(img *metalog.Image, topics []kmsg.ElectLeadersRequestTopic) []*admin.Election {
	var all []*admin.Election
	for _, rt := range topics {
		for _, p := range rt.Partitions {
			all = append(all, &admin.Election{Topic: rt.Topic, Partition: p})
		}
	}
	if topics != nil {
		return all
	}
	for _, t := range img.Topics() {
		for i := range t.Partitions {
			all = append(all, &admin.Election{Topic: t.Name, Partition: int32(i)})
		}
	}
	return all
}

// electedLeaders is the response. Where all partitions were asked for, those that have
// the leader they should have are left out.
func electedLeaders(c *call, req *kmsg.ElectLeadersRequest, img *metalog.Image, all []*admin.Election) kmsg.Response {
	resp := responseTo[*kmsg.ElectLeadersResponse](req)
	for _, e := range all {
		err := e.Outcome(img)
		if req.Topics == nil && errors.Is(err, kerr.ElectionNotNeeded) {
			continue
		}
		if last := len(resp.Topics) - 1; last < 0 || resp.Topics[last].Topic != e.Topic {
			rt := kmsg.NewElectLeadersResponseTopic()
			rt.Topic = e.Topic
			resp.Topics = append(resp.Topics, rt)
		}
		rp := kmsg.NewElectLeadersResponseTopicPartition()
		rp.Partition, rp.ErrorCode, rp.ErrorMessage = e.Partition, c.code(err), message(err)
		rt := &resp.Topics[len(resp.Topics)-1]
		rt.Partitions = append(rt.Partitions, rp)
	}
	return resp
}
