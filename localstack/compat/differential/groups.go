package differential

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var groupScenarios = []scenario{
	{"join errors", groupJoinErrors},
	{"join versions", groupJoinVersions},
	{"one member", groupOneMember},
	{"two members", groupTwoMembers},
	{"protocols", groupProtocols},
	{"rejoin", groupRejoin},
	{"full", groupFull},
	{"static", groupStatic},
	{"static leave", groupStaticLeave},
	{"commit", groupCommit},
	{"commit errors", groupCommitErrors},
	{"fetch", groupFetch},
	{"offset delete", groupOffsetDelete},
	{"delete", groupDelete},
	{"describe and list", groupDescribe},
	{"unknown member", groupUnknownMember},
	{"session timeout", groupSessionTimeout},
	{"pending member", groupPending},
	{"sync", groupSync},
	{"coordinators", groupCoordinators},
}

// join is a request to join with one protocol.
func join(version int16, group, member string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.ProtocolType = version, group, member, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 30000, 30000
	req.Protocols = protocols("range")
	return req
}

func protocols(names ...string) []kmsg.JoinGroupRequestProtocol {
	var out []kmsg.JoinGroupRequestProtocol
	for _, name := range names {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = name, subscription(name)
		out = append(out, p)
	}
	return out
}

// subscription is a member's metadata. Apache Kafka's coordinator reads those of consumers, and a
// group whose members send something else hangs.
func subscription(note string, topics ...string) []byte {
	m := kmsg.NewConsumerMemberMetadata()
	m.Topics, m.UserData = topics, []byte(note)
	return m.AppendTo(nil)
}

func syncGroup(version int16, group, member string, generation int32, assigned ...string) *kmsg.SyncGroupRequest {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.MemberID, req.Generation = version, group, member, generation
	if version >= 5 {
		req.ProtocolType, req.Protocol = ptr("consumer"), ptr("range")
	}
	for _, to := range assigned {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = to, []byte("assignment")
		req.GroupAssignment = append(req.GroupAssignment, a)
	}
	return req
}

func heartbeat(version int16, group, member string, generation int32) *kmsg.HeartbeatRequest {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.Generation = version, group, member, generation
	return req
}

func leave(version int16, group, member string) *kmsg.LeaveGroupRequest {
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group, req.MemberID = version, group, member
	if version >= 3 {
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID = member
		req.MemberID, req.Members = "", []kmsg.LeaveGroupRequestMember{m}
	}
	return req
}

func commit(version int16, group, member string, generation int32, topic string, partition int32, offset int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.MemberID, req.Generation = version, group, member, generation
	t := kmsg.NewOffsetCommitRequestTopic()
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	t.Topic, p.Partition, p.Offset, p.Metadata = topic, partition, offset, ptr("m")
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func fetchOffsets(version int16, group, topic string, partitions ...int32) *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version = version
	if version >= 8 {
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group, g.MemberEpoch = group, -1
		if topic != "" {
			t := kmsg.NewOffsetFetchRequestGroupTopic()
			t.Topic, t.Partitions = topic, partitions
			g.Topics = append(g.Topics, t)
		}
		req.Groups = append(req.Groups, g)
		return req
	}
	req.Group = group
	if topic != "" {
		t := kmsg.NewOffsetFetchRequestTopic()
		t.Topic, t.Partitions = topic, partitions
		req.Topics = append(req.Topics, t)
	}
	return req
}

func describeGroup(version int16, groups ...string) *kmsg.DescribeGroupsRequest {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Version, req.Groups = version, groups
	return req
}

func deleteGroups(version int16, groups ...string) *kmsg.DeleteGroupsRequest {
	req := kmsg.NewPtrDeleteGroupsRequest()
	req.Version, req.Groups = version, groups
	return req
}

// group returns the name of a group whose coordinator serves.
func (s *session) group(suffix string) string {
	name := s.name(suffix)
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.Version, find.CoordinatorKey = 3, name
	s.await("a coordinator", func() bool {
		return do[*kmsg.FindCoordinatorResponse](s.quiet(), find).ErrorCode == 0 &&
			do[*kmsg.HeartbeatResponse](s.quiet(), heartbeat(4, name, "nobody", 1)).ErrorCode == 25 // UNKNOWN_MEMBER_ID
	})
	return name
}

// member joins a group with an id of the broker's and returns it. It is the only member.
func (s *session) member(group string) (id string, generation int32) {
	id = do[*kmsg.JoinGroupResponse](s.quiet(), join(9, group, "")).MemberID
	resp := must(s, join(9, group, id), func(r *kmsg.JoinGroupResponse) int16 { return r.ErrorCode })
	return resp.MemberID, resp.Generation
}

// stable does the same and distributes the assignment.
func (s *session) stable(group string) (id string, generation int32) {
	id, generation = s.member(group)
	must(s, syncGroup(5, group, id, generation, id), func(r *kmsg.SyncGroupResponse) int16 { return r.ErrorCode })
	return id, generation
}

func groupJoinErrors(s *session) {
	group := s.group("g")
	for _, c := range []struct {
		what   string
		change func(*kmsg.JoinGroupRequest)
	}{
		{"sound", func(*kmsg.JoinGroupRequest) {}},
		{"unknown member", func(r *kmsg.JoinGroupRequest) { r.MemberID = "nobody" }},
		{"no group", func(r *kmsg.JoinGroupRequest) { r.Group = "" }},
		{"session too short", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 5999 }},
		{"session too long", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 60001 }},
		{"negative session", func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = -1 }},
		{"no protocols", func(r *kmsg.JoinGroupRequest) { r.Protocols = nil }},
		{"no protocol type", func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "" }},
		{"empty protocol name", func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Name = "" }},
		{"negative rebalance timeout", func(r *kmsg.JoinGroupRequest) { r.RebalanceTimeoutMillis = -1 }},
		{"bad instance", func(r *kmsg.JoinGroupRequest) { r.InstanceID = ptr("") }},
		{"bad instance name", func(r *kmsg.JoinGroupRequest) { r.InstanceID = ptr("a b") }},
	} {
		req := join(9, group, "")
		c.change(req)
		s.answered(c.what, do[*kmsg.JoinGroupResponse](s.quiet(), req), nil)
	}
	s.send(describeGroup(5, group))
}

func groupJoinVersions(s *session) {
	for version := int16(0); version <= 9; version++ {
		group := s.group(fmt.Sprintf("v%d", version))
		resp := do[*kmsg.JoinGroupResponse](s, join(version, group, ""))
		if version >= 4 {
			resp = do[*kmsg.JoinGroupResponse](s, join(version, group, resp.MemberID))
		}
		s.send(syncGroup(min(version, 5), group, resp.MemberID, resp.Generation, resp.MemberID))
		s.send(heartbeat(min(version, 4), group, resp.MemberID, resp.Generation))
		s.send(describeGroup(min(version, 6), group))
		s.send(leave(min(version, 5), group, resp.MemberID))
		s.send(describeGroup(min(version, 6), group))
	}
}

func groupOneMember(s *session) {
	group := s.group("g")
	first := do[*kmsg.JoinGroupResponse](s, join(9, group, ""))
	second := do[*kmsg.JoinGroupResponse](s, join(9, group, first.MemberID))
	s.send(heartbeat(4, group, second.MemberID, second.Generation))
	s.send(heartbeat(4, group, second.MemberID, second.Generation+1))
	s.send(heartbeat(4, group, second.MemberID, -1))
	s.send(heartbeat(4, group, "", second.Generation))
	s.send(heartbeat(4, "", second.MemberID, second.Generation))
	s.send(commit(8, group, second.MemberID, second.Generation, s.topic("t", 1), 0, 5))
	s.send(describeGroup(5, group))
	s.send(syncGroup(5, group, second.MemberID, second.Generation, second.MemberID))
	s.send(syncGroup(5, group, second.MemberID, second.Generation))
	s.send(heartbeat(4, group, second.MemberID, second.Generation))
	s.send(describeGroup(5, group))
	s.send(leave(5, group, second.MemberID))
	s.send(leave(5, group, second.MemberID))
	s.send(heartbeat(4, group, second.MemberID, second.Generation))
	s.send(describeGroup(5, group))
}

func groupTwoMembers(s *session) {
	group := s.group("g")
	a, generation := s.stable(group)
	b := do[*kmsg.JoinGroupResponse](s.on("b"), join(9, group, "")).MemberID
	joining := s.on("b").start(join(9, group, b))
	s.await("the rebalance", func() bool {
		return do[*kmsg.HeartbeatResponse](s.quiet(), heartbeat(4, group, a, generation)).ErrorCode == 27
	})
	s.send(heartbeat(4, group, a, generation))
	s.send(describeGroup(5, group))
	s.send(commit(8, group, a, generation, s.topic("t", 1), 0, 7))
	s.send(syncGroup(5, group, a, generation, a))
	s.send(join(9, group, a))
	joining.wait()
	follower := s.on("b").start(syncGroup(5, group, b, generation+1))
	s.send(heartbeat(4, group, a, generation+1))
	s.send(heartbeat(4, group, b, generation+1))
	s.send(commit(8, group, b, generation+1, s.name("t"), 0, 8))
	s.send(heartbeat(4, group, a, generation))
	s.send(syncGroup(5, group, a, generation+1, a, b, "stranger"))
	follower.wait()
	s.send(describeGroup(5, group))
	s.send(leave(5, group, b))
	s.send(heartbeat(4, group, a, generation+1))
	s.send(join(9, group, a))
	s.send(describeGroup(5, group))
	s.send(leave(5, group, a))
	s.send(describeGroup(5, group))
}

func groupProtocols(s *session) {
	group := s.group("g")
	first := join(5, group, "")
	first.Protocols = protocols("range", "sticky")
	id := do[*kmsg.JoinGroupResponse](s, first).MemberID
	first.MemberID = id
	s.send(first)
	s.send(syncGroup(3, group, id, 1, id))
	for _, c := range [][]string{{"other"}, {}, {"sticky", "other"}} {
		req := join(5, group, "")
		req.Protocols = protocols(c...)
		s.on("b").send(req)
	}
	req := join(5, group, "")
	req.ProtocolType = "connect"
	s.on("b").send(req)
	twice := join(5, group, id)
	twice.Protocols = protocols("range", "range")
	s.send(twice)
	wrong := syncGroup(5, group, id, 2, id)
	wrong.Protocol = ptr("sticky")
	s.send(wrong)
	wrong.Protocol, wrong.ProtocolType = ptr("range"), ptr("connect")
	s.send(wrong)
	wrong.Protocol, wrong.ProtocolType = nil, nil
	s.send(wrong)
	s.send(describeGroup(5, group))
}

func groupRejoin(s *session) {
	group := s.group("g")
	id, generation := s.stable(group)
	s.send(join(9, group, id)) // the leader: a new generation
	s.send(join(9, group, id)) // while the assignment is awaited
	s.send(syncGroup(5, group, id, generation, id))
	s.send(syncGroup(5, group, id, generation+1, id))
	s.send(syncGroup(5, group, id, generation+2, id))
	changed := join(9, group, id)
	changed.Protocols[0].Metadata = subscription("other")
	s.send(changed)
	s.send(describeGroup(5, group))
}

func groupFull(s *session) {
	group := s.group("g")
	first, generation := s.stable(group)
	for i := range 8 { // one too many
		s.on(fmt.Sprint(i)).start(join(3, group, ""))
	}
	s.await("the rebalance", func() bool {
		return do[*kmsg.HeartbeatResponse](s.quiet(), heartbeat(4, group, first, generation)).ErrorCode == 27
	})
	s.await("as many members as fit", func() bool {
		groups := do[*kmsg.DescribeGroupsResponse](s.quiet(), describeGroup(5, group)).Groups
		return len(groups) == 1 && len(groups[0].Members) >= 8
	})
	s.send(heartbeat(4, group, first, generation))
	s.note("members", fmt.Sprint(len(do[*kmsg.DescribeGroupsResponse](s.quiet(), describeGroup(5, group)).Groups[0].Members)))
}

func groupUnknownMember(s *session) {
	for _, group := range []string{s.group("empty"), s.name("never seen")} {
		s.send(heartbeat(4, group, "nobody", 0))
		s.send(syncGroup(5, group, "nobody", 0))
		s.send(leave(5, group, "nobody"))
		s.send(leave(2, group, "nobody"))
		s.send(join(9, group, "nobody"))
		s.send(commit(8, group, "nobody", 0, s.name("t"), 0, 1))
		s.send(commit(8, group, "nobody", 3, s.name("t"), 0, 1))
		s.send(describeGroup(5, group))
		s.send(describeGroup(6, group))
	}
	group := s.group("live")
	id, generation := s.stable(group)
	s.send(syncGroup(5, group, "nobody", generation))
	s.send(leave(5, group, "nobody"))
	s.send(join(9, group, "nobody"))
	s.send(heartbeat(4, group, id, generation))
	both := leave(5, group, "nobody")
	both.Members = append(both.Members, leave(5, group, id).Members...)
	s.send(both)
	none := leave(5, group, "nobody")
	none.Members = nil
	s.send(none)
}

func groupSessionTimeout(s *session) {
	group := s.group("g")
	req := join(9, group, "")
	req.SessionTimeoutMillis = 6000
	req.MemberID = do[*kmsg.JoinGroupResponse](s.quiet(), req).MemberID
	resp := do[*kmsg.JoinGroupResponse](s, req)
	s.send(syncGroup(5, group, resp.MemberID, resp.Generation, resp.MemberID))
	s.await("the end of the session", func() bool {
		groups := do[*kmsg.DescribeGroupsResponse](s.quiet(), describeGroup(5, group)).Groups
		return len(groups) == 1 && groups[0].State == "Empty"
	})
	s.send(heartbeat(4, group, resp.MemberID, resp.Generation))
	s.send(describeGroup(5, group))
}

func groupPending(s *session) {
	group := s.group("g")
	id := do[*kmsg.JoinGroupResponse](s, join(9, group, "")).MemberID
	s.send(describeGroup(5, group))
	s.send(heartbeat(4, group, id, 0))
	s.send(syncGroup(5, group, id, 0, id))
	s.send(commit(8, group, id, 0, s.topic("t", 1), 0, 1))
	s.send(leave(5, group, id))
	s.send(join(9, group, id))
	id = do[*kmsg.JoinGroupResponse](s, join(9, group, "")).MemberID
	s.send(join(9, group, id))
	s.send(deleteGroups(2, group))
}

func groupSync(s *session) {
	group := s.group("g")
	id, generation := s.member(group)
	s.send(syncGroup(5, group, id, generation+1, id))
	s.send(syncGroup(5, group, id, -1, id))
	s.send(syncGroup(5, "", id, generation, id))
	s.send(syncGroup(5, group, "", generation, id))
	s.send(syncGroup(5, group, id, generation)) // no assignment for anybody
	s.send(describeGroup(5, group))
	s.send(syncGroup(5, group, id, generation, id, id)) // is stable already
	s.send(describeGroup(5, group))
}
