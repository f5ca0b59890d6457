package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	core "github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/survey"
)

// SomePartitions are partitions of a topic.
type SomePartitions struct {
	Topic      string  `json:"topic"`
	Partitions []int32 `json:"partitions,omitempty" doc:"Missing: all"`
}

// Reset is what is asked for.
type Reset struct {
	To        string           `json:"to" enum:"earliest,latest,current,offset,timestamp,shift" doc:"As the options of kafka-consumer-groups; an offset outside of the log becomes the nearest one inside"`
	Offset    int64            `json:"offset,omitempty" minimum:"0"`
	Timestamp time.Time        `json:"timestamp,omitzero" doc:"The first record of this time or later; the end if there is none"`
	Shift     int64            `json:"shift,omitempty" doc:"By so many offsets, back if it is negative. After an answer that never came look at the offsets before it is asked for again, also with a key: they may be shifted and the key not kept"`
	Topics    []SomePartitions `json:"topics,omitempty" doc:"Missing: all that the group has committed offsets of"`
	Expel     bool             `json:"expel,omitempty" doc:"Ends the membership of members that are gone, where no broker has run since who could have noticed"`
}

type resetInput struct {
	ChangeInput
	GroupPath
	Body Reset
}

// ResetPartition is a partition of a reset.
type ResetPartition struct {
	Topic     string     `json:"topic"`
	Partition int32      `json:"partition"`
	Committed *id.Offset `json:"committed" doc:"Before the reset; null: nothing was committed. In a repeat the same as new"`
	New       id.Offset  `json:"new" doc:"In a repeat what is committed now: what the reset has set, unless the group has gone on since"`
}

// ResetDone is what became of a reset.
type ResetDone struct {
	Changed
	Group      string           `json:"group"`
	Partitions []ResetPartition `json:"partitions" doc:"In order of topic and partition. In a repeat those that have a committed offset now"`
}

// GroupDeletion says how a group is deleted.
type GroupDeletion struct {
	ChangeInput
	GroupPath
	Expel bool `query:"expel" doc:"Although it has members, which are gone"`
}

// OffsetDeletion says which offsets are deleted.
type OffsetDeletion struct {
	GroupDeletion
	Topic     string `query:"topic" required:"true"`
	Partition int32  `query:"partition" default:"-1" minimum:"-1" doc:"-1: all of the topic"`
}

func (a *API) registerGroupChanges() {
	const tag = "groups"
	handle(a, write("reset-group-offsets", http.MethodPost, "/groups/{group}/offsets", tag, "Sets the committed offsets of a group without members", http.StatusNotFound, http.StatusServiceUnavailable), a.reset)
	handle(a, write("delete-group-offsets", http.MethodDelete, "/groups/{group}/offsets", tag, "Deletes committed offsets of a group without members", http.StatusNotFound, http.StatusServiceUnavailable), a.deleteOffsets)
	handle(a, write("delete-group", http.MethodDelete, "/groups/{group}", tag, "Deletes a group without members", http.StatusNotFound, http.StatusServiceUnavailable), a.deleteGroup)
}

func (a *API) reset(ctx context.Context, in *resetInput) (ResetDone, error) {
	out := ResetDone{Group: in.Group}
	c, err := in.groupChange(core.ActionResetOffsets, in.Group, in.Body.Expel, in.Body)
	if err != nil {
		return out, err
	}
	out.Changed, err = a.once(ctx, c, func(img *metalog.Image) (_ Changed, err error) {
		if out.Partitions, err = a.planReset(ctx, img, in.Group, in.Body); err != nil {
			return Changed{}, err
		}
		if in.DryRun {
			return Changed{DryRun: true, Version: img.Version()}, a.empty(ctx, in.Group, in.Body.Expel)
		}
		to := make([]core.OffsetReset, len(out.Partitions))
		for i, p := range out.Partitions {
			to[i] = core.OffsetReset{Topic: p.Topic, Partition: p.Partition, Offset: p.New, LeaderEpoch: -1}
		}
		return a.changeGroup(ctx, c, func(g core.Groups, req core.GroupRequest) (*core.Change, error) { return g.ResetOffsets(ctx, req, to) })
	})
	if err == nil && out.Repeat {
		out.Partitions, err = a.resetBefore(ctx, in)
	}
	return out, err
}

// empty refuses a group with members.
func (a *API) empty(ctx context.Context, name string, expel bool) error {
	s, err := a.stored(ctx, name)
	if err == nil && len(s.Members) > 0 && !expel {
		err = fmt.Errorf("%w: group %q has %d members", group.ErrNotEmpty, name, len(s.Members))
	}
	return err
}

// planReset works out the new offsets.
func (a *API) planReset(ctx context.Context, img *metalog.Image, name string, r Reset) ([]ResetPartition, error) {
	entries, err := a.groups.Read(ctx, group.StoredName(name))
	if err != nil {
		return nil, err
	}
	committed := map[id.Partition]id.Offset{}
	for _, e := range entries {
		committed[id.Partition{Topic: e.Topic, Index: e.Partition}] = e.Offset
	}
	ps, err := selected(img, r.Topics, committed)
	if err != nil {
		return nil, err
	}
	if len(ps) == 0 {
		return nil, problem(http.StatusBadRequest, "group "+name+" has committed nothing: name the topics")
	}
	view, err := a.view(ctx, img, ps)
	if err != nil {
		return nil, err
	}
	plan := make([]ResetPartition, len(ps))
	for i, p := range ps {
		t, _ := img.TopicByID(p.Topic)
		plan[i] = ResetPartition{Topic: t.Name, Partition: p.Index}
		if at, ok := committed[p]; ok {
			plan[i].Committed = &at
		}
		if plan[i].New, err = r.place(ctx, view, p, plan[i].Committed); err != nil {
			return nil, fmt.Errorf("reset partition %d of topic %q: %w", p.Index, t.Name, err)
		}
	}
	sortReset(plan)
	return plan, nil
}

func sortReset(list []ResetPartition) {
	slices.SortFunc(list, func(a, b ResetPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}

// selected are the partitions that a request names, or those with an offset.
func selected(img *metalog.Image, topics []SomePartitions, committed map[id.Partition]id.Offset) (ps []id.Partition, err error) {
	if len(topics) == 0 {
		for p := range committed {
			if _, ok := img.Partition(p); ok {
				ps = append(ps, p)
			}
		}
		return ps, nil
	}
	for _, some := range topics {
		t, ok := img.Topic(some.Topic)
		if ok && len(some.Partitions) == 0 {
			ps = append(ps, partitionsOf(t)...)
			continue
		}
		for _, index := range append(some.Partitions[:len(some.Partitions):len(some.Partitions)], first(!ok)...) {
			p, _, err := core.FindPartition(img, some.Topic, index)
			if err != nil {
				return nil, err
			}
			ps = append(ps, p)
		}
	}
	slices.SortFunc(ps, id.Partition.Compare)
	return slices.Compact(ps), nil
}

// first is partition 0, to be looked for in vain, where a topic is missing.
func first(missing bool) []int32 {
	if missing {
		return []int32{0}
	}
	return nil
}

// place is the new offset of a partition, within its log.
func (r Reset) place(ctx context.Context, view *survey.View, p id.Partition, committed *id.Offset) (id.Offset, error) {
	at, _ := view.Of(p)
	to := at.End
	switch r.To {
	case "earliest":
		to = at.Start
	case "offset":
		to = id.Offset(r.Offset)
	case "current":
		if committed != nil {
			to = *committed
		}
	case "shift":
		if committed == nil {
			return 0, problem(http.StatusBadRequest, "nothing was committed that could be shifted")
		}
		if to = *committed + id.Offset(r.Shift); r.Shift > 0 && to < *committed {
			to = at.End // beyond the largest number
		}
	case "timestamp":
		if r.Timestamp.IsZero() {
			return 0, problem(http.StatusBadRequest, "to a timestamp, and none is given")
		}
		if at.Unseen > 0 {
			return 0, problem(http.StatusConflict, "the newest "+strconv.FormatInt(at.Unseen, 10)+" records are on the broker's disk only, and their times not known here: use kafka-consumer-groups or forebay group reset")
		}
		found, ok, err := view.OffsetAt(ctx, p, r.Timestamp.UnixMilli())
		if err != nil {
			return 0, err
		}
		if ok {
			to = found
		}
	}
	return min(max(to, at.Start), at.End), nil
}

func (a *API) deleteOffsets(ctx context.Context, in *OffsetDeletion) (Changed, error) {
	c, err := in.groupChange(core.ActionDeleteOffsets, in.Group, in.Expel, []any{in.Group, in.Topic, in.Partition})
	if err != nil {
		return Changed{}, err
	}
	return a.once(ctx, c, func(img *metalog.Image) (Changed, error) {
		some := SomePartitions{Topic: in.Topic}
		if in.Partition >= 0 {
			some.Partitions = []int32{in.Partition}
		}
		ps, err := selected(img, []SomePartitions{some}, nil)
		if err != nil {
			return Changed{}, err
		}
		if err := a.known(ctx, in.Group); err != nil {
			return Changed{}, err
		}
		if in.DryRun {
			return Changed{DryRun: true, Version: img.Version()}, a.empty(ctx, in.Group, in.Expel)
		}
		from := make([]core.TopicPartition, len(ps))
		for i, p := range ps {
			from[i] = core.TopicPartition{Topic: in.Topic, Partition: p.Index}
		}
		return a.changeGroup(ctx, c, func(g core.Groups, req core.GroupRequest) (*core.Change, error) {
			return g.DeleteOffsets(ctx, req, from)
		})
	})
}

func (a *API) deleteGroup(ctx context.Context, in *GroupDeletion) (Changed, error) {
	c, err := in.groupChange(core.ActionDeleteGroup, in.Group, in.Expel, in.Group)
	if err != nil {
		return Changed{}, err
	}
	return a.once(ctx, c, func(img *metalog.Image) (Changed, error) {
		if !in.DryRun {
			return a.changeGroup(ctx, c, func(g core.Groups, req core.GroupRequest) (*core.Change, error) { return g.DeleteGroup(ctx, req) })
		}
		if err := a.known(ctx, in.Group); err != nil {
			return Changed{}, err
		}
		return Changed{DryRun: true, Version: img.Version()}, a.empty(ctx, in.Group, in.Expel)
	})
}
