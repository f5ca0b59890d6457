package broker

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/batch"
)

// led is a cluster in the metadata in which broker 2 leads partitions 0 and 1, the fenced broker 4
// partition 2, nobody partition 3, broker 5, which has another listener, partition 4, and this one the last.
func led(t *testing.T) *node {
	n := startCluster(t)
	elsewhere := peer(5, "")
	elsewhere.Endpoints[0].Listener = "OTHER"
	n.tell(elsewhere)
	n.mustCreate(wantTopic("t", 6, 1))
	for i, leader := range []id.Broker{2, 2, 4, metalog.NoBroker, 5, 1} {
		n.tell(n.leads("t", int32(i), leader))
	}
	return n
}

// The leaders that clients are told of with NOT_LEADER_OR_FOLLOWER, and those that they are not.
func TestCurrentLeaderIsTold(t *testing.T) {
	n := led(t)
	epoch := int32(n.partition("t", 0).Epoch)
	rack := "b"
	for version := int16(3); version <= 13; version++ {
		req := n.produceRequest(version, -1)
		for i := range int32(6) {
			req.Topics = append(req.Topics, n.produceRequest(version, -1, put{"t", i, batchOfNow(batch.None, 1)}).Topics...)
		}
		resp := ask(n, req, kmsg.NewPtrProduceResponse())
		told := map[int32]int32{}
		for _, rt := range resp.Topics {
			p := rt.Partitions[0]
			require.Equal(t, p.Partition == 5, p.ErrorCode == 0)
			if p.CurrentLeader.LeaderID >= 0 {
				require.Equal(t, kmsg.ProduceResponseTopicPartitionCurrentLeader{LeaderID: 2, LeaderEpoch: epoch}, p.CurrentLeader)
				told[p.Partition] = p.CurrentLeader.LeaderID
			}
		}
		if version < 10 {
			require.Empty(t, told)
			require.Empty(t, resp.Brokers)
			continue
		}
		require.Equal(t, map[int32]int32{0: 2, 1: 2}, told, "version %d", version)
		require.Equal(t, []kmsg.ProduceResponseBroker{{NodeID: 2, Host: "host2", Port: 9092, Rack: &rack}}, resp.Brokers, "once")
	}
	for version := int16(4); version <= 18; version++ {
		req := n.fetchRequest(version)
		for i := range int32(6) {
			req.Topics = append(req.Topics, n.fetchRequest(version, want{topic: "t", index: i}).Topics...)
		}
		resp := ask(n, req, kmsg.NewPtrFetchResponse())
		told := map[int32]int32{}
		for _, p := range partsOf(resp) {
			if p.CurrentLeader.LeaderID >= 0 {
				require.Equal(t, kmsg.FetchResponseTopicPartitionCurrentLeader{LeaderID: 2, LeaderEpoch: epoch}, p.CurrentLeader)
				told[p.Partition] = p.CurrentLeader.LeaderID
			}
		}
		if version < 16 {
			require.Empty(t, told)
			require.Empty(t, resp.Brokers)
			continue
		}
		require.Equal(t, map[int32]int32{0: 2, 1: 2}, told, "version %d", version)
		require.Equal(t, []kmsg.FetchResponseBroker{{NodeID: 2, Host: "host2", Port: 9092, Rack: &rack}}, resp.Brokers, "once")
	}
}

// With FENCED_LEADER_EPOCH the leader is this broker, under a newer epoch; a client that is
// ahead of this broker is told nothing.
func TestCurrentLeaderOfAnOldEpoch(t *testing.T) {
	n := led(t)
	epoch := int32(n.partition("t", 5).Epoch)
	for _, tc := range []struct {
		ahead int32
		want  *kerr.Error
		nodes int
	}{{-1, kerr.FencedLeaderEpoch, 1}, {0, nil, 0}, {1, kerr.UnknownLeaderEpoch, 0}} {
		resp := ask(n, n.fetchRequest(16, want{topic: "t", index: 5, current: epoch + tc.ahead + 1}), kmsg.NewPtrFetchResponse())
		got := partsOf(resp)[0]
		require.Equal(t, tc.want, errorOf(got.ErrorCode))
		require.Len(t, resp.Brokers, tc.nodes)
		if tc.nodes > 0 {
			require.Equal(t, kmsg.FetchResponseTopicPartitionCurrentLeader{LeaderID: 1, LeaderEpoch: epoch}, got.CurrentLeader)
			require.Equal(t, n.addr(), net.JoinHostPort(resp.Brokers[0].Host, fmt.Sprint(resp.Brokers[0].Port)))
		}
	}
}

// A parked fetch is answered at once when the leadership moves, and so are the other reads after it.
func TestReadsWhenTheLeaderMoves(t *testing.T) {
	n := startCluster(t)
	n.mustCreate(assigned("t", []int32{1}, []int32{1}))
	n.mustProduce("t", 0, batchOfNow(batch.None, 1))
	c := n.dial()
	c.send(n.waiting(16, 1, want{topic: "t", index: 1}, want{topic: "t", offset: 1}))
	n.awaitParked(1)
	n.tell(n.leads("t", 0, 2))
	resp := c.fetched(0, 16)
	parts := partsOf(resp)
	require.Zero(t, parts[0].ErrorCode)
	require.Equal(t, kerr.NotLeaderForPartition, errorOf(parts[1].ErrorCode))
	require.Equal(t, kmsg.FetchResponseTopicPartitionCurrentLeader{LeaderID: 2, LeaderEpoch: 1}, parts[1].CurrentLeader)
	require.Len(t, resp.Brokers, 1)
	require.Equal(t, kerr.NotLeaderForPartition, errorOf(n.listOffset(7, 0, "t", 0, -1, -1).ErrorCode))
	require.Equal(t, kerr.NotLeaderForPartition, errorOf(n.epochEndOf(4, "t", 0, -1, 0).ErrorCode))
}

// metadataCounter counts the Metadata requests of a client.
type metadataCounter struct{ atomic.Int64 }

func (m *metadataCounter) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if key == kmsg.Metadata.Int16() {
		m.Add(1)
	}
}

// A client goes where it is told, as producer and as consumer, neither of which may ask for
// metadata before the test is over.
func TestClientFollowsTheLeader(t *testing.T) {
	c := newTestCluster(t)
	c.start(1, unbalanced)
	c.start(2, unbalanced)
	c.createTopic("t", 1, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var asked metadataCounter
	patient := []kgo.Opt{kgo.MetadataMinAge(time.Minute), kgo.MetadataMaxAge(time.Hour)}
	producer := c.client(append(patient, kgo.DefaultProduceTopic("t"), kgo.WithHooks(&asked))...)
	consumer := c.client(append(patient, kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	require.NoError(t, producer.ProduceSync(ctx, kgo.StringRecord("before")).FirstErr())
	require.Equal(t, 1, consumer.PollFetches(ctx).NumRecords())
	before := asked.Load()

	consumer.PauseFetchTopics("t") // it is to come when the new leader is there
	to := 3 - c.leader("t", 0)
	c.move("t", 0, to)
	c.awaitServing("t", 0, to)
	consumer.ResumeFetchTopics("t")
	require.NoError(t, producer.ProduceSync(ctx, kgo.StringRecord("after")).FirstErr())
	require.Equal(t, before, asked.Load(), "it asked for metadata")
	for got := 0; got == 0; {
		fetches := consumer.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		got = fetches.NumRecords()
	}
}
