package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func newGroupDescribe(client *clientFlags) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:     "describe NAME...",
		Short:   "Show the state, the members and the lag of groups",
		Example: "  forebay group describe billing\n  forebay group describe billing -o json | jq '[.[].partitions[].lag] | add'",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				return runGroupDescribe(ctx, cmd, adm, out, names)
			})
		},
	}
	out.register(cmd.Flags())
	return cmd
}

// describedGroup is a group in the output of group describe.
type describedGroup struct {
	Group        string            `json:"group"`
	State        string            `json:"state"`
	ProtocolType string            `json:"protocol_type"`
	Protocol     string            `json:"protocol"`
	Coordinator  int32             `json:"coordinator"`
	Members      []describedMember `json:"members"`
	Partitions   []groupPartition  `json:"partitions"`
}

type describedMember struct {
	ID       string `json:"id"`
	Instance string `json:"instance,omitempty"` // of a static member
	Client   string `json:"client"`
	Host     string `json:"host"`
	// Partitions is how many it was assigned, or null if the assignment is not a consumer's.
	Partitions *int `json:"partitions"`
}

type groupPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed *int64 `json:"committed"` // null: nothing was committed
	End       *int64 `json:"end"`
	Lag       *int64 `json:"lag"`
	Member    string `json:"member,omitempty"`
	Error     string `json:"error,omitempty"`
}

func runGroupDescribe(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, out output, names []string) error {
	lags, err := adm.Lag(ctx, names...)
	if err != nil && len(lags) == 0 {
		return fmt.Errorf("describe groups: %w", err)
	}
	var groups []describedGroup
	var tables []*table
	var errs []error
	for _, name := range names {
		l := lags[name]
		switch {
		case l.DescribeErr != nil:
			errs = append(errs, fmt.Errorf("describe group %s: %w", name, l.DescribeErr))
			continue
		case l.State == "Dead":
			errs = append(errs, fmt.Errorf("group %s does not exist", name))
			continue
		case l.FetchErr != nil:
			errs = append(errs, fmt.Errorf("fetch offsets of group %s: %w", name, l.FetchErr))
			continue
		}
		g := describeGroup(l)
		groups = append(groups, g)
		tables = append(tables, g.tables()...)
	}
	if len(groups) > 0 {
		errs = append(errs, out.print(cmd, groups, tables...))
	}
	return errors.Join(errs...)
}

func describeGroup(l kadm.DescribedGroupLag) describedGroup {
	g := describedGroup{
		Group: l.Group, State: l.State, ProtocolType: l.ProtocolType, Protocol: l.Protocol, Coordinator: l.Coordinator.NodeID,
		Members: []describedMember{}, Partitions: []groupPartition{},
	}
	for _, m := range l.Members {
		member := describedMember{ID: m.MemberID, Client: m.ClientID, Host: m.ClientHost}
		if m.InstanceID != nil {
			member.Instance = *m.InstanceID
		}
		if a, ok := m.Assigned.AsConsumer(); ok {
			n := 0
			for _, t := range a.Topics {
				n += len(t.Partitions)
			}
			member.Partitions = &n
		}
		g.Members = append(g.Members, member)
	}
	for _, p := range l.Lag.Sorted() {
		g.Partitions = append(g.Partitions, describeLag(p))
	}
	return g
}

func describeLag(l kadm.GroupMemberLag) groupPartition {
	p := groupPartition{Topic: l.Topic, Partition: l.Partition}
	if l.Commit.At >= 0 {
		p.Committed = &l.Commit.At
	}
	if l.End.Err == nil {
		p.End = &l.End.Offset
	}
	if l.Lag >= 0 {
		p.Lag = &l.Lag
	}
	if l.Member != nil {
		p.Member = l.Member.MemberID
	}
	if l.Err != nil {
		p.Error = l.Err.Error()
	}
	return p
}

// tables are the members, if there are any, and the partitions.
func (g describedGroup) tables() []*table {
	protocol := g.Protocol
	if protocol == "" {
		protocol = "none"
	}
	title := fmt.Sprintf("Group %s, state %s, type %s, protocol %s, coordinator %d, %d members", g.Group, g.State, g.ProtocolType, protocol, g.Coordinator, len(g.Members))
	var tables []*table
	if len(g.Members) > 0 {
		members := newTable("MEMBER", "INSTANCE", "CLIENT", "HOST", "PARTITIONS")
		for _, m := range g.Members {
			instance := m.Instance
			if instance == "" {
				instance = "-"
			}
			members.add(m.ID, instance, m.Client, m.Host, orDash(m.Partitions))
		}
		tables = append(tables, members)
	}
	partitions := newTable("TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER")
	for _, p := range g.Partitions {
		member := p.Member
		if member == "" {
			member = "-"
		}
		partitions.add(p.Topic, p.Partition, orDash(p.Committed), orDash(p.End), orDash(p.Lag), member)
	}
	tables = append(tables, partitions)
	tables[0].title = title
	return tables
}
