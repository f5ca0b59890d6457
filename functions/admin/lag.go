package admin

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/offsets"
	"github.com/forebaylog/forebay/tiering/survey"
)

// GroupOffset is a committed offset, and how far it is behind.
type GroupOffset struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Committed id.Offset `json:"committed"`
	Metadata  string    `json:"metadata,omitempty"`
	At        time.Time `json:"committed_at"`
	Start     id.Offset `json:"log_start"`
	End       id.Offset `json:"end" doc:"End of what is committed to the log, as the stores tell"`
	Lag       int64     `json:"lag" doc:"In offsets: from the committed one, or the log start, to the end"`
	Lost      int64     `json:"lost" doc:"Offsets below the log start that the group has not read"`
	Behind    *int64    `json:"time_behind_ms,omitempty" doc:"How old the first record is that the group has not read; 0 without any, and missing if it has no time"`
	Retention float64   `json:"lag_percent_of_retention" doc:"What part of the offsets that are kept is still to be read; 100 or more: records are, or are about to be, lost"`
}

// GroupOffsets are those of one group.
type GroupOffsets struct {
	AsOf    time.Time     `json:"as_of" doc:"Of the ends; the commits are no older"`
	Group   string        `json:"group"`
	Lag     int64         `json:"lag" doc:"Of all partitions"`
	Offsets []GroupOffset `json:"offsets" doc:"In order of topic and partition"`
}

func (a *API) groupOffsets(ctx context.Context, in *GroupPath) (GroupOffsets, error) {
	img, err := a.image(ctx)
	if err != nil {
		return GroupOffsets{}, err
	}
	if err := a.known(ctx, in.Group); err != nil {
		return GroupOffsets{}, err
	}
	asOf := a.cfg.Now().UTC()
	entries, err := a.groups.Read(ctx, group.StoredName(in.Group))
	if err != nil {
		return GroupOffsets{}, err
	}
	var ps []id.Partition
	var committed []offsets.Entry
	for _, e := range entries { // those of topics that are gone do not count
		p := id.Partition{Topic: e.Topic, Index: e.Partition}
		if _, ok := img.Partition(p); ok {
			ps, committed = append(ps, p), append(committed, e)
		}
	}
	view, err := a.view(ctx, img, ps)
	if err != nil {
		return GroupOffsets{}, err
	}
	firsts := make([]id.Offset, len(ps))
	for i := range ps {
		firsts[i] = committed[i].Offset
	}
	times, err := view.Times(ctx, ps, firsts)
	if err != nil {
		return GroupOffsets{}, err
	}
	out := GroupOffsets{AsOf: asOf, Group: in.Group, Offsets: make([]GroupOffset, len(ps))}
	for i, p := range ps {
		at, _ := view.Of(p)
		t, _ := img.TopicByID(p.Topic)
		out.Offsets[i] = offsetOf(committed[i], at, times[i], a.cfg.Now())
		out.Offsets[i].Topic = t.Name
		out.Lag += out.Offsets[i].Lag
	}
	sortOffsets(out.Offsets)
	return out, nil
}

// offsetOf works out how far a committed offset is behind; first is the time of the first record behind it, -1 if it has none.
func offsetOf(e offsets.Entry, at survey.Position, first int64, now time.Time) GroupOffset {
	o := GroupOffset{
		Partition: e.Partition, Committed: e.Offset, Metadata: e.Metadata, At: e.CommitTime, Start: at.Start, End: at.End,
		Lag: int64(max(0, at.End-max(e.Offset, at.Start))), Lost: int64(max(0, at.Start-e.Offset)),
	}
	switch {
	case o.Lag == 0:
		o.Behind = new(int64(0))
	case first >= 0:
		o.Behind = new(max(0, now.UnixMilli()-first))
	}
	if kept := at.End - at.Start; kept > 0 {
		o.Retention = float64(o.Lag+o.Lost) / float64(kept) * 100
	}
	return o
}

func sortOffsets(list []GroupOffset) {
	slices.SortFunc(list, func(a, b GroupOffset) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}
