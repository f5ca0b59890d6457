package broker

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/offsets"
)

// OffsetCommit (key 8), versions 2 to 10, with topic ids from 10 on. It is answered when
// the offsets are durable. No deviations.

func handleOffsetCommit(ctx context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.OffsetCommitRequest](c)
	resp := responseTo[*kmsg.OffsetCommitResponse](req)
	entries := b.offsetEntries(c, req, resp)
	if entries == nil { // not even one topic to commit
		c.reply(resp)
		return
	}
	accepted := entries[:0:0]
	for _, e := range entries {
		if !b.groups.tooLong(e.Metadata) {
			accepted = append(accepted, e)
		}
	}
	ev := group.Commit{MemberID: req.MemberID, Instance: req.InstanceID, Generation: req.Generation}
	done := func(err error) {
		if err != nil {
			failCommit(resp, c.code(err))
		}
		c.reply(resp)
	}
	err := b.groups.commit(ctx, req.Group, ev, accepted, done)
	switch {
	case errors.Is(err, group.ErrNotFound) && req.Version < 9:
		done(group.ErrIllegalGeneration) // as old clients know it
	case err != nil:
		done(err)
	}
}

// failCommit sets the code of every partition that has none yet: those that have are
// unknown, or their metadata is too large.
func failCommit(resp *kmsg.OffsetCommitResponse, code int16) {
	for i := range resp.Topics {
		ps := resp.Topics[i].Partitions
		for j := range ps {
			if ps[j].ErrorCode == 0 || ps[j].ErrorCode == kerr.OffsetMetadataTooLarge.Code {
				ps[j].ErrorCode = code
			}
		}
	}
}

// offsetEntries returns the offsets of partitions that exist, and fills in the response: no error
// for them, but for too large metadata. It returns nil if there are none.
func (b *Broker) offsetEntries(c *call, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse) []offsets.Entry {
	img, now := b.meta.Image(), b.cfg.Now()
	var expire time.Time
	if req.Version <= 4 && req.RetentionTimeMillis >= 0 {
		expire = now.Add(time.Duration(req.RetentionTimeMillis) * time.Millisecond)
	}
	var entries []offsets.Entry
	for i := range req.Topics {
		t := &req.Topics[i]
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		topic, unknown := groupTopic(img, req.Version >= 10, t.Topic, t.TopicID)
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition = p.Partition
			switch {
			case unknown != nil:
				rp.ErrorCode = c.code(unknown)
			case p.Partition < 0 || int(p.Partition) >= len(topic.Partitions):
				rp.ErrorCode = c.code(kerr.UnknownTopicOrPartition)
			default:
				e := offsets.Entry{
					Topic: topic.ID, TopicName: topic.Name, Partition: p.Partition, Offset: id.Offset(p.Offset),
					LeaderEpoch: -1, CommitTime: now, ExpireTime: expire,
				}
				if req.Version >= 6 {
					e.LeaderEpoch = id.Epoch(p.LeaderEpoch)
				}
				if p.Metadata != nil {
					e.Metadata = *p.Metadata
				}
				if b.groups.tooLong(e.Metadata) {
					rp.ErrorCode = c.code(kerr.OffsetMetadataTooLarge)
				}
				entries = append(entries, e)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return entries
}

// tooLong reports whether the metadata of a commit exceeds offset.metadata.max.bytes, which is no
// number of bytes in Kafka but one of UTF-16 units.
func (m *groups) tooLong(metadata string) bool {
	units := 0
	for _, r := range metadata {
		units += utf16.RuneLen(r)
	}
	return units > m.cfg.MetadataMax
}

// groupTopic returns the topic that a request names by id or by name.
func groupTopic(img *metalog.Image, byID bool, name string, topic id.Topic) (*metalog.Topic, error) {
	if byID {
		if t, ok := img.TopicByID(topic); ok {
			return t, nil
		}
		return nil, fmt.Errorf("find topic with id %v: %w", topic, kerr.UnknownTopicID)
	}
	if t, ok := img.Topic(name); ok {
		return t, nil
	}
	return nil, fmt.Errorf("find topic %q: %w", name, kerr.UnknownTopicOrPartition)
}
