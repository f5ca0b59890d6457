package broker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/offsets"
)

// OffsetFetch (key 9), versions 1 to 10, several groups at once from 8 on, with topic ids from 10 on.
// A group, topic or partition without an offset is no error: its offset is -1. Only
// a topic id that is unknown is one, and with RequireStable (7 and above) an offset that an open
// transaction commits: UNSTABLE_OFFSET_COMMIT. No deviations.

func handleOffsetFetch(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.OffsetFetchRequest](c)
	resp := responseTo[*kmsg.OffsetFetchResponse](req)
	if req.Version >= 8 {
		for i := range req.Groups {
			resp.Groups = append(resp.Groups, b.fetchOffsets(ctx, c, &req.Groups[i], req.RequireStable))
		}
		return resp
	}
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = req.Group
	for _, t := range req.Topics {
		gt := kmsg.NewOffsetFetchRequestGroupTopic()
		gt.Topic, gt.Partitions = t.Topic, t.Partitions
		g.Topics = append(g.Topics, gt)
	}
	if req.Topics != nil && g.Topics == nil {
		g.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	oneGroupResponse(resp, b.fetchOffsets(ctx, c, &g, req.Version >= 7 && req.RequireStable))
	return resp
}

// oneGroupResponse writes the form before version 8. Version 1 has no error but those of partitions.
func oneGroupResponse(resp *kmsg.OffsetFetchResponse, g kmsg.OffsetFetchResponseGroup) {
	resp.ErrorCode = g.ErrorCode
	for _, gt := range g.Topics {
		t := kmsg.NewOffsetFetchResponseTopic()
		t.Topic = gt.Topic
		for _, gp := range gt.Partitions {
			p := kmsg.NewOffsetFetchResponseTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode = gp.Partition, gp.Offset, gp.LeaderEpoch, gp.Metadata, gp.ErrorCode
			t.Partitions = append(t.Partitions, p)
		}
		resp.Topics = append(resp.Topics, t)
	}
}

// fetchOffsets answers for one group; nil topics ask for all that have offsets.
func (b *Broker) fetchOffsets(ctx context.Context, c *call, req *kmsg.OffsetFetchRequestGroup, stable bool) kmsg.OffsetFetchResponseGroup {
	resp := kmsg.NewOffsetFetchResponseGroup()
	resp.Group = req.Group
	img := b.meta.Image()
	err := b.groups.withOffsets(ctx, req.Group, func(e *groupEntry, _ time.Time) {
		if req.Topics == nil {
			resp.Topics = allOffsets(img, e.offsets)
		}
		for i := range req.Topics {
			resp.Topics = append(resp.Topics, topicOffsets(c, img, e.offsets, &req.Topics[i]))
		}
		if stable && e.hasPending() {
			hideUnstable(c, img, e, resp.Topics)
		}
	})
	if err == nil {
		return resp
	}
	if errors.Is(err, kerr.CoordinatorNotAvailable) {
		err = kerr.NotCoordinator // consumers of before Kafka 3.9 do not expect the other one here
	}
	resp.ErrorCode = c.code(err)
	if c.version < 2 {
		for i := range req.Topics {
			t := topicOffsets(c, img, nil, &req.Topics[i])
			for j := range t.Partitions {
				t.Partitions[j].ErrorCode = resp.ErrorCode
			}
			resp.Topics = append(resp.Topics, t)
		}
	}
	return resp
}

// hideUnstable replaces the offsets that open transactions commit by an error.
func hideUnstable(c *call, img *metalog.Image, e *groupEntry, topics []kmsg.OffsetFetchResponseGroupTopic) {
	for i := range topics {
		t, err := groupTopic(img, c.version >= 10, topics[i].Topic, topics[i].TopicID)
		if err != nil {
			continue
		}
		for j := range topics[i].Partitions {
			p := &topics[i].Partitions[j]
			if e.unstable(id.Partition{Topic: t.ID, Index: p.Partition}) {
				p.Offset, p.LeaderEpoch, p.Metadata = -1, -1, kmsg.StringPtr("")
				p.ErrorCode = c.code(kerr.UnstableOffsetCommit)
			}
		}
	}
}

// topicOffsets answers for the partitions that a request names. Offsets are kept by topic
// id: those of a deleted topic never show up under a new one of its name.
func topicOffsets(c *call, img *metalog.Image, all map[id.Partition]offsets.Entry, req *kmsg.OffsetFetchRequestGroupTopic) kmsg.OffsetFetchResponseGroupTopic {
	resp := kmsg.NewOffsetFetchResponseGroupTopic()
	resp.Topic, resp.TopicID = req.Topic, req.TopicID
	byID := c.version >= 10
	topic, unknown := groupTopic(img, byID, req.Topic, req.TopicID)
	for _, index := range req.Partitions {
		p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		if unknown == nil {
			if o, ok := all[id.Partition{Topic: topic.ID, Index: index}]; ok {
				p = committedOffset(o)
			}
		} else if byID {
			p.ErrorCode = c.code(unknown)
		}
		if p.Metadata == nil {
			p.Offset, p.LeaderEpoch, p.Metadata = -1, -1, kmsg.StringPtr("")
		}
		p.Partition = index
		resp.Partitions = append(resp.Partitions, p)
	}
	return resp
}

func committedOffset(o offsets.Entry) kmsg.OffsetFetchResponseGroupTopicPartition {
	p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch = o.Partition, int64(o.Offset), int32(o.LeaderEpoch)
	p.Metadata = kmsg.StringPtr(o.Metadata)
	return p
}

// allOffsets lists every offset of a topic that exists, in order of topic name and partition.
func allOffsets(img *metalog.Image, all map[id.Partition]offsets.Entry) []kmsg.OffsetFetchResponseGroupTopic {
	byTopic := map[*metalog.Topic]*kmsg.OffsetFetchResponseGroupTopic{}
	for p, o := range all {
		t, ok := img.TopicByID(p.Topic)
		if !ok {
			continue
		}
		rt := byTopic[t]
		if rt == nil {
			rt = new(kmsg.NewOffsetFetchResponseGroupTopic())
			rt.Topic, rt.TopicID = t.Name, t.ID
			byTopic[t] = rt
		}
		rt.Partitions = append(rt.Partitions, committedOffset(o))
	}
	topics := make([]kmsg.OffsetFetchResponseGroupTopic, 0, len(byTopic))
	for _, rt := range byTopic {
		slices.SortFunc(rt.Partitions, func(a, b kmsg.OffsetFetchResponseGroupTopicPartition) int {
			return cmp.Compare(a.Partition, b.Partition)
		})
		topics = append(topics, *rt)
	}
	slices.SortFunc(topics, func(a, b kmsg.OffsetFetchResponseGroupTopic) int { return cmp.Compare(a.Topic, b.Topic) })
	return topics
}
