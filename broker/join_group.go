package broker

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/group"
)

// JoinGroup (key 11), versions 0 to 9. The answer may come much later: when all
// members have joined. See package group for the few points in which it is not Kafka's.

func handleJoinGroup(ctx context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.JoinGroupRequest](c)
	session := millis(req.SessionTimeoutMillis)
	reply := func(a group.JoinAnswer, err error) {
		if err != nil {
			a = group.JoinAnswer{Err: err, MemberID: req.MemberID, Generation: -1}
		}
		c.reply(joinResponse(req, c, a))
	}
	if err := b.groups.cfg.Group.CheckJoin(req.Group, session); err != nil {
		reply(group.JoinAnswer{}, err)
		return
	}
	ev := group.Join{
		MemberID: req.MemberID, NewMemberID: group.NewMemberID(c.clientID, req.InstanceID, newUUID()), Instance: req.InstanceID,
		ClientID: c.clientID, ClientHost: clientHost(c.remoteAddr()),
		Session: session, Rebalance: millis(req.RebalanceTimeoutMillis),
		ProtocolType: req.ProtocolType, RequireID: req.Version >= 4, CanSkip: req.Version >= 9,
	}
	if req.Version == 0 {
		ev.Rebalance = session
	}
	if req.Reason != nil {
		ev.Reason = *req.Reason
	}
	for _, p := range req.Protocols {
		ev.Protocols = append(ev.Protocols, group.Protocol{Name: p.Name, Metadata: bytes.Clone(p.Metadata)})
	}
	step(ctx, b.groups, req.Group, func(t group.Ticket) group.Event { ev.Ticket = t; return ev }, reply)
}

func joinResponse(req *kmsg.JoinGroupRequest, c *call, a group.JoinAnswer) kmsg.Response {
	resp := responseTo[*kmsg.JoinGroupResponse](req)
	resp.ErrorCode = c.code(a.Err)
	resp.Generation, resp.MemberID, resp.LeaderID, resp.SkipAssignment = a.Generation, a.MemberID, a.Leader, a.SkipAssignment
	resp.ProtocolType, resp.Protocol = nullable(a.ProtocolType), nullable(a.Protocol)
	if req.Version < 7 {
		resp.Protocol = &a.Protocol // not nullable before
	}
	for _, m := range a.Members {
		rm := kmsg.NewJoinGroupResponseMember()
		rm.MemberID, rm.InstanceID, rm.ProtocolMetadata = m.ID, m.Instance, m.Metadata
		resp.Members = append(resp.Members, rm)
	}
	return resp
}

// nullable is nil for "".
func nullable(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// millis is a duration of so many milliseconds, 0 for a negative one.
func millis(ms int32) time.Duration { return time.Duration(max(ms, 0)) * time.Millisecond }

// clientHost is the address of a client in the form that Kafka describes members with.
func clientHost(addr net.Addr) string {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		host = addr.String()
	}
	return "/" + host
}

// newUUID returns a random version 4 UUID in its usual form.
func newUUID() string {
	var u [16]byte
	_, _ = rand.Read(u[:]) // never fails since Go 1.24
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	s := hex.EncodeToString(u[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
