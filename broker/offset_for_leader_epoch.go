package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
)

// OffsetForLeaderEpoch (key 23), versions 2 to 4. No deviations.

func handleOffsetForLeaderEpoch(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.OffsetForLeaderEpochRequest](c)
	resp := responseTo[*kmsg.OffsetForLeaderEpochResponse](req)
	for i := range req.Topics {
		t := &req.Topics[i]
		out := kmsg.NewOffsetForLeaderEpochResponseTopic()
		out.Topic = t.Topic
		for j := range t.Partitions {
			p := &t.Partitions[j]
			op := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			op.Partition = p.Partition
			epoch, end, err := epochEnd(ctx, b, t.Topic, p)
			op.ErrorCode = c.code(err)
			op.LeaderEpoch, op.EndOffset = int32(epoch), int64(end)
			out.Partitions = append(out.Partitions, op)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func epochEnd(ctx context.Context, b *Broker, topic string, p *kmsg.OffsetForLeaderEpochRequestTopicPartition) (id.Epoch, id.Offset, error) {
	log, err := b.storage.logByName(topic, p.Partition)
	if err != nil {
		return -1, -1, err
	}
	if err := log.CheckEpoch(id.Epoch(p.CurrentLeaderEpoch)); err != nil {
		return -1, -1, err
	}
	return log.EpochEnd(ctx, id.Epoch(p.LeaderEpoch))
}
