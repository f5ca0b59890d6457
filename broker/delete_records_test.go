package broker

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/tiering/batch"
)

// deleteRecords moves the log start of one partition.
func (n *node) deleteRecords(version int16, topic string, index int32, offset int64) (int64, error) {
	n.t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.SetVersion(version)
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = index, offset
	req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{p}}}
	resp := ask(n, req, kmsg.NewPtrDeleteRecordsResponse())
	require.Len(n.t, resp.Topics, 1)
	require.Len(n.t, resp.Topics[0].Partitions, 1)
	got := resp.Topics[0].Partitions[0]
	return got.LowWatermark, kerr.ErrorForCode(got.ErrorCode)
}

// What lies below the new start is gone, from whichever tier it would come.
func TestDeleteRecords(t *testing.T) {
	for _, tier := range tiers() {
		t.Run(tier.name, func(t *testing.T) {
			n := restarted(t, func(n *node) {
				n.mustCreate(wantTopic("t", 1, 1))
				tier.place(n) // times 10 30 20 | 40 40 | 5 | 35 40
				low, err := n.deleteRecords(2, "t", 0, 4)
				require.NoError(t, err)
				require.Equal(t, int64(4), low)
				low, err = n.deleteRecords(0, "t", 0, 3)
				require.NoError(t, err, "what is gone already")
				require.Equal(t, int64(4), low)
				n.deletedBelow4()
			})
			n.deletedBelow4()
			low, err := n.deleteRecords(1, "t", 0, -1)
			require.NoError(t, err)
			require.Equal(t, int64(8), low, "the high watermark")
			require.Equal(t, int64(-1), n.listOffset(7, 0, "t", 0, -1, timeMax).Offset)
			require.Equal(t, int64(-1), n.listOffset(7, 0, "t", 0, -1, 0).Offset)
			n.mustProduce("t", 0, batchAt(batch.None, 50))
			require.Equal(t, int64(8), n.listOffset(7, 0, "t", 0, -1, 0).Offset)
		})
	}
}

// deletedBelow4 looks at a log of timed that starts within its second batch.
func (n *node) deletedBelow4() {
	n.t.Helper()
	for timestamp, want := range map[int64]int64{timeEarliest: 4, timeLatest: 8, timeMax: 4, 0: 4, 40: 4, 35: 4} {
		require.Equal(n.t, want, n.listOffset(7, 0, "t", 0, -1, timestamp).Offset, "timestamp %d", timestamp)
	}
	below := n.fetch(n.fetchRequest(12, want{topic: "t", offset: 3}))[0]
	require.Equal(n.t, kerr.OffsetOutOfRange.Code, below.ErrorCode)
	got := n.fetch(n.fetchRequest(12, want{topic: "t", offset: 4}))[0]
	require.Zero(n.t, got.ErrorCode)
	require.Equal(n.t, int64(4), got.LogStartOffset)
	require.Equal(n.t, int64(3), n.basesOf(got.RecordBatches)[0], "the batch that the start lies within")
}

func TestDeleteRecordsRefused(t *testing.T) {
	n := startNode(t)
	n.mustCreate(
		wantTopic("t", 1, 1), wantTopic("compacted", 1, 1, with("cleanup.policy", value("compact"))),
		wantTopic("both", 1, 1, with("cleanup.policy", value("compact,delete"))), wantTopic("__consumer_offsets", 1, 1),
	)
	timed(n, 0, 1)
	for _, tc := range []struct {
		topic  string
		index  int32
		offset int64
		want   *kerr.Error
	}{
		{"t", 0, 4, kerr.OffsetOutOfRange},
		{"t", 0, -2, kerr.OffsetOutOfRange},
		{"t", 1, 0, kerr.UnknownTopicOrPartition},
		{"none", 0, 0, kerr.UnknownTopicOrPartition},
		{"compacted", 0, 0, kerr.PolicyViolation},
		{"__consumer_offsets", 0, 0, kerr.InvalidTopicException},
	} {
		low, err := n.deleteRecords(2, tc.topic, tc.index, tc.offset)
		require.ErrorIs(t, err, tc.want, "%s %d", tc.topic, tc.offset)
		require.Equal(t, int64(-1), low)
	}
	low, err := n.deleteRecords(2, "both", 0, 0)
	require.NoError(t, err)
	require.Zero(t, low)
}

// The epoch that a start has moved past ends there, as in Kafka.
func TestDeleteRecordsAndEpochs(t *testing.T) {
	n := restarted(t, func(n *node) {
		n.mustCreate(wantTopic("t", 1, 1))
		timed(n, 0, 1)
	})
	timed(n, 1, 4)
	_, err := n.deleteRecords(2, "t", 0, 5)
	require.NoError(t, err)
	end := n.epochEndOf(4, "t", 0, 1, 0)
	require.Equal(t, [2]int64{0, 5}, [2]int64{int64(end.LeaderEpoch), end.EndOffset})
}

// Whoever leads next begins where the leader of before had moved the start to.
func TestClusterKeepsLogStarts(t *testing.T) {
	c := newTestCluster(t)
	first := c.start(1, unbalanced, brief)
	c.createTopic("t", 1, 1)
	c.awaitServing("t", 0, 1)
	timed(c.asNode(first), 0, 4)
	second := c.start(2, unbalanced, brief)
	_, err := c.asNode(first).deleteRecords(2, "t", 0, 4)
	require.NoError(t, err)

	c.move("t", 0, 2)
	c.awaitServing("t", 0, 2)
	c.asNode(second).deletedBelow4()
	_, err = c.asNode(first).deleteRecords(2, "t", 0, 6)
	require.ErrorIs(t, err, kerr.NotLeaderForPartition)
	low, err := c.asNode(second).deleteRecords(2, "t", 0, 5)
	require.NoError(t, err)
	require.Equal(t, int64(5), low)
}
