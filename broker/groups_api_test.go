package broker

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
)

// groupBroker is a broker on a loopback listener, with everything in memory.
type groupBroker struct {
	*Broker
	addr string
	reg  *prometheus.Registry
}

// groupStores outlive a broker.
type groupStores struct {
	meta, offsets kv.Store
	objects       objstore.Store
}

func newGroupStores() groupStores {
	return groupStores{kv.NewMem(), kv.NewMem(), objstore.NewMem()}
}

// openGroupBroker starts a broker whose groups rebalance at once and lets sessions be short.
func openGroupBroker(t *testing.T, stores groupStores) *groupBroker {
	b := startGroupBroker(t, stores, 1)
	require.NoError(t, b.createShards(t.Context())) // as the first FindCoordinator does
	return b
}

// startGroupBroker is openGroupBroker for one of several, without the shards.
func startGroupBroker(t *testing.T, stores groupStores, node id.Broker) *groupBroker {
	reg := prometheus.NewRegistry()
	b, err := Open(t.Context(), Config{
		NodeID: node, Listeners: []Listener{{Name: "IN", BindAddr: "127.0.0.1:0"}, {Name: "OUT", BindAddr: "127.0.0.1:0"}},
		Metadata: stores.meta, Offsets: stores.offsets, Objects: stores.objects,
		Groups: Groups{InitialRebalanceDelay: -1, MinSessionTimeout: 100 * time.Millisecond, MaxSize: 5}, Registerer: reg,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close(context.Background())) })
	return &groupBroker{b, b.Addrs()[0].String(), reg}
}

// ask sends one request of exactly that version on a connection of its own.
func (b *groupBroker) ask(t *testing.T, version int16, req kmsg.Request) kmsg.Response {
	t.Helper()
	nc, err := net.Dial("tcp", b.addr)
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.SetDeadline(time.Now().Add(10*time.Second)))
	req.SetVersion(version)
	_, err = nc.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("raw")).AppendRequest(nil, req, 7))
	require.NoError(t, err)
	var size [4]byte
	_, err = io.ReadFull(nc, size[:])
	require.NoError(t, err)
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err = io.ReadFull(nc, body)
	require.NoError(t, err)
	require.Equal(t, uint32(7), binary.BigEndian.Uint32(body))
	body = body[4:]
	resp := req.ResponseKind()
	if resp.IsFlexible() {
		require.Zero(t, body[0], "tags in the header")
		body = body[1:]
	}
	require.NoError(t, resp.ReadFrom(body))
	return resp
}

// answer is ask for a response of a known type.
func answer[R kmsg.Response](t *testing.T, b *groupBroker, version int16, req kmsg.Request) R {
	t.Helper()
	resp := b.ask(t, version, req)
	r, ok := resp.(R)
	require.True(t, ok, "%T", resp)
	return r
}

// topic creates a topic and returns its id.
func (b *groupBroker) topic(t *testing.T, name string, partitions int32) id.Topic {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, partitions, 1
	req.Topics = append(req.Topics, rt)
	resp := answer[*kmsg.CreateTopicsResponse](t, b, 7, req)
	require.NoError(t, kerr.ErrorForCode(resp.Topics[0].ErrorCode))
	return resp.Topics[0].TopicID
}

func joinRequest(groupID, member string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType = groupID, member, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 30_000, 30_000
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", []byte{0, 0, 0, 0, 0, 1, 0, 1, 't', 0xff, 0xff, 0xff, 0xff}
	req.Protocols = append(req.Protocols, p)
	return req
}

// member makes the one member of a group that is then stable.
func (b *groupBroker) member(t *testing.T, groupID string) (memberID string, generation int32) {
	t.Helper()
	join := answer[*kmsg.JoinGroupResponse](t, b, 3, joinRequest(groupID, ""))
	require.NoError(t, kerr.ErrorForCode(join.ErrorCode))
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.MemberID, sync.Generation = groupID, join.MemberID, join.Generation
	require.NoError(t, kerr.ErrorForCode(answer[*kmsg.SyncGroupResponse](t, b, 3, sync).ErrorCode))
	return join.MemberID, join.Generation
}

func commitRequest(groupID, member string, generation int32, topic string, topicID id.Topic, partition int32, offset int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation = groupID, member, generation
	rt := kmsg.NewOffsetCommitRequestTopic()
	rt.Topic, rt.TopicID = topic, topicID
	rp := kmsg.NewOffsetCommitRequestTopicPartition()
	rp.Partition, rp.Offset, rp.Metadata = partition, offset, kmsg.StringPtr("m")
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return req
}

func TestJoinGroupVersions(t *testing.T) {
	b := openGroupBroker(t, newGroupStores())
	for version := int16(0); version <= 9; version++ {
		groupID := fmt.Sprint("g", version)
		resp := answer[*kmsg.JoinGroupResponse](t, b, version, joinRequest(groupID, ""))
		if version >= 4 {
			require.ErrorIs(t, kerr.ErrorForCode(resp.ErrorCode), kerr.MemberIDRequired)
			require.Regexp(t, `^raw-[0-9a-f-]{36}$`, resp.MemberID)
			resp = answer[*kmsg.JoinGroupResponse](t, b, version, joinRequest(groupID, resp.MemberID))
		}
		require.NoError(t, kerr.ErrorForCode(resp.ErrorCode))
		require.EqualValues(t, 1, resp.Generation)
		require.Equal(t, resp.MemberID, resp.LeaderID)
		require.Equal(t, "range", *resp.Protocol)
		require.Equal(t, joinRequest("", "").Protocols[0].Metadata, resp.Members[0].ProtocolMetadata)

		sync := kmsg.NewPtrSyncGroupRequest()
		sync.Group, sync.MemberID, sync.Generation = groupID, resp.MemberID, 1
		sync.ProtocolType, sync.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
		sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: resp.MemberID, MemberAssignment: []byte("mine")}}
		synced := answer[*kmsg.SyncGroupResponse](t, b, min(version, 5), sync)
		require.NoError(t, kerr.ErrorForCode(synced.ErrorCode))
		require.Equal(t, "mine", string(synced.MemberAssignment))

		beat := kmsg.NewPtrHeartbeatRequest()
		beat.Group, beat.MemberID, beat.Generation = groupID, resp.MemberID, 1
		require.NoError(t, kerr.ErrorForCode(answer[*kmsg.HeartbeatResponse](t, b, min(version, 4), beat).ErrorCode))

		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group, leave.MemberID = groupID, resp.MemberID
		leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: resp.MemberID}, {MemberID: "nobody"}}
		left := answer[*kmsg.LeaveGroupResponse](t, b, min(version, 5), leave)
		require.NoError(t, kerr.ErrorForCode(left.ErrorCode))
		if version >= 3 {
			require.NoError(t, kerr.ErrorForCode(left.Members[0].ErrorCode))
			require.ErrorIs(t, kerr.ErrorForCode(left.Members[1].ErrorCode), kerr.UnknownMemberID)
		}
	}
}

func syncRequest(groupID, member string, generation int32, protocol *string) kmsg.Request {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation, req.Protocol, req.ProtocolType = groupID, member, generation, protocol, new("consumer")
	return req
}

func beatRequest(groupID, member string, generation int32, instance *string) kmsg.Request {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group, req.MemberID, req.Generation, req.InstanceID = groupID, member, generation, instance
	return req
}

func leaveRequest(groupID, member string) kmsg.Request {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Group, req.MemberID = groupID, member
	return req
}

// groupErrorCode is the error of a response that has one, or of its first partition.
func groupErrorCode(resp kmsg.Response) error {
	switch resp := resp.(type) {
	case *kmsg.JoinGroupResponse:
		return kerr.ErrorForCode(resp.ErrorCode)
	case *kmsg.SyncGroupResponse:
		return kerr.ErrorForCode(resp.ErrorCode)
	case *kmsg.HeartbeatResponse:
		return kerr.ErrorForCode(resp.ErrorCode)
	case *kmsg.LeaveGroupResponse:
		return kerr.ErrorForCode(resp.ErrorCode)
	case *kmsg.OffsetCommitResponse:
		return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	}
	return fmt.Errorf("response of an unexpected type %T", resp)
}

// TestGroupErrors names the error of each request that cannot be served.
func TestGroupErrors(t *testing.T) {
	b := openGroupBroker(t, newGroupStores())
	topicID := b.topic(t, "t", 2)
	member, generation := b.member(t, "stable")

	join := func(change func(*kmsg.JoinGroupRequest)) kmsg.Request {
		req := joinRequest("g", "")
		change(req)
		return req
	}
	commit := func(groupID, member string, generation int32, topic string, topicID id.Topic, partition int32) kmsg.Request {
		return commitRequest(groupID, member, generation, topic, topicID, partition, 1)
	}
	big := commitRequest("simple", "", -1, "t", topicID, 0, 1)
	big.Topics[0].Partitions[0].Metadata = kmsg.StringPtr(string(make([]byte, 4097)))

	wide := commitRequest("simple", "", -1, "t", topicID, 0, 1)
	wide.Topics[0].Partitions[0].Metadata = kmsg.StringPtr(strings.Repeat("ä", 4094) + "𝄞") // 4096 units

	for name, tc := range map[string]struct {
		version int16
		req     kmsg.Request
		want    error
	}{
		"join without a group":                               {9, join(func(r *kmsg.JoinGroupRequest) { r.Group = "" }), kerr.InvalidGroupID},
		"join with a short session":                          {9, join(func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 99 }), kerr.InvalidSessionTimeout},
		"join with a negative session":                       {9, join(func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = -1 }), kerr.InvalidSessionTimeout},
		"join with a long session":                           {9, join(func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1800_001 }), kerr.InvalidSessionTimeout},
		"join a stranger's unknown group without a protocol": {9, join(func(r *kmsg.JoinGroupRequest) { r.Group, r.MemberID, r.Protocols = "none", "x", nil }), kerr.UnknownMemberID},
		"join as a stranger":                                 {9, join(func(r *kmsg.JoinGroupRequest) { r.MemberID = "x" }), kerr.UnknownMemberID},
		"join without a protocol":                            {9, join(func(r *kmsg.JoinGroupRequest) { r.Protocols = nil }), kerr.InconsistentGroupProtocol},
		"join without a type":                                {9, join(func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "" }), kerr.InconsistentGroupProtocol},
		"join with another type":                             {9, join(func(r *kmsg.JoinGroupRequest) { r.Group, r.ProtocolType = "stable", "connect" }), kerr.InconsistentGroupProtocol},
		"join with an unknown instance":                      {9, join(func(r *kmsg.JoinGroupRequest) { r.Group, r.MemberID, r.InstanceID = "stable", member, new("i") }), kerr.UnknownMemberID},
		"sync without a group":                               {4, syncRequest("", "x", 1, nil), kerr.InvalidGroupID},
		"sync with an unknown group":                         {4, syncRequest("none", "x", 1, nil), kerr.UnknownMemberID},
		"sync as a stranger":                                 {4, syncRequest("stable", "x", generation, nil), kerr.UnknownMemberID},
		"sync of an old generation":                          {4, syncRequest("stable", member, generation-1, nil), kerr.IllegalGeneration},
		"sync without a protocol":                            {5, syncRequest("stable", member, generation, nil), kerr.InconsistentGroupProtocol},
		"sync with another protocol":                         {5, syncRequest("stable", member, generation, new("sticky")), kerr.InconsistentGroupProtocol},
		"sync":                                               {5, syncRequest("stable", member, generation, new("range")), nil},
		"heartbeat without a group":                          {4, beatRequest("", "x", 1, nil), kerr.InvalidGroupID},
		"heartbeat to an unknown group":                      {4, beatRequest("none", "x", 1, nil), kerr.UnknownMemberID},
		"heartbeat of an old generation":                     {4, beatRequest("stable", member, generation-1, nil), kerr.IllegalGeneration},
		"heartbeat of another instance":                      {4, beatRequest("stable", member, generation, new("i")), kerr.UnknownMemberID},
		"heartbeat":                                          {0, beatRequest("stable", member, generation, nil), nil},
		"leave without a group":                              {2, leaveRequest("", "x"), kerr.InvalidGroupID},
		"leave an unknown group":                             {0, leaveRequest("none", "x"), kerr.UnknownMemberID},
		"leave as a stranger":                                {2, leaveRequest("stable", "x"), kerr.UnknownMemberID},
		"commit to a group with members":                     {9, commit("stable", "", -1, "t", topicID, 0), kerr.UnknownMemberID},
		"commit of an old generation":                        {9, commit("stable", member, generation-1, "t", topicID, 0), kerr.IllegalGeneration},
		"commit of a stranger":                               {9, commit("stable", "x", generation, "t", topicID, 0), kerr.UnknownMemberID},
		"commit to an unknown group":                         {9, commit("none", "x", 3, "t", topicID, 0), kerr.GroupIDNotFound},
		"commit to an unknown group, before":                 {8, commit("none", "x", 3, "t", topicID, 0), kerr.IllegalGeneration},
		"commit of an unknown topic":                         {9, commit("simple", "", -1, "nope", topicID, 0), kerr.UnknownTopicOrPartition},
		"commit of an unknown topic id":                      {10, commit("simple", "", -1, "", id.NewTopic(), 0), kerr.UnknownTopicID},
		"commit of an unknown partition":                     {10, commit("simple", "", -1, "", topicID, 2), kerr.UnknownTopicOrPartition},
		"commit of a negative partition":                     {2, commit("simple", "", -1, "t", topicID, -1), kerr.UnknownTopicOrPartition},
		"commit with too much metadata":                      {7, big, kerr.OffsetMetadataTooLarge},
		"commit with metadata of many bytes":                 {7, wide, nil},
		"commit":                                             {2, commit("simple", "", -1, "t", topicID, 0), nil},
		"commit by topic id":                                 {10, commit("simple", "", -1, "", topicID, 1), nil},
		"commit of a member":                                 {10, commit("stable", member, generation, "", topicID, 1), nil},
		"commit without a group":                             {9, commit("", "", -1, "t", topicID, 0), nil},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, groupErrorCode(b.ask(t, tc.version, tc.req)))
		})
	}
}

func TestOffsetFetchVersions(t *testing.T) {
	b := openGroupBroker(t, newGroupStores())
	topicID := b.topic(t, "t", 3)
	b.topic(t, "empty", 1)
	require.NoError(t, groupErrorCode(b.ask(t, 9, commitRequest("g", "", -1, "t", topicID, 1, 42))))
	for version := int16(1); version <= 10; version++ {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group = "g"
		req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{1, 0, 99}}, {Topic: "nope", Partitions: []int32{0}}}
		named := []kmsg.OffsetFetchRequestGroupTopic{
			{Topic: "t", TopicID: topicID, Partitions: []int32{1, 0, 99}}, {Topic: "nope", TopicID: id.NewTopic(), Partitions: []int32{0}},
		}
		req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g", Topics: named}, {Group: "unknown", Topics: named}, {Group: "g"}}
		req.RequireStable = true
		resp := answer[*kmsg.OffsetFetchResponse](t, b, version, req)
		require.NoError(t, kerr.ErrorForCode(resp.ErrorCode))
		if version < 8 {
			p := resp.Topics[0].Partitions
			require.EqualValues(t, []int64{42, -1, -1}, []int64{p[0].Offset, p[1].Offset, p[2].Offset})
			require.Equal(t, []string{"m", "", ""}, []string{*p[0].Metadata, *p[1].Metadata, *p[2].Metadata})
			require.Equal(t, kmsg.OffsetFetchResponseTopicPartition{Offset: -1, LeaderEpoch: -1, Metadata: new("")}, resp.Topics[1].Partitions[0])
			continue
		}
		g := resp.Groups[0]
		require.NoError(t, kerr.ErrorForCode(g.ErrorCode))
		require.EqualValues(t, 42, g.Topics[0].Partitions[0].Offset)
		require.EqualValues(t, -1, g.Topics[0].Partitions[1].Offset)
		require.Zero(t, g.Topics[0].Partitions[2].ErrorCode)
		var unknownTopic error
		if version >= 10 {
			unknownTopic = kerr.UnknownTopicID
		}
		require.Equal(t, unknownTopic, kerr.ErrorForCode(g.Topics[1].Partitions[0].ErrorCode))
		require.EqualValues(t, -1, g.Topics[1].Partitions[0].Offset)
		require.Zero(t, resp.Groups[1].ErrorCode, "an unknown group is no error")
		require.EqualValues(t, -1, resp.Groups[1].Topics[0].Partitions[0].Offset)
		require.Len(t, resp.Groups[2].Topics, 1, "null asks for all that have offsets")
		require.Len(t, resp.Groups[2].Topics[0].Partitions, 1)
		if version >= 10 {
			require.Equal(t, topicID, id.Topic(resp.Groups[2].Topics[0].TopicID))
		} else {
			require.Equal(t, "t", resp.Groups[2].Topics[0].Topic)
		}
	}
	all := kmsg.NewPtrOffsetFetchRequest()
	all.Group = "g"
	require.Len(t, answer[*kmsg.OffsetFetchResponse](t, b, 7, all).Topics, 1)
	all.Topics = []kmsg.OffsetFetchRequestTopic{}
	require.Empty(t, answer[*kmsg.OffsetFetchResponse](t, b, 7, all).Topics, "no topics are not all topics")
}

func TestFindCoordinator(t *testing.T) {
	b := openGroupBroker(t, newGroupStores())
	_, port, err := net.SplitHostPort(b.addr)
	require.NoError(t, err)
	for version := int16(0); version <= 6; version++ {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey, req.CoordinatorKeys = "g", []string{"g", "h"}
		resp := answer[*kmsg.FindCoordinatorResponse](t, b, version, req)
		if version >= 4 {
			require.Len(t, resp.Coordinators, 2)
			c := resp.Coordinators[1]
			require.Equal(t, "h", c.Key)
			resp.NodeID, resp.Host, resp.Port, resp.ErrorCode = c.NodeID, c.Host, c.Port, c.ErrorCode
		}
		require.Zero(t, resp.ErrorCode)
		require.EqualValues(t, 1, resp.NodeID)
		require.Equal(t, net.JoinHostPort("127.0.0.1", port), net.JoinHostPort(resp.Host, fmt.Sprint(resp.Port)))
		if version == 0 {
			continue
		}
		for _, kind := range []int8{coordinatesShare, 9} {
			req.CoordinatorType = kind
			resp = answer[*kmsg.FindCoordinatorResponse](t, b, version, req)
			if version >= 4 {
				resp.ErrorCode, resp.ErrorMessage = resp.Coordinators[0].ErrorCode, resp.Coordinators[0].ErrorMessage
			}
			require.ErrorIs(t, kerr.ErrorForCode(resp.ErrorCode), kerr.InvalidRequest)
			require.NotEmpty(t, *resp.ErrorMessage)
		}
	}
}

func TestDescribeAndListGroups(t *testing.T) {
	b := openGroupBroker(t, newGroupStores())
	topicID := b.topic(t, "t", 1)
	member, _ := b.member(t, "stable")
	require.NoError(t, groupErrorCode(b.ask(t, 9, commitRequest("simple", "", -1, "t", topicID, 0, 1))))
	for version := int16(0); version <= 6; version++ {
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Groups, req.IncludeAuthorizedOperations = []string{"stable", "simple", "unknown"}, true
		gs := answer[*kmsg.DescribeGroupsResponse](t, b, version, req).Groups
		require.Equal(t, []string{"Stable", "Empty", "Dead"}, []string{gs[0].State, gs[1].State, gs[2].State})
		require.Equal(t, []string{"consumer", "range"}, []string{gs[0].ProtocolType, gs[0].Protocol})
		require.Equal(t, member, gs[0].Members[0].MemberID)
		require.Equal(t, []string{"raw", "/127.0.0.1"}, []string{gs[0].Members[0].ClientID, gs[0].Members[0].ClientHost})
		require.Equal(t, joinRequest("", "").Protocols[0].Metadata, gs[0].Members[0].ProtocolMetadata)
		if version >= 3 {
			require.EqualValues(t, groupOperations, gs[0].AuthorizedOperations)
		}
		if version >= 6 {
			require.ErrorIs(t, kerr.ErrorForCode(gs[2].ErrorCode), kerr.GroupIDNotFound)
			require.Equal(t, "Group unknown not found.", *gs[2].ErrorMessage)
		} else {
			require.Zero(t, gs[2].ErrorCode)
		}
	}
	for version := int16(0); version <= 5; version++ {
		for _, tc := range []struct {
			since         int16
			states, types []string
			want          []string
		}{
			{0, nil, nil, []string{"simple", "stable"}},
			{4, []string{"empty"}, nil, []string{"simple"}},
			{4, []string{"Stable", "Dead"}, nil, []string{"stable"}},
			{5, nil, []string{"Classic"}, []string{"simple", "stable"}},
			{5, nil, []string{"consumer"}, nil},
		} {
			if version < tc.since {
				continue
			}
			req := kmsg.NewPtrListGroupsRequest()
			req.StatesFilter, req.TypesFilter = tc.states, tc.types
			var names []string
			for _, g := range answer[*kmsg.ListGroupsResponse](t, b, version, req).Groups {
				names = append(names, g.Group)
			}
			require.Equal(t, tc.want, names, "version %d, states %v, types %v", version, tc.states, tc.types)
		}
	}
}

func TestDeleteGroupsAndOffsets(t *testing.T) {
	b := openGroupBroker(t, newGroupStores())
	topicID, other := b.topic(t, "t", 2), b.topic(t, "other", 2)
	member, generation := b.member(t, "stable")
	for _, topic := range []struct {
		name string
		id   id.Topic
	}{{"t", topicID}, {"other", other}} {
		require.NoError(t, groupErrorCode(b.ask(t, 9, commitRequest("stable", member, generation, topic.name, topic.id, 0, 1))))
		require.NoError(t, groupErrorCode(b.ask(t, 9, commitRequest("simple", "", -1, topic.name, topic.id, 0, 1))))
	}
	remove := func(groupID string) *kmsg.OffsetDeleteResponse {
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = groupID
		for _, name := range []string{"t", "other", "nope"} {
			req.Topics = append(req.Topics, kmsg.OffsetDeleteRequestTopic{Topic: name, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}, {Partition: 7}}})
		}
		return answer[*kmsg.OffsetDeleteResponse](t, b, 0, req)
	}
	require.ErrorIs(t, kerr.ErrorForCode(remove("").ErrorCode), kerr.InvalidGroupID)
	require.ErrorIs(t, kerr.ErrorForCode(remove("unknown").ErrorCode), kerr.GroupIDNotFound)
	resp := remove("stable")
	require.Zero(t, resp.ErrorCode)
	var got []error
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			got = append(got, kerr.ErrorForCode(p.ErrorCode))
		}
	}
	require.Equal(t, []error{
		kerr.GroupSubscribedToTopic, kerr.UnknownTopicOrPartition,
		nil, kerr.UnknownTopicOrPartition,
		kerr.UnknownTopicOrPartition, kerr.UnknownTopicOrPartition,
	}, got)
	all := kmsg.NewPtrOffsetFetchRequest()
	all.Group = "stable"
	left := answer[*kmsg.OffsetFetchResponse](t, b, 7, all)
	require.Len(t, left.Topics, 1)
	require.Equal(t, "t", left.Topics[0].Topic)

	for version := int16(0); version <= 2; version++ {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = []string{"stable", "simple", "unknown", "simple"}
		results := answer[*kmsg.DeleteGroupsResponse](t, b, version, req).Groups
		require.Len(t, results, 3)
		wantSimple := error(kerr.GroupIDNotFound)
		if version == 0 {
			wantSimple = nil
		}
		for i, want := range []error{kerr.NonEmptyGroup, wantSimple, kerr.GroupIDNotFound} {
			require.Equal(t, want, kerr.ErrorForCode(results[i].ErrorCode))
		}
	}
	require.Empty(t, answer[*kmsg.DeleteGroupsResponse](t, b, 1, kmsg.NewPtrDeleteGroupsRequest()).Groups)
}

// TestGroupsOverRestart: offsets outlive the broker, and parked joins are answered when it ends.
func TestGroupsOverRestart(t *testing.T) {
	stores := newGroupStores()
	b := openGroupBroker(t, stores)
	topicID := b.topic(t, "t", 1)
	require.NoError(t, groupErrorCode(b.ask(t, 9, commitRequest("g", "", -1, "t", topicID, 0, 7))))
	b.member(t, "busy")
	parked := make(chan kmsg.Response, 1)
	go func() { parked <- b.ask(t, 3, joinRequest("busy", "")) }() // waits for the member that does not come back
	require.Eventually(t, func() bool {
		return metricValues(t, b.reg, "forebay_groups")["PreparingRebalance"] == 1
	}, 5*time.Second, time.Millisecond)
	require.NoError(t, b.Close(t.Context()))
	require.ErrorIs(t, groupErrorCode(<-parked), kerr.NotCoordinator)

	b = openGroupBroker(t, stores)
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Group = "g"
	require.EqualValues(t, 7, answer[*kmsg.OffsetFetchResponse](t, b, 7, req).Topics[0].Partitions[0].Offset)
}
