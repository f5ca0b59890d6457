package console

import "github.com/forebaylog/forebay/localstack/compat/transcript"

// row begins what a table has in a row: the tools of 3.9 write some rows without line breaks.
const row = `(^|\s)`

// groups are kafka-consumer-groups' cases.
func groups() []transcript.Case {
	const reset = "consumer-groups {on} --reset-offsets --group resets --topic grouped "
	consume := "console-consumer {on} --topic grouped --group "
	cases := []transcript.Case{
		{Name: "consumer-groups: list and describe an active group", Steps: []transcript.Step{
			say("topics {on} --create --topic grouped --partitions 2 --replication-factor {rf}"),
			give("1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", "console-producer {on} --topic grouped"),
			{Run: consume + "active --from-beginning --consumer-property client.id=member", Behind: true},
			{Run: "consumer-groups {on} --describe --group active --members --verbose", Await: true, Want: []string{`^active\s+\S*member\S*\s+\S+\s+member\s+2\s+(.*grouped|\(0,1\))`}},
			say("consumer-groups {on} --list", `^active$`),
			say("consumer-groups {on} --list --state", `^active\s+(\S+\s+)?Stable`),
			{Run: "consumer-groups {on} --list --state empty", Not: []string{`^active`}},
			{Run: "consumer-groups {on} --describe --group active --state", Want: []string{`^active\s+\S+ +\(\d\)\s+range\s+Stable\s+1`}},
			{Run: "consumer-groups {on} --describe --group active --offsets", Await: true, Want: []string{`^active\s+grouped\s+[01]\s+(10|[0-9])\s+(10|[0-9])\s+0\s+\S*member`}},
			say("consumer-groups {on} --describe --all-groups", `^active\s+grouped`),
			say("consumer-groups {on} --delete --group active", `GroupNotEmptyException|not empty`),
		}},
		{Name: "consumer-groups: reset a group that has not been", Steps: []transcript.Step{
			{Run: consume + "resets --from-beginning --max-messages 10 --timeout-ms 20000", Want: []string{`Processed a total of 10 messages`}},
			say(reset+"--to-earliest --dry-run", row+`resets\s+grouped\s+[01]\s+0`),
			say("consumer-groups {on} --describe --group resets", `^resets\s+grouped\s+[01]\s+\d+\s+\d+\s+0`),
		}},
	}
	for _, r := range []struct{ name, options, want string }{
		{"to-earliest", "--to-earliest", row + `resets\s+grouped\s+0\s+0(\s|$)`},
		{"to-latest", "--to-latest", row + `resets\s+grouped\s+[01]\s+\d+`},
		{"to-offset", "--to-offset 1", row + `resets\s+grouped\s+[01]\s+[01](\s|$)`},
		{"shift-by", "--shift-by -1", row + `resets\s+grouped\s+[01]\s+0(\s|$)`},
		{"to-datetime", "--to-datetime 2020-01-01T00:00:00.000", row + `resets\s+grouped\s+0\s+0(\s|$)`},
		{"by-duration", "--by-duration P1D", row + `resets\s+grouped\s+0\s+0(\s|$)`},
		{"to-current", "--to-current", row + `resets\s+grouped\s+0\s+0(\s|$)`},
	} {
		cases = append(cases, transcript.Case{Name: "consumer-groups: reset --" + r.name, Steps: []transcript.Step{say(reset+r.options+" --execute", r.want)}})
	}
	return append(cases,
		transcript.Case{Name: "consumer-groups: reset --export and --from-file", Steps: []transcript.Step{
			{Run: reset + "--to-latest --export --dry-run", Out: "resets.csv", Want: []string{`"?grouped"?,[01],\d+`}},
			say("consumer-groups {on} --reset-offsets --group resets --from-file {dir}/resets.csv --execute", row+`resets\s+grouped\s+[01]\s+\d+`),
			say("consumer-groups {on} --describe --group resets", `^resets\s+grouped\s+[01]\s+\d+\s+\d+\s+0`),
		}},
		transcript.Case{Name: "consumer-groups: delete offsets and groups", Steps: []transcript.Step{
			say("consumer-groups {on} --delete-offsets --group resets --topic grouped:0", row+`grouped\s+0\s+Successful`),
			{Run: "consumer-groups {on} --describe --group resets", Want: []string{`^resets\s+grouped\s+1`}, Not: []string{`^resets\s+grouped\s+0\s+\d`}},
			say("consumer-groups {on} --delete --group resets", `Deletion of requested consumer groups \('resets'\) was successful`),
			{Run: "consumer-groups {on} --list", Not: []string{`^resets$`}},
		}},
	)
}
