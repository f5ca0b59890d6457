package broker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/forebaylog/forebay/broker/group"
)

// ListGroups (key 16), versions 0 to 5, by state from 4 on, by type from 5 on. Groups are in order
// of name. No deviations.

// peekConcurrency bounds how many groups a ListGroups reads at a time.
const peekConcurrency = 32

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
	names = slices.Compact(names)
	described, err := b.groups.peek(ctx, names)
	if err != nil {
		resp.ErrorCode = c.code(err)
		return resp
	}
	for i, d := range described {
		if d.State == group.Dead {
			continue
		}
		g := kmsg.NewListGroupsResponseGroup()
		g.Group, g.GroupState, g.GroupType, g.ProtocolType = names[i], d.State.String(), classicType, d.ProtocolType
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

// peek describes groups, as Dead those that this broker does not coordinate. It reads those that are not in
// memory, several at a time, and fails as soon as one cannot be read now.
func (m *groups) peek(ctx context.Context, names []string) ([]group.Description, error) {
	described := make([]group.Description, len(names))
	readers, ctx := errgroup.WithContext(ctx)
	readers.SetLimit(peekConcurrency)
	for i, name := range names {
		readers.Go(func() error {
			err := m.with(ctx, name, func(e *groupEntry, _ time.Time) { described[i] = e.state.Describe() })
			if errors.Is(err, group.ErrNotCoordinator) || errors.Is(err, kerr.NotCoordinator) {
				described[i].State = group.Dead
				return nil
			}
			return err
		})
	}
	return described, readers.Wait()
}
