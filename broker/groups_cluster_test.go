package broker

import (
	"context"
	"fmt"
	"net"
	stdsync "sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// groupCluster is two brokers over the same stores, which follow the metadata log.
type groupCluster struct {
	t       *testing.T
	brokers []*groupBroker // nodes 1 and 2
}

func openGroupCluster(t *testing.T) *groupCluster {
	stores := newGroupStores()
	c := &groupCluster{t: t, brokers: []*groupBroker{startGroupBroker(t, stores, 1), startGroupBroker(t, stores, 2)}}
	ctx, stop := context.WithCancel(t.Context())
	var following stdsync.WaitGroup
	for _, b := range c.brokers {
		following.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					_ = b.meta.Refresh(ctx)
				}
			}
		})
	}
	t.Cleanup(func() { stop(); following.Wait() })
	require.NoError(t, c.brokers[0].meta.Refresh(t.Context())) // it knows of the second
	return c
}

// leader returns the coordinator of a group, and another broker.
func (c *groupCluster) leader(groupID string) (leader, other *groupBroker) {
	require.NoError(c.t, c.brokers[0].createShards(c.t.Context()))
	require.NoError(c.t, c.brokers[0].meta.Refresh(c.t.Context()))
	shard, ok := shardOf(c.brokers[0].meta.Image(), groupID)
	require.True(c.t, ok)
	return c.brokers[shard.Leader-1], c.brokers[2-shard.Leader]
}

// move gives the shard of a group to a node; by is the broker that appends it, and knows at once.
func (c *groupCluster) move(by *groupBroker, groupID string, to id.Broker) {
	_, err := by.meta.Update(c.t.Context(), func(img *metalog.Image) ([]metalog.Record, error) {
		topic, _ := img.Topic(admin.OffsetsTopic)
		at := id.Partition{Topic: topic.ID, Index: int32(group.Shard(groupID, len(topic.Partitions)))}
		state, _ := img.Partition(at)
		change := metalog.LeaderChange{Partition: at, Leader: to, Epoch: state.Epoch + 1}
		return []metalog.Record{metalog.LeadersChanged{Changes: []metalog.LeaderChange{change}}}, nil
	})
	require.NoError(c.t, err)
}

// follow waits until every broker knows all of the metadata log.
func (c *groupCluster) follow() {
	for _, b := range c.brokers {
		require.NoError(c.t, b.meta.Refresh(c.t.Context()))
	}
}

// named returns a group that the node coordinates.
func (c *groupCluster) named(node id.Broker) string {
	for i := 0; ; i++ {
		name := fmt.Sprint("group-", i)
		if leader, _ := c.leader(name); leader.cfg.NodeID == node {
			return name
		}
	}
}

// TestFindCoordinatorOfCluster: every broker names the same one, at the address of the listener.
func TestFindCoordinatorOfCluster(t *testing.T) {
	c := openGroupCluster(t)
	leaders := map[id.Broker]int{}
	for i := range 20 {
		groupID := fmt.Sprint("g", i)
		leader, _ := c.leader(groupID)
		c.follow()
		leaders[leader.cfg.NodeID]++
		for _, b := range c.brokers {
			for listener, addr := range b.Addrs() {
				for version := int16(0); version <= 6; version++ {
					req := kmsg.NewPtrFindCoordinatorRequest()
					req.CoordinatorKey, req.CoordinatorKeys = groupID, []string{groupID}
					at := &groupBroker{b.Broker, addr.String(), nil}
					resp := answer[*kmsg.FindCoordinatorResponse](t, at, version, req)
					if version >= 4 {
						f := resp.Coordinators[0]
						resp.NodeID, resp.Host, resp.Port, resp.ErrorCode = f.NodeID, f.Host, f.Port, f.ErrorCode
					}
					require.Zero(t, resp.ErrorCode)
					require.EqualValues(t, leader.cfg.NodeID, resp.NodeID)
					require.Equal(t, leader.Addrs()[listener].String(), net.JoinHostPort(resp.Host, decimal(resp.Port)))
				}
			}
		}
	}
	require.Len(t, leaders, 2, "both have shards")

	topic, _ := c.brokers[1].meta.Image().Topic(admin.OffsetsTopic)
	require.Len(t, topic.Partitions, 50)
	require.EqualValues(t, 2, topic.ReplicationFactor, "as many as there are brokers")
	c.move(c.brokers[0], "g", metalog.NoBroker)
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKeys = []string{"g"}
	found := answer[*kmsg.FindCoordinatorResponse](t, c.brokers[0], 4, req).Coordinators[0]
	require.ErrorIs(t, kerr.ErrorForCode(found.ErrorCode), kerr.CoordinatorNotAvailable)
	require.NotEmpty(t, *found.ErrorMessage)
}

// TestShardsCreatedByMany: brokers that all need the shards at once make one topic.
func TestShardsCreatedByMany(t *testing.T) {
	c := openGroupCluster(t)
	var wg stdsync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			if err := c.brokers[i%2].createShards(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	c.follow()
	require.Zero(t, c.brokers[0].meta.Image().Ignored())
	require.Len(t, c.brokers[0].meta.Image().Topics(), 1)
}

// TestNotCoordinator: a broker that does not lead the group's shard says so to every request.
func TestNotCoordinator(t *testing.T) {
	c := openGroupCluster(t)
	topicID := c.brokers[0].topic(t, "t", 1)
	groupID := c.named(1)
	c.follow()
	leader, other := c.brokers[0], c.brokers[1]
	require.NoError(t, groupErrorCode(leader.ask(t, 9, commitRequest(groupID, "", -1, "t", topicID, 0, 7))))
	for name, req := range map[string]kmsg.Request{
		"join": joinRequest(groupID, ""), "sync": syncRequest(groupID, "m", 1, nil), "heartbeat": beatRequest(groupID, "m", 1, nil),
		"leave": leaveRequest(groupID, "m"), "commit": commitRequest(groupID, "", -1, "t", topicID, 0, 8),
	} {
		require.ErrorIs(t, groupErrorCode(other.ask(t, 2, req)), kerr.NotCoordinator, name)
	}
	notHere := func(code int16) {
		t.Helper()
		require.ErrorIs(t, kerr.ErrorForCode(code), kerr.NotCoordinator)
	}
	fetch := kmsg.NewPtrOffsetFetchRequest()
	fetch.Group, fetch.Groups = groupID, []kmsg.OffsetFetchRequestGroup{{Group: groupID}, {Group: c.named(2)}}
	notHere(answer[*kmsg.OffsetFetchResponse](t, other, 7, fetch).ErrorCode)
	fetched := answer[*kmsg.OffsetFetchResponse](t, other, 8, fetch).Groups
	notHere(fetched[0].ErrorCode)
	require.Zero(t, fetched[1].ErrorCode)
	describe := kmsg.NewPtrDescribeGroupsRequest()
	describe.Groups = []string{groupID, c.named(2)}
	described := answer[*kmsg.DescribeGroupsResponse](t, other, 5, describe).Groups
	notHere(described[0].ErrorCode)
	require.Zero(t, described[1].ErrorCode)
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Groups = []string{groupID}
	notHere(answer[*kmsg.DeleteGroupsResponse](t, other, 1, remove).Groups[0].ErrorCode)
	offset := kmsg.NewPtrOffsetDeleteRequest()
	offset.Group = groupID
	notHere(answer[*kmsg.OffsetDeleteResponse](t, other, 0, offset).ErrorCode)
	require.Empty(t, answer[*kmsg.ListGroupsResponse](t, other, 4, kmsg.NewPtrListGroupsRequest()).Groups)
	require.Len(t, answer[*kmsg.ListGroupsResponse](t, leader, 4, kmsg.NewPtrListGroupsRequest()).Groups, 1)
	require.Equal(t, int64(7), leader.offset(t, groupID))
	listed, err := other.admin(t).ListGroups(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{groupID}, listed.Groups(), "clients ask every broker")
}

// offset is what is committed for partition 0 of topic "t".
func (b *groupBroker) offset(t *testing.T, groupID string) int64 {
	t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = groupID
	req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	resp := answer[*kmsg.OffsetFetchResponse](t, b, 7, req)
	require.NoError(t, kerr.ErrorForCode(resp.ErrorCode))
	return resp.Topics[0].Partitions[0].Offset
}

// TestCoordinatorMoves: members are sent away, and go on at the new coordinator with
// their offsets and their generation; the old one, which has not heard of it, acknowledges nothing.
func TestCoordinatorMoves(t *testing.T) {
	c := openGroupCluster(t)
	topicID := c.brokers[0].topic(t, "t", 1)
	groupID := c.named(1)
	c.follow()
	old, fresh := c.brokers[0], c.brokers[1]
	member, generation := old.member(t, groupID)
	require.NoError(t, groupErrorCode(old.ask(t, 9, commitRequest(groupID, member, generation, "t", topicID, 0, 10))))
	parked := make(chan kmsg.Response, 1)
	go func() { parked <- old.ask(t, 3, joinRequest(groupID, "")) }()
	eventually(t, "the join is parked", func() bool {
		return metricValues(t, old.reg, "forebay_groups")[group.PreparingRebalance.String()] == 1
	})

	c.move(fresh, groupID, 2)
	require.Equal(t, int64(10), fresh.offset(t, groupID))
	require.ErrorIs(t, groupErrorCode(old.ask(t, 9, commitRequest(groupID, member, generation, "t", topicID, 0, 11))), kerr.NotCoordinator)
	require.ErrorIs(t, groupErrorCode(<-parked), kerr.NotCoordinator)
	require.ErrorIs(t, groupErrorCode(old.ask(t, 4, beatRequest(groupID, member, generation, nil))), kerr.NotCoordinator)
	require.Equal(t, int64(10), fresh.offset(t, groupID))
	require.NoError(t, groupErrorCode(fresh.ask(t, 4, beatRequest(groupID, member, generation, nil))))
	require.ErrorIs(t, groupErrorCode(fresh.ask(t, 9, commitRequest(groupID, member, generation-1, "t", topicID, 0, 9))), kerr.IllegalGeneration)
	require.NoError(t, groupErrorCode(fresh.ask(t, 9, commitRequest(groupID, member, generation, "t", topicID, 0, 20))))

	c.move(fresh, groupID, 1)
	c.follow()
	require.Equal(t, int64(20), old.offset(t, groupID))
	require.NoError(t, groupErrorCode(old.ask(t, 9, commitRequest(groupID, member, generation, "t", topicID, 0, 21))))
}

// TestConsumersSurviveMoves: two real consumers read and commit while their coordinator
// moves to and fro. Each record is read, and no coordinator answers less than was acknowledged before.
func TestConsumersSurviveMoves(t *testing.T) {
	c := openGroupCluster(t)
	first := c.brokers[0]
	first.topic(t, "t", 4)
	c.leader("g")
	c.follow()
	var mu stdsync.Mutex
	acked := map[int32]int64{}
	ctx, cancel := context.WithCancel(t.Context())
	g := &gatherer{seen: map[string]int{}}
	defer func() { cancel(); g.wg.Wait() }()
	for range 2 {
		m := first.consumer(t, kgo.SeedBrokers(c.brokers[1].addr, first.addr), kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }),
			kgo.AutoCommitCallback(func(_ *kgo.Client, req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
				if err != nil {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				for i, rt := range resp.Topics {
					for j, rp := range rt.Partitions {
						if rp.ErrorCode == 0 {
							acked[rp.Partition] = max(acked[rp.Partition], req.Topics[i].Partitions[j].Offset)
						}
					}
				}
			}))
		g.read(ctx, m)
	}
	committed := func() int64 {
		mu.Lock()
		defer mu.Unlock()
		sum := int64(0)
		for _, o := range acked {
			sum += o
		}
		return sum
	}
	const rounds, each = 6, 200
	for r := range rounds {
		first.produce(t, r*each, r*each+each/2)
		eventually(t, "some of the round is committed", func() bool { return committed() > int64(r*each) })
		leader, other := c.leader("g")
		by := []*groupBroker{leader, other}[r%2] // a planned move, or one that the old coordinator has not heard of
		mu.Lock()
		before := make(map[int32]int64, len(acked))
		for p, o := range acked {
			before[p] = o
		}
		mu.Unlock()
		c.move(by, "g", other.cfg.NodeID)
		c.follow()
		fetched, err := other.admin(t).FetchOffsets(t.Context(), "g")
		require.NoError(t, err)
		for p, o := range before {
			at, ok := fetched.Lookup("t", p)
			require.True(t, ok)
			require.GreaterOrEqual(t, at.At, o, "partition %d after move %d", p, r)
		}
		first.produce(t, r*each+each/2, (r+1)*each)
		eventually(t, "all of the round is read", func() bool { return g.count() == (r+1)*each })
		eventually(t, "all of the round is committed", func() bool { return committed() == int64((r+1)*each) })
	}
}
