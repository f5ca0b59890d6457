package broker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// wantReplicas is a partition to reassign; nil replicas cancel.
func wantReplicas(topic string, partition int32, replicas ...int32) kmsg.AlterPartitionAssignmentsRequestTopic {
	rt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	rt.Topic = topic
	rt.Partitions = []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: partition, Replicas: replicas}}
	return rt
}

// reassign sends AlterPartitionReassignments and returns the error of each partition.
func reassign(n *node, version int16, mayChange bool, topics ...kmsg.AlterPartitionAssignmentsRequestTopic) []error {
	n.t.Helper()
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.SetVersion(version)
	req.AllowReplicationFactorChange, req.Topics = mayChange, topics
	resp := ask(n, req, kmsg.NewPtrAlterPartitionAssignmentsResponse())
	require.Zero(n.t, resp.ErrorCode)
	var errs []error
	for i, rt := range resp.Topics {
		require.Equal(n.t, topics[i].Topic, rt.Topic)
		for j, rp := range rt.Partitions {
			require.Equal(n.t, topics[i].Partitions[j].Partition, rp.Partition)
			require.Equal(n.t, rp.ErrorCode == 0, rp.ErrorMessage == nil)
			errs = append(errs, kerr.ErrorForCode(rp.ErrorCode))
		}
	}
	return errs
}

// inProgress lists reassignments as "topic-partition[replicas]+[adding]-[removing]".
func inProgress(n *node, topics ...kmsg.ListPartitionReassignmentsRequestTopic) string {
	n.t.Helper()
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	req.Topics = topics
	resp := ask(n, req, kmsg.NewPtrListPartitionReassignmentsResponse())
	require.Zero(n.t, resp.ErrorCode)
	var all []string
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			all = append(all, fmt.Sprintf("%s-%d%v+%v-%v", rt.Topic, p.Partition, p.Replicas, p.AddingReplicas, p.RemovingReplicas))
		}
	}
	return strings.Join(all, " ")
}

func TestAlterPartitionReassignments(t *testing.T) {
	n := startCluster(t)
	n.mustCreate(assigned("t", []int32{1, 2}))
	for _, tc := range []struct {
		name     string
		topic    kmsg.AlterPartitionAssignmentsRequestTopic
		want     error
		replicas []id.Broker
		target   id.Broker
		listed   string
	}{
		{"unknown topic", wantReplicas("none", 0, 1), kerr.UnknownTopicOrPartition, []id.Broker{1, 2}, -1, ""},
		{"unknown partition", wantReplicas("t", 1, 1), kerr.UnknownTopicOrPartition, []id.Broker{1, 2}, -1, ""},
		{"negative partition", wantReplicas("t", -1, 1), kerr.UnknownTopicOrPartition, []id.Broker{1, 2}, -1, ""},
		{"unknown broker", wantReplicas("t", 0, 1, 9), kerr.InvalidReplicaAssignment, []id.Broker{1, 2}, -1, ""},
		{"a broker twice", wantReplicas("t", 0, 2, 2), kerr.InvalidReplicaAssignment, []id.Broker{1, 2}, -1, ""},
		{"nothing to cancel", wantReplicas("t", 0), kerr.NoReassignmentInProgress, []id.Broker{1, 2}, -1, ""},
		{"other followers", wantReplicas("t", 0, 3, 1, 4), nil, []id.Broker{3, 1, 4}, -1, ""},
		{"the same", wantReplicas("t", 0, 3, 1, 4), nil, []id.Broker{3, 1, 4}, -1, ""},
		{"without the leader", wantReplicas("t", 0, 4, 3, 2), nil, []id.Broker{4, 3, 2}, 3, "t-0[4 3 2 1]+[3]-[1]"},
		{"another on the way", wantReplicas("t", 0, 2, 3), nil, []id.Broker{2, 3}, 3, "t-0[2 3 1]+[3]-[1]"},
		{"elsewhere on the way", wantReplicas("t", 0, 2), nil, []id.Broker{2}, 2, "t-0[2 1]+[2]-[1]"},
		{"cancel", wantReplicas("t", 0), nil, []id.Broker{1}, -1, ""},
		{"to a broker that is away", wantReplicas("t", 0, 4), nil, []id.Broker{4}, -1, "t-0[4 1]+[]-[1]"},
		{"back to the leader", wantReplicas("t", 0, 1), nil, []id.Broker{1}, -1, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for v := int16(0); v <= 1; v++ {
				if v == 0 && tc.name == "cancel" {
					continue // the second time there is nothing to cancel
				}
				require.Equal(t, []error{tc.want}, reassign(n, v, true, tc.topic))
				p := n.partition("t", 0)
				require.Equal(t, tc.replicas, p.Replicas)
				require.Equal(t, tc.target, p.Target)
				require.Equal(t, id.Broker(1), p.Leader)
				require.Equal(t, id.Epoch(0), p.Epoch)
				require.Equal(t, tc.listed, inProgress(n))
			}
		})
	}
	empty := wantReplicas("t", 0)
	empty.Partitions[0].Replicas = []int32{}
	require.Equal(t, []error{kerr.InvalidReplicaAssignment}, reassign(n, 1, true, empty))
}

func TestReassignmentEndsWhenTheLeaderHasMoved(t *testing.T) {
	n := startCluster(t)
	n.mustCreate(assigned("t", []int32{1}, []int32{1}, []int32{2}), assigned("u", []int32{1}))
	require.Equal(t, []error{nil, nil, kerr.UnknownTopicOrPartition, nil},
		reassign(n, 1, true, wantReplicas("t", 0, 2), wantReplicas("t", 1, 3), wantReplicas("none", 1, 3), wantReplicas("u", 0, 3)))
	type some = kmsg.ListPartitionReassignmentsRequestTopic
	require.Equal(t, "t-0[2 1]+[2]-[1] t-1[3 1]+[3]-[1] u-0[3 1]+[3]-[1]", inProgress(n))
	require.Equal(t, "t-1[3 1]+[3]-[1]", inProgress(n, some{Topic: "none", Partitions: []int32{0}}, some{Topic: "t", Partitions: []int32{1, 2, 9, -1}}))
	require.Empty(t, inProgress(n, some{Topic: "t"}))
	n.tell(n.leads("t", 0, 2), n.leads("u", 0, 3))
	require.Equal(t, "t-1[3 1]+[3]-[1]", inProgress(n))
	n.tell(n.leads("t", 1, metalog.NoBroker))
	require.Empty(t, inProgress(n), "nobody has anything to hand over")
	require.Equal(t, []error{nil}, reassign(n, 1, true, wantReplicas("t", 1, 2, 3)))
	require.Equal(t, metalog.NoBroker, n.partition("t", 1).Target)
}

func TestReplicationFactorIsKept(t *testing.T) {
	n := startCluster(t)
	n.mustCreate(assigned("t", []int32{1, 2}))
	require.Equal(t, []error{kerr.InvalidReplicationFactor}, reassign(n, 1, false, wantReplicas("t", 0, 1)))
	require.Equal(t, []error{nil}, reassign(n, 1, false, wantReplicas("t", 0, 1, 3)))
	require.Equal(t, []error{nil}, reassign(n, 0, false, wantReplicas("t", 0, 1, 2, 3)), "version 0 cannot say so")
	topic, _ := n.meta.Image().Topic("t")
	require.Equal(t, int16(3), topic.ReplicationFactor)
}

func TestReassignManyPartitions(t *testing.T) {
	n := startCluster(t)
	n.mustCreate(wantTopic("t", 5000, 1))
	rt := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	rt.Topic = "t"
	for i := range int32(5000) {
		rt.Partitions = append(rt.Partitions, kmsg.AlterPartitionAssignmentsRequestTopicPartition{Partition: i, Replicas: []int32{1, 2, 3}})
	}
	before := n.meta.Image().Version()
	for _, err := range reassign(n, 1, true, rt) {
		require.NoError(t, err)
	}
	require.Equal(t, uint64(3), n.meta.Image().Version()-before)
	require.Equal(t, []id.Broker{1, 2, 3}, n.partition("t", 4999).Replicas)
}
