// Package kcat is the compatibility suite of kcat, which is librdkafka's producer and consumers at
// the command line, in all of its modes but the mock cluster (-M), which needs no broker.
package kcat

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/forebaylog/forebay/localstack/compat/suite"
	"github.com/forebaylog/forebay/localstack/compat/transcript"
)

// Suites are kcat as the system has it.
func Suites() []suite.Suite {
	return []suite.Suite{{
		Name: "kcat", About: "kcat 1.7.1 of Debian (librdkafka 2.0.2): every mode but -M", Nodes: []int{1, 3}, Limit: 4 * time.Minute,
		Settings: map[string]string{"group.initial.rebalance.delay.ms": "0", "num.partitions": "1"},
		Run: func(ctx context.Context, t *suite.Target) ([]suite.Case, error) {
			path, err := exec.LookPath("kcat")
			if err != nil {
				return nil, fmt.Errorf("find kcat: %w; run tools/install system", err)
			}
			r := transcript.Runner{
				Command: func(ctx context.Context, words []string) (*exec.Cmd, error) {
					return suite.Command(ctx, path, append([]string{"-b", strings.Join(t.Brokers, ",")}, words[1:]...)...), nil
				},
				Vars:  map[string]string{"dir": t.Dir, "nodes": strconv.Itoa(len(t.Brokers)), "broker": t.Brokers[0]},
				Nodes: len(t.Brokers), Log: t.Log, Parallel: 3,
			}
			return r.Run(ctx, producing(), consuming(), grouped(), listing()), nil
		},
	}}
}

// say is a step that succeeds and says what is wanted.
func say(run string, want ...string) transcript.Step { return transcript.Step{Run: run, Want: want} }

// give is a step with standard input.
func give(in, run string, want ...string) transcript.Step {
	return transcript.Step{Run: run, In: in, Want: want}
}

func producing() []transcript.Case {
	cases := []transcript.Case{
		{Name: "-P: keys, headers, partition, null", Steps: []transcript.Step{
			give("k1:v1\nk2:v2\n", "kcat -P -t keyed -K : -H a=1 -H b=2 -p 0"),
			say(`kcat -C -t keyed -e -q -f 'p%p o%o k%k K%K s%s S%S h%h t%t;\n'`, "^p0 o0 kk1 K2 sv1 S2 ha=1,b=2 tkeyed;\np0 o1 kk2"),
			give("gone:\n", "kcat -P -t keyed -K : -Z"),
			say(`kcat -C -t keyed -e -q -o 2 -f '%k %S;\n'`, `^gone -1;$`),
		}},
		{Name: "-P: -T copies to standard output, -c, -D, acks", Steps: []transcript.Step{
			give("a b c", "kcat -P -t split -D ' ' -T -X acks=1", `a`),
			give("d\ne\n", "kcat -P -t split -c 1 -X acks=0"),
			{Run: `kcat -C -t split -e -q`, Await: true, Want: []string{"^a\nb\nc\nd\n"}, Not: []string{`^e$`}},
		}},
		{Name: "-P: -l lines of a file, whole files", Steps: []transcript.Step{
			{File: "lines", Text: "one\ntwo\n"},
			say("kcat -P -t files -l {dir}/lines"),
			say("kcat -P -t files {dir}/lines"),
			say(`kcat -C -t files -e -q -f '[%s]'`, `^\[one\]\[two\]\[one\ntwo\n?\]`),
		}},
		{Name: "-P: idempotent", Steps: []transcript.Step{
			give("1\n2\n3\n", "kcat -P -t once -X enable.idempotence=true"),
			say("kcat -C -t once -e -q", "^1\n2\n3\n"),
		}},
		{Name: "-P: transactional, read by both isolation levels", Steps: []transcript.Step{
			give("1\n2\n3\n", "kcat -P -t txn -X transactional.id=kcat"),
			say("kcat -C -t txn -e -q -X isolation.level=read_committed", "^1\n2\n3\n"),
			say("kcat -C -t txn -e -q -X isolation.level=read_uncommitted", "^1\n2\n3\n"),
			{Run: "kcat -C -t txn -e", Want: []string{`Reached end of topic txn \[0\] at offset 4`}},
		}},
	}
	for _, codec := range []string{"gzip", "snappy", "lz4", "zstd"} {
		cases = append(cases, transcript.Case{Name: "-P: -z " + codec, Steps: []transcript.Step{
			give(strings.Repeat("compressible\n", 200), "kcat -P -t z-"+codec+" -z "+codec),
			say("kcat -C -t z-"+codec+" -e -q -o -1", "^compressible\n"),
			say("kcat -Q -t z-"+codec+":0:-1", `offset 200`),
		}})
	}
	return cases
}

func consuming() []transcript.Case {
	return []transcript.Case{
		{Name: "-C: beginning, end, absolute, from the end", Steps: []transcript.Step{
			give("0\n1\n2\n3\n4\n", "kcat -P -t spans"),
			say("kcat -C -t spans -o beginning -e -q", "^0\n1\n2\n3\n4\n"),
			{Run: "kcat -C -t spans -o end -e -q", Not: []string{`[0-9]`}},
			say("kcat -C -t spans -o 3 -e -q", "^3\n4\n"),
			say("kcat -C -t spans -o -2 -e -q", "^3\n4\n"),
			say("kcat -C -t spans -c 2 -q", "^0\n1\n"),
		}},
		{Name: "-C: times", Steps: []transcript.Step{
			say(`kcat -C -t spans -o 1 -c 1 -q -f '%T\n'`, `^(?P<time>\d{13})$`),
			say("kcat -C -t spans -o s@{time} -e -q", "^4\n"),
			{Run: "kcat -C -t spans -o s@1 -o e@2 -e -q", Not: []string{`[0-9]`}},
			say("kcat -C -t spans -o s@1 -e -q", "^0\n1\n"),
		}},
		{Name: "-C: JSON and end of partition", Steps: []transcript.Step{
			say("kcat -C -t spans -J -c 1 -q", `^\{"topic":"spans","partition":0,"offset":0,"tstype":"create","ts":\d+,"broker":\d,"key":null,"payload":"0"\}`),
			say("kcat -C -t spans -e", `Reached end of topic spans \[0\] at offset 5: exiting`),
		}},
		{Name: "-C: unpacked with -s, null with -Z, buffers off", Steps: []transcript.Step{
			give("abcd\n", "kcat -P -t packed"),
			say("kcat -C -t packed -e -q -s value=>i", `^1633837924$`),
			say("kcat -C -t packed -e -q -u -Z", "^abcd\n"),
		}},
		{Name: "-C: stored offsets", Steps: []transcript.Step{
			say("kcat -C -t spans -o beginning -c 3 -q -X group.id=stores -X enable.auto.commit=true", "^0\n1\n2\n"),
			say("kcat -C -t spans -o stored -e -q -X group.id=stores -X auto.offset.reset=earliest"),
		}},
		{Name: "-Q: offsets by time, of several partitions", Steps: []transcript.Step{
			say("kcat -Q -t spans:0:-1", `spans \[0\] offset 5`),
			say("kcat -Q -t spans:0:-2", `spans \[0\] offset 0`),
			say("kcat -Q -t spans:0:0 -t packed:0:0", `spans \[0\] offset 0`, `packed \[0\] offset 0`),
			say("kcat -Q -t spans:0:9999999999999", `spans \[0\] offset -1`),
		}},
		{Name: "-C: an offset out of range, and a topic that is not there", Steps: []transcript.Step{
			say("kcat -C -t spans -o 99 -e -q -X auto.offset.reset=earliest", "^0\n"),
			{Run: "kcat -C -t nowhere -e -X allow.auto.create.topics=false", Fails: true, Want: []string{`[Uu]nknown topic`}},
		}},
	}
}

func grouped() []transcript.Case {
	return []transcript.Case{
		{Name: "-G: one member, offsets are kept", Steps: []transcript.Step{
			give("0\n1\n2\n", "kcat -P -t balanced"),
			say("kcat -G solo -c 2 -q -X auto.offset.reset=earliest balanced", "^0\n1\n"),
			say("kcat -G solo -e -q -X auto.offset.reset=earliest balanced", "^2\n"),
			{Run: "kcat -G solo -e balanced", Not: []string{`^[012]$`}},
		}},
		{Name: "-G: two members, cooperative, several topics", Steps: []transcript.Step{
			give("x\n", "kcat -P -t balanced-too"),
			{Run: "kcat -G pair -q -X partition.assignment.strategy=cooperative-sticky -X auto.offset.reset=earliest balanced balanced-too", Behind: true},
			{Run: "kcat -G pair -e -X partition.assignment.strategy=cooperative-sticky -X auto.offset.reset=earliest -c 1 balanced balanced-too", Await: true},
		}},
		{Name: "-G: topics by pattern, static member", Steps: []transcript.Step{
			say("kcat -G patterns -e -q -X auto.offset.reset=earliest -X group.instance.id=one ^balanced$", "^0\n1\n2\n"),
		}},
	}
}

func listing() []transcript.Case {
	return []transcript.Case{
		{Name: "-L: all topics and one", Steps: []transcript.Step{
			give("x\n", "kcat -P -t listed"),
			// A list of all topics may be a moment old at another broker.
			{Run: "kcat -L", Await: true, Want: []string{`^ {nodes} brokers:`, `broker 1 at \S+:\d+`, `topic "listed" with 1 partitions:`, `partition 0, leader [1-9], replicas: [\d,]+, isrs: [\d,]+`}},
			{Run: "kcat -L -t listed", Want: []string{`^ 1 topics:`, `topic "listed"`}},
			say("kcat -L -J -t listed", `"topic":"listed","partitions":\[\{"partition":0,"leader":[1-9]`),
		}},
		{Name: "-L: client versions of before", Steps: []transcript.Step{
			say("kcat -L -t listed -X api.version.request=false -X broker.version.fallback=0.10.2", `topic "listed"`),
		}},
	}
}
