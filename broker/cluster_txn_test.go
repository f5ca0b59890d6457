package broker

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

// openAndAborted leaves partition 0 of t with, at 1 to 2, an aborted transaction, and one open
// from 4 on.
func openAndAborted(n *node) {
	n.t.Helper()
	n.verifier()
	n.mustProduce("t", 0, batchOfNow(batch.None, 1))
	require.Zero(n.t, n.produceTxn(12, "a", put{"t", 0, batchOfTxn(1, 0, 0, 2)})[0].ErrorCode)
	n.mustMark("t", 0, txnMarker{Producer: 1, Epoch: 1, Version: 2, CoordinatorEpoch: 5})
	require.Zero(n.t, n.produceTxn(12, "b", put{"t", 0, batchOfTxn(2, 0, 0, 1)})[0].ErrorCode)
	n.mustProduce("t", 0, batchOfNow(batch.None, 1))
}

// checkOpenAndAborted holds a later leader to what openAndAborted made, and ends what is open.
func checkOpenAndAborted(n *node) {
	n.t.Helper()
	v := n.verifier()
	aborted := func(ps ...int64) (list []kmsg.FetchResponseTopicPartitionAbortedTransaction) {
		for i := 0; i < len(ps); i += 2 {
			list = append(list, kmsg.FetchResponseTopicPartitionAbortedTransaction{ProducerID: ps[i], FirstOffset: ps[i+1]})
		}
		return list
	}
	got := n.fetchCommitted("t", 2)
	require.Equal(n.t, [2]int64{4, 6}, [2]int64{got.LastStableOffset, got.HighWatermark})
	require.Equal(n.t, aborted(1, 1), got.AbortedTransactions)
	require.Equal(n.t, int64(4), n.listOffset(5, 1, "t", 0, -1, timeLatest).Offset)
	require.Equal(n.t, int64(6), n.listOffset(5, 0, "t", 0, -1, timeLatest).Offset)

	require.Equal(n.t, kerr.TransactionCoordinatorFenced.Code, n.mark("t", txnMarker{Producer: 1, Epoch: 1, Version: 2, CoordinatorEpoch: 4}, 0)[0])
	require.Equal(n.t, kerr.InvalidProducerEpoch.Code, n.produceTxn(12, "a", put{"t", 0, batchOfTxn(1, 0, 2, 1)})[0].ErrorCode)
	require.Len(n.t, v.took(), 1)
	require.Zero(n.t, n.produceTxn(12, "b", put{"t", 0, batchOfTxn(2, 0, 1, 1)})[0].ErrorCode) // 6
	require.Empty(n.t, v.took(), "it is open")
	n.mustMark("t", 0, txnMarker{Producer: 2, Epoch: 1, Version: 2, CoordinatorEpoch: 5})
	got = n.fetchCommitted("t", 0)
	require.Equal(n.t, int64(8), got.LastStableOffset)
	for offset := int64(0); offset < 8; { // whatever tiers it lies in
		got = n.fetchCommitted("t", offset)
		require.NotEmpty(n.t, got.RecordBatches)
		var want []int64
		if bases := n.basesOf(got.RecordBatches); offset <= 3 && bases[len(bases)-1] >= 1 {
			want = append(want, 1, 1)
		}
		last, rest, err := batch.Parse(got.RecordBatches)
		for ; len(rest) > 0; last, rest, err = batch.Parse(rest) {
			require.NoError(n.t, err)
		}
		if last.NextOffset() > 4 {
			want = append(want, 2, 4)
		}
		require.ElementsMatch(n.t, aborted(want...), got.AbortedTransactions, "from %d", offset)
		offset = int64(last.NextOffset())
	}
}

// Open transactions, aborted ones and the fence of a marker outlast the broker.
func TestClusterKilledWithOpenTransactions(t *testing.T) {
	c := newTestCluster(t)
	m := c.start(1, brief, unbalanced)
	c.createTopic("t", 1, 1)
	openAndAborted(c.asNode(m))
	m.cut.Store(true)
	c.stop(m)
	m = c.start(1, brief, unbalanced)
	checkOpenAndAborted(c.asNode(m))
}

// They go with the leadership, out of the WAL or out of packs.
func TestClusterMovesOpenTransactions(t *testing.T) {
	for name, sealed := range map[string]bool{"wal": false, "packs": true} {
		t.Run(name, func(t *testing.T) {
			c := newTestCluster(t)
			members := map[int32]*member{1: c.start(1, unbalanced), 2: c.start(2, unbalanced)}
			c.createTopic("t", 1, 2)
			from := c.leader("t", 0)
			to := 3 - from
			n := c.asNode(members[int32(from)])
			c.awaitServing("t", 0, from)
			openAndAborted(n)
			if sealed {
				require.NoError(t, n.storage.sealer.SealAll(t.Context()))
			}
			c.move("t", 0, to)
			c.awaitServing("t", 0, to)
			checkOpenAndAborted(c.asNode(members[int32(to)]))
		})
	}
}

// TestClusterDescribeProducers: a replica that does not lead a partition tells what the leader knows,
// to clients; another broker that asks is told who does not lead.
func TestClusterDescribeProducers(t *testing.T) {
	c := newTestCluster(t)
	members := map[id.Broker]*member{1: c.start(1, unbalanced), 2: c.start(2, unbalanced), 3: c.start(3, unbalanced)}
	c.createTopic("t", 1, 2)
	leader := c.leader("t", 0)
	c.awaitServing("t", 0, leader)
	openAndAborted(c.asNode(members[leader]))
	req := kmsg.NewPtrDescribeProducersRequest()
	req.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	told := ask(c.asNode(members[leader]), req, kmsg.NewPtrDescribeProducersResponse()).Topics
	require.Len(t, told[0].Partitions[0].ActiveProducers, 2)
	state, _ := c.image().Topic("t")
	for node, m := range members {
		topics := ask(c.asNode(m), req, kmsg.NewPtrDescribeProducersResponse()).Topics
		if slices.Contains(state.Partitions[0].Replicas, node) {
			require.Equal(t, told, topics, "broker %d", node)
			continue
		}
		require.Equal(t, kerr.NotLeaderForPartition.Code, topics[0].Partitions[0].ErrorCode, "broker %d is no replica", node)
	}
	for node := range members {
		if node == leader {
			continue
		}
		resp, err := members[leader].peers.request(t.Context(), node, req)
		require.NoError(t, err)
		require.Equal(t, kerr.NotLeaderForPartition.Code, resp.(*kmsg.DescribeProducersResponse).Topics[0].Partitions[0].ErrorCode) //nolint:errcheck // it is what was asked for
	}
}
