package broker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	stdsync "sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/broker/lag"
	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// detailedNames is how long the names of the groups in the table count. Groups that are new are in
// memory, so that this delays only those that have come from another coordinator.
const detailedNames = time.Minute

var (
	membersDesc      = detailedDesc("kafka_consumergroup_members", "Members of the group.", "consumergroup")
	groupOffsetDesc  = detailedDesc("kafka_consumergroup_current_offset", "Committed offset.", "consumergroup", "topic", "partition")
	groupOffsetsDesc = detailedDesc("kafka_consumergroup_current_offset_sum", "Sum of the committed offsets of a topic.", "consumergroup", "topic")
	lagDesc          = detailedDesc("kafka_consumergroup_lag", "Records from the committed offset to the high watermark.", "consumergroup", "topic", "partition")
	lagSumDesc       = detailedDesc("kafka_consumergroup_lag_sum", "Sum of the lags of a topic, as far as they are known.", "consumergroup", "topic")
	lagSecondsDesc   = detailedDesc("kafka_consumergroup_lag_seconds",
		"Age of the record at the committed offset, interpolated from earlier looks; 0 when all is read, and no more than the time since this broker first looked.", "consumergroup", "topic", "partition")
)

// groupDetail is what there is to tell of a group.
type groupDetail struct {
	name    string
	created bool
	members int
	offsets map[id.Partition]id.Offset // committed
}

// groups tells of the groups that this broker coordinates.
func (g *detailedGather) groups(ctx context.Context) {
	names := g.groupNames(ctx)
	details := g.read(ctx, names)
	left, wanted := g.b.cfg.DetailedLimit, map[id.Partition]bool{}
	for i := range details {
		d := &details[i]
		if len(d.offsets) > left {
			g.leftOut["group_partitions"] += len(d.offsets)
			d.offsets = nil
		}
		left -= len(d.offsets)
		for p := range d.offsets {
			wanted[p] = true
		}
	}
	ends := g.endsOf(ctx, wanted)
	g.remember(wanted, ends)
	for _, d := range details {
		if !d.created {
			continue
		}
		g.gauge(membersDesc, float64(d.members), d.name)
		g.offsets(d, ends)
	}
}

// groupNames lists the groups in order of name, up to the limit.
func (g *detailedGather) groupNames(ctx context.Context) []string {
	if g.now.Sub(g.named) >= detailedNames {
		stored, err := g.b.groups.cfg.Table.Groups(ctx)
		if err != nil {
			g.b.log.Warn("metrics: cannot list the groups", "err", err)
			g.leftOut["groups"]++ // it is not known how many
		} else {
			g.named, g.stored = g.now, stored
		}
	}
	names := g.b.groups.namesWith(g.stored)
	slices.Sort(names)
	names = slices.Compact(names)
	if over := len(names) - g.b.cfg.DetailedLimit; over > 0 {
		g.leftOut["groups"] += over
		names = names[:g.b.cfg.DetailedLimit]
	}
	return names
}

// read returns what there is to tell of groups; those that are not in memory are read, several at a time.
func (g *detailedGather) read(ctx context.Context, names []string) []groupDetail {
	details := make([]groupDetail, len(names))
	failed := make([]bool, len(names))
	var readers errgroup.Group
	readers.SetLimit(peekConcurrency)
	for i, name := range names {
		d := &details[i]
		d.name = name
		readers.Go(func() error {
			err := g.b.groups.withOffsets(ctx, name, func(e *groupEntry, _ time.Time) {
				d.created, d.members = e.state.Created(), e.state.Size()
				d.offsets = make(map[id.Partition]id.Offset, len(e.offsets))
				for p, o := range e.offsets {
					if _, ok := g.img.TopicByID(p.Topic); ok {
						d.offsets[p] = o.Offset
					}
				}
			})
			failed[i] = err != nil && !errors.Is(err, group.ErrNotCoordinator) && !errors.Is(err, kerr.NotCoordinator)
			return nil
		})
	}
	_ = readers.Wait() // they return nil
	for _, f := range failed {
		if f {
			g.leftOut["groups"]++
		}
	}
	return details
}

// offsets tells of the offsets of a group, and of its lag where the end is known.
func (g *detailedGather) offsets(d groupDetail, ends map[id.Partition]id.Offset) {
	type sum struct{ offset, lag id.Offset }
	sums := map[string]*sum{}
	for p, committed := range d.offsets {
		t, ok := g.img.TopicByID(p.Topic)
		if !ok {
			continue
		}
		s := sums[t.Name]
		if s == nil {
			s = &sum{}
			sums[t.Name] = s
		}
		labels := []string{d.name, t.Name, indexLabel(p.Index)}
		g.gauge(groupOffsetDesc, float64(committed), labels...)
		s.offset += committed
		if end, known := ends[p]; known {
			behind := max(0, end-committed)
			s.lag += behind
			g.gauge(lagDesc, float64(behind), labels...)
			g.gauge(lagSecondsDesc, g.ends[p].Behind(g.now, committed).Seconds(), labels...)
		}
	}
	for topic, s := range sums {
		g.gauge(groupOffsetsDesc, float64(s.offset), d.name, topic)
		g.gauge(lagSumDesc, float64(s.lag), d.name, topic)
	}
}

// remember adds the ends to the histories, and forgets the histories of partitions that no group reads.
func (g *detailedGather) remember(wanted map[id.Partition]bool, ends map[id.Partition]id.Offset) {
	if g.ends == nil {
		g.detailed.ends = map[id.Partition]*lag.History{}
	}
	maps.DeleteFunc(g.ends, func(p id.Partition, _ *lag.History) bool { return !wanted[p] })
	for p, end := range ends {
		h := g.ends[p]
		if h == nil {
			h = &lag.History{}
			g.ends[p] = h
		}
		h.Add(g.now, end)
	}
}

// endsOf returns the high watermarks of partitions: of its own from memory, and of
// others from their leaders, with one request for each of these. Those that are not known are left out.
func (g *detailedGather) endsOf(ctx context.Context, wanted map[id.Partition]bool) map[id.Partition]id.Offset {
	ends := make(map[id.Partition]id.Offset, len(wanted))
	elsewhere := map[id.Broker][]id.Partition{}
	for p := range wanted {
		if log, ok := g.b.storage.logs.Get(p); ok && g.b.valid() {
			ends[p] = log.Watermarks().High
			continue
		}
		if state, ok := g.img.Partition(p); ok && state.Leader != g.b.cfg.NodeID && placement.IsLive(g.img, state.Leader) {
			elsewhere[state.Leader] = append(elsewhere[state.Leader], p)
		}
	}
	var mu stdsync.Mutex
	var asking stdsync.WaitGroup
	for node, ps := range elsewhere {
		asking.Go(func() {
			found, err := g.b.peers.endOffsets(ctx, g.img, node, ps)
			if err != nil {
				g.b.log.Warn("metrics: no lag of partitions that another broker leads", "node", node.String(), "partitions", len(ps), "err", err)
			}
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(ends, found)
		})
	}
	asking.Wait()
	g.leftOut["end_offsets"] = len(wanted) - len(ends)
	return ends
}

// endOffsets asks a broker for the high watermarks of partitions that it leads. Those that it
// does not know, or does not lead any more, are left out.
func (p *peers) endOffsets(ctx context.Context, img *metalog.Image, node id.Broker, ps []id.Partition) (map[id.Partition]id.Offset, error) {
	byTopic := map[id.Topic][]int32{}
	for _, one := range ps {
		byTopic[one.Topic] = append(byTopic[one.Topic], one.Index)
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = 6, -1
	for topic, indexes := range byTopic {
		t, ok := img.TopicByID(topic)
		if !ok {
			continue
		}
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = t.Name
		for _, i := range indexes {
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition, rp.CurrentLeaderEpoch, rp.Timestamp = i, -1, timeLatest
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
	}
	answered, err := p.request(ctx, node, req)
	if err != nil {
		return nil, err
	}
	ends := make(map[id.Partition]id.Offset, len(ps))
	for _, rt := range answered.(*kmsg.ListOffsetsResponse).Topics { //nolint:errcheck // it was made by its key
		t, ok := img.Topic(rt.Topic)
		if !ok {
			continue
		}
		for _, rp := range rt.Partitions {
			if rp.ErrorCode == 0 {
				ends[id.Partition{Topic: t.ID, Index: rp.Partition}] = id.Offset(rp.Offset)
			}
		}
	}
	return ends, nil
}

func indexLabel(index int32) string { return strconv.Itoa(int(index)) }
