package console

import "github.com/forebaylog/forebay/localstack/compat/transcript"

// brokers are the cases of kafka-log-dirs and kafka-cluster.
func brokers() []transcript.Case {
	return []transcript.Case{
		{Name: "log-dirs", Steps: []transcript.Step{
			say("topics {on} --create --topic stored --partitions 1"),
			say("log-dirs {on} --describe --topic-list stored",
				`"partition":"stored-0","size":\d+,"offsetLag":\d+,"isFuture":false\}\],"error":null,"logDir":"[^"]*hot"`,
				`"partition":"stored-0","size":\d+,"offsetLag":\d+,"isFuture":false\}\],"error":null,"logDir":"[^"]*packs"`),
		}},
		{Name: "cluster: id, endpoints, unregister", Steps: []transcript.Step{
			say("cluster cluster-id {on}", `^Cluster ID: \S{22}$`),
			say("cluster list-endpoints {on}", `^1\s+127\.0\.0\.1\s+\d+`),
			refuse("cluster unregister {on} --id 77", `BrokerIdNotRegistered|not registered`),
		}},
	}
}

// cluster are the cases of the other tools that look at brokers.
func cluster() []transcript.Case {
	return []transcript.Case{
		{Name: "broker-api-versions", Steps: []transcript.Step{
			{Run: "broker-api-versions {on}", Want: []string{
				`\(id: 1 rack: \S+ isFenced: false\) -> \(`, `Produce\(0\): 0 to 13 \[usable: 13\]`, `Fetch\(1\): 4 to 18`,
				`EndTxn\(26\): 0 to 5`, `TxnOffsetCommit\(28\): 0 to 5`, `DeleteRecords\(21\): 0 to 2`, `AlterClientQuotas\(49\): UNSUPPORTED`,
			}},
		}},
		{Name: "features: describe, upgrade, downgrade", Steps: []transcript.Step{
			say("features {on} describe", `Feature: transaction\.version\s+SupportedMinVersion: 0\s+SupportedMaxVersion: 2\s+FinalizedVersionLevel: 2`),
			say("features {on} downgrade --feature transaction.version=1", `transaction\.version was downgraded to 1`),
			{Run: "features {on} describe", Await: true, Want: []string{`Feature: transaction\.version\s.*FinalizedVersionLevel: 1`}},
			say("features {on} upgrade --feature transaction.version=2", `transaction\.version was upgraded to 2`),
			refuse("features {on} upgrade --feature transaction.version=3", `Could not upgrade|transaction\.version`),
		}},
		{Name: "metadata-quorum: there is none", Steps: []transcript.Step{
			refuse("metadata-quorum {on} describe --status", `UnsupportedVersionException|does not support`),
		}},
		{Name: "acls: security is disabled", Steps: []transcript.Step{
			refuse("acls {on} --list", `SecurityDisabledException: No Authorizer is configured`),
			refuse("acls {on} --add --allow-principal User:a --operation read --topic stored", `SecurityDisabledException: No Authorizer is configured`),
			refuse("acls {on} --remove --force --topic stored", `SecurityDisabledException: No Authorizer is configured`),
		}},
		{Name: "groups and client-metrics: list", Steps: []transcript.Step{
			{Run: "groups {on} --list", Not: []string{`xception`}},
			{Run: "client-metrics {on} --list", Not: []string{`xception`}},
		}},
	}
}

// reassignments are the cases of the tools that move leaders.
func reassignments() []transcript.Case {
	const plan = `{"version":1,"partitions":[{"topic":"moved","partition":0,"replicas":[3,2]}]}`
	return []transcript.Case{
		{Name: "leader-election", Steps: []transcript.Step{
			say("topics {on} --create --topic elected --partitions 1 --replication-factor {rf}"),
			say("leader-election {on} --election-type preferred --topic elected --partition 0", `elected-0|Valid replica already elected`),
			say("leader-election {on} --election-type preferred --all-topic-partitions"),
			say("leader-election {on} --election-type unclean --topic elected --partition 0", `elected-0|Valid replica already elected`),
		}},
		{Name: "reassign-partitions: generate, execute, list, verify", Nodes: 3, Steps: []transcript.Step{
			say("topics {on} --create --topic moved --replica-assignment 1:2"),
			{File: "topics.json", Text: `{"version":1,"topics":[{"topic":"moved"}]}`},
			say("reassign-partitions {on} --generate --topics-to-move-json-file {dir}/topics.json --broker-list 2,3",
				`Current partition replica assignment`, `\{"version":1,"partitions":\[\{"topic":"moved","partition":0,"replicas":\[1,2\]`, `Proposed partition reassignment`),
			{File: "plan.json", Text: plan},
			say("reassign-partitions {on} --execute --reassignment-json-file {dir}/plan.json --throttle 1000000", `Successfully started partition reassignment for moved-0`),
			say("reassign-partitions {on} --list", `partition reassignments`),
			{Run: "reassign-partitions {on} --verify --reassignment-json-file {dir}/plan.json", Await: true, Want: []string{`moved-0 is completed`}},
			{Run: "topics {on} --describe --topic moved", Await: true, Want: []string{`Partition: 0\s+Leader: 3\s+Replicas: 3,2`}},
			{Run: "configs {on} --describe --entity-type topics --entity-name moved", Not: []string{`throttled`}},
		}},
		{Name: "reassign-partitions: cancel", Nodes: 3, Steps: []transcript.Step{
			{File: "plan.json", Text: plan},
			{Run: "reassign-partitions {on} --cancel --reassignment-json-file {dir}/plan.json", Want: []string{`cancel|None of the specified partition moves are active`}},
		}},
	}
}

// transactions are kafka-transactions' cases; the producer of transactions is kafka-producer-perf-test.
func transactions() []transcript.Case {
	const produce = "producer-perf-test {on} --topic txns --num-records 20 --record-size 10 --throughput 20 --transactional-id finished --transaction-duration-ms 200"
	return []transcript.Case{
		{Name: "transactions: list, describe, describe-producers", Steps: []transcript.Step{
			say("topics {on} --create --topic txns --partitions 1 --replication-factor {rf}"),
			say(produce, `20 records sent`),
			say("transactions {on} list", `^finished\s+\d+\s+\d+\s+CompleteCommit`),
			say("transactions {on} describe --transactional-id finished", `\d+\s+finished\s+\d+\s+\d+\s+CompleteCommit`),
			say("transactions {on} describe-producers --topic txns --partition 0", `^\d+\s+\d+\s+\d+\s+-?\d+\s+\d+\s+None`),
			say("console-consumer {on} --topic txns --from-beginning --isolation-level read_committed --max-messages 20 --timeout-ms 20000", `Processed a total of 20 messages`),
		}},
		{Name: "transactions: find-hanging, abort", Steps: []transcript.Step{
			{Run: "transactions {on} find-hanging --topic txns", Not: []string{`xception`}},
			{Run: "transactions {on} find-hanging --broker-id 1", Not: []string{`xception`}},
			refuse("transactions {on} abort --topic txns --partition 0 --start-offset 999", `Could not find any open transactions`),
		}},
		{Name: "transactions: forceTerminateTransaction", Steps: []transcript.Step{
			{Run: "transactions {on} forceTerminateTransaction --transactionalId finished", Not: []string{`xception`}},
		}},
	}
}
