package differential

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var adminScenarios = []scenario{
	{"log dirs", adminLogDirs},
	{"elect leaders", adminElect},
	{"reassignments", adminReassign},
	{"describe cluster", adminCluster},
	{"api versions", adminAPIVersions},
	{"acls", adminACLs},
	{"quotas", adminQuotas},
	{"unregister broker", adminUnregister},
}

func adminLogDirs(s *session) {
	topic := s.topic("t", 2)
	ask := func(version int16, name string, partitions ...int32) {
		req := kmsg.NewPtrDescribeLogDirsRequest()
		req.Version = version
		t := kmsg.NewDescribeLogDirsRequestTopic()
		t.Topic, t.Partitions = name, partitions
		req.Topics = append(req.Topics, t)
		resp := do[*kmsg.DescribeLogDirsResponse](s.quiet(), req)
		saw := errorName(resp.ErrorCode)
		for _, d := range resp.Dirs[:min(1, len(resp.Dirs))] { // Forebay has others for the stores
			saw += " dir " + errorName(d.ErrorCode)
			for _, t := range d.Topics {
				for _, p := range t.Partitions {
					saw += fmt.Sprintf(" %d: lag %d future %t", p.Partition, p.OffsetLag, p.IsFuture)
				}
			}
		}
		s.note(fmt.Sprintf("DescribeLogDirs v%d of partitions %v", version, partitions), saw)
	}
	for version := int16(0); version <= 4; version++ {
		ask(version, topic, 0)
	}
	ask(4, topic, 9)
	ask(4, s.name("unknown"), 0)
	ask(4, topic)
}

func adminElect(s *session) {
	topic := s.topic("t", 2)
	ask := func(version int16, kind int8, name string, partitions ...int32) {
		req := kmsg.NewPtrElectLeadersRequest()
		req.Version, req.ElectionType, req.TimeoutMillis = version, kind, 10000
		t := kmsg.NewElectLeadersRequestTopic()
		t.Topic, t.Partitions = name, partitions
		req.Topics = append(req.Topics, t)
		s.send(req)
	}
	for version := int16(0); version <= 2; version++ {
		ask(version, 0, topic, 0, 1, 7)
	}
	ask(2, 1, topic, 0)
	ask(2, 2, topic, 0)
	ask(2, -1, topic, 0)
	ask(2, 0, s.name("unknown"), 0)
	ask(2, 0, topic)
}

func adminReassign(s *session) {
	topic, node := s.topic("t", 2), s.node()
	ask := func(name string, partition int32, replicas []int32) {
		req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
		req.TimeoutMillis = 10000
		t := kmsg.NewAlterPartitionAssignmentsRequestTopic()
		t.Topic = name
		p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
		p.Partition, p.Replicas = partition, replicas
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
		s.send(req)
	}
	ask(topic, 0, []int32{node})
	ask(topic, 0, nil)
	ask(topic, 0, []int32{})
	ask(topic, 0, []int32{77})
	ask(topic, 0, []int32{node, node})
	ask(topic, 0, []int32{-1})
	ask(topic, 9, []int32{node})
	ask(topic, -1, []int32{node})
	ask(s.name("unknown"), 0, []int32{node})
	ask("", 0, []int32{node})
	list := kmsg.NewPtrListPartitionReassignmentsRequest()
	list.TimeoutMillis = 10000
	s.send(list)
	t := kmsg.NewListPartitionReassignmentsRequestTopic()
	t.Topic, t.Partitions = topic, []int32{0, 9}
	list.Topics = append(list.Topics, t)
	s.send(list)
	list.Topics[0].Topic = s.name("unknown")
	s.send(list)
}

func adminCluster(s *session) {
	for version := int16(0); version <= 2; version++ {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.Version, req.IncludeClusterAuthorizedOperations = version, version == 0
		s.send(req)
	}
	for _, kind := range []int8{0, 2, 3} {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.Version, req.EndpointType = 1, kind
		s.send(req)
	}
}

func adminAPIVersions(s *session) {
	for _, version := range []int16{0, 1, 2, 3, 4} {
		req := kmsg.NewPtrApiVersionsRequest()
		req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = version, "differential", "1"
		resp := do[*kmsg.ApiVersionsResponse](s.quiet(), req)
		s.note(describe(req), fmt.Sprint(errorName(resp.ErrorCode), len(resp.ApiKeys) > 30))
		if version != 4 {
			continue
		}
		ranges := map[int16]string{}
		for _, k := range resp.ApiKeys {
			ranges[k.ApiKey] = fmt.Sprintf("%d-%d", k.MinVersion, k.MaxVersion)
		}
		for key := range int16(100) {
			if kmsg.RequestForKey(key) != nil {
				s.note(fmt.Sprintf("versions of key %d %s", key, kmsg.Key(key).Name()), ranges[key])
			}
		}
	}
	for _, c := range [][2]string{{"", "1"}, {"x", ""}, {"bad name", "1"}, {"-x", "1"}, {"x", "1 2"}, {"a_b", "1"}} {
		req := kmsg.NewPtrApiVersionsRequest()
		req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = 3, c[0], c[1]
		resp := do[*kmsg.ApiVersionsResponse](s.quiet(), req)
		s.note(fmt.Sprintf("software %q %q", c[0], c[1]), errorName(resp.ErrorCode))
	}
}

func adminACLs(s *session) {
	describe := kmsg.NewPtrDescribeACLsRequest()
	describe.Version, describe.ResourceType, describe.ResourcePatternType = 3, 1, 1
	describe.Operation, describe.PermissionType = 1, 1
	s.send(describe)
	create := kmsg.NewPtrCreateACLsRequest()
	create.Version = 3
	c := kmsg.NewCreateACLsRequestCreation()
	c.ResourceType, c.ResourceName, c.ResourcePatternType, c.Principal, c.Host = 2, "t", 3, "User:a", "*"
	c.Operation, c.PermissionType = 3, 3
	create.Creations = append(create.Creations, c)
	s.send(create)
	remove := kmsg.NewPtrDeleteACLsRequest()
	remove.Version = 3
	f := kmsg.NewDeleteACLsRequestFilter()
	f.ResourceType, f.ResourcePatternType, f.Operation, f.PermissionType = 1, 1, 1, 1
	remove.Filters = append(remove.Filters, f)
	s.send(remove)
}

func adminQuotas(s *session) {
	for version := int16(0); version <= 1; version++ {
		req := kmsg.NewPtrDescribeClientQuotasRequest()
		req.Version = version
		s.send(req)
	}
	req := kmsg.NewPtrAlterClientQuotasRequest()
	req.Version, req.ValidateOnly = 1, true
	e := kmsg.NewAlterClientQuotasRequestEntry()
	entity := kmsg.NewAlterClientQuotasRequestEntryEntity()
	entity.Type, entity.Name = "user", ptr("a")
	op := kmsg.NewAlterClientQuotasRequestEntryOp()
	op.Key, op.Value = "producer_byte_rate", 1000
	e.Entity, e.Ops = append(e.Entity, entity), append(e.Ops, op)
	req.Entries = append(req.Entries, e)
	s.send(req)
	users := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
	s.send(users)
}

func adminUnregister(s *session) {
	for _, id := range []int32{77, -1} {
		req := kmsg.NewPtrUnregisterBrokerRequest()
		req.BrokerID = id
		s.send(req)
	}
}
