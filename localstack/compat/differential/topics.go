package differential

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var topicScenarios = []scenario{
	{"create", topicsCreate},
	{"create with assignment", topicsCreateAssigned},
	{"create with configs", topicsCreateConfigs},
	{"create versions", topicsCreateVersions},
	{"validate only", topicsValidateOnly},
	{"delete", topicsDelete},
	{"partitions", topicsPartitions},
	{"metadata", topicsMetadata},
	{"auto-create", topicsAutoCreate},
	{"names", topicsNames},
	{"describe topic partitions", topicsDescribePartitions},
}

// creation is the creation of one topic.
func creation(topic string, partitions int32, replicas int16) *kmsg.CreateTopicsRequest {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 7, 10000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, partitions, replicas
	req.Topics = append(req.Topics, t)
	return req
}

// configured adds a config to the first topic.
func configured(req *kmsg.CreateTopicsRequest, name string, value *string) *kmsg.CreateTopicsRequest {
	c := kmsg.NewCreateTopicsRequestTopicConfig()
	c.Name, c.Value = name, value
	req.Topics[0].Configs = append(req.Topics[0].Configs, c)
	return req
}

// create writes down what came of a creation: error, and for one that was done its numbers.
func (s *session) create(what string, req *kmsg.CreateTopicsRequest) {
	resp := do[*kmsg.CreateTopicsResponse](s.quiet(), req)
	fields := []field{{"topics", fmt.Sprint(len(resp.Topics))}}
	for _, t := range resp.Topics {
		fields = append(fields, field{
			fmt.Sprintf("%.40s", strings.TrimPrefix(t.Topic, s.prefix)),
			fmt.Sprintf("%s partitions %d replicas %d", errorName(t.ErrorCode), t.NumPartitions, t.ReplicationFactor),
		})
	}
	s.step("create "+what, fields)
}

func topicsCreate(s *session) {
	for i, c := range []struct {
		partitions int32
		replicas   int16
	}{{1, 1}, {0, 1}, {-1, 1}, {-2, 1}, {1, 0}, {1, -1}, {1, -2}, {1, 2}, {1, 32767}, {-1, -1}, {5, 1}} {
		s.create(fmt.Sprintf("%d, %d", c.partitions, c.replicas), creation(s.name(fmt.Sprint(i)), c.partitions, c.replicas))
	}
	s.create("again", creation(s.name("0"), 1, 1))
	twice := creation(s.name("twice"), 1, 1)
	twice.Topics = append(twice.Topics, twice.Topics[0])
	twice.Topics = append(twice.Topics, creation(s.name("beside"), 1, 1).Topics...)
	s.create("twice", twice)
	none := creation("x", 1, 1)
	none.Topics = nil
	s.create("none", none)
	s.settle()
	s.send(metadata(9, s.name("0"), s.name("1"), s.name("9"), s.name("10"), s.name("twice"), s.name("beside")))
}

func topicsCreateAssigned(s *session) {
	node := s.node()
	for _, c := range []struct {
		what       string
		partitions int32
		replicas   int16
		assigned   [][2][]int32
	}{
		{"sound", -1, -1, [][2][]int32{{{0}, {node}}, {{1}, {node}}}},
		{"with numbers", 2, 1, [][2][]int32{{{0}, {node}}, {{1}, {node}}}},
		{"with partitions", 1, -1, [][2][]int32{{{0}, {node}}}},
		{"with replicas", -1, 1, [][2][]int32{{{0}, {node}}}},
		{"gap", -1, -1, [][2][]int32{{{0}, {node}}, {{2}, {node}}}},
		{"not from 0", -1, -1, [][2][]int32{{{1}, {node}}}},
		{"negative", -1, -1, [][2][]int32{{{-1}, {node}}}},
		{"partition twice", -1, -1, [][2][]int32{{{0}, {node}}, {{0}, {node}}}},
		{"replica twice", -1, -1, [][2][]int32{{{0}, {node, node}}}},
		{"no replica", -1, -1, [][2][]int32{{{0}, {}}}},
		{"unknown replica", -1, -1, [][2][]int32{{{0}, {77}}}},
		{"negative replica", -1, -1, [][2][]int32{{{0}, {-1}}}},
		{"uneven", -1, -1, [][2][]int32{{{0}, {node}}, {{1}, {node, 77}}}},
	} {
		req := creation(s.name(strings.ReplaceAll(c.what, " ", "-")), c.partitions, c.replicas)
		for _, pair := range c.assigned {
			a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			a.Partition, a.Replicas = pair[0][0], pair[1]
			req.Topics[0].ReplicaAssignment = append(req.Topics[0].ReplicaAssignment, a)
		}
		s.create(c.what, req)
	}
}

// node is the id of the broker.
func (s *session) node() int32 {
	resp := do[*kmsg.MetadataResponse](s.quiet(), metadata(9))
	if len(resp.Brokers) != 1 {
		s.fail("%d brokers, want one", len(resp.Brokers))
	}
	return resp.Brokers[0].NodeID
}

// badConfigs are configs of topics with values of every kind.
var badConfigs = []struct {
	name  string
	value *string
}{
	{"cleanup.policy", ptr("compact")},
	{"cleanup.policy", ptr("compact,delete")},
	{"cleanup.policy", ptr("delete,compact,delete")},
	{"cleanup.policy", ptr("nonsense")},
	{"cleanup.policy", ptr("")},
	{"cleanup.policy", nil},
	{"retention.ms", ptr("-1")},
	{"retention.ms", ptr("-2")},
	{"retention.ms", ptr("x")},
	{"retention.ms", ptr("")},
	{"retention.ms", ptr(" 5000 ")},
	{"retention.ms", ptr("1.5")},
	{"retention.ms", ptr("9223372036854775807")},
	{"retention.ms", ptr("9223372036854775808")},
	{"retention.bytes", ptr("-5")},
	{"segment.bytes", ptr("1")},
	{"segment.bytes", ptr("1048576")},
	{"segment.bytes", ptr("2147483648")},
	{"segment.ms", ptr("0")},
	{"segment.ms", ptr("1")},
	{"max.message.bytes", ptr("-1")},
	{"max.message.bytes", ptr("0")},
	{"min.insync.replicas", ptr("0")},
	{"min.insync.replicas", ptr("5")},
	{"min.cleanable.dirty.ratio", ptr("1.1")},
	{"min.cleanable.dirty.ratio", ptr("0.3")},
	{"min.cleanable.dirty.ratio", ptr("-0.1")},
	{"compression.type", ptr("gzip")},
	{"compression.type", ptr("GZIP")},
	{"compression.type", ptr("brotli")},
	{"message.timestamp.type", ptr("LogAppendTime")},
	{"message.timestamp.type", ptr("logappendtime")},
	{"message.timestamp.before.max.ms", ptr("-1")},
	{"unclean.leader.election.enable", ptr("TRUE")},
	{"unclean.leader.election.enable", ptr("yes")},
	{"preallocate", ptr("false")},
	{"delete.retention.ms", ptr("-1")},
	{"file.delete.delay.ms", ptr("-1")},
	{"flush.messages", ptr("0")},
	{"flush.ms", ptr("-1")},
	{"index.interval.bytes", ptr("-1")},
	{"max.compaction.lag.ms", ptr("0")},
	{"min.compaction.lag.ms", ptr("-1")},
	{"segment.index.bytes", ptr("3")},
	{"segment.jitter.ms", ptr("-1")},
	{"leader.replication.throttled.replicas", ptr("*")},
	{"leader.replication.throttled.replicas", ptr("0:1,1:1")},
	{"leader.replication.throttled.replicas", ptr("nonsense")},
	{"remote.storage.enable", ptr("false")},
	{"remote.storage.enable", ptr("true")},
	{"local.retention.ms", ptr("-2")},
	{"local.retention.ms", ptr("-3")},
	{"message.format.version", ptr("2.0")},
	{"message.downconversion.enable", ptr("true")},
	{"no.such.config", ptr("1")},
	{"", ptr("1")},
}

// text says what a config is set to.
func text(value *string) string {
	if value == nil {
		return "null"
	}
	return fmt.Sprintf("%q", *value)
}

func topicsCreateConfigs(s *session) {
	for i, c := range badConfigs {
		s.create("with "+c.name+"="+text(c.value), configured(creation(s.name(fmt.Sprint(i)), 1, 1), c.name, c.value))
	}
	twice := configured(creation(s.name("twice"), 1, 1), "retention.ms", ptr("1000"))
	s.create("with a config twice", configured(twice, "retention.ms", ptr("2000")))
	s.create("with too short a lag", configured(configured(creation(s.name("lag"), 1, 1), "min.compaction.lag.ms", ptr("2000")), "max.compaction.lag.ms", ptr("1000")))
}

func topicsCreateVersions(s *session) {
	for version := int16(0); version <= 7; version++ {
		req := creation(s.name(fmt.Sprint(version)), 2, 1)
		req.Version = version
		req = configured(req, "retention.ms", ptr("1000"))
		resp := do[*kmsg.CreateTopicsResponse](s.quiet(), req)
		for i := range resp.Topics { // the configs are compared elsewhere
			resp.Topics[i].Configs = nil
		}
		s.answered(describe(req), resp, nil)
	}
	req := creation(s.name("defaults"), -1, -1)
	req.Version = 3
	s.create("with defaults before they are allowed", req)
}

func topicsValidateOnly(s *session) {
	for _, c := range []*kmsg.CreateTopicsRequest{creation(s.name("t"), 2, 1), creation("bad name", 1, 1), creation(s.name("t"), 1, 5)} {
		c.ValidateOnly = true
		s.create("validate only", c)
	}
	s.send(metadata(9, s.name("t")))
	existing := creation(s.topic("existing", 1), 1, 1)
	existing.ValidateOnly = true
	s.create("validate only, existing", existing)
}

func topicsDelete(s *session) {
	remove := func(version int16, names ...string) {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.Version, req.TimeoutMillis, req.TopicNames = version, 10000, names
		for _, name := range names {
			t := kmsg.NewDeleteTopicsRequestTopic()
			t.Topic = ptr(name)
			req.Topics = append(req.Topics, t)
		}
		s.send(req)
	}
	for version := int16(0); version <= 6; version++ {
		name := s.topic(fmt.Sprint(version), 1)
		remove(version, name)
		remove(version, name)
	}
	remove(5, s.name("unknown"), "bad name", "", strings.Repeat("x", 300))
	remove(6, s.name("unknown"), "bad name", "", strings.Repeat("x", 300))
	name := s.topic("twice", 1)
	remove(6, name, name)
	byID := kmsg.NewPtrDeleteTopicsRequest()
	byID.Version, byID.TimeoutMillis = 6, 10000
	for _, id := range [][16]byte{s.topicID(s.topic("id", 1)), {1, 2, 3}, {}} {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.TopicID = id
		byID.Topics = append(byID.Topics, t)
	}
	s.send(byID)
	both := kmsg.NewPtrDeleteTopicsRequest()
	both.Version, both.TimeoutMillis = 6, 10000
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.Topic, t.TopicID = ptr(s.topic("both", 1)), s.topicID(s.name("both"))
	both.Topics = append(both.Topics, t)
	s.send(both)
	remove(6)
	gone := s.topic("gone", 1)
	remove(6, gone)
	s.settle()
	s.send(produce(gone, 0, encode(newBatch("v"))))
	s.send(fetch(12, gone, 0, 0))
	s.send(listOffsets(7, 0, gone, 0, -1, -1))
}

func topicsPartitions(s *session) {
	topic, node := s.topic("t", 2), s.node()
	grow := func(name string, count int32, validate bool, assigned ...[]int32) {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Version, req.TimeoutMillis, req.ValidateOnly = 3, 10000, validate
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic, t.Count = name, count
		for _, replicas := range assigned {
			a := kmsg.NewCreatePartitionsRequestTopicAssignment()
			a.Replicas = replicas
			t.Assignment = append(t.Assignment, a)
		}
		req.Topics = append(req.Topics, t)
		s.send(req)
	}
	for _, count := range []int32{2, 1, 0, -1, -5} {
		grow(topic, count, false)
	}
	grow(s.name("unknown"), 3, false)
	grow("", 3, false)
	grow(topic, 3, true)
	grow(topic, 3, false, []int32{node})
	grow(topic, 4, false, []int32{node, node})
	grow(topic, 4, false, []int32{77})
	grow(topic, 4, false, []int32{})
	grow(topic, 4, false, []int32{node}, []int32{node})
	grow(topic, 6, false, []int32{node})
	grow(topic, 5, false)
	s.settle()
	s.send(metadata(9, topic))
	twice := kmsg.NewPtrCreatePartitionsRequest()
	twice.Version, twice.TimeoutMillis = 3, 10000
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = topic, 7
	twice.Topics = append(twice.Topics, t, t)
	s.send(twice)
	for version := int16(0); version <= 2; version++ {
		req := kmsg.NewPtrCreatePartitionsRequest()
		req.Version, req.TimeoutMillis = version, 10000
		t.Count = 8 + int32(version)
		req.Topics = append(req.Topics, t)
		s.send(req)
	}
}

func topicsMetadata(s *session) {
	topic := s.topic("t", 2)
	for version := int16(0); version <= 13; version++ {
		req := metadata(version, topic, s.name("unknown"))
		req.IncludeTopicAuthorizedOperations, req.IncludeClusterAuthorizedOperations = version == 8, version == 8
		if version < 4 {
			req.Topics = req.Topics[:1] // these versions create what is unknown
		}
		s.send(req)
	}
	none := metadata(9)
	none.Topics = []kmsg.MetadataRequestTopic{}
	s.send(none)
	for _, id := range [][16]byte{s.topicID(topic), {1, 2, 3}} {
		req := metadata(12)
		t := kmsg.NewMetadataRequestTopic()
		t.TopicID = id
		req.Topics = append(req.Topics, t)
		s.send(req)
	}
	both := metadata(12, topic)
	both.Topics[0].TopicID = s.topicID(topic)
	s.send(both)
	twice := metadata(9, topic, topic)
	s.send(twice)
	nothing := metadata(12)
	nothing.Topics = append(nothing.Topics, kmsg.NewMetadataRequestTopic())
	s.send(nothing)
	id := metadata(10)
	t := kmsg.NewMetadataRequestTopic()
	t.TopicID = s.topicID(topic)
	id.Topics = append(id.Topics, t)
	s.send(id)
}

func topicsAutoCreate(s *session) {
	for version := int16(0); version <= 13; version++ {
		for _, allow := range []bool{false, true} {
			name := s.name(fmt.Sprintf("v%d-%t", version, allow))
			req := metadata(version, name)
			req.AllowAutoTopicCreation = allow
			do[*kmsg.MetadataResponse](s.quiet(), req) // the first answer says either that it is there or that it will be
			if allow || version < 4 {
				s.await("the topic", func() bool { return s.served(name, 1) })
			}
			s.send(metadata(12, name))
		}
	}
	for _, bad := range []string{"", ".", "..", "a b", "ä", strings.Repeat("x", 250)} {
		req := metadata(9, bad)
		req.AllowAutoTopicCreation = true
		s.answered(fmt.Sprintf("auto-create %.20q", bad), do[*kmsg.MetadataResponse](s.quiet(), req), nil)
	}
}

func topicsNames(s *session) {
	for _, name := range []string{"", ".", "..", "a b", "a/b", "a\x00b", "ä", strings.Repeat("y", 249), strings.Repeat("x", 250), "__consumer_offsets", "a:b", "-", "_", "..."} {
		req := creation(name, 1, 1)
		req.ValidateOnly = true
		s.create(fmt.Sprintf("%.20q", name), req)
	}
	s.topic("dot.ted", 1)
	s.create("a name that collides", creation(s.name("dot_ted"), 1, 1))
}

func topicsDescribePartitions(s *session) {
	a, b := s.topic("a", 3), s.topic("b", 2)
	ask := func(limit int32, cursor *kmsg.DescribeTopicPartitionsRequestCursor, names ...string) {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit, req.Cursor = limit, cursor
		for _, name := range names {
			t := kmsg.NewDescribeTopicPartitionsRequestTopic()
			t.Topic = name
			req.Topics = append(req.Topics, t)
		}
		s.send(req)
	}
	ask(2000, nil, a, b, s.name("unknown"), "bad name")
	ask(2, nil, a, b)
	ask(0, nil, a)
	ask(-1, nil, a)
	for _, c := range []struct {
		topic     string
		partition int32
	}{{a, 2}, {b, 1}, {a, 9}, {a, -1}, {s.name("unknown"), 0}} {
		cursor := kmsg.NewDescribeTopicPartitionsRequestCursor()
		cursor.Topic, cursor.Partition = c.topic, c.partition
		ask(2, &cursor, a, b)
	}
}
