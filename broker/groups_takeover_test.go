package broker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/offsets"
)

// coordinatorOf returns the member of the cluster that coordinates a group, and its shard.
func (c *testCluster) coordinatorOf(groupID string) (*member, int32) {
	img := c.image()
	shard, _ := shardOf(img, groupID)
	topic, _ := img.Topic(admin.OffsetsTopic)
	return c.members[shard.Leader], int32(group.Shard(groupID, len(topic.Partitions)))
}

// TestCoordinatorKilled: a member goes on at the next coordinator of three brokers, under its id
// and generation. What a transaction had pending is ended there.
func TestCoordinatorKilled(t *testing.T) {
	c := newTestCluster(t)
	for node := id.Broker(1); node <= 3; node++ {
		c.start(node)
	}
	c.createTopic("t", 4, 3)
	require.NoError(t, c.members[1].createShards(t.Context()))
	dead, shard := c.coordinatorOf("g")
	require.NoError(t, dead.meta.Refresh(t.Context()))
	memberID, generation := (&groupBroker{dead.Broker, dead.Addrs()[0].String(), nil}).member(t, "g")

	topic, _ := c.image().Topic("t")
	last := id.Partition{Topic: topic.ID, Index: 3}
	dead.groups.cfg.Verify = func(context.Context, txnVerification) map[id.Partition]error { return nil }
	done := make(chan error, 1)
	dead.groups.commitTxn(&txnCommit{
		group: "g", verification: txnVerification{Producer: 77},
		member:  group.Commit{MemberID: memberID, Generation: generation, Transactional: true},
		entries: []offsets.Entry{{Topic: topic.ID, TopicName: "t", Partition: 3, Offset: 33, LeaderEpoch: -1}}, done: func(err error) { done <- err },
	})
	require.NoError(t, <-done)
	dead.cut.Store(true)
	c.stop(dead)
	eventually(t, "another coordinates it", func() bool { m, _ := c.coordinatorOf("g"); return m != nil && m != dead })

	next, _ := c.coordinatorOf("g")
	require.NoError(t, next.meta.Refresh(t.Context()))
	at := &groupBroker{next.Broker, next.Addrs()[0].String(), nil}
	require.NoError(t, groupErrorCode(at.ask(t, 4, beatRequest("g", memberID, generation, nil))))
	require.ErrorIs(t, groupErrorCode(at.ask(t, 9, commitRequest("g", memberID, generation-1, "t", topic.ID, 0, 9))), kerr.IllegalGeneration)
	require.NoError(t, groupErrorCode(at.ask(t, 9, commitRequest("g", memberID, generation, "t", topic.ID, 0, 9))))
	require.True(t, next.unstable(t, "g", last))
	next.groups.endTxn(shard, txnMarker{Producer: 77, Commit: true}, func(err error) { done <- err })
	require.NoError(t, <-done)
	require.False(t, next.unstable(t, "g", last))
	require.NoError(t, next.groups.withOffsets(t.Context(), "g", func(e *groupEntry, _ time.Time) {
		require.Equal(t, id.Offset(33), e.offsets[last].Offset)
		require.Equal(t, id.Offset(9), e.offsets[id.Partition{Topic: topic.ID}].Offset)
	}))
}

// unstable reports whether a transaction has an offset of the partition pending.
func (m *member) unstable(t *testing.T, groupID string, p id.Partition) bool {
	unstable := false
	require.NoError(t, m.groups.withOffsets(t.Context(), groupID, func(e *groupEntry, _ time.Time) { unstable = e.unstable(p) }))
	return unstable
}
