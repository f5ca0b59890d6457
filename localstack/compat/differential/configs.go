package differential

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var configScenarios = []scenario{
	{"describe topic", configsDescribe},
	{"describe broker", configsDescribeBroker},
	{"describe errors", configsDescribeErrors},
	{"incremental", configsIncremental},
	{"incremental values", configsIncrementalValues},
	{"alter", configsAlter},
	{"alter errors", configsAlterErrors},
	{"groups", configsGroups},
}

func describeConfigs(version int16, kind kmsg.ConfigResourceType, name string, configs ...string) *kmsg.DescribeConfigsRequest {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version, req.IncludeSynonyms = version, true
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, configs
	req.Resources = append(req.Resources, r)
	return req
}

type setting struct {
	name  string
	op    kmsg.IncrementalAlterConfigOp
	value *string
}

func incremental(kind kmsg.ConfigResourceType, name string, settings ...setting) *kmsg.IncrementalAlterConfigsRequest {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Version = 1
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for _, set := range settings {
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Op, c.Value = set.name, set.op, set.value
		r.Configs = append(r.Configs, c)
	}
	req.Resources = append(req.Resources, r)
	return req
}

func alter(kind kmsg.ConfigResourceType, name string, settings ...setting) *kmsg.AlterConfigsRequest {
	req := kmsg.NewPtrAlterConfigsRequest()
	req.Version = 2
	r := kmsg.NewAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for _, set := range settings {
		c := kmsg.NewAlterConfigsRequestResourceConfig()
		c.Name, c.Value = set.name, set.value
		r.Configs = append(r.Configs, c)
	}
	req.Resources = append(req.Resources, r)
	return req
}

// The kinds of resources.
const (
	onTopic  = kmsg.ConfigResourceTypeTopic
	onBroker = kmsg.ConfigResourceTypeBroker
	onGroup  = kmsg.ConfigResourceTypeGroupConfig
)

func configsDescribe(s *session) {
	topic := s.topic("t", 1, "retention.ms", "1000", "cleanup.policy", "compact")
	for version := int16(0); version <= 4; version++ {
		s.send(describeConfigs(version, onTopic, topic, "retention.ms", "cleanup.policy", "max.message.bytes", "min.insync.replicas", "no.such"))
	}
	all := do[*kmsg.DescribeConfigsResponse](s.quiet(), describeConfigs(4, onTopic, topic))
	var fields []field
	for _, r := range all.Resources {
		for _, c := range r.Configs {
			fields = append(fields, field{c.Name, fmt.Sprintf("%s type %d source %d read only %t sensitive %t",
				text(c.Value), c.ConfigType, c.Source, c.ReadOnly, c.IsSensitive)})
		}
	}
	s.step("all configs", fields)
	none := describeConfigs(4, onTopic, topic)
	none.Resources[0].ConfigNames = []string{}
	none.IncludeSynonyms = false
	resp := do[*kmsg.DescribeConfigsResponse](s.quiet(), none)
	s.note("described with an empty list of names", fmt.Sprint(len(resp.Resources) == 1 && len(resp.Resources[0].Configs) > 0))
}

func configsDescribeBroker(s *session) {
	node := fmt.Sprint(s.node())
	names := []string{
		"message.max.bytes", "log.retention.ms", "log.retention.hours", "num.partitions", "auto.create.topics.enable", "node.id",
		"min.insync.replicas", "log.segment.bytes", "log.cleanup.policy", "offsets.retention.minutes", "no.such",
	}
	for _, name := range []string{node, ""} {
		s.send(describeConfigs(4, onBroker, name, names...))
	}
	change := incremental(onBroker, "", setting{"log.retention.ms", 0, ptr("777600000")})
	change.ValidateOnly = true
	s.send(change)
}

func configsDescribeErrors(s *session) {
	s.send(describeConfigs(4, onTopic, s.name("unknown")))
	s.send(describeConfigs(4, onTopic, ""))
	s.send(describeConfigs(4, onTopic, "bad name"))
	s.send(describeConfigs(4, onBroker, "77"))
	s.send(describeConfigs(4, onBroker, "x"))
	s.send(describeConfigs(4, onBroker, "-1"))
	s.send(describeConfigs(4, onGroup, ""))
	for _, kind := range []kmsg.ConfigResourceType{0, 1, 3, 5, 99, -1} {
		s.send(describeConfigs(4, kind, "x"))
	}
	none := describeConfigs(4, onTopic, "x")
	none.Resources = nil
	s.send(none)
}

func configsIncremental(s *session) {
	topic := s.topic("t", 1)
	state := func() {
		s.settle()
		s.send(describeConfigs(4, onTopic, topic, "retention.ms", "cleanup.policy", "segment.ms"))
	}
	s.send(incremental(onTopic, topic, setting{"retention.ms", 0, ptr("1000")}, setting{"segment.ms", 0, ptr("5000")}))
	state()
	s.send(incremental(onTopic, topic, setting{"cleanup.policy", 2, ptr("compact")}))
	state()
	s.send(incremental(onTopic, topic, setting{"cleanup.policy", 2, ptr("compact")}))
	s.send(incremental(onTopic, topic, setting{"cleanup.policy", 3, ptr("delete")}))
	state()
	s.send(incremental(onTopic, topic, setting{"cleanup.policy", 3, ptr("absent")}))
	s.send(incremental(onTopic, topic, setting{"retention.ms", 1, nil}))
	s.send(incremental(onTopic, topic, setting{"retention.ms", 1, nil}))
	state()
	s.send(incremental(onTopic, topic, setting{"retention.ms", 2, ptr("5")}))
	s.send(incremental(onTopic, topic, setting{"retention.ms", 3, ptr("5")}))
	s.send(incremental(onTopic, topic, setting{"retention.ms", 4, ptr("5")}))
	s.send(incremental(onTopic, topic, setting{"retention.ms", -1, ptr("5")}))
	s.send(incremental(onTopic, topic, setting{"retention.ms", 0, nil}))
	s.send(incremental(onTopic, topic, setting{"retention.ms", 0, ptr("1")}, setting{"retention.ms", 0, ptr("2")}))
	s.send(incremental(onTopic, topic, setting{"retention.ms", 0, ptr("1")}, setting{"retention.ms", 1, nil}))
	s.send(incremental(onTopic, topic, setting{"retention.ms", 0, ptr("9")}, setting{"no.such", 0, ptr("2")}))
	only := incremental(onTopic, topic, setting{"retention.ms", 0, ptr("4")})
	only.ValidateOnly = true
	s.send(only)
	state()
	s.send(incremental(onTopic, topic))
	s.send(incremental(onTopic, s.name("unknown"), setting{"retention.ms", 0, ptr("4")}))
	s.send(incremental(onTopic, "", setting{"retention.ms", 0, ptr("4")}))
	s.send(incremental(onTopic, "bad name", setting{"retention.ms", 0, ptr("4")}))
	for _, kind := range []kmsg.ConfigResourceType{0, 3, 99} {
		s.send(incremental(kind, "x", setting{"retention.ms", 0, ptr("4")}))
	}
	twice := incremental(onTopic, topic, setting{"retention.ms", 0, ptr("4")})
	twice.Resources = append(twice.Resources, twice.Resources[0])
	s.send(twice)
	state()
}

func configsIncrementalValues(s *session) {
	topic := s.topic("t", 1)
	for _, c := range badConfigs {
		req := incremental(onTopic, topic, setting{c.name, 0, c.value})
		req.ValidateOnly = true
		resp := do[*kmsg.IncrementalAlterConfigsResponse](s.quiet(), req)
		for _, r := range resp.Resources {
			s.note("set "+c.name+" to "+text(c.value), errorName(r.ErrorCode))
		}
	}
}

func configsAlter(s *session) {
	topic := s.topic("t", 1, "segment.ms", "5000")
	state := func() {
		s.settle()
		s.send(describeConfigs(4, onTopic, topic, "retention.ms", "segment.ms"))
	}
	s.send(alter(onTopic, topic, setting{"retention.ms", 0, ptr("1000")}))
	state()
	only := alter(onTopic, topic)
	only.ValidateOnly = true
	s.send(only)
	state()
	s.send(alter(onTopic, topic, setting{"retention.ms", 0, nil}))
	s.send(alter(onTopic, topic, setting{"retention.ms", 0, ptr("x")}))
	s.send(alter(onTopic, topic, setting{"no.such", 0, ptr("1")}))
	state()
	s.send(alter(onTopic, topic))
	state()
	for version := int16(0); version <= 1; version++ {
		req := alter(onTopic, topic, setting{"retention.ms", 0, ptr("3000")})
		req.Version = version
		s.send(req)
	}
	state()
}

func configsAlterErrors(s *session) {
	node := fmt.Sprint(s.node())
	s.send(alter(onTopic, s.name("unknown"), setting{"retention.ms", 0, ptr("1000")}))
	s.send(alter(onTopic, "", setting{"retention.ms", 0, ptr("1000")}))
	for _, c := range []setting{
		{"node.id", 0, ptr("7")},
		{"log.dirs", 0, ptr("/x")},
		{"no.such", 0, ptr("1")},
		{"message.max.bytes", 0, ptr("x")},
		{"message.max.bytes", 0, ptr("-1")},
		{"num.partitions", 0, ptr("3")},
		{"auto.create.topics.enable", 0, ptr("false")},
	} {
		for _, name := range []string{node, "", "77", "x"} {
			req := incremental(onBroker, name, c)
			req.ValidateOnly = true
			s.answered(fmt.Sprintf("set %s to %s of broker %q", c.name, text(c.value), name), do[*kmsg.IncrementalAlterConfigsResponse](s.quiet(), req), nil)
		}
	}
	none := alter(onTopic, "x")
	none.Resources = nil
	s.send(none)
}

func configsGroups(s *session) {
	group := s.group("g")
	s.send(incremental(onGroup, group, setting{"consumer.session.timeout.ms", 0, ptr("50000")}))
	s.settle()
	s.send(describeConfigs(4, onGroup, group, "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"))
	s.send(incremental(onGroup, group, setting{"consumer.session.timeout.ms", 0, ptr("x")}))
	s.send(incremental(onGroup, group, setting{"no.such", 0, ptr("5")}))
	s.send(incremental(onGroup, "", setting{"consumer.session.timeout.ms", 0, ptr("50000")}))
	s.send(incremental(onGroup, group, setting{"consumer.session.timeout.ms", 1, nil}))
	s.settle()
	s.send(describeConfigs(4, onGroup, group, "consumer.session.timeout.ms"))
	for version := int16(0); version <= 1; version++ {
		req := kmsg.NewPtrListConfigResourcesRequest()
		req.Version = version
		resp := do[*kmsg.ListConfigResourcesResponse](s.quiet(), req)
		s.note(describe(req), errorName(resp.ErrorCode))
	}
}
