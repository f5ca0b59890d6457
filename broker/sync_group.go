package broker

import (
	"bytes"
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/group"
)

// SyncGroup (key 14), versions 0 to 5. The answer comes when the leader has sent the
// assignment. See package group for the few points in which it is not Kafka's.

func handleSyncGroup(ctx context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.SyncGroupRequest](c)
	reply := func(a group.SyncAnswer, err error) {
		if err != nil {
			a = group.SyncAnswer{Err: err}
		}
		resp := responseTo[*kmsg.SyncGroupResponse](req)
		resp.ErrorCode = c.code(a.Err)
		resp.ProtocolType, resp.Protocol, resp.MemberAssignment = nullable(a.ProtocolType), nullable(a.Protocol), a.Assignment
		c.reply(resp)
	}
	if req.Version >= 5 && (req.ProtocolType == nil || req.Protocol == nil) {
		reply(group.SyncAnswer{}, group.ErrInconsistentProtocol)
		return
	}
	if req.Group == "" {
		reply(group.SyncAnswer{}, group.ErrInvalidGroupID)
		return
	}
	ev := group.Sync{
		MemberID: req.MemberID, Instance: req.InstanceID, Generation: req.Generation,
		ProtocolType: req.ProtocolType, Protocol: req.Protocol,
	}
	for _, a := range req.GroupAssignment {
		ev.Assignments = append(ev.Assignments, group.Assignment{MemberID: a.MemberID, Data: bytes.Clone(a.MemberAssignment)})
	}
	step(ctx, b.groups, req.Group, func(t group.Ticket) group.Event { ev.Ticket = t; return ev }, reply)
}
