package differential

import (
	"fmt"
	"math"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func groupStatic(s *session) {
	group := s.group("g")
	static := join(9, group, "")
	static.InstanceID = ptr("one")
	first := do[*kmsg.JoinGroupResponse](s, static)
	sync := syncGroup(5, group, first.MemberID, first.Generation, first.MemberID)
	sync.InstanceID = ptr("one")
	s.send(sync)
	again := do[*kmsg.JoinGroupResponse](s, static)
	s.send(describeGroup(5, group))
	for _, member := range []string{first.MemberID, again.MemberID, "nobody"} {
		for _, instance := range []*string{ptr("one"), ptr("other"), nil} {
			beat := heartbeat(4, group, member, first.Generation)
			beat.InstanceID = instance
			s.send(beat)
			c := commit(8, group, member, first.Generation, s.name("t"), 0, 1)
			c.InstanceID = instance
			s.send(c)
			sync := syncGroup(5, group, member, first.Generation, member)
			sync.InstanceID = instance
			s.send(sync)
		}
	}
	old := join(9, group, first.MemberID)
	old.InstanceID = ptr("one")
	s.send(old)
	changed := join(9, group, "")
	changed.InstanceID, changed.Protocols[0].Metadata = ptr("one"), subscription("other")
	s.send(changed)
	s.send(describeGroup(5, group))
}

func groupStaticLeave(s *session) {
	group := s.group("g")
	static := join(9, group, "")
	static.InstanceID = ptr("one")
	first := do[*kmsg.JoinGroupResponse](s, static)
	s.send(syncGroup(5, group, first.MemberID, first.Generation, first.MemberID))
	remove := func(member string, instance *string) {
		req := leave(5, group, member)
		req.Members[0].InstanceID = instance
		s.send(req)
	}
	remove("nobody", ptr("one"))
	remove("", ptr("other"))
	remove(first.MemberID, ptr("other"))
	remove("", ptr("one"))
	s.send(describeGroup(5, group))
	remove("", ptr("one"))
	second := do[*kmsg.JoinGroupResponse](s, static)
	remove(second.MemberID, ptr("one"))
	third := do[*kmsg.JoinGroupResponse](s, static)
	remove(third.MemberID, nil)
	s.send(describeGroup(5, group))
}

func groupCommit(s *session) {
	topic := s.topic("t", 3)
	group := s.group("simple")
	for version := int16(2); version <= 9; version++ {
		s.send(commit(version, group, "", -1, topic, 0, int64(version)))
		s.send(fetchOffsets(min(version, 9), group, topic, 0, 1))
	}
	byID := commit(10, group, "", -1, "", 0, 77)
	byID.Topics[0].TopicID = s.topicID(topic)
	s.send(byID)
	byID.Topics[0].TopicID = [16]byte{5}
	s.send(byID)
	s.send(describeGroup(5, group))
	live := s.group("live")
	id, generation := s.stable(live)
	s.send(commit(8, live, "", -1, topic, 0, 1))
	s.send(commit(8, live, id, -1, topic, 0, 1))
	s.send(commit(8, live, "", generation, topic, 0, 1))
	s.send(commit(8, live, id, generation-1, topic, 0, 1))
	s.send(commit(8, live, id, generation+1, topic, 0, 1))
	s.send(commit(8, live, id, generation, topic, 0, 9))
	s.send(leave(5, live, id))
	s.send(commit(8, live, id, generation, topic, 0, 10))
	s.send(commit(8, live, "", -1, topic, 0, 11))
	s.send(commit(8, live, "nobody", -1, topic, 0, 12))
	s.send(fetchOffsets(9, live, topic, 0))
}

func groupCommitErrors(s *session) {
	topic := s.topic("t", 1)
	group := s.group("g")
	s.send(commit(8, group, "", -1, topic, 5, 1))
	s.send(commit(8, group, "", -1, topic, -1, 1))
	s.send(commit(8, group, "", -1, s.name("unknown"), 0, 1))
	s.send(commit(8, group, "", -1, "", 0, 1))
	s.send(commit(8, group, "", -1, "bad name", 0, 1))
	for _, offset := range []int64{0, -1, -2, math.MinInt64, math.MaxInt64} {
		s.send(commit(8, group, "", -1, topic, 0, offset))
		s.send(fetchOffsets(7, group, topic, 0))
	}
	s.send(commit(8, "", "", -1, topic, 0, 3))
	s.send(fetchOffsets(7, "", topic, 0))
	s.send(commit(8, group, "", -2, topic, 0, 3))
	s.send(commit(8, group, "", 0, topic, 0, 3))
	s.send(commit(8, group, "", 5, topic, 0, 3))
	for _, n := range []int{63, 64, 65, 5000} {
		req := commit(8, group, "", -1, topic, 0, 20)
		req.Topics[0].Partitions[0].Metadata = ptr(strings.Repeat("m", n))
		s.answered(fmt.Sprintf("metadata of %d bytes", n), do[*kmsg.OffsetCommitResponse](s.quiet(), req), nil)
	}
	req := commit(8, group, "", -1, topic, 0, 21)
	req.Topics[0].Partitions[0].Metadata, req.Topics[0].Partitions[0].LeaderEpoch = nil, 6
	s.send(req)
	s.send(fetchOffsets(7, group, topic, 0))
	req.Topics = append(req.Topics, commit(8, group, "", -1, s.name("unknown"), 0, 1).Topics...)
	s.send(req)
	req.Topics = nil
	s.send(req)
	req = commit(8, group, "", -1, topic, 0, 30)
	req.InstanceID = ptr("static")
	s.send(req)
}

func groupFetch(s *session) {
	topic := s.topic("t", 2)
	group := s.group("g")
	s.send(commit(8, group, "", -1, topic, 0, 4))
	for version := int16(0); version <= 9; version++ {
		s.send(fetchOffsets(version, group, topic, 0, 1, 9))
		s.send(fetchOffsets(version, s.name("never seen"), topic, 0))
		s.send(fetchOffsets(version, group, s.name("unknown"), 0))
		if version >= 2 {
			s.send(fetchOffsets(version, group, ""))
			s.send(fetchOffsets(version, s.name("never seen"), ""))
		}
	}
	byID := fetchOffsets(10, group, "t", 0, 1)
	byID.Groups[0].Topics[0].TopicID = s.topicID(topic)
	s.send(byID)
	byID.Groups[0].Topics[0].TopicID = [16]byte{3}
	s.send(byID)
	s.send(fetchOffsets(10, group, ""))
	two := fetchOffsets(8, group, topic, 0)
	two.Groups = append(two.Groups, fetchOffsets(8, s.name("other"), topic, 1).Groups...)
	s.send(two)
	two.Groups[1].Group = ""
	s.send(two)
	stable := fetchOffsets(8, group, topic, 0)
	stable.RequireStable = true
	s.send(stable)
	member := fetchOffsets(9, group, topic, 0)
	member.Groups[0].MemberID, member.Groups[0].MemberEpoch = ptr("nobody"), 4
	s.send(member)
	none := fetchOffsets(8, group, topic, 0)
	none.Groups = nil
	s.send(none)
}

func offsetDelete(group, topic string, partitions ...int32) *kmsg.OffsetDeleteRequest {
	req := kmsg.NewPtrOffsetDeleteRequest()
	req.Group = group
	t := kmsg.NewOffsetDeleteRequestTopic()
	t.Topic = topic
	for _, partition := range partitions {
		p := kmsg.NewOffsetDeleteRequestTopicPartition()
		p.Partition = partition
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

func groupOffsetDelete(s *session) {
	topic := s.topic("t", 2)
	group := s.group("g")
	s.send(offsetDelete(s.name("never seen"), topic, 0))
	s.send(offsetDelete("", topic, 0))
	s.send(commit(8, group, "", -1, topic, 0, 4))
	s.send(offsetDelete(group, topic, 0, 1, 7))
	s.send(offsetDelete(group, s.name("unknown"), 0))
	s.send(fetchOffsets(7, group, topic, 0))
	live := s.group("live")
	req := join(9, live, do[*kmsg.JoinGroupResponse](s.quiet(), join(9, live, "")).MemberID)
	req.Protocols[0].Metadata = subscription("", topic)
	joined := do[*kmsg.JoinGroupResponse](s.quiet(), req)
	s.send(offsetDelete(live, topic, 0))
	s.send(syncGroup(5, live, joined.MemberID, joined.Generation, joined.MemberID))
	other := s.topic("other", 1)
	s.send(commit(8, live, joined.MemberID, joined.Generation, topic, 0, 4))
	s.send(commit(8, live, joined.MemberID, joined.Generation, other, 0, 5))
	s.send(offsetDelete(live, topic, 0))
	s.send(offsetDelete(live, other, 0))
	s.send(fetchOffsets(7, live, ""))
	none := offsetDelete(live, topic, 0)
	none.Topics = nil
	s.send(none)
	connect := s.group("connect")
	worker := join(3, connect, "")
	worker.ProtocolType = "connect"
	id := do[*kmsg.JoinGroupResponse](s.quiet(), worker).MemberID
	s.send(syncGroup(3, connect, id, 1, id))
	s.send(offsetDelete(connect, topic, 0))
}

func groupDelete(s *session) {
	topic := s.topic("t", 1)
	group := s.group("g")
	s.send(deleteGroups(2, s.name("never seen"), "", group))
	s.send(commit(8, group, "", -1, topic, 0, 4))
	for range 2 {
		s.send(deleteGroups(2, group, group))
	}
	s.send(fetchOffsets(7, group, topic, 0))
	s.send(describeGroup(6, group))
	live := s.group("live")
	id, generation := s.stable(live)
	for version := int16(0); version <= 2; version++ {
		s.send(deleteGroups(version, live))
	}
	s.send(heartbeat(4, live, id, generation))
	s.send(leave(5, live, id))
	s.send(deleteGroups(2, live))
	s.send(describeGroup(6, live))
	s.send(deleteGroups(2))
}

func groupDescribe(s *session) {
	group := s.group("g")
	id, _ := s.stable(group)
	simple := s.group("simple")
	s.send(commit(8, simple, "", -1, s.topic("t", 1), 0, 1))
	for version := int16(0); version <= 6; version++ {
		req := describeGroup(version, group, simple, s.name("never seen"), "")
		req.IncludeAuthorizedOperations = version == 4
		s.send(req)
	}
	list := func(version int16, states, types []string) {
		req := kmsg.NewPtrListGroupsRequest()
		req.Version, req.StatesFilter, req.TypesFilter = version, states, types
		resp := do[*kmsg.ListGroupsResponse](s.quiet(), req)
		var own []kmsg.ListGroupsResponseGroup
		for _, g := range resp.Groups {
			if strings.HasPrefix(g.Group, s.prefix) {
				own = append(own, g)
			}
		}
		resp.Groups = own
		s.answered(fmt.Sprintf("ListGroups v%d %q %q", version, states, types), resp, nil)
	}
	for version := int16(0); version <= 5; version++ {
		list(version, nil, nil)
	}
	for _, state := range []string{"Stable", "stable", "Empty", "Dead", "PreparingRebalance", "CompletingRebalance", "nonsense", ""} {
		list(4, []string{state}, nil)
	}
	list(4, []string{"Empty", "Stable"}, nil)
	for _, kind := range []string{"classic", "Classic", "consumer", "share", "nonsense"} {
		list(5, nil, []string{kind})
	}
	s.send(leave(5, group, id))
	list(5, []string{"Empty"}, []string{"classic"})
}

func groupCoordinators(s *session) {
	s.group("g")
	for version := int16(0); version <= 6; version++ {
		for _, kind := range []int8{0, 1, 2, 3, -1} {
			req := kmsg.NewPtrFindCoordinatorRequest()
			req.Version, req.CoordinatorType = version, kind
			for _, key := range []string{s.name("g"), ""} {
				req.CoordinatorKey, req.CoordinatorKeys = key, []string{key}
				if kind == 1 {
					s.await("a coordinator of transactions", func() bool {
						r := do[*kmsg.FindCoordinatorResponse](s.quiet(), req)
						return r.ErrorCode != 15 && (len(r.Coordinators) == 0 || r.Coordinators[0].ErrorCode != 15)
					})
				}
				s.answered(fmt.Sprintf("FindCoordinator v%d type %d key %t", version, kind, key != ""),
					do[*kmsg.FindCoordinatorResponse](s.quiet(), req), nil)
			}
		}
	}
	many := kmsg.NewPtrFindCoordinatorRequest()
	many.Version, many.CoordinatorKeys = 4, []string{"a", "b", "a"}
	s.send(many)
	many.CoordinatorKeys = nil
	s.send(many)
}
