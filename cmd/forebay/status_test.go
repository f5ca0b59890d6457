package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
)

func TestStatus(t *testing.T) {
	node := startBroker(t)
	succeed(t, "", "topic", "create", "events", "--partitions", "3")
	succeed(t, "a\nb\nc\n", "produce", "events", "-p", "0")
	succeed(t, "", "consume", "events", "-g", "ahead", "--from-beginning", "-e")
	succeed(t, "d\ne\n", "produce", "events", "-p", "0")

	var s clusterStatus
	require.NoError(t, json.Unmarshal([]byte(succeed(t, "", "status", "-o", "json")), &s))
	require.NotEmpty(t, s.Cluster)
	require.Equal(t, []int{1, 3}, []int{s.Topics, s.Partitions})
	require.Empty(t, s.Leaderless)
	require.Len(t, s.Brokers, 1)
	require.Equal(t, node.addr, s.Brokers[0].Address)
	require.GreaterOrEqual(t, s.Brokers[0].Leaders, 3)
	require.Positive(t, s.Brokers[0].Hot)
	require.Equal(t, []groupStatus{{Group: "ahead", State: "Empty", Topics: 1, Lag: 2}}, s.Groups)

	out := succeed(t, "", "status")
	require.Regexp(t, `(?m)^Cluster \S+ at \S+: 1 brokers, 1 topics, 3 partitions$`, out)
	require.Regexp(t, `(?m)^ahead +Empty +0 +1 +2$`, out)
	require.Equal(t, exitOK, node.stop(t), node.err)
	require.Equal(t, exitUnreachable, forebay(t, "", "status", "--timeout", "1s").code)
}

func TestStatusTellsWhatHasNoLeader(t *testing.T) {
	s := &clusterStatus{Brokers: []brokerStatus{{tieringState: tieringState{Broker: 1}}}}
	s.count(kadm.TopicDetail{Topic: "events", Partitions: kadm.PartitionDetails{
		0: {Topic: "events", Partition: 0, Leader: 1}, 1: {Topic: "events", Partition: 1, Leader: -1}, 2: {Topic: "events", Partition: 2, Leader: 7},
	}}, nil)
	require.Equal(t, []string{"events-1", "events-2"}, s.Leaderless)
	require.Equal(t, 1, s.Brokers[0].Leaders)
	require.Contains(t, s.tables()[1].title, "2 partitions have no leader")
}
