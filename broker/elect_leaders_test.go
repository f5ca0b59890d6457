package broker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// electRequest asks for elections; partitions are of the topic "t", none asks for all.
func electRequest(version int16, kind int8, timeout time.Duration, partitions ...int32) *kmsg.ElectLeadersRequest {
	req := kmsg.NewPtrElectLeadersRequest()
	req.SetVersion(version)
	req.ElectionType, req.TimeoutMillis = kind, int32(timeout.Milliseconds())
	if len(partitions) > 0 {
		req.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: "t", Partitions: partitions}}
	}
	return req
}

// elected shows a response as "partition:error".
func elected(resp *kmsg.ElectLeadersResponse) string {
	var all []string
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			name := "ok"
			if err := kerr.TypedErrorForCode(p.ErrorCode); err != nil {
				name = err.Message
			}
			all = append(all, fmt.Sprintf("%s-%d:%s", rt.Topic, p.Partition, name))
		}
	}
	return strings.Join(all, " ")
}

// awaitTarget waits until a partition is to move.
func (n *node) awaitTarget(index int32, to id.Broker) {
	n.t.Helper()
	eventually(n.t, "the move", func() bool { return n.partition("t", index).Target == to })
}

func TestElectPreferredLeaders(t *testing.T) {
	for v := int16(0); v <= 2; v++ {
		n := startCluster(t)
		n.mustCreate(assigned("t", []int32{2, 1}, []int32{1, 2}, []int32{4, 1}, []int32{3, 1}))
		n.tell(n.leads("t", 0, 1), n.leads("t", 3, metalog.NoBroker))
		c := n.dial()
		c.send(electRequest(v, 0, time.Minute, 0, 1, 2, 3, 9))
		n.awaitTarget(0, 2)
		require.Equal(t, id.Broker(3), n.partition("t", 3).Leader, "nobody has to hand over")
		n.tell(n.leads("t", 0, 2))
		resp := kmsg.NewPtrElectLeadersResponse()
		resp.SetVersion(v)
		c.response(0, resp)
		require.Zero(t, resp.ErrorCode)
		require.Equal(t, "t-0:ok t-1:ELECTION_NOT_NEEDED t-2:PREFERRED_LEADER_NOT_AVAILABLE t-3:ok t-9:UNKNOWN_TOPIC_OR_PARTITION", elected(resp))
		require.Equal(t, metalog.NoBroker, n.partition("t", 0).Target)
	}
}

func TestElectAllLeaders(t *testing.T) {
	n := startCluster(t)
	n.mustCreate(assigned("t", []int32{1, 2}, []int32{4, 1}), assigned("u", []int32{1}))
	require.Equal(t, "t-1:PREFERRED_LEADER_NOT_AVAILABLE", elected(ask(n, electRequest(2, 0, time.Minute), kmsg.NewPtrElectLeadersResponse())), "those that lead already are left out")
}

func TestElectionTimesOut(t *testing.T) {
	n := startCluster(t)
	n.mustCreate(assigned("t", []int32{2, 1}))
	n.tell(n.leads("t", 0, 1))
	require.Equal(t, "t-0:REQUEST_TIMED_OUT", elected(ask(n, electRequest(2, 0, time.Millisecond, 0), kmsg.NewPtrElectLeadersResponse())))
	require.Equal(t, id.Broker(2), n.partition("t", 0).Target, "the move goes on")
}

func TestElectionFailsWithThePreferredLeader(t *testing.T) {
	n := startCluster(t)
	n.mustCreate(assigned("t", []int32{2, 1}))
	n.tell(n.leads("t", 0, 1))
	c := n.dial()
	c.send(electRequest(2, 0, time.Minute, 0))
	n.awaitTarget(0, 2)
	n.tell(fenced(peer(2, "b")))
	resp := kmsg.NewPtrElectLeadersResponse()
	resp.SetVersion(2)
	c.response(0, resp)
	require.Equal(t, "t-0:PREFERRED_LEADER_NOT_AVAILABLE", elected(resp))
}

// A wait ends with the connection, and not before.
func TestImageWaitEndsWithTheConnection(t *testing.T) {
	n := startNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	asked, done := make(chan struct{}, 1), make(chan struct{})
	n.waits.await(ctx, time.Hour, func(*metalog.Image) bool { signal(asked); return false }, func(*metalog.Image) { close(done) })
	<-asked
	n.tell(peer(2, ""))
	<-asked
	select {
	case <-done:
		require.Fail(t, "it ends without a reason")
	default:
	}
	cancel()
	<-done
}

// A broker that closes answers the elections that wait, and a client that leaves ends its own.
func TestElectionsEndWithTheBroker(t *testing.T) {
	n := startCluster(t)
	n.mustCreate(assigned("t", []int32{2, 1}))
	n.tell(n.leads("t", 0, 1))
	gone, stays := n.dial(), n.dial()
	gone.send(electRequest(2, 0, time.Hour, 0))
	stays.send(electRequest(2, 0, time.Hour, 0))
	require.Eventually(t, func() bool { return n.inFlight() == 2 }, 10*time.Second, time.Millisecond)
	require.NoError(t, gone.nc.Close())
	require.Eventually(t, func() bool { return n.inFlight() == 1 }, 10*time.Second, time.Millisecond)
	begun := time.Now()
	require.NoError(t, n.Close(t.Context()))
	require.Less(t, time.Since(begun), 5*time.Second)
	resp := kmsg.NewPtrElectLeadersResponse()
	resp.SetVersion(2)
	stays.response(0, resp)
	require.Equal(t, "t-0:REQUEST_TIMED_OUT", elected(resp))
}

func TestElectUncleanLeaders(t *testing.T) {
	n := startCluster(t)
	n.mustCreate(assigned("t", []int32{2, 3}, []int32{1, 2}, []int32{3, 4}))
	n.tell(n.leads("t", 0, metalog.NoBroker), n.leads("t", 2, 4))
	for v := int16(1); v <= 2; v++ {
		want := "t-0:ok t-1:ELECTION_NOT_NEEDED t-2:ELIGIBLE_LEADERS_NOT_AVAILABLE"
		if v == 2 {
			want = strings.Replace(want, "ok", "ELECTION_NOT_NEEDED", 1)
		}
		require.Equal(t, want, elected(ask(n, electRequest(v, 1, time.Minute, 0, 1, 2), kmsg.NewPtrElectLeadersResponse())))
		require.Equal(t, id.Broker(2), n.partition("t", 0).Leader)
		require.Equal(t, id.Epoch(2), n.partition("t", 0).Epoch)
		require.Equal(t, id.Broker(4), n.partition("t", 2).Leader, "its records are still to be fetched")
	}
	require.Equal(t, kerr.InvalidRequest.Code, ask(n, electRequest(2, 7, 0, 0), kmsg.NewPtrElectLeadersResponse()).ErrorCode)
	n.tell(fenced(peer(2, "b")), fenced(peer(3, "")), n.leads("t", 0, metalog.NoBroker))
	require.Equal(t, "t-0:ok", elected(ask(n, electRequest(2, 1, 0, 0), kmsg.NewPtrElectLeadersResponse())))
	require.Equal(t, id.Broker(1), n.partition("t", 0).Leader, "any broker will do")
	require.Equal(t, []id.Broker{1, 3}, n.partition("t", 0).Replicas)
}
