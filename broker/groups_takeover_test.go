package broker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/offsets"
)

// coordinatorOf returns the member of the cluster that coordinates a group, and its shard.
func (c *testCluster) coordinatorOf(groupID string) (*member, int32) {
	shard, ok := shardOf(c.image(), groupID)
	require.True(c.t, ok)
	topic, _ := c.image().Topic(offsetsTopic)
	return c.members[shard.Leader], int32(groupShard(groupID, len(topic.Partitions)))
}

// groupConsumer starts a consumer of a group that notes when partitions are taken from it.
func (c *testCluster) groupConsumer(m *groupMember, opts ...kgo.Opt) {
	m.owned = map[string]map[int32]bool{}
	m.Client = c.client(append([]kgo.Opt{
		kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.HeartbeatInterval(50 * time.Millisecond), kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.OnPartitionsAssigned(m.assigned), kgo.OnPartitionsRevoked(m.revoked), kgo.OnPartitionsLost(m.revoked),
		kgo.Balancers(kgo.RangeBalancer()), kgo.AutoCommitInterval(100 * time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
	}, opts...)...)
}

// TestCoordinatorKilled: the members of a group, one of them static, go on at the next
// coordinator: no partition is taken from them, and neither id nor generation change. What a transaction
// had pending is ended there.
func TestCoordinatorKilled(t *testing.T) {
	c := newTestCluster(t)
	for node := id.Broker(1); node <= 3; node++ {
		c.start(node)
	}
	c.createTopic("t", 4, 3)
	var members [2]groupMember
	c.groupConsumer(&members[0])
	c.groupConsumer(&members[1], kgo.InstanceID("static"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	described := func() (d group.Description) {
		if m, _ := c.coordinatorOf("g"); m != nil {
			_ = m.groups.with(ctx, "g", func(e *groupEntry, _ time.Time) { d = e.state.Describe() })
		}
		return d
	}
	stable := func() bool { d := described(); return d.State == group.Stable && len(d.Members) == 2 }
	eventually(t, "both are members", func() bool { return stable() && members[0].owns() == 2 && members[1].owns() == 2 })
	before := described()
	lost := members[0].lost + members[1].lost
	_, generation := members[0].GroupMetadata()

	dead, shard := c.coordinatorOf("g")
	open := func(context.Context, txnVerification) map[id.Partition]error { return nil }
	topic, _ := c.image().Topic("t")
	dead.groups.cfg.Verify = open
	done := make(chan error, 1)
	dead.groups.commitTxn(&txnCommit{
		group: "g", verification: txnVerification{Producer: 77}, member: group.Commit{Generation: -1, Transactional: true},
		entries: []offsets.Entry{{Topic: topic.ID, TopicName: "t", Partition: 3, Offset: 33, LeaderEpoch: -1}}, done: func(err error) { done <- err },
	})
	require.NoError(t, <-done)
	dead.cut.Store(true)
	c.stop(dead)
	eventually(t, "another coordinates it", func() bool { m, _ := c.coordinatorOf("g"); return m != nil && m != dead })
	eventually(t, "the group is stable there", stable)
	require.Never(t, func() bool { return members[0].lost+members[1].lost > lost }, 500*time.Millisecond, 50*time.Millisecond)
	require.Equal(t, before, described())
	_, now := members[0].GroupMetadata()
	require.Equal(t, generation, now)

	next, _ := c.coordinatorOf("g")
	last := id.Partition{Topic: topic.ID, Index: 3}
	require.True(t, next.unstable(t, "g", last))
	next.groups.endTxn(shard, txnMarker{Producer: 77, Commit: true}, func(err error) { done <- err })
	require.NoError(t, <-done)
	require.False(t, next.unstable(t, "g", last))
	fetched, err := kadm.NewClient(c.client()).FetchOffsets(ctx, "g")
	require.NoError(t, err)
	at, ok := fetched.Lookup("t", 3)
	require.True(t, ok)
	require.EqualValues(t, 33, at.At)
}

// unstable reports whether a transaction has an offset of the partition pending.
func (m *member) unstable(t *testing.T, groupID string, p id.Partition) bool {
	unstable := false
	require.NoError(t, m.groups.withOffsets(t.Context(), groupID, func(e *groupEntry, _ time.Time) { unstable = e.unstable(p) }))
	return unstable
}
