package admin

import (
	"context"
	"net/http"
	"strconv"
	"time"

	core "github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/survey"
)

// Bytes is what a log takes, by tier, in bytes of record batches.
type Bytes struct {
	Packs int64 `json:"packs" doc:"Sealed, from the log start on"`
	WAL   int64 `json:"wal" doc:"Committed to the object store and not sealed yet"`
}

// Partition is a partition with what the stores have of it.
type Partition struct {
	Partition int32       `json:"partition"`
	Leader    id.Broker   `json:"leader" doc:"-1: nobody"`
	Epoch     id.Epoch    `json:"leader_epoch"`
	Replicas  []id.Broker `json:"replicas" doc:"In order of preference"`
	Target    id.Broker   `json:"target" doc:"The broker that shall lead it; -1: the leader stays"`
	Start     id.Offset   `json:"log_start"`
	Sealed    id.Offset   `json:"sealed_end" doc:"End of what is in packs"`
	End       id.Offset   `json:"end" doc:"End of what is committed, as the stores tell"`
	Segments  int         `json:"segments" doc:"In packs"`
	Records   int64       `json:"sealed_records" doc:"In packs"`
	Bytes     Bytes       `json:"bytes"`
}

// Partitions is a page of the partitions of a topic.
type Partitions struct {
	Topic      string      `json:"topic"`
	AsOf       time.Time   `json:"as_of" doc:"What was committed before is in"`
	Partitions []Partition `json:"partitions"`
	Page
}

type partitionsInput struct {
	PageQuery
	TopicPath
}

type partitionInput struct {
	TopicPath
	Partition int32 `path:"partition" minimum:"0"`
}

func (a *API) registerPartitions() {
	const tag = "partitions"
	handle(a, read("list-partitions", "/topics/{topic}/partitions", tag, "Partitions of a topic, with offsets and sizes", http.StatusNotFound), a.listPartitions)
	handle(a, read("get-partition", "/topics/{topic}/partitions/{partition}", tag, "One partition", http.StatusNotFound), func(ctx context.Context, in *partitionInput) (Partition, error) {
		img, err := a.image(ctx)
		if err != nil {
			return Partition{}, err
		}
		at, _, err := core.FindPartition(img, in.Topic, in.Partition)
		if err != nil {
			return Partition{}, err
		}
		found, err := a.partitions(ctx, img, []id.Partition{at})
		if err != nil {
			return Partition{}, err
		}
		return found[0], nil
	})
}

func (a *API) listPartitions(ctx context.Context, in *partitionsInput) (Partitions, error) {
	img, t, err := a.topic(ctx, in.Topic)
	if err != nil {
		return Partitions{}, err
	}
	asOf := a.cfg.Now().UTC()
	some, next, err := page(partitionsOf(t), func(p id.Partition) string { return padded(p.Index) }, in.PageQuery)
	if err != nil {
		return Partitions{}, err
	}
	found, err := a.partitions(ctx, img, some)
	return Partitions{Topic: t.Name, AsOf: asOf, Partitions: found, Page: next}, err
}

// padded is a number as text that sorts as numbers do.
func padded(n int32) string { return strconv.Itoa(1<<31 + int(n)) }

func partitionsOf(t *metalog.Topic) []id.Partition {
	ps := make([]id.Partition, len(t.Partitions))
	for i := range ps {
		ps[i] = id.Partition{Topic: t.ID, Index: int32(i)}
	}
	return ps
}

// partitions looks at partitions that exist.
func (a *API) partitions(ctx context.Context, img *metalog.Image, ps []id.Partition) ([]Partition, error) {
	view, sealed, err := a.look(ctx, img, ps)
	if err != nil {
		return nil, err
	}
	found := make([]Partition, len(ps))
	for i, p := range ps {
		state, _ := img.Partition(p)
		at, _ := view.Of(p)
		found[i] = Partition{
			Partition: p.Index, Leader: state.Leader, Epoch: state.Epoch, Replicas: state.Replicas, Target: state.Target,
			Start: at.Start, Sealed: at.Sealed, End: at.End, Segments: sealed[i].Segments, Records: sealed[i].Records,
			Bytes: Bytes{Packs: sealed[i].Bytes, WAL: at.WAL},
		}
	}
	return found, nil
}

// look finds out how far partitions reach and what they have in packs.
func (a *API) look(ctx context.Context, img *metalog.Image, ps []id.Partition) (*survey.View, []survey.Sealed, error) {
	view, err := a.view(ctx, img, ps)
	if err != nil {
		return nil, nil, err
	}
	starts := make([]id.Offset, len(ps))
	for i, p := range ps {
		at, _ := view.Of(p)
		starts[i] = at.Start
	}
	sealed, err := a.survey.SealedOf(ctx, ps, starts)
	return view, sealed, err
}

// view finds out how far partitions reach.
func (a *API) view(ctx context.Context, img *metalog.Image, ps []id.Partition) (*survey.View, error) {
	view, err := a.survey.Look(ctx, img, ps)
	if err != nil || a.cfg.End == nil {
		return view, err
	}
	for _, p := range ps {
		if end, ok := a.cfg.End(p); ok {
			view.Extend(p, end)
		}
	}
	return view, nil
}
