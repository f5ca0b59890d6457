package broker

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// tell appends records to the metadata log, as other brokers would, all of which must apply.
func (n *node) tell(records ...metalog.Record) {
	n.t.Helper()
	ignored := n.meta.Image().Ignored()
	img, err := n.meta.Update(n.t.Context(), func(*metalog.Image) ([]metalog.Record, error) { return records, nil })
	require.NoError(n.t, err)
	require.Equal(n.t, ignored, img.Ignored())
}

// peer is the registration of a broker that is there in the metadata only.
func peer(node id.Broker, rack string) metalog.BrokerRegistered {
	return metalog.BrokerRegistered{
		ID: node, Incarnation: id.Session(fmt.Sprint("session of ", node)), Rack: rack,
		Endpoints: []metalog.Endpoint{{Listener: "PLAINTEXT", Host: fmt.Sprint("host", node), Port: 9092}},
	}
}

func fenced(p metalog.BrokerRegistered) metalog.BrokerFenced {
	return metalog.BrokerFenced{ID: p.ID, Session: p.Incarnation}
}

// startCluster opens broker 1, registers 2 and 3, and a fenced 4.
func startCluster(t *testing.T) *node {
	n := startNode(t)
	n.tell(peer(2, "b"), peer(3, ""), peer(4, ""), fenced(peer(4, "")))
	return n
}

// partition returns the state of a partition.
func (n *node) partition(topic string, index int32) metalog.PartitionState {
	n.t.Helper()
	_, p, err := admin.FindPartition(n.meta.Image(), topic, index)
	require.NoError(n.t, err)
	return p
}

// leads makes a broker the leader of a partition.
func (n *node) leads(topic string, index int32, leader id.Broker) metalog.LeadersChanged {
	n.t.Helper()
	at, p, err := admin.FindPartition(n.meta.Image(), topic, index)
	require.NoError(n.t, err)
	return metalog.LeadersChanged{Changes: []metalog.LeaderChange{{Partition: at, Leader: leader, Epoch: p.Epoch + 1}}}
}

// assigned is a topic with the given replicas of its partitions.
func assigned(name string, replicas ...[]int32) kmsg.CreateTopicsRequestTopic {
	topic := wantTopic(name, -1, -1)
	for i, list := range replicas {
		on(int32(i), list...)(&topic)
	}
	return topic
}

func TestCreateTopicsInACluster(t *testing.T) {
	n := startCluster(t)
	n.mustCreate(wantTopic("three", 6, 3))
	topic, _ := n.meta.Image().Topic("three")
	leads := map[id.Broker]int{}
	for _, p := range topic.Partitions {
		require.ElementsMatch(t, []id.Broker{1, 2, 3}, p.Replicas)
		leads[p.Leader]++
	}
	require.Equal(t, map[id.Broker]int{1: 2, 2: 2, 3: 2}, leads)
	require.Zero(t, n.create(7, false, wantTopic("four", 1, 4))[0].ErrorCode, "as many as are registered, live or not")
	require.Equal(t, id.Broker(4), n.partition("four", 0).Replicas[3], "the fenced one is the last")
	require.Equal(t, kerr.InvalidReplicationFactor.Code, n.create(7, false, wantTopic("five", 1, 5))[0].ErrorCode)

	n.mustCreate(assigned("manual", []int32{4, 2, 1}))
	require.Equal(t, []id.Broker{4, 2, 1}, n.partition("manual", 0).Replicas)
	require.Equal(t, id.Broker(2), n.partition("manual", 0).Leader, "the first that lives")
	require.Equal(t, kerr.InvalidReplicaAssignment.Code, n.create(7, false, assigned("dead", []int32{4}))[0].ErrorCode)

	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.SetVersion(3)
	grow.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "three", Count: 9}}
	require.Zero(t, ask(n, grow, kmsg.NewPtrCreatePartitionsResponse()).Topics[0].ErrorCode)
	n.tell(fenced(peer(3, "")))
	grow.Topics[0].Count = 10
	require.Zero(t, ask(n, grow, kmsg.NewPtrCreatePartitionsResponse()).Topics[0].ErrorCode)
	require.Len(t, n.partition("three", 9).Replicas, 3)
}

// What clients are told of a cluster with a dead broker.
func TestDescribeACluster(t *testing.T) {
	n := startCluster(t)
	n.mustCreate(assigned("t", []int32{1, 2, 4}, []int32{2, 1, 3}, []int32{3, 2, 1}, []int32{1, 2, 3}))
	n.tell(
		metalog.LeadersChanged{Changes: []metalog.LeaderChange{
			{Partition: partitionOf(n, "t", 2), Leader: metalog.NoBroker, Epoch: 1},
			{Partition: partitionOf(n, "t", 3), Leader: 4, Epoch: 1},
		}},
		metalog.ReplicasChanged{Changes: []metalog.ReplicasChange{{Partition: partitionOf(n, "t", 1), Replicas: []id.Broker{3, 4}}}},
	)
	type shown struct {
		leader                 int32
		code                   int16
		replicas, isr, offline []int32
	}
	want := []shown{
		{1, 0, []int32{1, 2, 4}, []int32{1, 2}, []int32{4}},
		{2, 0, []int32{3, 4, 2}, []int32{3, 2}, []int32{4}},
		{-1, kerr.LeaderNotAvailable.Code, []int32{3, 2, 1}, []int32{3, 2, 1}, nil},
		{-1, kerr.LeaderNotAvailable.Code, []int32{1, 2, 3, 4}, []int32{1, 2, 3}, []int32{4}},
	}
	for v := int16(0); v <= 13; v++ {
		req := kmsg.NewPtrMetadataRequest()
		req.SetVersion(v)
		resp := ask(n, req, kmsg.NewPtrMetadataResponse())
		var ids []int32
		for _, b := range resp.Brokers {
			ids = append(ids, b.NodeID)
		}
		require.Equal(t, []int32{1, 2, 3}, ids)
		require.Equal(t, "host2", resp.Brokers[1].Host)
		if v >= 1 {
			require.Equal(t, "b", *resp.Brokers[1].Rack)
			require.Equal(t, int32(1), resp.ControllerID)
		}
		for i, w := range want {
			p := resp.Topics[0].Partitions[i]
			if v < 5 {
				w.offline = nil
			}
			require.Equal(t, []any{w.leader, w.code, w.replicas, w.isr}, []any{p.Leader, p.ErrorCode, p.Replicas, p.ISR}, "version %d, partition %d", v, i)
			require.ElementsMatch(t, w.offline, p.OfflineReplicas)
		}
	}
	resp := ask(n, kmsg.NewPtrDescribeTopicPartitionsRequest(), kmsg.NewPtrDescribeTopicPartitionsResponse())
	for i, w := range want {
		p := resp.Topics[0].Partitions[i]
		require.Equal(t, []any{w.leader, w.code, w.replicas, w.isr}, []any{p.LeaderID, p.ErrorCode, p.Replicas, p.ISR})
		require.ElementsMatch(t, w.offline, p.OfflineReplicas)
	}
}

func partitionOf(n *node, topic string, index int32) id.Partition {
	at, _, err := admin.FindPartition(n.meta.Image(), topic, index)
	require.NoError(n.t, err)
	return at
}

func TestDescribeClusterWithFencedBrokers(t *testing.T) {
	n := startCluster(t)
	for v := int16(0); v <= 2; v++ {
		for _, all := range []bool{false, true} {
			req := kmsg.NewPtrDescribeClusterRequest()
			req.SetVersion(v)
			req.IncludeFencedBrokers = all
			resp := ask(n, req, kmsg.NewPtrDescribeClusterResponse())
			fenced := map[int32]bool{}
			for _, b := range resp.Brokers {
				fenced[b.NodeID] = b.IsFenced
			}
			want := map[int32]bool{1: false, 2: false, 3: false}
			if all && v >= 2 {
				want[4] = true
			}
			require.Equal(t, want, fenced, "version %d", v)
			require.Equal(t, int32(1), resp.ControllerID)
		}
	}
	n.tell(peer(0, ""))
	describe := func() int32 {
		return ask(n, kmsg.NewPtrDescribeClusterRequest(), kmsg.NewPtrDescribeClusterResponse()).ControllerID
	}
	require.Zero(t, describe(), "the lowest id")
	n.tell(fenced(peer(0, "")))
	require.Equal(t, int32(1), describe(), "of those that live")
}

func TestUnregisterBroker(t *testing.T) {
	n := startCluster(t)
	n.mustCreate(assigned("t", []int32{3}))
	unregister := func(node int32) error {
		req := kmsg.NewPtrUnregisterBrokerRequest()
		req.BrokerID = node
		resp := ask(n, req, kmsg.NewPtrUnregisterBrokerResponse())
		require.Equal(t, resp.ErrorCode == 0, resp.ErrorMessage == nil)
		return kerr.ErrorForCode(resp.ErrorCode)
	}
	require.Equal(t, kerr.BrokerIDNotRegistered, unregister(9))
	require.Equal(t, kerr.BrokerIDNotRegistered, unregister(-1))
	require.Equal(t, kerr.PolicyViolation, unregister(2), "it lives")
	n.tell(fenced(peer(3, "")))
	require.Equal(t, kerr.PolicyViolation, unregister(3), "it leads")
	n.tell(n.leads("t", 0, 2))
	require.NoError(t, unregister(3))
	require.Equal(t, kerr.BrokerIDNotRegistered, unregister(3))
	require.NoError(t, unregister(4))
	require.Len(t, n.meta.Image().Brokers(), 2)
}

// TestClusterKnowsNewTopics: a topic that was created through one broker is known at once to whoever
// asks another.
func TestClusterKnowsNewTopics(t *testing.T) {
	c := newTestCluster(t)
	first, second := c.asNode(c.start(1)), c.asNode(c.start(2))
	for i := range 10 {
		name := fmt.Sprint("t", i)
		created := metalog.TopicCreated{Name: name, ID: id.NewTopic(), Partitions: make([]metalog.Assignment, 1), ReplicationFactor: 1}
		first.tell(created)
		req := kmsg.NewPtrMetadataRequest()
		req.SetVersion(12)
		req.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
		resp := ask(second, req, kmsg.NewPtrMetadataResponse())
		require.Len(t, resp.Topics, 1)
		require.Equal(t, [16]byte(created.ID), resp.Topics[0].TopicID, name)
	}
}
