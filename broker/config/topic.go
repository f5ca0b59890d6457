package config

import (
	"fmt"
	"math"
	"regexp"
)

// never is Kafka's largest time, in milliseconds, or count.
const never = "9223372036854775807"

const (
	minute = 60_000
	hour   = 60 * minute
)

// The values of forebay.durability.
const (
	DurabilityObject = "object" // committed in the object store
	DurabilityLocal  = "local"  // synced to the leader's disk
)

// on is a list of broker configs in the topic config's own units.
func on(names ...string) []Synonym {
	s := make([]Synonym, 0, len(names))
	for _, n := range names {
		s = append(s, Synonym{Name: n, Scale: 1})
	}
	return s
}

// throttled allows what the lists of throttled replicas may hold: partition:broker, or * for all.
func throttled(value string) error {
	if value == "*" {
		return nil
	}
	for _, e := range Elements(value) {
		if !throttledReplica.MatchString(e) {
			return fmt.Errorf("%q is not partition:broker", e)
		}
	}
	return nil
}

var throttledReplica = regexp.MustCompile(`^[0-9]+:[0-9]+$`)

// topicDefinitions are the configs of topics, in order of name. Defaults, ranges
// and synonyms are Kafka 4.2's; forebay.* are this broker's own. Configs of
// segment files and flushing are accepted and reported so that tools work; a
// Forebay log has no files of its own per partition.
var topicDefinitions = []Definition{
	{
		Name: "cleanup.policy", Type: List, Default: "delete", Synonyms: on("log.cleanup.policy"), check: listOf("compact", "delete"),
		Doc: "What happens to old records: delete drops them by age and size, compact keeps the last one of each key.",
	},
	{
		Name: "compression.gzip.level", Type: Int, Default: "-1", Synonyms: on("compression.gzip.level"), check: either(oneOf("-1"), within(1, 9)),
		Doc: "Level of gzip, if compression.type is gzip.",
	},
	{
		Name: "compression.lz4.level", Type: Int, Default: "9", Synonyms: on("compression.lz4.level"), check: within(1, 17),
		Doc: "Level of lz4, if compression.type is lz4.",
	},
	{
		Name: "compression.type", Type: String, Default: "producer", Synonyms: on("compression.type"), check: oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
		Doc: "Codec of stored batches. Batches are kept as their producer compressed them, whatever the value.",
	},
	{
		Name: "compression.zstd.level", Type: Int, Default: "3", Synonyms: on("compression.zstd.level"), check: within(-131072, 22),
		Doc: "Level of zstd, if compression.type is zstd.",
	},
	{
		Name: "delete.retention.ms", Type: Long, Default: "86400000", Synonyms: on("log.cleaner.delete.retention.ms"), check: atLeast(0),
		Doc: "How long tombstones stay in a compacted topic.",
	},
	{
		Name: "file.delete.delay.ms", Type: Long, Default: "60000", Synonyms: on("log.segment.delete.delay.ms"), check: atLeast(0),
		Doc: "How long a dropped segment stays before it is deleted. The collector has a grace of its own, whatever the value.",
	},
	{
		Name: "flush.messages", Type: Long, Default: never, Synonyms: on("log.flush.interval.messages"), check: atLeast(1),
		Doc: "Records between two fsyncs. Forebay syncs before it acknowledges acks=all, whatever the value.",
	},
	{
		Name: "flush.ms", Type: Long, Default: never, Synonyms: on("log.flush.interval.ms", "log.flush.scheduler.interval.ms"), check: atLeast(0),
		Doc: "Time between two fsyncs. Forebay syncs before it acknowledges acks=all, whatever the value.",
	},
	{
		Name: "follower.replication.throttled.replicas", Type: List, Default: "", check: throttled,
		Doc: "Replicas whose replication is throttled on the follower side.",
	},
	{
		Name: "forebay.durability", Type: String, Default: DurabilityLocal, Synonyms: on("forebay.durability"), check: oneOf(DurabilityObject, DurabilityLocal),
		Doc: "When acks=all is answered: object, once the record is in the object store, as brokers of a cluster do; local, once it is synced to the disk of its broker, as a node alone does.",
	},
	{
		Name: "index.interval.bytes", Type: Int, Default: "4096", Synonyms: on("log.index.interval.bytes"), check: atLeast(0),
		Doc: "Bytes between two entries of the offset index.",
	},
	{
		Name: "leader.replication.throttled.replicas", Type: List, Default: "", check: throttled,
		Doc: "Replicas whose replication is throttled on the leader side.",
	},
	{
		Name: "local.retention.bytes", Type: Long, Default: "-2", Synonyms: on("log.local.retention.bytes"), check: atLeast(-2),
		Doc: "Bytes of a partition that stay in hot segments once they are sealed, if the disk budget allows; -2 takes retention.bytes.",
	},
	{
		Name: "local.retention.ms", Type: Long, Default: "-2", Synonyms: on("log.local.retention.ms"), check: atLeast(-2),
		Doc: "Time that records stay in hot segments once they are sealed, if the disk budget allows; -2 takes retention.ms.",
	},
	{
		Name: "max.compaction.lag.ms", Type: Long, Default: never, Synonyms: on("log.cleaner.max.compaction.lag.ms"), check: atLeast(1),
		Doc: "Time after which a record is compacted at the latest.",
	},
	{
		Name: "max.message.bytes", Type: Int, Default: "1048588", Synonyms: on("message.max.bytes"), check: atLeast(0),
		Doc: "Largest record batch in bytes, as it is compressed.",
	},
	{
		Name: "message.timestamp.after.max.ms", Type: Long, Default: "3600000", Synonyms: on("log.message.timestamp.after.max.ms"), check: atLeast(0),
		Doc: "How far the time of a record may be ahead of the broker's.",
	},
	{
		Name: "message.timestamp.before.max.ms", Type: Long, Default: never, Synonyms: on("log.message.timestamp.before.max.ms"), check: atLeast(0),
		Doc: "How far the time of a record may be behind the broker's.",
	},
	{
		Name: "message.timestamp.type", Type: String, Default: "CreateTime", Synonyms: on("log.message.timestamp.type"), check: oneOf("CreateTime", "LogAppendTime"),
		Doc: "Whether the time of a record is its producer's or that of its arrival.",
	},
	{
		Name: "min.cleanable.dirty.ratio", Type: Double, Default: "0.5", Synonyms: on("log.cleaner.min.cleanable.ratio"), check: within(0, 1),
		Doc: "Share of records not yet compacted from which a log is compacted.",
	},
	{
		Name: "min.compaction.lag.ms", Type: Long, Default: "0", Synonyms: on("log.cleaner.min.compaction.lag.ms"), check: atLeast(0),
		Doc: "Time before which a record is not compacted.",
	},
	{
		Name: "min.insync.replicas", Type: Int, Default: "1", Synonyms: on("min.insync.replicas"), check: atLeast(1),
		Doc: "Replicas that must be in sync for acks=all.",
	},
	{
		Name: "preallocate", Type: Boolean, Default: "false", Synonyms: on("log.preallocate"),
		Doc: "Whether segment files are preallocated. Hot segments always are.",
	},
	{
		Name: "remote.log.copy.disable", Type: Boolean, Default: "false",
		Doc: "Whether what is not in the object store yet stays out of it. Without effect: see remote.storage.enable.",
	},
	{
		Name: "remote.log.delete.on.disable", Type: Boolean, Default: "false",
		Doc: "Whether tiered data is deleted when tiering is turned off. It never is turned off, and nothing is deleted.",
	},
	{
		Name: "remote.storage.enable", Type: Boolean, Default: "false",
		Doc: "Kafka's tiered storage. Forebay tiers every topic, compacted ones too, whatever the value; local.retention.ms and local.retention.bytes always count.",
	},
	{
		Name: "retention.bytes", Type: Long, Default: "-1", Synonyms: on("log.retention.bytes"), check: atLeast(-1),
		Doc: "Bytes of a partition that are kept; -1 is no limit.",
	},
	{
		Name: "retention.ms", Type: Long, Default: "604800000", Synonyms: []Synonym{{"log.retention.ms", 1}, {"log.retention.minutes", minute}, {"log.retention.hours", hour}}, check: atLeast(-1),
		Doc: "Time that records are kept, in ms; -1 is no limit.",
	},
	{
		Name: "segment.bytes", Type: Int, Default: "1073741824", Synonyms: on("log.segment.bytes"), check: atLeast(1 << 20),
		Doc: "Bytes of a segment of a partition: once a partition has as many that are not sealed, the hot segment is rolled; merged and compacted segments have at most as many.",
	},
	{
		Name: "segment.index.bytes", Type: Int, Default: "10485760", Synonyms: on("log.index.size.max.bytes"), check: atLeast(4),
		Doc: "Bytes of the offset index of a segment.",
	},
	{
		Name: "segment.jitter.ms", Type: Long, Default: "0", Synonyms: []Synonym{{"log.roll.jitter.ms", 1}, {"log.roll.jitter.hours", hour}}, check: atLeast(0),
		Doc: "Largest random part of segment.ms; without effect.",
	},
	{
		Name: "segment.ms", Type: Long, Default: "604800000", Synonyms: []Synonym{{"log.roll.ms", 1}, {"log.roll.hours", hour}}, check: atLeast(1),
		Doc: "Time after which records of a partition are sealed, so that they can expire or be compacted.",
	},
	{
		Name: "unclean.leader.election.enable", Type: Boolean, Default: "false", Synonyms: on("unclean.leader.election.enable"),
		Doc: "Whether a replica that is not in sync may lead. In Forebay none ever does.",
	},
}

// groupDefinitions are the configs of groups, in order of name. They count for
// groups of the consumer protocol (KIP-848).
var groupDefinitions = []Definition{
	{
		Name: "consumer.heartbeat.interval.ms", Type: Int, Default: "5000", Synonyms: on("group.consumer.heartbeat.interval.ms"), check: within(1, math.MaxInt32),
		Doc: "Interval of the heartbeats of a consumer group's members.",
	},
	{
		Name: "consumer.session.timeout.ms", Type: Int, Default: "45000", Synonyms: on("group.consumer.session.timeout.ms"), check: within(1, math.MaxInt32),
		Doc: "Time without a heartbeat after which a member of a consumer group is removed.",
	},
}
