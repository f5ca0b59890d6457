package console

import "github.com/forebaylog/forebay/localstack/compat/transcript"

// records are the cases of the console producer and consumer, kafka-get-offsets and kafka-delete-records.
func records() []transcript.Case {
	var cases []transcript.Case
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		cases = append(cases, transcript.Case{Name: "console producer and consumer: " + codec, Steps: []transcript.Step{
			give("a\nb\nc\n", "console-producer {on} --topic codec-"+codec+" --compression-codec "+codec),
			say("console-consumer {on} --topic codec-"+codec+" --from-beginning --max-messages 3 --timeout-ms 20000", "^a\nb\nc\n", `Processed a total of 3 messages`),
		}})
	}
	return append(cases,
		transcript.Case{Name: "console producer and consumer: keys, headers, everything printed", Steps: []transcript.Step{
			give("h1:v1,h2:v2\tkey\tvalue\n", "console-producer {on} --topic printed --property parse.key=true --property parse.headers=true"),
			say("console-consumer {on} --topic printed --from-beginning --max-messages 1 --timeout-ms 20000 --property print.key=true --property print.headers=true"+
				" --property print.partition=true --property print.offset=true --property print.timestamp=true",
				`CreateTime:\d{13}\tPartition:0\tOffset:0\th1:v1,h2:v2\tkey\tvalue`),
		}},
		// acks 0 goes second: it promises nothing for a topic that its leader has not heard of yet.
		transcript.Case{Name: "console producer: acks, sync, batches, idempotence off", Steps: []transcript.Step{
			give("x\n", "console-producer {on} --topic acked --request-required-acks 1 --sync"),
			give("x\n", "console-producer {on} --topic acked --request-required-acks 0"),
			give("x\ny\n", "console-producer {on} --topic acked --request-required-acks all --batch-size 1 --producer-property enable.idempotence=false"),
			{Run: "get-offsets {on} --topic acked", Await: true, Want: []string{`^acked:0:4$`}},
		}},
		transcript.Case{Name: "console consumer: partition, offset, isolation level, group", Steps: []transcript.Step{
			give("0\n1\n2\n3\n", "console-producer {on} --topic ranged"),
			say("console-consumer {on} --topic ranged --partition 0 --offset 2 --max-messages 2 --timeout-ms 20000", "^2\n3\n"),
			say("console-consumer {on} --topic ranged --from-beginning --isolation-level read_committed --max-messages 4 --timeout-ms 20000", `Processed a total of 4 messages`),
			say("console-consumer {on} --topic ranged --group ranged --from-beginning --max-messages 2 --timeout-ms 20000 --consumer-property max.poll.records=2", "^0\n1\n"),
			say("console-consumer {on} --topic ranged --group ranged --max-messages 2 --timeout-ms 20000", "^2\n3\n"),
			say("console-consumer {on} --include rang.* --from-beginning --max-messages 4 --timeout-ms 20000", `Processed a total of 4 messages`),
		}},
		transcript.Case{Name: "get-offsets: every time", Steps: []transcript.Step{
			say("get-offsets {on} --topic ranged --time latest", `^ranged:0:4$`),
			say("get-offsets {on} --topic ranged --time earliest", `^ranged:0:0$`),
			say("get-offsets {on} --topic ranged --time max-timestamp", `^ranged:0:[0-3]$`),
			say("get-offsets {on} --topic ranged --time earliest-local", `^ranged:0:[0-4]$`),
			{Run: "get-offsets {on} --topic ranged --time latest-tiered", Not: []string{`xception`}},
			say("get-offsets {on} --topic ranged --time 0", `^ranged:0:0$`),
			{Run: "get-offsets {on} --topic ranged --time 9999999999999", Want: []string{`^ranged:0:$|^ranged:0:4$|^$`}},
			say("get-offsets {on} --topic-partitions ranged:0 --time -1", `^ranged:0:4$`),
			{Run: "get-offsets {on} --exclude-internal-topics", Want: []string{`^ranged:0:4$`}, Not: []string{`__consumer_offsets`}},
		}},
		transcript.Case{Name: "delete-records", Steps: []transcript.Step{
			{File: "delete.json", Text: `{"partitions":[{"topic":"ranged","partition":0,"offset":3}],"version":1}`},
			say("delete-records {on} --offset-json-file {dir}/delete.json", `partition: ranged-0\s+low_watermark: 3`),
			say("get-offsets {on} --topic ranged --time earliest", `^ranged:0:3$`),
			say("console-consumer {on} --topic ranged --from-beginning --max-messages 1 --timeout-ms 20000", "^3\n"),
			{File: "delete.json", Text: `{"partitions":[{"topic":"ranged","partition":0,"offset":-1}],"version":1}`},
			say("delete-records {on} --offset-json-file {dir}/delete.json", `partition: ranged-0\s+low_watermark: 4`),
			{File: "delete.json", Text: `{"partitions":[{"topic":"ranged","partition":0,"offset":99}],"version":1}`},
			say("delete-records {on} --offset-json-file {dir}/delete.json", `partition: ranged-0\s+error: .*OffsetOutOfRange`),
		}},
	)
}
