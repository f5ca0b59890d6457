package broker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/batch"
)

const (
	ofTopic  = kmsg.ConfigResourceTypeTopic
	ofBroker = kmsg.ConfigResourceTypeBroker
	ofGroup  = kmsg.ConfigResourceTypeGroupConfig
)

// describe asks for configs of one resource, by name.
func (n *node) describe(typ kmsg.ConfigResourceType, name string, names ...string) (map[string]kmsg.DescribeConfigsResponseResourceConfig, error) {
	n.t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.SetVersion(4)
	req.IncludeSynonyms, req.IncludeDocumentation = true, true
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: typ, ResourceName: name, ConfigNames: names}}
	r := ask(n, req, kmsg.NewPtrDescribeConfigsResponse()).Resources[0]
	configs := make(map[string]kmsg.DescribeConfigsResponseResourceConfig)
	for _, c := range r.Configs {
		configs[c.Name] = c
	}
	return configs, kerr.ErrorForCode(r.ErrorCode)
}

// operation is one of IncrementalAlterConfigs.
func operation(op kmsg.IncrementalAlterConfigOp, name string, value *string) kmsg.IncrementalAlterConfigsRequestResourceConfig {
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Op, c.Name, c.Value = op, name, value
	return c
}

// change sends IncrementalAlterConfigs.
func (n *node) change(typ kmsg.ConfigResourceType, name string, only bool, ops ...kmsg.IncrementalAlterConfigsRequestResourceConfig) error {
	n.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.SetVersion(1)
	req.ValidateOnly = only
	req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: typ, ResourceName: name, Configs: ops}}
	return kerr.ErrorForCode(ask(n, req, kmsg.NewPtrIncrementalAlterConfigsResponse()).Resources[0].ErrorCode)
}

// Operations of IncrementalAlterConfigs.
const (
	set      = kmsg.IncrementalAlterConfigOpSet
	remove   = kmsg.IncrementalAlterConfigOpDelete
	add      = kmsg.IncrementalAlterConfigOpAppend
	subtract = kmsg.IncrementalAlterConfigOpSubtract
)

// sources are the values of a config with where they come from, the one that counts first.
func sources(c kmsg.DescribeConfigsResponseResourceConfig) (list []string) {
	for _, s := range c.ConfigSynonyms {
		list = append(list, s.Name+"="+*s.Value+" "+s.Source.String())
	}
	return list
}

func TestDescribeTopicConfigs(t *testing.T) {
	n := startNode(t, func(cfg *Config) { cfg.Defaults.Configs = map[string]string{"log.retention.hours": "2"} })
	n.mustCreate(wantTopic("t", 1, 1, with("segment.bytes", value("2000000"))))
	require.NoError(t, n.change(ofBroker, "1", false, operation(set, "log.segment.bytes", value("3000000"))))
	require.NoError(t, n.change(ofBroker, "", false, operation(set, "log.segment.bytes", value("4000000"))))
	configs, err := n.describe(ofTopic, "t")
	require.NoError(t, err)
	require.Len(t, configs, len(config.Topics()))

	got := configs["segment.bytes"]
	require.Equal(t, "2000000", *got.Value)
	require.Equal(t, kmsg.ConfigSourceDynamicTopicConfig, got.Source)
	require.Equal(t, kmsg.ConfigTypeInt, got.ConfigType)
	require.NotEmpty(t, *got.Documentation)
	require.False(t, got.ReadOnly)
	require.Equal(t, []string{
		"segment.bytes=2000000 DYNAMIC_TOPIC_CONFIG", "log.segment.bytes=3000000 DYNAMIC_BROKER_CONFIG",
		"log.segment.bytes=4000000 DYNAMIC_DEFAULT_BROKER_CONFIG", "log.segment.bytes=1073741824 DEFAULT_CONFIG",
	}, sources(got))

	got = configs["retention.ms"]
	require.Equal(t, "7200000", *got.Value, "hours count as milliseconds")
	require.Equal(t, kmsg.ConfigSourceStaticBrokerConfig, got.Source)

	some, err := n.describe(ofTopic, "t", "cleanup.policy", "no.such")
	require.NoError(t, err)
	require.Len(t, some, 1)
	require.Equal(t, []string{"log.cleanup.policy=delete DEFAULT_CONFIG"}, sources(some["cleanup.policy"]))
}

func TestDescribeConfigsErrors(t *testing.T) {
	n := startNode(t)
	for _, tc := range []struct {
		name string
		typ  kmsg.ConfigResourceType
		of   string
		want error
	}{
		{"unknown topic", ofTopic, "none", kerr.UnknownTopicOrPartition},
		{"invalid topic", ofTopic, "a b", kerr.InvalidTopicException},
		{"this broker", ofBroker, "1", nil},
		{"all brokers", ofBroker, "", nil},
		{"unknown broker", ofBroker, "7", kerr.BrokerIDNotRegistered},
		{"no broker", ofBroker, "x", kerr.InvalidRequest},
		{"group", ofGroup, "g", nil},
		{"no group", ofGroup, "", kerr.InvalidRequest},
		{"loggers", kmsg.ConfigResourceTypeBrokerLogger, "1", kerr.InvalidRequest},
		{"no type", 0, "t", kerr.InvalidRequest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := n.describe(tc.typ, tc.of)
			require.Equal(t, tc.want, err)
		})
	}
}

func TestBrokerConfigs(t *testing.T) {
	n := startNode(t, func(cfg *Config) { cfg.Rack, cfg.Defaults.NumPartitions, cfg.Groups.MaxSize = "a", 7, 5 })
	configs, err := n.describe(ofBroker, "1")
	require.NoError(t, err)
	for name, want := range map[string]string{
		"node.id": "1", "broker.rack": "a", "num.partitions": "7", "group.max.size": "5", "message.max.bytes": "1048588",
		"advertised.listeners": "PLAINTEXT://" + n.addr(), "log.retention.hours": "168",
	} {
		require.Equal(t, want, *configs[name].Value, name)
	}
	require.True(t, configs["num.partitions"].ReadOnly)
	require.Equal(t, kmsg.ConfigSourceStaticBrokerConfig, configs["num.partitions"].Source)
	require.Equal(t, kmsg.ConfigSourceDefaultConfig, configs["message.max.bytes"].Source)
	require.Nil(t, configs["log.retention.ms"].Value, "it has no value")

	all, err := n.describe(ofBroker, "")
	require.NoError(t, err)
	require.Empty(t, all)
	require.NoError(t, n.change(ofBroker, "", false, operation(set, "log.retention.ms", value("5"))))
	all, err = n.describe(ofBroker, "")
	require.NoError(t, err)
	require.Equal(t, []string{"log.retention.ms"}, keysOf(all))
	configs, err = n.describe(ofBroker, "1", "log.retention.ms")
	require.NoError(t, err)
	require.Equal(t, kmsg.ConfigSourceDynamicDefaultBrokerConfig, configs["log.retention.ms"].Source)
}

func keysOf[V any](m map[string]V) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

func TestIncrementalAlterConfigs(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	for _, tc := range []struct {
		name string
		typ  kmsg.ConfigResourceType
		of   string
		ops  []kmsg.IncrementalAlterConfigsRequestResourceConfig
		want error
		conf map[string]string // of the topic afterwards
	}{
		{"set", ofTopic, "t", ops(operation(set, "retention.ms", value("5")), operation(set, "segment.ms", value("6"))), nil, map[string]string{"retention.ms": "5", "segment.ms": "6"}},
		{"delete", ofTopic, "t", ops(operation(remove, "segment.ms", nil)), nil, map[string]string{"retention.ms": "5"}},
		{"delete what is not set", ofTopic, "t", ops(operation(remove, "segment.ms", nil)), nil, map[string]string{"retention.ms": "5"}},
		{"delete what does not exist", ofTopic, "t", ops(operation(remove, "no.such", nil)), kerr.InvalidConfig, nil},
		{"append to the default", ofTopic, "t", ops(operation(add, "cleanup.policy", value("compact"))), nil, map[string]string{"retention.ms": "5", "cleanup.policy": "delete,compact"}},
		{"append again", ofTopic, "t", ops(operation(add, "cleanup.policy", value("compact"))), nil, map[string]string{"retention.ms": "5", "cleanup.policy": "delete,compact"}},
		{"subtract", ofTopic, "t", ops(operation(subtract, "cleanup.policy", value("delete"))), nil, map[string]string{"retention.ms": "5", "cleanup.policy": "compact"}},
		{"append what is not valid", ofTopic, "t", ops(operation(add, "cleanup.policy", value("burn"))), kerr.InvalidConfig, nil},
		{"append to what is no list", ofTopic, "t", ops(operation(add, "retention.ms", value("5"))), kerr.InvalidConfig, nil},
		{"subtract from what is no list", ofTopic, "t", ops(operation(subtract, "retention.ms", value("5"))), kerr.InvalidConfig, nil},
		{"null", ofTopic, "t", ops(operation(set, "retention.ms", nil)), kerr.InvalidRequest, nil},
		{"twice", ofTopic, "t", ops(operation(set, "retention.ms", value("5")), operation(remove, "retention.ms", nil)), kerr.InvalidRequest, nil},
		{"unknown operation", ofTopic, "t", ops(operation(9, "retention.ms", value("5"))), kerr.InvalidRequest, nil},
		{"unknown config", ofTopic, "t", ops(operation(set, "no.such", value("5"))), kerr.InvalidConfig, nil},
		{"one of two is invalid", ofTopic, "t", ops(operation(set, "retention.ms", value("9")), operation(set, "segment.ms", value("x"))), kerr.InvalidConfig, nil},
		{"unknown topic", ofTopic, "none", ops(operation(set, "retention.ms", value("5"))), kerr.UnknownTopicOrPartition, nil},
		{"read-only", ofBroker, "1", ops(operation(set, "num.partitions", value("5"))), kerr.InvalidRequest, nil},
		{"unknown broker config", ofBroker, "1", ops(operation(set, "no.such", value("5"))), kerr.InvalidConfig, nil},
		{"group", ofGroup, "g", ops(operation(set, "consumer.session.timeout.ms", value("50000"))), nil, nil},
		{"invalid group config", ofGroup, "g", ops(operation(set, "consumer.session.timeout.ms", value("0"))), kerr.InvalidConfig, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := n.meta.Image()
			require.Equal(t, tc.want, n.change(tc.typ, tc.of, true, tc.ops...), "validation says the same")
			require.Same(t, before, n.meta.Image())
			require.Equal(t, tc.want, n.change(tc.typ, tc.of, false, tc.ops...))
			topic, _ := n.meta.Image().Topic("t")
			if tc.want != nil {
				require.Same(t, before, n.meta.Image())
			} else if tc.conf != nil {
				require.Equal(t, tc.conf, topic.Configs)
			}
		})
	}
	require.Equal(t, map[string]string{"consumer.session.timeout.ms": "50000"}, n.meta.Image().Config(metalog.Resource{Type: metalog.ResourceGroup, Name: "g"}))
	configs, err := n.describe(ofGroup, "g")
	require.NoError(t, err)
	require.Equal(t, kmsg.ConfigSourceGroupConfig, configs["consumer.session.timeout.ms"].Source)
}

func ops(list ...kmsg.IncrementalAlterConfigsRequestResourceConfig) []kmsg.IncrementalAlterConfigsRequestResourceConfig {
	return list
}

func TestAlterConfigs(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1, with("retention.ms", value("5")), with("segment.ms", value("6"))), wantTopic("u", 1, 1))
	alter := func(version int16, only bool, resources ...kmsg.AlterConfigsRequestResource) (errs []error) {
		req := kmsg.NewPtrAlterConfigsRequest()
		req.SetVersion(version)
		req.Resources, req.ValidateOnly = resources, only
		for _, r := range ask(n, req, kmsg.NewPtrAlterConfigsResponse()).Resources {
			errs = append(errs, kerr.ErrorForCode(r.ErrorCode))
		}
		return errs
	}
	topic := func(name string, pairs ...string) kmsg.AlterConfigsRequestResource {
		r := kmsg.AlterConfigsRequestResource{ResourceType: ofTopic, ResourceName: name}
		for i := 0; i < len(pairs); i += 2 {
			r.Configs = append(r.Configs, kmsg.AlterConfigsRequestResourceConfig{Name: pairs[i], Value: &pairs[i+1]})
		}
		return r
	}
	before := n.meta.Image()
	for v := int16(0); v <= 2; v++ {
		require.Equal(t, []error{nil}, alter(v, true, topic("t", "retention.ms", "7")))
		require.Equal(t, []error{kerr.InvalidConfig}, alter(v, false, topic("t", "retention.ms", "7", "no.such", "1")))
		require.Equal(t, []error{kerr.InvalidRequest}, alter(v, false, topic("t", "retention.ms", "7", "retention.ms", "8")))
		require.Equal(t, []error{kerr.InvalidRequest, kerr.InvalidRequest}, alter(v, false, topic("t"), topic("t")))
		null := topic("t", "retention.ms", "7")
		null.Configs[0].Value = nil
		require.Equal(t, []error{kerr.InvalidRequest}, alter(v, false, null))
	}
	require.Same(t, before, n.meta.Image())
	require.Equal(t, []error{nil, kerr.UnknownTopicOrPartition, nil},
		alter(2, false, topic("t", "retention.ms", "7"), topic("none"), topic("u", "segment.ms", "9")))
	changed, _ := n.meta.Image().Topic("t")
	require.Equal(t, map[string]string{"retention.ms": "7"}, changed.Configs, "what is not named is removed")
	changed, _ = n.meta.Image().Topic("u")
	require.Equal(t, map[string]string{"segment.ms": "9"}, changed.Configs)
}

// What counts for a topic follows its own configs and those of the brokers at once.
func TestTopicConfigFollowsChanges(t *testing.T) {
	n := startNode(t, func(cfg *Config) { cfg.Defaults.MessageMaxBytes = 1000 })
	n.mustCreate(wantTopic("t", 1, 1))
	limit := func() int32 {
		topic, ok := n.meta.Image().Topic("t")
		require.True(t, ok)
		return n.topicConfig(topic).MaxMessageBytes
	}
	require.Equal(t, int32(1000), limit())
	require.NoError(t, n.change(ofBroker, "", false, operation(set, "message.max.bytes", value("2000"))))
	require.Equal(t, int32(2000), limit())
	require.NoError(t, n.change(ofBroker, "1", false, operation(set, "message.max.bytes", value("3000"))))
	require.Equal(t, int32(3000), limit())
	require.NoError(t, n.change(ofTopic, "t", false, operation(set, "max.message.bytes", value("4000"))))
	require.Equal(t, int32(4000), limit())
	require.NoError(t, n.change(ofTopic, "t", false, operation(remove, "max.message.bytes", nil)))
	require.Equal(t, int32(3000), limit())
}

func TestProduceRules(t *testing.T) {
	now := time.Unix(1000, 0)
	rules := func(configs map[string]string) batch.Rules {
		return topicConfig{config.Resolve(config.Layers{Resource: configs, Source: config.DynamicTopic})}.rules(now)
	}
	require.Equal(t, batch.Rules{MaxBytes: 1<<20 + 12, AfterMaxMs: 3_600_000, Now: now}, rules(nil))
	require.Equal(t, batch.Rules{
		MaxBytes: 1, AfterMaxMs: 1, BeforeMaxMs: 5, Now: now, Compacted: true, TimestampType: batch.LogAppendTime,
	}, rules(map[string]string{
		"max.message.bytes": "0", "message.timestamp.after.max.ms": "0", "message.timestamp.before.max.ms": "5",
		"cleanup.policy": "compact,delete", "message.timestamp.type": "LogAppendTime",
	}))
}

func TestListConfigResources(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	for _, g := range []string{"h", "g"} {
		require.NoError(t, n.change(kmsg.ConfigResourceTypeGroupConfig, g, false, operation(kmsg.IncrementalAlterConfigOpSet, "consumer.session.timeout.ms", value("50000"))))
	}
	for _, tc := range []struct {
		name    string
		version int16
		types   []int8
		want    []string
		err     error
	}{
		{"client metrics", 0, nil, nil, nil},
		{"all", 1, nil, []string{"t TOPIC", "1 BROKER", "g GROUP_CONFIG", "h GROUP_CONFIG"}, nil},
		{"groups", 1, []int8{32}, []string{"g GROUP_CONFIG", "h GROUP_CONFIG"}, nil},
		{"brokers", 1, []int8{4}, []string{"1 BROKER"}, nil},
		{"each type once", 1, []int8{2, 2, 16}, []string{"t TOPIC"}, nil},
		{"unknown", 1, []int8{2, 99}, nil, kerr.UnsupportedVersion},
	} {
		t.Run(tc.name, func(t *testing.T) {
			req := kmsg.NewPtrListConfigResourcesRequest()
			req.SetVersion(tc.version)
			req.ResourceTypes = tc.types
			resp := ask(n, req, kmsg.NewPtrListConfigResourcesResponse())
			require.Equal(t, tc.err, kerr.ErrorForCode(resp.ErrorCode))
			var got []string
			for _, r := range resp.ConfigResources {
				got = append(got, r.Name+" "+kmsg.ConfigResourceType(r.Type).String())
			}
			require.Equal(t, tc.want, got)
		})
	}
}
