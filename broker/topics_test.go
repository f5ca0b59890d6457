package broker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/id"
)

// wantTopic is a topic to create as the tests write it, -1 for the defaults.
func wantTopic(name string, partitions int32, rf int16, change ...func(*kmsg.CreateTopicsRequestTopic)) kmsg.CreateTopicsRequestTopic {
	rt := kmsg.NewCreateTopicsRequestTopic()
	rt.Topic, rt.NumPartitions, rt.ReplicationFactor = name, partitions, rf
	for _, f := range change {
		f(&rt)
	}
	return rt
}

// with sets a config; value nil is null.
func with(name string, value *string) func(*kmsg.CreateTopicsRequestTopic) {
	return func(rt *kmsg.CreateTopicsRequestTopic) {
		rc := kmsg.NewCreateTopicsRequestTopicConfig()
		rc.Name, rc.Value = name, value
		rt.Configs = append(rt.Configs, rc)
	}
}

// on assigns replicas to a partition.
func on(partition int32, replicas ...int32) func(*kmsg.CreateTopicsRequestTopic) {
	return func(rt *kmsg.CreateTopicsRequestTopic) {
		ra := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		ra.Partition, ra.Replicas = partition, replicas
		rt.ReplicaAssignment = append(rt.ReplicaAssignment, ra)
	}
}

func value(s string) *string { return &s }

// create sends CreateTopics.
func (n *node) create(version int16, only bool, topics ...kmsg.CreateTopicsRequestTopic) []kmsg.CreateTopicsResponseTopic {
	n.t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(version)
	req.Topics, req.ValidateOnly = topics, only
	return ask(n, req, kmsg.NewPtrCreateTopicsResponse()).Topics
}

// mustCreate creates topics.
func (n *node) mustCreate(topics ...kmsg.CreateTopicsRequestTopic) {
	n.t.Helper()
	for _, rt := range n.create(7, false, topics...) {
		require.NoError(n.t, kerr.ErrorForCode(rt.ErrorCode), rt.Topic)
	}
}

// mustDelete deletes a topic.
func (n *node) mustDelete(topic string) {
	n.t.Helper()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.SetVersion(5)
	req.TopicNames, req.TimeoutMillis = []string{topic}, 10_000
	for _, rt := range ask(n, req, kmsg.NewPtrDeleteTopicsResponse()).Topics {
		require.NoError(n.t, kerr.ErrorForCode(rt.ErrorCode), topic)
	}
}

func TestCreateTopics(t *testing.T) {
	n := startNode(t, func(cfg *Config) { cfg.Defaults.NumPartitions = 3 })
	n.mustCreate(wantTopic("exists", 1, 1), wantTopic("a.b", 1, 1))
	for _, tc := range []struct {
		name  string
		topic kmsg.CreateTopicsRequestTopic
		want  *kerr.Error
		parts int32
	}{
		{"given", wantTopic("given", 6, 1), nil, 6},
		{"defaults", wantTopic("defaults", -1, -1), nil, 3},
		{"assigned", wantTopic("assigned", -1, -1, on(1, 1), on(0, 1)), nil, 2},
		{"config", wantTopic("config", 1, 1, with("cleanup.policy", value("compact")), with("retention.ms", value("-1"))), nil, 1},
		{"longest", wantTopic(strings.Repeat("x", 249), 1, 1), nil, 1},
		{"internal", wantTopic("__consumer_offsets", 1, 1), nil, 1},
		{"exists", wantTopic("exists", 1, 1), kerr.TopicAlreadyExists, 0},
		{"empty", wantTopic("", 1, 1), kerr.InvalidTopicException, 0},
		{"dot", wantTopic(".", 1, 1), kerr.InvalidTopicException, 0},
		{"dots", wantTopic("..", 1, 1), kerr.InvalidTopicException, 0},
		{"too long", wantTopic(strings.Repeat("x", 250), 1, 1), kerr.InvalidTopicException, 0},
		{"space", wantTopic("a b", 1, 1), kerr.InvalidTopicException, 0},
		{"umlaut", wantTopic("ä", 1, 1), kerr.InvalidTopicException, 0},
		{"slash", wantTopic("a/b", 1, 1), kerr.InvalidTopicException, 0},
		{"collides", wantTopic("a_b", 1, 1), kerr.InvalidTopicException, 0},
		{"reserved", wantTopic("__cluster_metadata", 1, 1), kerr.InvalidRequest, 0},
		{"no partitions", wantTopic("x", 0, 1), kerr.InvalidPartitions, 0},
		{"negative partitions", wantTopic("x", -2, 1), kerr.InvalidPartitions, 0},
		{"too many partitions", wantTopic("x", 10_001, 1), kerr.PolicyViolation, 0},
		{"far too many partitions", wantTopic("x", 1<<31-1, 1), kerr.PolicyViolation, 0},
		{"no replicas", wantTopic("x", 1, 0), kerr.InvalidReplicationFactor, 0},
		{"more replicas than brokers", wantTopic("x", 1, 3), kerr.InvalidReplicationFactor, 0},
		{"unknown config", wantTopic("x", 1, 1, with("no.such", value("1"))), kerr.InvalidConfig, 0},
		{"broker config", wantTopic("x", 1, 1, with("log.retention.ms", value("1"))), kerr.InvalidConfig, 0},
		{"invalid config", wantTopic("x", 1, 1, with("retention.ms", value("-2"))), kerr.InvalidConfig, 0},
		{"null config", wantTopic("x", 1, 1, with("retention.ms", nil)), kerr.InvalidConfig, 0},
		{"config twice", wantTopic("x", 1, 1, with("retention.ms", value("1")), with("retention.ms", value("1"))), kerr.InvalidConfig, 0},
		{"durability of a cluster", wantTopic("x", 1, 1, with("forebay.durability", value("object"))), kerr.InvalidConfig, 0},
		{"assignment and partitions", wantTopic("x", 1, -1, on(0, 1)), kerr.InvalidRequest, 0},
		{"assignment and replicas", wantTopic("x", -1, 1, on(0, 1)), kerr.InvalidRequest, 0},
		{"assignment with a gap", wantTopic("x", -1, -1, on(0, 1), on(2, 1)), kerr.InvalidReplicaAssignment, 0},
		{"assignment twice", wantTopic("x", -1, -1, on(0, 1), on(0, 1)), kerr.InvalidReplicaAssignment, 0},
		{"assignment to nobody", wantTopic("x", -1, -1, on(0)), kerr.InvalidReplicaAssignment, 0},
		{"assignment to an unknown broker", wantTopic("x", -1, -1, on(0, 7)), kerr.InvalidReplicaAssignment, 0},
		{"assignment to one broker twice", wantTopic("x", -1, -1, on(0, 1, 1)), kerr.InvalidReplicaAssignment, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := len(n.meta.Image().Topics())
			rt := n.create(7, false, tc.topic)[0]
			if tc.want != nil {
				require.Equal(t, tc.want, kerr.ErrorForCode(rt.ErrorCode))
				require.NotEmpty(t, *rt.ErrorMessage)
				require.Len(t, n.meta.Image().Topics(), before)
				return
			}
			require.NoError(t, kerr.ErrorForCode(rt.ErrorCode))
			require.Nil(t, rt.ErrorMessage)
			require.Equal(t, tc.parts, rt.NumPartitions)
			require.Equal(t, int16(1), rt.ReplicationFactor)
			require.Len(t, rt.Configs, len(config.Topics()))
			created, ok := n.meta.Image().Topic(tc.topic.Topic)
			require.True(t, ok)
			require.Equal(t, created.ID, id.Topic(rt.TopicID), "the id is returned")
			require.Len(t, created.Partitions, int(tc.parts))
		})
	}
}

func TestCreateTopicsTogether(t *testing.T) {
	n := startNode(t)
	codes := func(topics []kmsg.CreateTopicsResponseTopic) (codes []error) {
		for _, rt := range topics {
			codes = append(codes, kerr.ErrorForCode(rt.ErrorCode))
		}
		return codes
	}
	require.Equal(t, []error{kerr.InvalidRequest, nil, kerr.InvalidRequest, kerr.InvalidTopicException},
		codes(n.create(7, false, wantTopic("twice", 1, 1), wantTopic("x.y", 1, 1), wantTopic("twice", 1, 1), wantTopic("x_y", 1, 1))))
	require.Equal(t, []error{kerr.PolicyViolation, kerr.PolicyViolation},
		codes(n.create(7, false, wantTopic("p", 6000, 1), wantTopic("q", 6000, 1))))

	many := make([]kmsg.CreateTopicsRequestTopic, 1000)
	for i := range many {
		many[i] = wantTopic(fmt.Sprintf("many-%d", i), 10, 1)
	}
	before := n.meta.Image().Version()
	n.mustCreate(many...)
	require.Len(t, n.meta.Image().Topics(), 1001)
	require.Less(t, n.meta.Image().Version()-before, uint64(20), "many topics share a slot")
}

func TestValidateOnlyChangesNothing(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	before := n.meta.Image().Version()
	for v := int16(2); v <= 7; v++ {
		got := n.create(v, true, wantTopic("new", 2, 1), wantTopic("t", 1, 1))
		require.NoError(t, kerr.ErrorForCode(got[0].ErrorCode))
		require.Equal(t, kerr.TopicAlreadyExists, kerr.ErrorForCode(got[1].ErrorCode))
		require.Zero(t, got[0].TopicID)
	}
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.SetVersion(3)
	grow.ValidateOnly = true
	grow.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "t", Count: 5}}
	require.Zero(t, ask(n, grow, kmsg.NewPtrCreatePartitionsResponse()).Topics[0].ErrorCode)
	require.Equal(t, before, n.meta.Image().Version())
}

func TestDeleteTopics(t *testing.T) {
	n := startNode(t)
	remove := func(version int16, topics ...kmsg.DeleteTopicsRequestTopic) []kmsg.DeleteTopicsResponseTopic {
		req := kmsg.NewPtrDeleteTopicsRequest()
		req.SetVersion(version)
		req.Topics = topics
		for _, rt := range topics {
			if rt.Topic != nil {
				req.TopicNames = append(req.TopicNames, *rt.Topic)
			}
		}
		return ask(n, req, kmsg.NewPtrDeleteTopicsResponse()).Topics
	}
	named := func(name string) kmsg.DeleteTopicsRequestTopic { return kmsg.DeleteTopicsRequestTopic{Topic: &name} }
	for v := int16(1); v <= 6; v++ {
		n.mustCreate(wantTopic("t", 1, 1), wantTopic("u", 1, 1))
		got := remove(v, named("t"), named("none"), named("u"), named("u"))
		require.Equal(t, []int16{0, kerr.UnknownTopicOrPartition.Code, kerr.InvalidRequest.Code, kerr.InvalidRequest.Code},
			[]int16{got[0].ErrorCode, got[1].ErrorCode, got[2].ErrorCode, got[3].ErrorCode}, "version %d", v)
		require.Len(t, n.meta.Image().Topics(), 1)
		require.Zero(t, remove(v, named("u"))[0].ErrorCode)
	}
	n.mustCreate(wantTopic("t", 1, 1))
	topic, _ := n.meta.Image().Topic("t")
	byID := kmsg.DeleteTopicsRequestTopic{TopicID: topic.ID}
	both := kmsg.DeleteTopicsRequestTopic{Topic: value("t"), TopicID: topic.ID}
	got := remove(6, both, kmsg.DeleteTopicsRequestTopic{}, byID)
	require.Equal(t, kerr.InvalidRequest.Code, got[0].ErrorCode)
	require.Equal(t, kerr.InvalidRequest.Code, got[1].ErrorCode)
	require.Zero(t, got[2].ErrorCode)
	require.Equal(t, "t", *got[2].Topic)
	require.Equal(t, kerr.UnknownTopicID.Code, remove(6, byID)[0].ErrorCode)
}

func TestCreatePartitions(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 2, 1))
	assigned := func(replicas ...[]int32) (list []kmsg.CreatePartitionsRequestTopicAssignment) {
		for _, r := range replicas {
			list = append(list, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: r})
		}
		return list
	}
	for _, tc := range []struct {
		name       string
		topic      string
		count      int32
		assignment []kmsg.CreatePartitionsRequestTopicAssignment
		want       error
		parts      int
	}{
		{"more", "t", 5, nil, nil, 5},
		{"assigned", "t", 6, assigned([]int32{1}), nil, 6},
		{"as many", "t", 6, nil, kerr.InvalidPartitions, 6},
		{"fewer", "t", 1, nil, kerr.InvalidPartitions, 6},
		{"negative", "t", -1, nil, kerr.InvalidPartitions, 6},
		{"far too many", "t", 1<<31 - 1, nil, kerr.InvalidPartitions, 6},
		{"unknown", "none", 3, nil, kerr.UnknownTopicOrPartition, 6},
		{"too few assigned", "t", 8, assigned([]int32{1}), kerr.InvalidReplicaAssignment, 6},
		{"assigned to an unknown broker", "t", 7, assigned([]int32{9}), kerr.InvalidReplicaAssignment, 6},
		{"assigned to more replicas", "t", 7, assigned([]int32{1, 2}), kerr.InvalidReplicaAssignment, 6},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for v := int16(0); v <= 3; v++ {
				if v > 0 && tc.want == nil {
					continue
				}
				req := kmsg.NewPtrCreatePartitionsRequest()
				req.SetVersion(v)
				req.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: tc.topic, Count: tc.count, Assignment: tc.assignment}}
				rt := ask(n, req, kmsg.NewPtrCreatePartitionsResponse()).Topics[0]
				require.Equal(t, tc.want, kerr.ErrorForCode(rt.ErrorCode))
			}
			topic, _ := n.meta.Image().Topic("t")
			require.Len(t, topic.Partitions, tc.parts)
		})
	}
}

func TestMetadata(t *testing.T) {
	n := startNode(t, func(cfg *Config) { cfg.Defaults.NumPartitions = 2 })
	n.mustCreate(wantTopic("a", 3, 1), wantTopic("b.c", 1, 1))
	a, _ := n.meta.Image().Topic("a")
	metadata := func(version int16, auto bool, topics ...kmsg.MetadataRequestTopic) *kmsg.MetadataResponse {
		req := kmsg.NewPtrMetadataRequest()
		req.SetVersion(version)
		req.Topics, req.AllowAutoTopicCreation = topics, auto
		return ask(n, req, kmsg.NewPtrMetadataResponse())
	}
	named := func(name string) kmsg.MetadataRequestTopic { return kmsg.MetadataRequestTopic{Topic: &name} }
	for v := int16(0); v <= 13; v++ {
		all := metadata(v, false)
		require.Len(t, all.Brokers, 1, "version %d", v)
		require.Len(t, all.Topics, 2)
		require.Equal(t, "a", *all.Topics[0].Topic)
		require.Len(t, all.Topics[0].Partitions, 3)
		for i, p := range all.Topics[0].Partitions {
			require.Equal(t, []int32{int32(i), 1}, []int32{p.Partition, p.Leader})
			require.Equal(t, []int32{1}, p.Replicas)
			require.Equal(t, p.Replicas, p.ISR)
		}
		if v > 0 {
			require.Equal(t, int32(1), all.ControllerID)
			empty := kmsg.NewPtrMetadataRequest()
			empty.SetVersion(v)
			empty.Topics = []kmsg.MetadataRequestTopic{}
			require.Empty(t, ask(n, empty, kmsg.NewPtrMetadataResponse()).Topics, "an empty list asks for none")
		}
		if v >= 4 {
			require.Equal(t, kerr.UnknownTopicOrPartition.Code, metadata(v, false, named("none")).Topics[0].ErrorCode)
		}
		auto := metadata(v, true, named("auto"), named("a"), named("bad name"), named("b_c"))
		require.Equal(t, []int16{0, 0, kerr.InvalidTopicException.Code, kerr.InvalidTopicException.Code},
			[]int16{auto.Topics[0].ErrorCode, auto.Topics[1].ErrorCode, auto.Topics[2].ErrorCode, auto.Topics[3].ErrorCode}, "version %d", v)
		require.Len(t, auto.Topics[0].Partitions, 2)
		del := kmsg.NewPtrDeleteTopicsRequest()
		del.SetVersion(1)
		del.TopicNames = []string{"auto"}
		require.Zero(t, ask(n, del, kmsg.NewPtrDeleteTopicsResponse()).Topics[0].ErrorCode)
	}
	byID := metadata(12, true, kmsg.MetadataRequestTopic{TopicID: a.ID}, kmsg.MetadataRequestTopic{TopicID: [16]byte{1}})
	require.Equal(t, "a", *byID.Topics[0].Topic)
	require.Equal(t, kerr.UnknownTopicID.Code, byID.Topics[1].ErrorCode)
	require.Nil(t, byID.Topics[1].Topic)
	require.Equal(t, kerr.InvalidRequest.Code, metadata(10, true, kmsg.MetadataRequestTopic{TopicID: a.ID}).Topics[0].ErrorCode)
	both := metadata(9, true, named("new.x"), named("new_x"))
	require.Zero(t, both.Topics[0].ErrorCode)
	require.Equal(t, kerr.InvalidTopicException.Code, both.Topics[1].ErrorCode)
}

func TestMetadataWithoutAutoCreation(t *testing.T) {
	n := startNode(t, func(cfg *Config) { cfg.Defaults.NoAutoCreateTopics = true })
	req := kmsg.NewPtrMetadataRequest()
	req.SetVersion(9)
	req.AllowAutoTopicCreation = true
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: value("t")}, {Topic: value("..")}}
	resp := ask(n, req, kmsg.NewPtrMetadataResponse())
	require.Equal(t, kerr.UnknownTopicOrPartition.Code, resp.Topics[0].ErrorCode)
	require.Equal(t, kerr.InvalidTopicException.Code, resp.Topics[1].ErrorCode)
	require.Empty(t, n.meta.Image().Topics())
}

func TestDescribeTopicPartitions(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("a", 3, 1), wantTopic("b", 2, 1), wantTopic("c", 1, 1))
	type cursor = kmsg.DescribeTopicPartitionsRequestCursor
	describe := func(limit int32, from *cursor, names ...string) (got string, next string) {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit, req.Cursor = limit, from
		for _, name := range names {
			req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
		}
		resp := ask(n, req, kmsg.NewPtrDescribeTopicPartitionsResponse())
		for _, rt := range resp.Topics {
			got += *rt.Topic + ":"
			for _, p := range rt.Partitions {
				got += fmt.Sprint(p.Partition)
			}
			if rt.ErrorCode != 0 {
				got += kerr.TypedErrorForCode(rt.ErrorCode).Message
			}
			got += " "
		}
		if resp.NextCursor != nil {
			next = fmt.Sprintf("%s-%d", resp.NextCursor.Topic, resp.NextCursor.Partition)
		}
		return strings.TrimSpace(got), next
	}
	for _, tc := range []struct {
		name  string
		limit int32
		from  *cursor
		names []string
		got   string
		next  string
	}{
		{"all", 100, nil, nil, "a:012 b:01 c:0", ""},
		{"some, in order", 100, nil, []string{"c", "a", "c"}, "a:012 c:0", ""},
		{"unknown", 100, nil, []string{"none", "b"}, "b:01 none:UNKNOWN_TOPIC_OR_PARTITION", ""},
		{"invalid", 100, nil, []string{"a b"}, "a b:INVALID_TOPIC_EXCEPTION", ""},
		{"limit within a topic", 2, nil, nil, "a:01", "a-2"},
		{"limit at the end of a topic", 3, nil, nil, "a:012", "b-0"},
		{"limit of nothing counts as one", 0, nil, nil, "a:0", "a-1"},
		{"from a cursor", 2, &cursor{Topic: "a", Partition: 2}, nil, "a:2 b:0", "b-1"},
		{"to the end", 9, &cursor{Topic: "b", Partition: 1}, nil, "b:1 c:0", ""},
		{"from a topic that has gone", 9, &cursor{Topic: "aa", Partition: 5}, nil, "b:01 c:0", ""},
		{"beyond the partitions", 9, &cursor{Topic: "b", Partition: 9}, nil, "b: c:0", ""},
		{"negative cursor", 9, &cursor{Topic: "b", Partition: -1}, []string{"b"}, "b:INVALID_REQUEST", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, next := describe(tc.limit, tc.from, tc.names...)
			require.Equal(t, tc.got, got)
			require.Equal(t, tc.next, next)
		})
	}
}

// Of the arrays that the protocol lets be null, Kafka sends none as null in what this
// broker answers, and its clients do not look. (Fetch encodes its own.)
func TestNullableArraysAreNotNull(t *testing.T) {
	n := startNode(t)
	for _, rt := range n.create(7, false, wantTopic("t", 1, 1), wantTopic("no topic", 1, 1)) {
		require.NotNil(t, rt.Configs, rt.Topic)
	}
	resp := ask(n, kmsg.NewPtrDescribeTopicPartitionsRequest(), kmsg.NewPtrDescribeTopicPartitionsResponse())
	require.Len(t, resp.Topics, 1)
	require.NotNil(t, resp.Topics[0].Partitions[0].EligibleLeaderReplicas)
	require.NotNil(t, resp.Topics[0].Partitions[0].LastKnownELR)
}

func TestDescribeCluster(t *testing.T) {
	n := startNode(t)
	for v := int16(0); v <= 2; v++ {
		for typ, want := range map[int8]int16{1: 0, 2: kerr.MismatchedEndpointType.Code, 3: kerr.UnsupportedEndpointType.Code} {
			if v == 0 {
				want = 0
			}
			req := kmsg.NewPtrDescribeClusterRequest()
			req.SetVersion(v)
			req.EndpointType = typ
			resp := ask(n, req, kmsg.NewPtrDescribeClusterResponse())
			require.Equal(t, want, resp.ErrorCode)
			if want == 0 {
				require.Len(t, resp.Brokers, 1)
				require.Equal(t, n.meta.Image().ClusterID(), resp.ClusterID)
			}
		}
	}
}

func TestInitProducerID(t *testing.T) {
	cfg := testConfig()
	reuse := func(c *Config) { c.Metadata = cfg.Metadata }
	n := startNode(t, reuse)
	get := func(version int16, txn *string, producer int64, epoch int16) *kmsg.InitProducerIDResponse {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.SetVersion(version)
		req.TransactionalID, req.ProducerID, req.ProducerEpoch = txn, producer, epoch
		return ask(n, req, kmsg.NewPtrInitProducerIDResponse())
	}
	seen := make(map[int64]bool)
	for i := range 12 {
		resp := get(int16(i%6), nil, -1, -1)
		require.Zero(t, resp.ErrorCode)
		require.False(t, seen[resp.ProducerID])
		require.Zero(t, resp.ProducerEpoch)
		seen[resp.ProducerID] = true
	}
	require.Equal(t, int64(producerIDBlock), n.meta.Image().NextProducerID(), "one block serves many")
	for _, tc := range []struct {
		name     string
		txn      *string
		producer int64
		epoch    int16
		code     *kerr.Error
	}{
		{"an id that was given", nil, 3, 4, nil},
		{"last epoch", nil, 3, 32766, nil},
		{"an id that nobody was given", nil, 1 << 40, 4, nil},
		{"id without epoch", nil, 3, -1, kerr.InvalidRequest},
		{"epoch without id", nil, -1, 3, kerr.InvalidRequest},
		{"transaction without a timeout", value("txn"), -1, -1, kerr.InvalidTransactionTimeout},
		{"empty transactional id", value(""), -1, -1, kerr.InvalidRequest},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp := get(5, tc.txn, tc.producer, tc.epoch)
			if tc.code != nil {
				require.Equal(t, tc.code.Code, resp.ErrorCode)
				require.Equal(t, int64(-1), resp.ProducerID)
				return
			}
			require.Zero(t, resp.ErrorCode)
			require.False(t, seen[resp.ProducerID])
			require.Zero(t, resp.ProducerEpoch)
			seen[resp.ProducerID] = true
		})
	}
	n.close()
	n = startNode(t, reuse)
	require.Equal(t, int64(producerIDBlock), get(0, nil, -1, -1).ProducerID, "a restart takes a new block")
}

// The admin client of franz-go gets along with all of it.
func TestAdminClient(t *testing.T) {
	n := startNode(t)
	adm := n.admin()
	_, err := adm.CreateTopic(t.Context(), 4, 1, map[string]*string{"retention.ms": value("1000")}, "t")
	require.NoError(t, err)
	topics, err := adm.ListTopics(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"t"}, topics.Names())
	require.Len(t, topics["t"].Partitions, 4)
	configs, err := adm.DescribeTopicConfigs(t.Context(), "t")
	require.NoError(t, err)
	require.Equal(t, "1000", configOf(t, configs, "retention.ms").MaybeValue())
	_, err = adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.DeleteConfig, Name: "retention.ms"}}, "t")
	require.NoError(t, err)
	configs, err = adm.DescribeTopicConfigs(t.Context(), "t")
	require.NoError(t, err)
	require.Equal(t, "604800000", configOf(t, configs, "retention.ms").MaybeValue())
	grown, err := adm.UpdatePartitions(t.Context(), 6, "t")
	require.NoError(t, err)
	require.NoError(t, grown["t"].Err)
	brokers, err := adm.BrokerMetadata(t.Context())
	require.NoError(t, err)
	require.Equal(t, n.meta.Image().ClusterID(), brokers.Cluster)
	deleted, err := adm.DeleteTopics(t.Context(), "t")
	require.NoError(t, err)
	require.NoError(t, deleted["t"].Err)
}

func configOf(t *testing.T, configs kadm.ResourceConfigs, name string) *kadm.Config {
	t.Helper()
	for _, c := range configs[0].Configs {
		if c.Key == name {
			return &c
		}
	}
	require.Fail(t, "no config "+name)
	return nil
}
