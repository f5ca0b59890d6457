package broker

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/group"
)

// ListGroups (key 16), versions 0 to 5, by state from 4 on, by type from 5 on. Groups are in order
// of name. No deviations.

// classicType is the only type of group there is.
const classicType = "classic"

func handleListGroups(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.ListGroupsRequest](c)
	resp := responseTo[*kmsg.ListGroupsResponse](req)
	names, err := b.groups.names(ctx)
	if err != nil {
		resp.ErrorCode = c.code(err)
		return resp
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		g := kmsg.NewListGroupsResponseGroup()
		g.Group, g.GroupState, g.GroupType = name, group.Empty.String(), classicType
		if d, ok := b.groups.peek(ctx, name); ok {
			if d.State == group.Dead {
				continue
			}
			g.GroupState, g.ProtocolType = d.State.String(), d.ProtocolType
		}
		if listed(req.StatesFilter, g.GroupState) && listed(req.TypesFilter, g.GroupType) {
			resp.Groups = append(resp.Groups, g)
		}
	}
	return resp
}

// listed reports whether a filter lets a value through. An empty filter lets everything through.
func listed(filter []string, value string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(f, value) })
}

// peek describes a group that this broker coordinates. What cannot be read now is not described.
func (m *groups) peek(ctx context.Context, name string) (d group.Description, ok bool) {
	err := m.with(ctx, name, func(e *groupEntry, _ time.Time) { d = e.state.Describe() })
	return d, err == nil
}
