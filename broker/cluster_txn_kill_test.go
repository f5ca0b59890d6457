package broker

import (
	"context"
	"fmt"
	stdsync "sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/transactions"
)

// txnCluster is three brokers, with a topic t of three partitions, one on each, and a transaction of x.
type txnCluster struct {
	*testCluster
	versions txnVersions
	producer int64
	epoch    int16
}

// txnVersions are the versions of the requests of a client of transaction version 1 or 2.
type txnVersions struct{ init, produce, offsets, end int16 }

var bothVersions = map[string]txnVersions{"v1": {4, 11, 4, 4}, "v2": {5, 12, 5, 5}}

func newTxnCluster(t *testing.T, v txnVersions) *txnCluster {
	c := &txnCluster{testCluster: newTestCluster(t), versions: v}
	for node := id.Broker(1); node <= 3; node++ {
		c.start(node, unbalanced)
	}
	c.createTopic("t", 3, 3)
	require.Equal(t, map[id.Broker]int{1: 1, 2: 1, 3: 1}, c.leaders("t"))
	require.NoError(t, c.members[1].createShards(t.Context()))
	require.NoError(t, c.members[1].createShardsOf(t.Context(), admin.TxnTopic))
	return c
}

// coordinator returns the broker that coordinates x, once it knows of it.
func (c *txnCluster) coordinator() *member {
	c.t.Helper()
	shard, ok := shardIn(c.image(), admin.TxnTopic, "x")
	require.True(c.t, ok)
	m := c.members[shard.Leader]
	require.NoError(c.t, m.meta.Refresh(c.t.Context()))
	return m
}

func (c *txnCluster) at(m *member) *txnNode { return &txnNode{node: c.asNode(m)} }

// leading returns the broker that leads a partition of t, once it serves it.
func (c *txnCluster) leading(index int32) *node {
	c.t.Helper()
	leader := c.leader("t", index)
	c.awaitServing("t", index, leader)
	return c.asNode(c.members[leader])
}

// kill kills a broker without a word and waits until others lead all that it has led.
func (c *txnCluster) kill(m *member) {
	c.t.Helper()
	m.cut.Store(true)
	c.stop(m)
	dead := m.cfg.NodeID
	eventually(c.t, "a takeover", func() bool {
		return c.leaders("t")[dead]+c.leaders(admin.TxnTopic)[dead]+c.leaders(admin.OffsetsTopic)[dead] == 0
	})
}

// begin opens a transaction with a record on each partition, r0 to r2, and an offset of group g, 33.
func (c *txnCluster) begin(change ...func(*kmsg.InitProducerIDRequest)) {
	c.t.Helper()
	m := c.coordinator()
	n := c.at(m)
	got := n.init(c.versions.init, "x", change...)
	require.Zero(c.t, got.ErrorCode)
	c.producer, c.epoch = got.ProducerID, got.ProducerEpoch
	if c.versions.end < 5 {
		require.NoError(c.t, n.add(3, "x", c.producer, c.epoch, 0, 1, 2))
		req := kmsg.NewPtrAddOffsetsToTxnRequest()
		req.SetVersion(3)
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group = "x", c.producer, c.epoch, "g"
		require.Zero(c.t, ask(n.node, req, kmsg.NewPtrAddOffsetsToTxnResponse()).ErrorCode)
	}
	for index := range int32(3) {
		got := c.leading(index).produceTxn(c.versions.produce, "x", put{"t", index, batchOfTxn(id.Producer(c.producer), c.epoch, 0, 1)})
		require.Zero(c.t, got[0].ErrorCode)
	}
	c.pend(33)
}

// pend adds an offset of group g to the transaction.
func (c *txnCluster) pend(offset int64) {
	c.t.Helper()
	groups, _ := c.coordinatorOf("g")
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.SetVersion(c.versions.offsets)
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation = "x", "g", c.producer, c.epoch, -1
	part := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	part.Offset = offset
	req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{part}}}
	resp := ask(c.asNode(groups), req, kmsg.NewPtrTxnOffsetCommitResponse())
	require.NoError(c.t, kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode))
}

// end ends the transaction at who coordinates it now, as a client that tries again while it is told to.
func (c *txnCluster) end(commit bool) (resp *kmsg.EndTxnResponse) {
	c.t.Helper()
	eventually(c.t, "the end of the transaction", func() bool {
		resp = c.at(c.coordinator()).end(c.versions.end, "x", c.producer, c.epoch, commit)
		err := kerr.ErrorForCode(resp.ErrorCode)
		return err == nil || !kerr.IsRetriable(err) && err != kerr.ConcurrentTransactions //nolint:errorlint // it is not wrapped
	})
	return resp
}

// checkEnded expects what was committed, or nothing of what was aborted, on every partition and of the group.
func (c *txnCluster) checkEnded(committed bool) {
	c.t.Helper()
	for index := range int32(3) {
		req := c.leading(index).fetchRequest(12, want{topic: "t", index: index})
		req.IsolationLevel = 1
		var got kmsg.FetchResponseTopicPartition
		eventually(c.t, "the marker", func() bool {
			got = c.leading(index).fetch(req)[0]
			return got.ErrorCode == 0 && got.HighWatermark == 2 && got.LastStableOffset == 2
		})
		require.Equal(c.t, committed, len(got.AbortedTransactions) == 0, "partition %d", index)
	}
	want := int64(-1)
	if committed {
		want = 33
	}
	require.Equal(c.t, want, c.groupOffset())
}

// groupOffset is what group g has committed, once nothing is pending.
func (c *txnCluster) groupOffset() int64 {
	c.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	req.SetVersion(7)
	req.Group, req.RequireStable = "g", true
	req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	var resp *kmsg.OffsetFetchResponse
	eventually(c.t, "the offset of the group", func() bool {
		at, _ := c.coordinatorOf("g")
		require.NoError(c.t, at.meta.Refresh(c.t.Context()))
		resp = ask(c.asNode(at), req, kmsg.NewPtrOffsetFetchResponse())
		return resp.ErrorCode == 0 && resp.Topics[0].Partitions[0].ErrorCode == 0
	})
	return resp.Topics[0].Partitions[0].Offset
}

// held lets no marker be written.
func (m *member) held() {
	m.txns.cfg.Markers = func(_ context.Context, _ txnMarker, ps []id.Partition) []id.Partition { return ps }
}

// The coordinator dies when the end of a transaction is durable and no marker is written. Its
// successor writes them, and answers a client that repeats its request as the first time.
func TestClusterCoordinatorKilledWhileItEnds(t *testing.T) {
	for name, v := range bothVersions {
		for _, commit := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " commit=", commit), func(t *testing.T) {
				c := newTxnCluster(t, v)
				dead := c.coordinator()
				dead.held()
				c.begin()
				first := c.end(commit)
				require.Zero(t, first.ErrorCode)
				c.kill(dead)
				again := c.end(commit)
				require.NoError(t, kerr.ErrorForCode(again.ErrorCode))
				require.Equal(t, first, again)
				require.Equal(t, kerr.InvalidTxnState, errorOf(c.end(!commit).ErrorCode))
				c.checkEnded(commit)
			})
		}
	}
}

// It dies with a transaction open, which goes on at the next one.
func TestClusterCoordinatorKilledWithOpenTransaction(t *testing.T) {
	for name, v := range bothVersions {
		t.Run(name, func(t *testing.T) {
			c := newTxnCluster(t, v)
			c.begin()
			c.kill(c.coordinator())
			ended := c.end(true)
			require.NoError(t, kerr.ErrorForCode(ended.ErrorCode))
			if v.end >= 5 {
				require.Equal(t, c.epoch+1, ended.ProducerEpoch)
			}
			c.checkEnded(true)
		})
	}
}

// What was open for too long when it died is aborted by the next one.
func TestClusterSuccessorAbortsOldTransaction(t *testing.T) {
	c := newTxnCluster(t, bothVersions["v2"])
	c.begin(func(req *kmsg.InitProducerIDRequest) { req.TransactionTimeoutMillis = 1 }) // none looks at it by itself so soon
	c.kill(c.coordinator())
	eventually(t, "the abort", func() bool {
		next := c.coordinator()
		next.txns.abortOld()
		aborted := false
		next.txns.each(func(e *txnEntry) { aborted = aborted || e.item.State == transactions.CompleteAbort })
		return aborted
	})
	require.Equal(t, kerr.InvalidTxnState, errorOf(c.end(true).ErrorCode))
	aborted := c.end(false)
	require.Zero(t, aborted.ErrorCode, "as it is")
	require.Equal(t, c.epoch+1, aborted.ProducerEpoch)
	c.checkEnded(false)
}

// A leader dies with records of an open transaction: the marker goes to the next one.
func TestClusterLeaderKilledBeforeMarker(t *testing.T) {
	for name, v := range bothVersions {
		t.Run(name, func(t *testing.T) {
			c := newTxnCluster(t, v)
			c.begin()
			dead := c.members[c.coordinator().cfg.NodeID%3+1]
			dead.cut.Store(true) // the coordinator does not know it yet
			require.Zero(t, c.end(true).ErrorCode)
			c.kill(dead)
			c.checkEnded(true)
		})
	}
}

// A leader dies when a partition is verified, or added, and its records are not written: the
// client sends them to the next one.
func TestClusterLeaderKilledAfterVerification(t *testing.T) {
	for name, opts := range map[string][]kgo.Opt{"v1": {kgo.MaxVersions(kversion.V3_6_0())}, "v2": nil} {
		t.Run(name, func(t *testing.T) {
			c := newTxnCluster(t, txnVersions{})
			dead := c.members[c.coordinator().cfg.NodeID%3+1]
			var once stdsync.Once
			verify := dead.storage.verifyTxn
			dead.storage.verifyTxn = func(ctx context.Context, v txnVerification) map[id.Partition]error {
				errs := verify(ctx, v)
				once.Do(func() { dead.cut.Store(true) })
				return errs
			}
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			producer := c.client(append(opts, kgo.TransactionalID("x"), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
			require.NoError(t, producer.BeginTransaction())
			for index := range int32(3) {
				for i := range 3 {
					r := &kgo.Record{Topic: "t", Partition: index, Value: fmt.Append(nil, index, "/", i)}
					require.NoError(t, producer.ProduceSync(ctx, r).FirstErr())
				}
			}
			require.True(t, dead.cut.Load())
			require.NoError(t, producer.EndTransaction(ctx, kgo.TryCommit))
			reader := c.client(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
			seen := map[string]int{}
			for len(seen) < 9 {
				fetches := reader.PollFetches(ctx)
				require.NoError(t, ctx.Err(), "read %d of 9", len(seen))
				fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Value)]++ })
			}
			for value, times := range seen {
				require.Equal(t, 1, times, value)
			}
		})
	}
}
