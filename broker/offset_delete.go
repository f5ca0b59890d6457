package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
)

// OffsetDelete (key 47), version 0. It is answered when the offsets are removed durably. No deviations.

func handleOffsetDelete(ctx context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.OffsetDeleteRequest](c)
	if req.Group == "" {
		replyOffsetDelete(c, req, group.ErrInvalidGroupID)
		return
	}
	resp := responseTo[*kmsg.OffsetDeleteResponse](req)
	var remove []id.Partition
	var refused error
	queued := false
	err := b.groups.with(ctx, req.Group, func(e *groupEntry, _ time.Time) {
		if refused = e.state.CanDeleteOffsets(); refused != nil {
			return
		}
		remove = b.removable(c, req, resp, e)
		if queued = len(remove) > 0; !queued {
			return
		}
		b.groups.enqueue(e, &offsetOp{remove: remove, done: b.groups.withPending(e, remove, func(err error) {
			if err != nil {
				replyOffsetDelete(c, req, err)
				return
			}
			c.reply(resp)
		})})
	})
	switch {
	case err != nil:
		replyOffsetDelete(c, req, err)
	case refused != nil:
		replyOffsetDelete(c, req, refused)
	case !queued:
		c.reply(resp)
	}
}

// removable fills in the response and returns the partitions whose offsets may go.
func (b *Broker) removable(c *call, req *kmsg.OffsetDeleteRequest, resp *kmsg.OffsetDeleteResponse, e *groupEntry) []id.Partition {
	img := b.meta.Image()
	var remove []id.Partition
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetDeleteResponseTopic()
		rt.Topic = t.Topic
		topic, known := img.Topic(t.Topic)
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetDeleteResponseTopicPartition()
			rp.Partition = p.Partition
			switch {
			case !known || p.Partition < 0 || int(p.Partition) >= len(topic.Partitions):
				rp.ErrorCode = c.code(kerr.UnknownTopicOrPartition)
			case e.state.Subscribed(t.Topic):
				rp.ErrorCode = c.code(group.ErrSubscribed)
			default:
				at := id.Partition{Topic: topic.ID, Index: p.Partition}
				remove = append(remove, at)
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return remove
}

// replyOffsetDelete answers with an error for the whole request.
func replyOffsetDelete(c *call, req *kmsg.OffsetDeleteRequest, err error) {
	resp := responseTo[*kmsg.OffsetDeleteResponse](req)
	resp.ErrorCode = c.code(err)
	c.reply(resp)
}
