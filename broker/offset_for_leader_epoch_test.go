package broker

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/tiering/batch"
)

// epochEndOf asks where an epoch of a partition ends, at a current epoch, -1 for none.
func (n *node) epochEndOf(version int16, topic string, index, current, epoch int32) kmsg.OffsetForLeaderEpochResponseTopicPartition {
	n.t.Helper()
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.SetVersion(version)
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = index, current, epoch
	req.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{p}}}
	resp := ask(n, req, kmsg.NewPtrOffsetForLeaderEpochResponse())
	require.Len(n.t, resp.Topics, 1)
	require.Equal(n.t, topic, resp.Topics[0].Topic)
	require.Len(n.t, resp.Topics[0].Partitions, 1)
	require.Equal(n.t, index, resp.Topics[0].Partitions[0].Partition)
	return resp.Topics[0].Partitions[0]
}

// The epochs before a restart are known after it, from hot segments and from packs.
func TestOffsetForLeaderEpochAfterRestart(t *testing.T) {
	for name, sealed := range map[string]bool{"hot": false, "packs": true} {
		t.Run(name, func(t *testing.T) {
			n := restarted(t, func(n *node) {
				n.mustCreate(wantTopic("t", 3, 1))
				n.mustProduce("t", 0, batchOfNow(batch.None, 2), batchOfNow(batch.None, 3))
				n.mustProduce("t", 1, batchOfNow(batch.None, 1))
				if sealed {
					require.NoError(t, n.storage.sealer.SealAll(t.Context()))
				}
			})
			n.mustProduce("t", 0, batchOfNow(batch.None, 4))
			for _, tc := range []struct {
				index, current, epoch int32
				want                  *kerr.Error
				found                 [2]int64 // epoch and end
			}{
				{0, -1, 0, nil, [2]int64{0, 5}},
				{0, 1, 0, nil, [2]int64{0, 5}},
				{0, 1, 1, nil, [2]int64{1, 9}},
				{0, 1, 2, nil, [2]int64{-1, -1}},
				{0, 0, 0, kerr.FencedLeaderEpoch, [2]int64{-1, -1}},
				{0, 2, 0, kerr.UnknownLeaderEpoch, [2]int64{-1, -1}},
				{1, 1, 0, nil, [2]int64{0, 1}}, // nothing of the new epoch yet
				{1, 1, 1, nil, [2]int64{1, 1}},
				{2, 1, 0, nil, [2]int64{0, 0}}, // nothing at all
				{3, -1, 0, kerr.UnknownTopicOrPartition, [2]int64{-1, -1}},
			} {
				for version := int16(2); version <= 4; version++ {
					got := n.epochEndOf(version, "t", tc.index, tc.current, tc.epoch)
					require.Equal(t, tc.want, errorOf(got.ErrorCode), "%+v", tc)
					require.Equal(t, tc.found, [2]int64{int64(got.LeaderEpoch), got.EndOffset}, "%+v", tc)
				}
			}
			require.Equal(t, kerr.UnknownTopicOrPartition, errorOf(n.epochEndOf(4, "none", 0, -1, 0).ErrorCode))
		})
	}
}
