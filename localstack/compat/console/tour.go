package console

import (
	"context"

	"github.com/forebaylog/forebay/localstack/compat/suite"
	"github.com/forebaylog/forebay/localstack/compat/transcript"
)

// Tour runs, in some 30 starts of a JVM, those cases of the suite that move leaders and look at brokers, and what
// one does with a topic: for a test that is run with each change.
func Tour(ctx context.Context, t *suite.Target) []suite.Case {
	return run(ctx, t, t.Java, mains, [][]transcript.Case{reassignments(), tour(), brokers()})
}

// tour has what one does with a topic.
func tour() []transcript.Case {
	return []transcript.Case{{Name: "a topic: configs, offsets, records, a group", Steps: []transcript.Step{
		say("topics {on} --create --topic toured --partitions 1 --replication-factor {rf}"),
		say("configs {on} --alter --entity-type topics --entity-name toured --add-config retention.ms=86400000", `Completed updating config for topic toured`),
		{Run: "configs {on} --describe --entity-type topics --entity-name toured", Await: true, Want: []string{`retention\.ms=86400000`}},
		give("0\n1\n2\n3\n", "console-producer {on} --topic toured"),
		say("get-offsets {on} --topic toured", `^toured:0:4$`),
		{File: "toured.json", Text: `{"partitions":[{"topic":"toured","partition":0,"offset":3}],"version":1}`},
		say("delete-records {on} --offset-json-file {dir}/toured.json", `partition: toured-0\s+low_watermark: 3`),
		say("get-offsets {on} --topic toured --time earliest", `^toured:0:3$`),
		say("consumer-groups {on} --reset-offsets --group tourists --topic toured --to-earliest --execute", row+`tourists\s+toured\s+0\s+3(\s|$)`),
		say("consumer-groups {on} --describe --group tourists", `^tourists\s+toured\s+0\s+3\s+4\s+1`),
	}}}
}
