package broker

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/tiering/batch"
)

// TestOffsetsTopic: the first FindCoordinator creates it as Kafka does, and clients may
// neither write to it nor remove or grow it.
func TestOffsetsTopic(t *testing.T) {
	n := startNode(t, func(cfg *Config) {
		cfg.Defaults.NumPartitions, cfg.Defaults.NoAutoCreateTopics, cfg.Groups.OffsetsTopicPartitions = 3, true, 7
	})
	require.Empty(t, n.meta.Image().Topics())
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.SetVersion(4)
	find.CoordinatorKeys = []string{"a", "b"}
	for _, c := range ask(n, find, kmsg.NewPtrFindCoordinatorResponse()).Coordinators {
		require.Zero(t, c.ErrorCode)
	}
	topic, ok := n.meta.Image().Topic(admin.OffsetsTopic)
	require.True(t, ok)
	require.Len(t, topic.Partitions, 7)
	require.EqualValues(t, 1, topic.ReplicationFactor)
	require.True(t, n.topicConfig(topic).Compact)

	for _, version := range []int16{9, 13} {
		produced := n.produce(version, -1, put{admin.OffsetsTopic, 0, batchOfNow(batch.None, 1)})
		require.Equal(t, kerr.InvalidTopicException, errorOf(produced[0].ErrorCode))
	}
	for version := int16(1); version <= 6; version++ {
		remove := kmsg.NewPtrDeleteTopicsRequest()
		remove.SetVersion(version)
		remove.TopicNames = []string{admin.OffsetsTopic}
		remove.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: topic.ID}}
		resp := ask(n, remove, kmsg.NewPtrDeleteTopicsResponse())
		require.Equal(t, kerr.InvalidTopicException, errorOf(resp.Topics[0].ErrorCode))
	}
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: admin.OffsetsTopic, Count: 8}}
	require.Equal(t, kerr.InvalidTopicException, errorOf(ask(n, grow, kmsg.NewPtrCreatePartitionsResponse()).Topics[0].ErrorCode))
	require.Equal(t, kerr.TopicAlreadyExists, errorOf(n.create(7, false, wantTopic(admin.OffsetsTopic, 1, 1))[0].ErrorCode))

	meta := kmsg.NewPtrMetadataRequest()
	meta.SetVersion(12)
	described := ask(n, meta, kmsg.NewPtrMetadataResponse()).Topics
	require.Len(t, described, 1)
	require.True(t, described[0].IsInternal)
	partitions := ask(n, kmsg.NewPtrDescribeTopicPartitionsRequest(), kmsg.NewPtrDescribeTopicPartitionsResponse()).Topics
	require.True(t, partitions[0].IsInternal)
}

// TestOffsetsTopicByName: a client that asks for it by name gets no ordinary topic.
func TestOffsetsTopicByName(t *testing.T) {
	n := startNode(t)
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(9)
	req.AllowAutoTopicCreation = true
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: new(admin.OffsetsTopic)}}
	resp := ask(n, req, kmsg.NewPtrMetadataResponse())
	require.Zero(t, resp.Topics[0].ErrorCode)
	require.True(t, resp.Topics[0].IsInternal)
	require.Len(t, resp.Topics[0].Partitions, 50)
	topic, _ := n.meta.Image().Topic(admin.OffsetsTopic)
	require.Equal(t, offsetsTopicConfigs, topic.Configs)
}
