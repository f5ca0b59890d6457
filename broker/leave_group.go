package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/group"
)

// LeaveGroup (key 13), versions 0 to 5, several members at once from 3 on. No deviations.

func handleLeaveGroup(ctx context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.LeaveGroupRequest](c)
	reply := func(a group.LeaveAnswer, err error) {
		if err == nil {
			err = a.Err
		}
		c.reply(leaveResponse(req, c, a.Results, err))
	}
	if req.Group == "" {
		reply(group.LeaveAnswer{}, group.ErrInvalidGroupID)
		return
	}
	ev := group.Leave{}
	if req.Version < 3 {
		ev.Members = []group.LeaveMember{{MemberID: req.MemberID}}
	}
	for _, m := range req.Members {
		lm := group.LeaveMember{MemberID: m.MemberID, Instance: m.InstanceID}
		if m.Reason != nil {
			lm.Reason = *m.Reason
		}
		ev.Members = append(ev.Members, lm)
	}
	step(ctx, b.groups, req.Group, func(t group.Ticket) group.Event { ev.Ticket = t; return ev }, reply)
}

func leaveResponse(req *kmsg.LeaveGroupRequest, c *call, results []group.LeaveResult, err error) kmsg.Response {
	resp := responseTo[*kmsg.LeaveGroupResponse](req)
	if req.Version < 3 && err == nil && len(results) == 1 {
		err, results = results[0].Err, nil // the one member's error is the response's
	}
	resp.ErrorCode = c.code(err)
	for _, r := range results {
		m := kmsg.NewLeaveGroupResponseMember()
		m.MemberID, m.InstanceID, m.ErrorCode = r.MemberID, r.Instance, c.code(r.Err)
		resp.Members = append(resp.Members, m)
	}
	return resp
}
