package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	core "github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// groupReads is how many groups are read at once.
const groupReads = 32

// Group is a consumer group, as it is stored: a coordinator stores members when an assignment is complete and when the group
// becomes empty, so that a rebalance under way does not show.
type Group struct {
	Name         string    `json:"name"`
	State        string    `json:"state" enum:"Stable,Empty"`
	ProtocolType string    `json:"protocol_type,omitempty"`
	Members      int       `json:"members"`
	Since        time.Time `json:"since,omitzero" doc:"Since when it has been so, by the coordinator's clock"`
}

// Groups is a page of groups.
type Groups struct {
	AsOf   time.Time `json:"as_of"`
	Groups []Group   `json:"groups" doc:"In order of name"`
	Total  int       `json:"total" doc:"With that prefix, on all pages and of any state"`
	Page
}

type groupsInput struct {
	PageQuery
	Prefix string `query:"name_prefix"`
	State  string `query:"state" enum:"Stable,Empty" doc:"Only groups of this state; pages are the shorter"`
}

// GroupPath names a group.
type GroupPath struct {
	Group string `path:"group"`
}

// Member is a member of a group.
type Member struct {
	ID         string           `json:"id"`
	Instance   *string          `json:"instance,omitempty" doc:"Of a static member"`
	ClientID   string           `json:"client_id"`
	Host       string           `json:"host"`
	Assignment map[string][]int `json:"assignment,omitempty" doc:"Partitions by topic, of consumers"`
}

// GroupDetails is a group with its members.
type GroupDetails struct {
	AsOf time.Time `json:"as_of"`
	Group
	Generation  int32     `json:"generation"`
	Protocol    string    `json:"protocol,omitempty" doc:"The assignor that the members have agreed on"`
	Leader      string    `json:"leader,omitempty" doc:"Member that assigns"`
	Shard       int32     `json:"shard" doc:"Partition of __consumer_offsets"`
	Coordinator id.Broker `json:"coordinator" doc:"-1: nobody leads the shard"`
	List        []Member  `json:"member_list"`
}

func (a *API) registerGroups() {
	const tag = "groups"
	handle(a, read("list-groups", "/groups", tag, "Consumer groups, a page at a time"), a.listGroups)
	handle(a, read("get-group", "/groups/{group}", tag, "One group with its members", http.StatusNotFound), a.getGroup)
	handle(a, read("get-group-offsets", "/groups/{group}/offsets", tag, "Committed offsets of a group, and how far it is behind", http.StatusNotFound), a.groupOffsets)
}

func (a *API) listGroups(ctx context.Context, in *groupsInput) (Groups, error) {
	asOf := a.cfg.Now().UTC()
	names, err := a.names(ctx)
	if err != nil {
		return Groups{}, err
	}
	names = prefixed(names, in.Prefix, func(name string) string { return name })
	some, next, err := page(names, func(name string) string { return name }, in.PageQuery)
	if err != nil {
		return Groups{}, err
	}
	out := Groups{AsOf: asOf, Groups: make([]Group, len(some)), Total: len(names), Page: next}
	readers, ctx := errgroup.WithContext(ctx)
	readers.SetLimit(groupReads)
	for i, name := range some {
		readers.Go(func() error {
			stored, err := a.stored(ctx, name)
			out.Groups[i] = groupOf(name, stored)
			return err
		})
	}
	err = readers.Wait()
	out.Groups = slices.DeleteFunc(out.Groups, func(g Group) bool { return in.State != "" && g.State != in.State })
	return out, err
}

// stored is the state of a group as a coordinator has stored it, the zero Snapshot if none has.
func (a *API) stored(ctx context.Context, name string) (group.Snapshot, error) {
	b, err := a.groups.ReadState(ctx, group.StoredName(name))
	if err != nil || b == nil {
		return group.Snapshot{}, err
	}
	return group.DecodeSnapshot(b)
}

func groupOf(name string, s group.Snapshot) Group {
	g := Group{Name: name, State: group.Empty.String(), ProtocolType: s.ProtocolType, Members: len(s.Members), Since: s.Since}
	if len(s.Members) > 0 {
		g.State = group.Stable.String()
	}
	return g
}

// errNoGroup is Kafka's error for a group that nobody has committed for or joined.
func errNoGroup(name string) error {
	return kafkaProblem(errors.New("group "+name+": there is none of that name"), "GROUP_ID_NOT_FOUND", 69)
}

// names lists the groups in order.
func (a *API) names(ctx context.Context) ([]string, error) {
	names, err := a.groups.Groups(ctx)
	for i := range names {
		names[i] = group.NameOfStored(names[i])
	}
	slices.Sort(names)
	return names, err
}

// known fails if there is no such group.
func (a *API) known(ctx context.Context, name string) error {
	names, err := a.names(ctx)
	if err == nil && !slices.Contains(names, name) {
		err = errNoGroup(name)
	}
	return err
}

func (a *API) getGroup(ctx context.Context, in *GroupPath) (GroupDetails, error) {
	img, err := a.image(ctx)
	if err != nil {
		return GroupDetails{}, err
	}
	asOf := a.cfg.Now().UTC()
	if err := a.known(ctx, in.Group); err != nil {
		return GroupDetails{}, err
	}
	s, err := a.stored(ctx, in.Group)
	if err != nil {
		return GroupDetails{}, err
	}
	d := GroupDetails{
		AsOf: asOf, Group: groupOf(in.Group, s), Generation: s.Generation, Protocol: s.Protocol, Leader: s.Leader,
		Coordinator: metalog.NoBroker, List: make([]Member, len(s.Members)),
	}
	if t, ok := img.Topic(core.OffsetsTopic); ok {
		d.Shard = int32(group.Shard(in.Group, len(t.Partitions)))
		d.Coordinator = t.Partitions[d.Shard].Leader
	}
	for i, m := range s.Members {
		d.List[i] = Member{ID: m.ID, Instance: m.Instance, ClientID: m.ClientID, Host: strings.TrimPrefix(m.ClientHost, "/")}
		if s.ProtocolType == "consumer" {
			d.List[i].Assignment = assignmentOf(m.Assignment)
		}
	}
	return d, nil
}
