package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Every definition stands by itself: it has a text, its default is valid, and its
// synonyms are broker configs.
func TestDefinitions(t *testing.T) {
	for kind, defs := range map[string][]Definition{"topic": Topics(), "broker": Brokers(), "group": Groups()} {
		last := ""
		for i := range defs {
			d := &defs[i]
			t.Run(kind+"/"+d.Name, func(t *testing.T) {
				require.Greater(t, d.Name, last, "in order, each once")
				last = d.Name
				require.NotEmpty(t, d.Doc)
				if d.NoValue {
					require.Empty(t, d.Default)
				} else {
					require.NoError(t, d.Validate(d.Default))
				}
				for _, s := range d.Synonyms {
					_, ok := Broker(s.Name)
					require.True(t, ok || kind == "group", "synonym %s", s.Name)
				}
			})
		}
	}
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name         string
		valid, wrong []string
	}{
		{"cleanup.policy", []string{"compact", "delete", "compact,delete", "delete, compact", ""}, []string{"burn", "delete,delete", "delete,"}},
		{"compression.type", []string{"producer", "uncompressed", "zstd", "lz4", "snappy", "gzip"}, []string{"none", "ZSTD", ""}},
		{"compression.gzip.level", []string{"-1", "1", "9"}, []string{"0", "10", "x"}},
		{"compression.zstd.level", []string{"-131072", "22"}, []string{"23"}},
		{"max.message.bytes", []string{"0", "2147483647"}, []string{"-1", "2147483648", "1.5", ""}},
		{"message.timestamp.type", []string{"CreateTime", "LogAppendTime"}, []string{"createtime"}},
		{"min.cleanable.dirty.ratio", []string{"0", "1", "0.25"}, []string{"1.1", "-0.1", "NaN", "x"}},
		{"min.insync.replicas", []string{"1", "3"}, []string{"0"}},
		{"preallocate", []string{"true", "false", "TRUE"}, []string{"yes", "1", ""}},
		{"retention.ms", []string{"-1", "0", "9223372036854775807", " 5000 "}, []string{"-2", "9223372036854775808", "5 000"}},
		{"leader.replication.throttled.replicas", []string{"", "*", "0:1", "0:1, 1:2"}, []string{"nonsense", "0", "0:1,*", "0:-1"}},
		{"segment.bytes", []string{"1048576"}, []string{"1048575", "2147483648"}},
		{"forebay.durability", []string{"local", "object"}, []string{"replica", "Object", ""}},
	} {
		d, ok := Topic(tc.name)
		require.True(t, ok, tc.name)
		for _, v := range tc.valid {
			require.NoError(t, d.Validate(v), "%s=%q", tc.name, v)
		}
		for _, v := range tc.wrong {
			require.ErrorIs(t, d.Validate(v), ErrInvalid, "%s=%q", tc.name, v)
		}
	}
}

func TestResolve(t *testing.T) {
	retention, _ := Topic("retention.ms")
	for _, tc := range []struct {
		name   string
		layers Layers
		want   []Value
	}{
		{"default", Layers{Source: DynamicTopic}, []Value{{"log.retention.ms", "604800000", Default}}},
		{"finer units first", Layers{Source: DynamicTopic, Static: map[string]string{"log.retention.hours": "1", "log.retention.minutes": "2"}}, []Value{
			{"log.retention.minutes", "120000", Static}, {"log.retention.hours", "1", Static}, {"log.retention.ms", "604800000", Default},
		}},
		{"space around a number", Layers{Source: DynamicTopic, Static: map[string]string{"log.retention.hours": " 1 "}}, []Value{
			{"log.retention.hours", "3600000", Static}, {"log.retention.ms", "604800000", Default},
		}},
		{"no limit in any unit", Layers{Source: DynamicTopic, Static: map[string]string{"log.retention.hours": "-1"}}, []Value{
			{"log.retention.hours", "-1", Static}, {"log.retention.ms", "604800000", Default},
		}},
		{"all layers", Layers{
			Source: DynamicTopic, Resource: map[string]string{"retention.ms": "1"}, Broker: map[string]string{"log.retention.ms": "2"},
			Cluster: map[string]string{"log.retention.minutes": "3"}, Static: map[string]string{"log.retention.hours": "4"},
		}, []Value{
			{"retention.ms", "1", DynamicTopic},
			{"log.retention.ms", "2", DynamicBroker},
			{"log.retention.minutes", "3", DynamicDefault},
			{"log.retention.hours", "4", Static},
			{"log.retention.ms", "604800000", Default},
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { require.Equal(t, tc.want, retention.Resolve(tc.layers)) })
	}
	of, _ := Broker("log.retention.ms")
	require.Empty(t, of.Resolve(Layers{Source: DynamicBroker}), "a broker config without a value")
	require.Equal(t, []Value{{"log.retention.ms", "1", DynamicBroker}, {"log.retention.ms", "2", DynamicDefault}},
		of.Resolve(Layers{Source: DynamicBroker, Resource: map[string]string{"log.retention.ms": "1"}, Cluster: map[string]string{"log.retention.ms": "2"}}))
}

func TestLists(t *testing.T) {
	policy, _ := Topic("cleanup.policy")
	got, err := policy.Append("delete", "compact, delete")
	require.NoError(t, err)
	require.Equal(t, "delete,compact", got)
	got, err = policy.Subtract(got, "delete")
	require.NoError(t, err)
	require.Equal(t, "compact", got)
	got, err = policy.Subtract(got, "compact")
	require.NoError(t, err)
	require.Empty(t, got)
	retention, _ := Topic("retention.ms")
	_, err = retention.Append("1", "2")
	require.ErrorIs(t, err, ErrNotList)
	_, err = retention.Subtract("1", "2")
	require.ErrorIs(t, err, ErrNotList)
}

func TestEffective(t *testing.T) {
	require.Equal(t, &Effective{
		MaxMessageBytes: 1048588, TimestampBefore: Unlimited, TimestampAfter: time.Hour,
		Durability: "local", CompressionType: "producer", Delete: true, Retention: 7 * 24 * time.Hour, RetentionBytes: -1,
		SegmentBytes: 1 << 30, SegmentAge: 7 * 24 * time.Hour, DeleteRetention: 24 * time.Hour, MaxCompactionLag: Unlimited,
		MinCleanableDirty: 0.5, FileDeleteDelay: time.Minute, LocalRetention: 7 * 24 * time.Hour, LocalRetentionBytes: -1,
	}, Resolve(Layers{Source: DynamicTopic}))

	got := Resolve(Layers{Source: DynamicTopic, Resource: map[string]string{
		"retention.ms": "-1", "cleanup.policy": "compact", "retention.bytes": "7", "local.retention.ms": "3", "segment.bytes": "nonsense",
	}})
	require.Equal(t, Unlimited, got.Retention)
	require.Equal(t, [2]bool{false, true}, [2]bool{got.Delete, got.Compact})
	require.Equal(t, int64(7), got.LocalRetentionBytes, "the same as for all tiers")
	require.Equal(t, 3*time.Millisecond, got.LocalRetention)
	require.Equal(t, int32(1<<30), got.SegmentBytes, "a value that does not parse counts as not set")
}

// kafka-reassign-partitions removes these when it has verified a reassignment.
func TestThrottlesCanBeAltered(t *testing.T) {
	for _, name := range []string{"leader.replication.throttled.rate", "follower.replication.throttled.rate", "replica.alter.log.dirs.io.max.bytes.per.second"} {
		d, ok := Broker(name)
		require.True(t, ok, name)
		require.False(t, d.ReadOnly, name)
		require.NoError(t, d.Validate("1000"), name)
		require.ErrorIs(t, d.Validate("-1"), ErrInvalid, name)
	}
}

// Tools that copy the configs of topics between clusters, as MirrorMaker does, set every one that
// Kafka has, and are refused all of them for one that is not known.
func TestTopicsHaveKafkasConfigs(t *testing.T) {
	for _, name := range []string{
		"cleanup.policy", "compression.gzip.level", "compression.lz4.level", "compression.type", "compression.zstd.level",
		"delete.retention.ms", "file.delete.delay.ms", "flush.messages", "flush.ms", "follower.replication.throttled.replicas",
		"index.interval.bytes", "leader.replication.throttled.replicas", "local.retention.bytes", "local.retention.ms",
		"max.compaction.lag.ms", "max.message.bytes", "message.timestamp.after.max.ms", "message.timestamp.before.max.ms",
		"message.timestamp.type", "min.cleanable.dirty.ratio", "min.compaction.lag.ms", "min.insync.replicas", "preallocate",
		"remote.log.copy.disable", "remote.log.delete.on.disable", "remote.storage.enable", "retention.bytes", "retention.ms",
		"segment.bytes", "segment.index.bytes", "segment.jitter.ms", "segment.ms", "unclean.leader.election.enable",
	} {
		_, ok := Topic(name)
		require.True(t, ok, name)
	}
}

// Every topic is tiered: whoever says so, or copies the config of one that is not, is not refused.
func TestTieringIsNoQuestion(t *testing.T) {
	for _, name := range []string{"remote.storage.enable", "remote.log.copy.disable", "remote.log.delete.on.disable"} {
		d, ok := Topic(name)
		require.True(t, ok, name)
		require.NoError(t, d.Validate("true"), name)
		require.NoError(t, d.Validate("false"), name)
		require.ErrorIs(t, d.Validate("maybe"), ErrInvalid, name)
		layers := func(value string) Layers {
			return Layers{Source: DynamicTopic, Resource: map[string]string{name: value}}
		}
		require.Equal(t, Resolve(layers("true")), Resolve(layers("false")), name)
	}
}
