package console

import "github.com/forebaylog/forebay/localstack/compat/transcript"

// topics are kafka-topics' cases.
func topics() []transcript.Case {
	return []transcript.Case{
		{Name: "topics: create, describe, list", Steps: []transcript.Step{
			say("topics {on} --create --topic made --partitions 3 --replication-factor {rf} --config retention.ms=1000", `^Created topic made\.$`),
			say("topics {on} --describe --topic made", `Topic: made\s+TopicId: \S+\s+PartitionCount: 3\s+ReplicationFactor: {rf}\s+Configs: .*retention\.ms=1000`,
				`Partition: 2\s+Leader: [1-9]\s+Replicas: [\d,]+\s+Isr: [\d,]+`),
			say("topics {on} --list", `^made$`),
			say("topics {on} --create --topic made --if-not-exists"),
			refuse("topics {on} --create --topic made", `Topic 'made' already exists|TopicExistsException|topic "made" exists`),
			refuse("topics {on} --create --topic bad/name", `InvalidTopicException|invalid|illegal`),
		}},
		{Name: "topics: create with replica assignment", Nodes: 3, Steps: []transcript.Step{
			say("topics {on} --create --topic placed --replica-assignment 2:3,3:1", `^Created topic placed`),
			say("topics {on} --describe --topic placed", `Partition: 0\s+Leader: 2\s+Replicas: 2,3`, `Partition: 1\s+Leader: 3\s+Replicas: 3,1`),
		}},
		{Name: "topics: alter partitions", Steps: []transcript.Step{
			say("topics {on} --alter --topic made --partitions 5"),
			say("topics {on} --describe --topic made", `PartitionCount: 5`),
			refuse("topics {on} --alter --topic made --partitions 2", `5 partition.*2 would not be an increase`),
		}},
		{Name: "topics: describe what is unhealthy, overridden, excluded", Steps: []transcript.Step{
			{Run: "topics {on} --describe --under-replicated-partitions", Not: []string{`Topic: made`}},
			{Run: "topics {on} --describe --unavailable-partitions", Not: []string{`Topic: made`}},
			{Run: "topics {on} --describe --under-min-isr-partitions", Not: []string{`Topic: made`}},
			say("topics {on} --describe --topics-with-overrides --topic made", `Topic: made`),
			{Run: "topics {on} --list --exclude-internal", Want: []string{`^made$`}, Not: []string{`__consumer_offsets`}},
		}},
		{Name: "topics: delete", Steps: []transcript.Step{
			say("topics {on} --delete --topic made"),
			{Run: "topics {on} --list", Not: []string{`^made$`}},
			refuse("topics {on} --delete --topic made", `does not exist`),
			say("topics {on} --delete --topic made --if-exists"),
		}},
	}
}

// configs are kafka-configs' cases.
func configs() []transcript.Case {
	return []transcript.Case{
		{Name: "configs: topics", Steps: []transcript.Step{
			say("topics {on} --create --topic tuned --partitions 1"),
			say("configs {on} --alter --entity-type topics --entity-name tuned --add-config retention.ms=5000,cleanup.policy=[compact,delete]", `Completed updating config for topic tuned`),
			say("configs {on} --describe --entity-type topics --entity-name tuned", `retention\.ms=5000 .*DYNAMIC_TOPIC_CONFIG:retention\.ms=5000`, `cleanup\.policy=compact,delete`),
			say("configs {on} --describe --all --entity-type topics --entity-name tuned", `max\.message\.bytes=\d+`, `segment\.bytes=\d+`),
			say("configs {on} --alter --entity-type topics --entity-name tuned --delete-config retention.ms", `Completed`),
			{Run: "configs {on} --describe --entity-type topics --entity-name tuned", Not: []string{`retention\.ms=5000`}},
			refuse("configs {on} --alter --entity-type topics --entity-name tuned --add-config no.such=1", `InvalidConfig|[Uu]nknown`),
			refuse("configs {on} --alter --entity-type topics --entity-name tuned --add-config retention.ms=abc", `InvalidConfig`),
		}},
		{Name: "configs: brokers and their defaults", Steps: []transcript.Step{
			say("configs {on} --alter --entity-type brokers --entity-default --add-config message.max.bytes=900000", `Completed updating default config for brokers`),
			say("configs {on} --describe --entity-type brokers --entity-default", `message\.max\.bytes=900000`),
			say("configs {on} --alter --entity-type brokers --entity-name 1 --add-config message.max.bytes=800000", `Completed`),
			say("configs {on} --describe --entity-type brokers --entity-name 1", `message\.max\.bytes=800000 .*DYNAMIC_BROKER_CONFIG:message\.max\.bytes=800000, DYNAMIC_DEFAULT_BROKER_CONFIG:message\.max\.bytes=900000`),
			say("configs {on} --describe --all --entity-type brokers --entity-name 1", `num\.partitions=1`),
			say("configs {on} --alter --entity-type brokers --entity-name 1 --delete-config message.max.bytes", `Completed`),
			say("configs {on} --alter --entity-type brokers --entity-default --delete-config message.max.bytes", `Completed`),
			refuse("configs {on} --alter --entity-type brokers --entity-name 1 --add-config log.dirs=/elsewhere", `InvalidRequest|[Cc]annot|read.?only`),
		}},
		{Name: "configs: clients and users have none, and setting one is refused", Steps: []transcript.Step{
			{Run: "configs {on} --describe --entity-type clients", Not: []string{`rror`, `xception`}},
			{Run: "configs {on} --describe --entity-type users", Not: []string{`xception`}},
			refuse("configs {on} --alter --entity-type clients --entity-name c --add-config producer_byte_rate=1000", `UnsupportedVersionException|does not support`),
			refuse("configs {on} --alter --entity-type users --entity-name u --add-config SCRAM-SHA-256=[password=secret]", `UnsupportedVersionException|does not support`),
		}},
	}
}

// groupConfigs are kafka-configs' cases for groups, which 3.9 does not know.
func groupConfigs() []transcript.Case {
	return []transcript.Case{
		{Name: "configs: groups", Steps: []transcript.Step{
			say("configs {on} --alter --entity-type groups --entity-name tuned-group --add-config consumer.session.timeout.ms=50000", `Completed updating config for group tuned-group`),
			say("configs {on} --describe --entity-type groups --entity-name tuned-group", `consumer\.session\.timeout\.ms=50000`),
		}},
	}
}
