package broker

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

func txnCommitRequest(groupID, member string, generation int32, topic string, partition int32) *kmsg.TxnOffsetCommitRequest {
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.ProducerID, req.Group, req.MemberID, req.Generation = "x", 7, groupID, member, generation
	p := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = partition, 1
	req.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{p}}}
	return req
}

// TestTxnOffsetCommitErrors names the error of each commit in a transaction that is refused, by
// what the transaction's coordinator says of it.
func TestTxnOffsetCommitErrors(t *testing.T) {
	b := openGroupBroker(t, newGroupStores())
	b.topic(t, "t", 1)
	member, generation := b.member(t, "stable")
	var verdict atomic.Pointer[error]
	b.groups.cfg.Verify = func(_ context.Context, v txnVerification) map[id.Partition]error {
		return map[id.Partition]error{v.Partitions[0]: *verdict.Load()}
	}
	big := txnCommitRequest("g", "", -1, "t", 0)
	big.Topics[0].Partitions[0].Metadata = kmsg.StringPtr(string(make([]byte, 4097)))
	plain := func() *kmsg.TxnOffsetCommitRequest { return txnCommitRequest("g", "", -1, "t", 0) }
	for name, tc := range map[string]struct {
		version int16
		req     *kmsg.TxnOffsetCommitRequest
		verdict error
		want    error
	}{
		"coordinator away":                 {3, plain(), kerr.NetworkException, kerr.CoordinatorLoadInProgress},
		"coordinator away, before":         {1, plain(), kerr.NetworkException, kerr.CoordinatorNotAvailable},
		"coordinator silent":               {5, plain(), context.DeadlineExceeded, kerr.CoordinatorLoadInProgress},
		"no coordinator":                   {5, plain(), kerr.CoordinatorNotAvailable, kerr.CoordinatorNotAvailable},
		"coordinator loads":                {2, plain(), kerr.CoordinatorLoadInProgress, kerr.CoordinatorLoadInProgress},
		"coordinator loads, before":        {0, plain(), kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable},
		"another coordinator":              {5, plain(), fmt.Errorf("verify: %w", kerr.NotCoordinator), kerr.NotCoordinator},
		"coordinator too slow":             {5, plain(), kerr.RequestTimedOut, kerr.CoordinatorNotAvailable},
		"transaction of before":            {5, plain(), kerr.ConcurrentTransactions, kerr.ConcurrentTransactions},
		"fenced":                           {5, plain(), kerr.ProducerFenced, kerr.InvalidProducerEpoch},
		"old epoch":                        {3, plain(), kerr.InvalidProducerEpoch, kerr.InvalidProducerEpoch},
		"unknown id":                       {3, plain(), kerr.InvalidProducerIDMapping, kerr.InvalidProducerIDMapping},
		"not in a transaction":             {4, plain(), kerr.TransactionAbortable, kerr.TransactionAbortable},
		"not in a transaction, before":     {3, plain(), kerr.TransactionAbortable, kerr.InvalidTxnState},
		"no group":                         {5, txnCommitRequest("", "", -1, "t", 0), nil, kerr.InvalidGroupID},
		"unknown topic":                    {5, txnCommitRequest("g", "", -1, "none", 0), nil, kerr.UnknownTopicOrPartition},
		"unknown partition":                {5, txnCommitRequest("g", "", -1, "t", 1), nil, kerr.UnknownTopicOrPartition},
		"too much metadata":                {5, big, nil, kerr.OffsetMetadataTooLarge},
		"generation of an unknown group":   {3, txnCommitRequest("none", "a", 1, "t", 0), nil, kerr.IllegalGeneration},
		"old generation":                   {3, txnCommitRequest("stable", member, generation-1, "t", 0), nil, kerr.IllegalGeneration},
		"stranger":                         {3, txnCommitRequest("stable", "a", generation, "t", 0), nil, kerr.UnknownMemberID},
		"member":                           {3, txnCommitRequest("stable", member, generation, "t", 0), nil, nil},
		"old producer, group with members": {2, txnCommitRequest("stable", "", -1, "t", 0), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			verdict.Store(&tc.verdict)
			resp := answer[*kmsg.TxnOffsetCommitResponse](t, b, tc.version, tc.req)
			require.Equal(t, tc.want, kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode))
		})
	}
}

// TestGroupsUnreadable: what is asked of a group whose items cannot be read is answered with errors that
// the clients of that request expect.
func TestGroupsUnreadable(t *testing.T) {
	for name, tc := range map[string]struct {
		fault                        kv.Fault
		heartbeat, sync, fetch, list error
	}{
		"slow": {kv.FaultNone, nil, kerr.CoordinatorLoadInProgress, kerr.CoordinatorLoadInProgress, kerr.CoordinatorLoadInProgress},
		"away": {kv.FaultFail, kerr.CoordinatorNotAvailable, kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.CoordinatorNotAvailable},
	} {
		t.Run(name, func(t *testing.T) {
			stores := newGroupStores()
			b := openGroupBroker(t, stores)
			topicID := b.topic(t, "t", 1)
			require.NoError(t, groupErrorCode(b.ask(t, 9, commitRequest("g", "", -1, "t", topicID, 0, 1))))
			require.NoError(t, b.Close(context.Background()))
			hold := make(chan struct{})
			stores.offsets = kv.Inject(stores.offsets, func(op kv.Op) kv.Fault {
				if op.Kind != kv.OpQuery || !strings.HasPrefix(op.Key.Part, "offsets/") {
					return kv.FaultNone
				}
				if tc.fault == kv.FaultNone {
					<-hold
				}
				return tc.fault
			})
			b = startGroupBroker(t, stores, 1)
			t.Cleanup(func() { close(hold) })
			require.Equal(t, tc.heartbeat, groupErrorCode(b.ask(t, 4, beatRequest("g", "a", 1, nil))))
			require.Equal(t, tc.sync, groupErrorCode(b.ask(t, 4, syncRequest("g", "a", 1, nil))))
			fetch := kmsg.NewPtrOffsetFetchRequest()
			fetch.Group = "g"
			require.Equal(t, tc.fetch, kerr.ErrorForCode(answer[*kmsg.OffsetFetchResponse](t, b, 7, fetch).ErrorCode))
			require.Equal(t, tc.list, kerr.ErrorForCode(answer[*kmsg.ListGroupsResponse](t, b, 4, kmsg.NewPtrListGroupsRequest()).ErrorCode))
		})
	}
}

// send sends a request whose answer nobody waits for.
func (b *groupBroker) send(t *testing.T, version int16, req kmsg.Request) {
	nc, err := net.Dial("tcp", b.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	req.SetVersion(version)
	_, err = nc.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("raw")).AppendRequest(nil, req, 7))
	require.NoError(t, err)
}

// TestGroupErrorsOfStates names the answer to each request in the states of a group.
func TestGroupErrorsOfStates(t *testing.T) {
	b := openGroupBroker(t, newGroupStores())
	topicID := b.topic(t, "t", 1)
	join := func(groupID, member string, instance *string) *kmsg.JoinGroupRequest {
		req := joinRequest(groupID, member)
		req.InstanceID = instance
		return req
	}
	commit := func(groupID, member string, generation int32, instance *string) kmsg.Request {
		req := commitRequest(groupID, member, generation, "t", topicID, 0, 1)
		req.InstanceID = instance
		return req
	}
	empty, _ := b.member(t, "empty")
	require.NoError(t, groupErrorCode(b.ask(t, 0, leaveRequest("empty", empty))))
	completing := answer[*kmsg.JoinGroupResponse](t, b, 3, join("completing", "", nil)).MemberID
	fenced := answer[*kmsg.JoinGroupResponse](t, b, 9, join("static", "", new("i"))).MemberID
	static := answer[*kmsg.JoinGroupResponse](t, b, 9, join("static", "", new("i")))
	require.NoError(t, kerr.ErrorForCode(static.ErrorCode))
	generation := static.Generation
	preparing, _ := b.member(t, "preparing")
	b.send(t, 3, join("preparing", "", nil))
	eventually(t, "a rebalance", func() bool {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Groups = []string{"preparing"}
		return answer[*kmsg.DescribeGroupsResponse](t, b, 5, req).Groups[0].State == group.PreparingRebalance.String()
	})
	for _, tc := range []struct {
		name    string
		version int16
		req     kmsg.Request
		want    error
	}{
		{"empty: heartbeat", 4, beatRequest("empty", empty, 1, nil), kerr.UnknownMemberID},
		{"empty: sync", 5, syncRequest("empty", empty, 1, new("range")), kerr.UnknownMemberID},
		{"empty: join as who has left", 9, join("empty", empty, nil), kerr.UnknownMemberID},
		{"empty: leave again", 2, leaveRequest("empty", empty), kerr.UnknownMemberID},
		{"empty: commit of a generation", 9, commit("empty", empty, 1, nil), kerr.UnknownMemberID},
		{"empty: commit without a generation", 9, commit("empty", "", -1, nil), nil},
		{"empty: commit without a generation, with a member", 9, commit("empty", "any", -1, new("any")), nil},

		{"completing: heartbeat", 4, beatRequest("completing", completing, 1, nil), nil},
		{"completing: join again", 9, join("completing", completing, nil), nil},
		{"completing: sync of an old generation", 5, syncRequest("completing", completing, 0, new("range")), kerr.IllegalGeneration},
		{"completing: sync with another protocol", 5, syncRequest("completing", completing, 1, new("sticky")), kerr.InconsistentGroupProtocol},
		{"completing: commit", 9, commit("completing", completing, 1, nil), kerr.RebalanceInProgress},
		{"completing: commit of an old generation", 9, commit("completing", completing, 0, nil), kerr.IllegalGeneration},
		{"completing: commit without a generation", 9, commit("completing", "", -1, nil), kerr.UnknownMemberID},
		{"completing: commit without a generation, with a member", 9, commit("completing", completing, -1, nil), kerr.IllegalGeneration},

		{"preparing: heartbeat", 4, beatRequest("preparing", preparing, 1, nil), kerr.RebalanceInProgress},
		{"preparing: sync", 5, syncRequest("preparing", preparing, 1, new("range")), kerr.RebalanceInProgress},
		{"preparing: commit", 9, commit("preparing", preparing, 1, nil), nil},
		{"preparing: commit without a generation", 9, commit("preparing", "", -1, nil), kerr.UnknownMemberID},

		{"static: heartbeat of a fenced member", 4, beatRequest("static", fenced, generation, new("i")), kerr.FencedInstanceID},
		{"static: heartbeat of its id alone", 4, beatRequest("static", fenced, generation, nil), kerr.UnknownMemberID},
		{"static: commit of a fenced member", 9, commit("static", fenced, generation, new("i")), kerr.FencedInstanceID},
		{"static: join of a fenced member", 9, join("static", fenced, new("i")), kerr.FencedInstanceID},
		{"static: heartbeat", 4, beatRequest("static", static.MemberID, generation, new("i")), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.want, groupErrorCode(b.ask(t, tc.version, tc.req)))
		})
	}
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group = "static"
	leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: fenced, InstanceID: new("i")}, {InstanceID: new("j")}, {}, {InstanceID: new("i")}}
	left := answer[*kmsg.LeaveGroupResponse](t, b, 5, leave)
	require.Zero(t, left.ErrorCode)
	for i, want := range []error{kerr.FencedInstanceID, kerr.UnknownMemberID, kerr.UnknownMemberID, nil} {
		require.Equal(t, want, kerr.ErrorForCode(left.Members[i].ErrorCode), "member %d", i)
	}
}
