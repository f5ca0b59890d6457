package broker

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/group"
)

// DescribeGroups (key 15), versions 0 to 6. A group that does not exist is Dead, and from 6 on
// also GROUP_ID_NOT_FOUND. No deviations.

// groupOperations are the ACL operations on a group as a bit field: READ, DELETE, DESCRIBE,
// DESCRIBE_CONFIGS and ALTER_CONFIGS. Without ACLs everybody may do all of them.
const groupOperations = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11

func handleDescribeGroups(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.DescribeGroupsRequest](c)
	resp := responseTo[*kmsg.DescribeGroupsResponse](req)
	for _, name := range req.Groups {
		resp.Groups = append(resp.Groups, b.describeGroup(ctx, c, name, req.IncludeAuthorizedOperations))
	}
	return resp
}

func (b *Broker) describeGroup(ctx context.Context, c *call, name string, operations bool) kmsg.DescribeGroupsResponseGroup {
	g := kmsg.NewDescribeGroupsResponseGroup()
	g.Group, g.AuthorizedOperations = name, math.MinInt32
	var d group.Description
	if err := b.groups.with(ctx, name, func(e *groupEntry, _ time.Time) { d = e.state.Describe() }); err != nil {
		g.ErrorCode = c.code(err)
		return g
	}
	g.State, g.ProtocolType, g.Protocol = d.State.String(), d.ProtocolType, d.Protocol
	if d.State == group.Dead && c.version >= 6 {
		g.ErrorCode = c.code(group.ErrNotFound)
		g.ErrorMessage = kmsg.StringPtr(fmt.Sprintf("Group %s not found.", name))
		return g
	}
	if operations {
		g.AuthorizedOperations = groupOperations
	}
	for _, m := range d.Members {
		gm := kmsg.NewDescribeGroupsResponseGroupMember()
		gm.MemberID, gm.InstanceID, gm.ClientID, gm.ClientHost = m.ID, m.Instance, m.ClientID, m.ClientHost
		gm.ProtocolMetadata, gm.MemberAssignment = m.Metadata, m.Assignment
		g.Members = append(g.Members, gm)
	}
	return g
}
