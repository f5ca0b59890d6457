package broker

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/batch"
)

// unbalanced leaves partitions where a test puts them.
func unbalanced(cfg *Config) { cfg.Cluster.Rebalance = time.Hour }

// leader is who leads a partition.
func (c *testCluster) leader(topic string, index int32) id.Broker {
	c.t.Helper()
	_, p, err := admin.FindPartition(c.image(), topic, index)
	require.NoError(c.t, err)
	return p.Leader
}

// aim sets the target of a partition, as a reassignment does.
func (c *testCluster) aim(topic string, index int32, to id.Broker) {
	c.t.Helper()
	at, _, err := admin.FindPartition(c.image(), topic, index)
	require.NoError(c.t, err)
	_, err = c.any().meta.Update(context.Background(), func(*metalog.Image) ([]metalog.Record, error) {
		return []metalog.Record{metalog.TargetsSet{Targets: []metalog.PartitionTarget{{Partition: at, Target: to}}}}, nil
	})
	require.NoError(c.t, err)
}

// any is a member that reaches the table.
func (c *testCluster) any() *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		if !m.cut.Load() && !m.closing() {
			return m
		}
	}
	require.Fail(c.t, "nobody is there")
	return nil
}

// move has a partition handed over and waits until it is.
func (c *testCluster) move(topic string, index int32, to id.Broker) {
	c.t.Helper()
	c.aim(topic, index, to)
	eventually(c.t, "the move", func() bool { return c.leader(topic, index) == to })
}

// awaitServing waits until a broker serves a partition.
func (c *testCluster) awaitServing(topic string, index int32, node id.Broker) {
	c.t.Helper()
	c.mu.Lock()
	m := c.members[node]
	c.mu.Unlock()
	eventually(c.t, "the new leader", func() bool {
		_, err := m.storage.logByName(topic, index)
		return err == nil
	})
}

// asNode lends a member the helpers of nodes.
func (c *testCluster) asNode(m *member) *node { return &node{Broker: m.Broker, t: c.t} }

// to is a chooser that gives a partition to one broker.
func to(p id.Partition, node id.Broker) chooser {
	return func(*metalog.Image) map[id.Partition]id.Broker { return map[id.Partition]id.Broker{p: node} }
}

// Moves that an operator asks for lose and repeat nothing of what is produced meanwhile.
func TestPlannedMovesUnderLoad(t *testing.T) {
	c := newTestCluster(t)
	for node := range id.Broker(3) {
		c.start(node+1, unbalanced)
	}
	c.createTopic("events", 3, 3)
	l := c.produceTo("events")
	admin := kadm.NewClient(c.client())
	for round := range int32(3) {
		var req kadm.AlterPartitionAssignmentsReq
		for p := range int32(3) {
			first := (p+round)%3 + 1
			req.Assign("events", p, []int32{first, first%3 + 1, (first+1)%3 + 1})
		}
		altered, err := admin.AlterPartitionAssignments(t.Context(), req)
		require.NoError(t, err)
		require.NoError(t, altered.Error())
		results, err := admin.ElectLeaders(t.Context(), kadm.ElectPreferredReplica, kadm.TopicsSet{"events": {0: {}, 1: {}, 2: {}}})
		require.NoError(t, err)
		for p, r := range results["events"] {
			if !errors.Is(r.Err, kerr.ElectionNotNeeded) {
				require.NoError(t, r.Err, "partition %d: %s", p, r.ErrMessage)
			}
			require.Equal(t, id.Broker((p+round)%3+1), c.leader("events", p))
		}
		at := l.count()
		eventually(t, "records after the moves", func() bool { return l.count() > at+100 })
	}
	c.verify(l)
}

// While brokers are fenced clients are told of the others only, and produce to them.
func TestMetadataWithFencedBrokers(t *testing.T) {
	c := newTestCluster(t)
	c.start(1)
	dead := c.start(2)
	gone := c.start(3)
	c.createTopic("events", 6, 3)
	l := c.produceTo("events")
	eventually(t, "records", func() bool { return l.count() > 100 })
	dead.cut.Store(true)
	require.NoError(t, gone.Close(t.Context()))
	n := c.asNode(c.any())
	n.t = t
	eventually(t, "a cluster of one", func() bool {
		req := kmsg.NewPtrMetadataRequest()
		req.SetVersion(12)
		resp := ask(n, req, kmsg.NewPtrMetadataResponse())
		for _, p := range resp.Topics[0].Partitions {
			if p.ErrorCode != 0 || p.Leader != 1 {
				return false
			}
			require.ElementsMatch(t, []int32{2, 3}, p.OfflineReplicas)
			require.Equal(t, []int32{1}, p.ISR)
		}
		return len(resp.Brokers) == 1 && resp.Brokers[0].NodeID == 1 && resp.ControllerID == 1
	})
	at := l.count()
	eventually(t, "records after it", func() bool { return l.count() > at+100 })
	c.verify(l)
}

// A partition does not move before its records are committed, takes appends again when
// that lasts too long, and moves with them in the end.
func TestMoveWaitsForCommits(t *testing.T) {
	c := newTestCluster(t)
	m := c.start(1, unbalanced)
	c.createTopic("t", 1, 1)
	c.start(2, unbalanced)
	n := c.asNode(m)
	m.cluster.stop() // this test moves by itself
	m.away.Store(true)
	require.Zero(t, n.produce(9, 1, put{"t", 0, batchOfNow(batch.None, 1)})[0].ErrorCode)
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, m.cluster.giveAway(short, to(partitionOf(n, "t", 0), 2), nil), context.DeadlineExceeded)
	require.Equal(t, id.Broker(1), c.leader("t", 0))
	require.Zero(t, n.produce(9, 1, put{"t", 0, batchOfNow(batch.None, 1)})[0].ErrorCode)

	moved := make(chan error, 1)
	go func() { moved <- m.cluster.giveAway(t.Context(), to(partitionOf(n, "t", 0), 2), nil) }()
	eventually(t, "a closed door", func() bool {
		return n.produce(9, 1, put{"t", 0, batchOfNow(batch.None, 1)})[0].ErrorCode == kerr.NotLeaderForPartition.Code
	})
	m.away.Store(false)
	require.NoError(t, <-moved)
	c.awaitServing("t", 0, 2)
	got := c.asNode(c.members[2]).fetch(n.fetchRequest(12, want{topic: "t"}))[0]
	require.GreaterOrEqual(t, got.HighWatermark, int64(2))
}

// A move that may be in the metadata log, or not, keeps the partition closed to appends:
// here it is there, the broker that made it is told otherwise, and its stream could
// still commit.
func TestMoveInDoubt(t *testing.T) {
	c := newTestCluster(t)
	m := c.start(1, unbalanced)
	c.createTopic("t", 1, 1)
	c.start(2, unbalanced)
	n := c.asNode(m)
	m.cluster.stop()
	short, cancel := context.WithCancel(t.Context())
	defer cancel()
	var landed atomic.Bool
	faults := func(op kv.Op) kv.Fault {
		switch {
		case !strings.Contains(op.Key.Part, "meta"):
			return kv.FaultNone
		case landed.Load():
			cancel()
			return kv.FaultFail
		case op.Kind == kv.OpWrite:
			landed.Store(true)
			return kv.FaultLanded
		}
		return kv.FaultNone
	}
	m.table.Store(&faults)
	require.ErrorIs(t, m.cluster.giveAway(short, to(partitionOf(n, "t", 0), 2), nil), errInDoubt)
	require.True(t, landed.Load())
	require.True(t, m.valid(), "the session is not what keeps it from answering")
	require.Equal(t, id.Broker(2), c.leader("t", 0))
	require.Equal(t, kerr.NotLeaderForPartition.Code, n.produce(9, -1, put{"t", 0, batchOfNow(batch.None, 1)})[0].ErrorCode)

	m.table.Store(nil)
	require.NoError(t, m.cluster.giveAway(t.Context(), to(partitionOf(n, "t", 0), 2), nil), "it finds out later")
	c.awaitServing("t", 0, 2)
}

// A broker that leaves also gives away what was to move anyway, to where it was to move.
func TestLeaveWithTargets(t *testing.T) {
	c := newTestCluster(t)
	m := c.start(1, unbalanced)
	c.createTopic("t", 3, 1)
	c.start(2, unbalanced)
	c.start(3, unbalanced)
	m.cluster.stop() // too late for the move to begin by itself
	for p := range int32(3) {
		require.Equal(t, id.Broker(1), c.leader("t", p))
	}
	c.aim("t", 1, 3)
	require.NoError(t, m.Broker.meta.Refresh(t.Context()))
	require.NoError(t, m.cluster.leave(t.Context()))
	require.Equal(t, id.Broker(3), c.leader("t", 1))
	require.Zero(t, c.leaders("t")[1])
}

// The last broker leaves with its partitions and has them again when it comes back.
func TestLeaveAlone(t *testing.T) {
	c := newTestCluster(t)
	m := c.start(1)
	c.createTopic("t", 1, 1)
	c.asNode(m).mustProduce("t", 0, batchOfNow(batch.None, 1))
	require.NoError(t, m.Close(t.Context()))
	self, ok := c.image().Broker(1)
	require.True(t, ok)
	require.True(t, self.Fenced)
	require.Equal(t, id.Broker(1), c.leader("t", 0))
	n := c.asNode(c.start(1))
	require.Equal(t, []int64{0}, n.basesOf(n.fetch(n.fetchRequest(12, want{topic: "t"}))[0].RecordBatches))
}
