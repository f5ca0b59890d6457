package broker

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
)

// everyState makes an id of each state, named by it, and one more that is open.
func everyState(n *txnNode) (producers map[string]int64) {
	n.t.Helper()
	producers = map[string]int64{}
	for _, name := range []string{"Empty", "Ongoing", "Ongoing-2", "CompleteCommit", "CompleteAbort", "PrepareCommit", "PrepareAbort"} {
		producer, epoch := n.initialized(4, name)
		producers[name] = producer
		if name == "Empty" {
			continue
		}
		require.NoError(n.t, n.add(3, name, producer, epoch, 2, 0))
		n.markers.hold(name == "PrepareCommit" || name == "PrepareAbort")
		if name != "Ongoing" && name != "Ongoing-2" {
			commit := name == "CompleteCommit" || name == "PrepareCommit"
			require.Zero(n.t, n.end(4, name, producer, epoch, commit).ErrorCode)
		}
		if name == "CompleteAbort" {
			n.complete()
		}
	}
	n.t.Cleanup(func() { n.markers.hold(false) })
	return producers
}

func TestDescribeTransactions(t *testing.T) {
	n := startTxnNode(t)
	began := time.Now().UnixMilli()
	producers := everyState(n)
	names := []string{"Empty", "Ongoing", "none", "PrepareCommit", "PrepareAbort", "", "CompleteCommit", "CompleteAbort"}
	req := kmsg.NewPtrDescribeTransactionsRequest()
	req.TransactionalIDs = names
	resp := ask(n.node, req, kmsg.NewPtrDescribeTransactionsResponse())
	require.Len(t, resp.TransactionStates, len(names))
	for i, s := range resp.TransactionStates {
		require.Equal(t, names[i], s.TransactionalID)
		switch s.TransactionalID {
		case "none":
			require.Equal(t, kerr.TransactionalIDNotFound, errorOf(s.ErrorCode))
			continue
		case "":
			require.Equal(t, kerr.InvalidRequest, errorOf(s.ErrorCode))
			continue
		case "Empty":
			require.Equal(t, int64(-1), s.StartTimestamp)
		default:
			require.GreaterOrEqual(t, s.StartTimestamp, began)
			require.LessOrEqual(t, s.StartTimestamp, time.Now().UnixMilli())
		}
		require.Zero(t, s.ErrorCode)
		require.Equal(t, names[i], s.State)
		require.Equal(t, producers[names[i]], s.ProducerID)
		require.Zero(t, s.ProducerEpoch)
		require.EqualValues(t, 60_000, s.TimeoutMillis)
		if s.State == "Ongoing" || s.State == "PrepareCommit" || s.State == "PrepareAbort" {
			require.Equal(t, []kmsg.DescribeTransactionsResponseTransactionStateTopic{{Topic: "t", Partitions: []int32{0, 2}}}, s.Topics)
		} else {
			require.Empty(t, s.Topics)
		}
	}
	require.Empty(t, ask(n.node, kmsg.NewPtrDescribeTransactionsRequest(), kmsg.NewPtrDescribeTransactionsResponse()).TransactionStates)
}

func TestListTransactions(t *testing.T) {
	n := startTxnNode(t)
	producers := everyState(n)
	all := []string{"CompleteAbort", "CompleteCommit", "Empty", "Ongoing", "Ongoing-2", "PrepareAbort", "PrepareCommit"}
	begun := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return name == "Empty" })
	for _, tc := range []struct {
		name    string
		version int16
		change  func(*kmsg.ListTransactionsRequest)
		want    []string
		unknown []string
	}{
		{name: "all", want: all},
		{name: "by state", change: func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Ongoing", "Empty"} }, want: []string{"Empty", "Ongoing", "Ongoing-2"}},
		{name: "by unknown state", change: func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"ongoing", "Open"} }, unknown: []string{"ongoing", "Open"}},
		{name: "by a state and an unknown one", change: func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Open", "PrepareAbort"} }, want: []string{"PrepareAbort"}, unknown: []string{"Open"}},
		{name: "by a state that none is in", change: func(r *kmsg.ListTransactionsRequest) { r.StateFilters = []string{"Dead", "PrepareEpochFence"} }},
		{name: "by producer", change: func(r *kmsg.ListTransactionsRequest) {
			r.ProducerIDFilters = []int64{producers["Ongoing"], producers["Empty"], 1 << 40}
		}, want: []string{"Empty", "Ongoing"}},
		{name: "by producer and state", change: func(r *kmsg.ListTransactionsRequest) {
			r.ProducerIDFilters, r.StateFilters = []int64{producers["Ongoing"], producers["Empty"]}, []string{"Empty"}
		}, want: []string{"Empty"}},
		{name: "by any duration", version: 1, change: func(r *kmsg.ListTransactionsRequest) { r.DurationFilterMillis = -1 }, want: all},
		{name: "by duration", version: 1, change: func(r *kmsg.ListTransactionsRequest) { r.DurationFilterMillis = 3_600_000 }, want: []string{"Empty"}}, // it has no start
		{name: "by pattern", version: 2, change: func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("Ongoing.*") }, want: []string{"Ongoing", "Ongoing-2"}},
		{name: "by a pattern of a part", version: 2, change: func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("Ongoing|Complete") }, want: []string{"Ongoing"}},
		{name: "by an empty pattern", version: 2, change: func(r *kmsg.ListTransactionsRequest) { r.TransactionalIDPattern = kmsg.StringPtr("") }, want: all},
		{name: "by pattern and state", version: 2, change: func(r *kmsg.ListTransactionsRequest) {
			r.TransactionalIDPattern, r.StateFilters = kmsg.StringPtr(".*Commit"), []string{"PrepareCommit"}
		}, want: []string{"PrepareCommit"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := kmsg.NewPtrListTransactionsRequest()
			req.SetVersion(tc.version)
			if tc.change != nil {
				tc.change(req)
			}
			resp := ask(n.node, req, kmsg.NewPtrListTransactionsResponse())
			require.Zero(t, resp.ErrorCode)
			var got []string
			for _, s := range resp.TransactionStates {
				got = append(got, s.TransactionalID)
				require.Equal(t, producers[s.TransactionalID], s.ProducerID)
				require.Contains(t, s.TransactionalID, s.TransactionState)
			}
			slices.Sort(got)
			require.Equal(t, tc.want, got)
			require.Equal(t, tc.unknown, resp.UnknownStateFilters)
		})
	}
	t.Run("by what is no pattern", func(t *testing.T) {
		req := kmsg.NewPtrListTransactionsRequest()
		req.SetVersion(2)
		req.TransactionalIDPattern = kmsg.StringPtr("(")
		resp := ask(n.node, req, kmsg.NewPtrListTransactionsResponse())
		require.Equal(t, kerr.InvalidRegularExpression, errorOf(resp.ErrorCode))
		require.Empty(t, resp.TransactionStates)
	})
	t.Run("by duration, a little later", func(t *testing.T) {
		req := kmsg.NewPtrListTransactionsRequest()
		req.SetVersion(1)
		req.DurationFilterMillis = 1
		eventually(t, "all that have begun are older", func() bool {
			return len(ask(n.node, req, kmsg.NewPtrListTransactionsResponse()).TransactionStates) == len(begun)+1
		})
	})
}

// TestAbortHangingTransaction: an operator ends on one partition what its coordinator does not, as
// kafka-transactions --abort does.
func TestAbortHangingTransaction(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 2, 1))
	n.verifier() // nobody coordinates it
	require.Zero(t, n.produceTxn(11, "x", put{"t", 0, batchOfTxn(7, 3, 0, 2)})[0].ErrorCode)
	require.Zero(t, n.fetchCommitted("t", 0).LastStableOffset)

	abort := func(producer int64, epoch int16, partition int32) *kerr.Error {
		req := kmsg.NewPtrWriteTxnMarkersRequest()
		req.SetVersion(1)
		req.Markers = []kmsg.WriteTxnMarkersRequestMarker{{
			ProducerID: producer, ProducerEpoch: epoch, CoordinatorEpoch: 0,
			Topics: []kmsg.WriteTxnMarkersRequestMarkerTopic{{Topic: "t", Partitions: []int32{partition}}},
		}}
		resp := ask(n, req, kmsg.NewPtrWriteTxnMarkersResponse())
		require.Equal(t, producer, resp.Markers[0].ProducerID)
		require.Equal(t, partition, resp.Markers[0].Topics[0].Partitions[0].Partition)
		return errorOf(resp.Markers[0].Topics[0].Partitions[0].ErrorCode)
	}
	require.Equal(t, kerr.InvalidProducerEpoch, abort(7, 2, 0), "another epoch")
	require.Zero(t, n.fetchCommitted("t", 0).LastStableOffset)
	require.Nil(t, abort(7, 3, 0))
	got := n.fetchCommitted("t", 0)
	require.Equal(t, int64(3), got.LastStableOffset)
	require.Equal(t, []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 7, FirstOffset: 0}}, got.AbortedTransactions)
	require.Equal(t, kerr.UnknownTopicOrPartition, abort(7, 3, 2))

	req := kmsg.NewPtrDescribeProducersRequest()
	req.Topics = []kmsg.DescribeProducersRequestTopic{{Topic: "t", Partitions: []int32{0}}}
	active := ask(n, req, kmsg.NewPtrDescribeProducersResponse()).Topics[0].Partitions[0].ActiveProducers
	require.Len(t, active, 1)
	require.Equal(t, int64(-1), active[0].CurrentTxnStartOffset)
	require.Zero(t, active[0].CoordinatorEpoch)
}

func TestFindTransactionCoordinator(t *testing.T) {
	n := startNode(t)
	for version := int16(1); version <= 6; version++ {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.SetVersion(version)
		req.CoordinatorType = coordinatesTransaction
		req.CoordinatorKey, req.CoordinatorKeys = "x", []string{"x", "y"}
		resp := ask(n, req, kmsg.NewPtrFindCoordinatorResponse())
		if version < 4 {
			require.Zero(t, resp.ErrorCode)
			require.Equal(t, int32(1), resp.NodeID)
			require.Positive(t, resp.Port)
			continue
		}
		require.Len(t, resp.Coordinators, 2)
		for i, found := range resp.Coordinators {
			require.Zero(t, found.ErrorCode)
			require.Equal(t, req.CoordinatorKeys[i], found.Key)
			require.Equal(t, int32(1), found.NodeID)
			require.Positive(t, found.Port)
		}
	}
	topic, ok := n.meta.Image().Topic(admin.TxnTopic)
	require.True(t, ok)
	require.Len(t, topic.Partitions, 50)
	_, ok = n.meta.Image().Topic(admin.OffsetsTopic)
	require.False(t, ok, "nobody has asked for a group")
}

func TestInitProducerIDOfEachVersion(t *testing.T) {
	n := startTxnNode(t)
	given := map[int64]bool{}
	for version := int16(0); version <= 5; version++ {
		first := n.init(version, "x"+decimal(int32(version)))
		require.Zero(t, first.ErrorCode)
		require.False(t, given[first.ProducerID])
		given[first.ProducerID] = true
		require.Zero(t, first.ProducerEpoch)
		named := func(epoch int16) *kmsg.InitProducerIDResponse {
			return n.init(version, "x"+decimal(int32(version)), func(req *kmsg.InitProducerIDRequest) { req.ProducerID, req.ProducerEpoch = first.ProducerID, epoch })
		}
		require.Equal(t, int16(1), named(0).ProducerEpoch)
		switch again := named(0); version {
		case 0, 1, 2: // they cannot name it
			require.Equal(t, int16(2), again.ProducerEpoch)
		default: // it is a repeated request
			require.Zero(t, again.ErrorCode)
			require.Equal(t, int16(1), again.ProducerEpoch)
			require.Equal(t, int16(2), named(1).ProducerEpoch)
			fenced := named(0)
			require.Equal(t, id.NoProducer, id.Producer(fenced.ProducerID))
			require.Equal(t, int16(-1), fenced.ProducerEpoch)
			want := kerr.ProducerFenced
			if version == 3 {
				want = kerr.InvalidProducerEpoch
			}
			require.Equal(t, want, errorOf(fenced.ErrorCode))
		}

		req := kmsg.NewPtrInitProducerIDRequest()
		req.SetVersion(version)
		idempotent := ask(n.node, req, kmsg.NewPtrInitProducerIDResponse())
		require.Zero(t, idempotent.ErrorCode)
		require.False(t, given[idempotent.ProducerID])
		given[idempotent.ProducerID] = true
		require.Zero(t, idempotent.ProducerEpoch)
	}
}
