package broker

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/metalog"
)

// DescribeTopicPartitions (key 75), version 0. Eligible leader replicas are a notion
// of Kafka's replication: there are none. The lists of them are empty and never
// null, which Kafka's own clients do not expect.

// maxPartitionsDescribed is the largest number of partitions of one response
// (max.request.partition.size.limit).
const maxPartitionsDescribed = 2000

// handleDescribeTopicPartitions describes partitions in order of topic, from the
// cursor on, as far as the limit goes.
func handleDescribeTopicPartitions(_ context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.DescribeTopicPartitionsRequest](c)
	resp := responseTo[*kmsg.DescribeTopicPartitionsResponse](req)
	img := b.told()
	names := topicNames(img, req)
	if req.Cursor != nil && req.Cursor.Partition < 0 {
		for _, name := range names {
			resp.Topics = append(resp.Topics, missingTopicPartitions(name, c.code(kerr.InvalidRequest)))
		}
		return resp
	}
	left := min(max(int(req.ResponsePartitionLimit), 1), maxPartitionsDescribed)
	for _, name := range names {
		from := 0
		if req.Cursor != nil && req.Cursor.Topic == name {
			from = int(req.Cursor.Partition)
		}
		t, ok := img.Topic(name)
		if !ok {
			resp.Topics = append(resp.Topics, missingTopicPartitions(name, missingCode(c, name)))
			continue
		}
		from = min(from, len(t.Partitions))
		if left == 0 {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: int32(from)}
			break
		}
		n := min(left, len(t.Partitions)-from)
		resp.Topics = append(resp.Topics, topicPartitions(img, t, c, from, n))
		left -= n
		if from+n < len(t.Partitions) {
			resp.NextCursor = &kmsg.DescribeTopicPartitionsResponseNextCursor{Topic: name, Partition: int32(from + n)}
			break
		}
	}
	return resp
}

// topicNames are the names that a request asks for, in order and each once, from
// its cursor on.
func topicNames(img *metalog.Image, req *kmsg.DescribeTopicPartitionsRequest) []string {
	var names []string
	for i := range req.Topics {
		names = append(names, req.Topics[i].Topic)
	}
	if len(req.Topics) == 0 {
		for _, t := range img.Topics() {
			names = append(names, t.Name)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if req.Cursor == nil {
		return names
	}
	return slices.DeleteFunc(names, func(name string) bool { return name < req.Cursor.Topic })
}

func missingCode(c *call, name string) int16 {
	if err := admin.CheckTopicName(name); err != nil {
		return c.code(err)
	}
	return c.code(kerr.UnknownTopicOrPartition)
}

func missingTopicPartitions(name string, code int16) kmsg.DescribeTopicPartitionsResponseTopic {
	t := kmsg.NewDescribeTopicPartitionsResponseTopic()
	t.Topic, t.ErrorCode = &name, code
	t.Partitions = []kmsg.DescribeTopicPartitionsResponseTopicPartition{}
	return t
}

// topicPartitions describes n partitions of t.
func topicPartitions(img *metalog.Image, t *metalog.Topic, c *call, from, n int) kmsg.DescribeTopicPartitionsResponseTopic {
	rt := kmsg.NewDescribeTopicPartitionsResponseTopic()
	rt.Topic, rt.TopicID, rt.IsInternal, rt.AuthorizedOperations = &t.Name, t.ID, admin.IsInternal(t.Name), topicOperations
	rt.Partitions = make([]kmsg.DescribeTopicPartitionsResponseTopicPartition, n)
	view := replicaView{img: img}
	for i := range rt.Partitions {
		p := &t.Partitions[from+i]
		rp := kmsg.NewDescribeTopicPartitionsResponseTopicPartition()
		rp.Partition, rp.LeaderID, rp.LeaderEpoch = int32(from+i), int32(p.Leader), int32(p.Epoch)
		rp.Replicas, rp.ISR, rp.OfflineReplicas = view.of(p)
		rp.EligibleLeaderReplicas, rp.LastKnownELR = []int32{}, []int32{}
		if code := leaderError(img, p, c); code != 0 {
			rp.ErrorCode, rp.LeaderID = code, int32(metalog.NoBroker)
		}
		rt.Partitions[i] = rp
	}
	return rt
}
