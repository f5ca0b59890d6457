// Package console is the compatibility suites of Apache Kafka's own command line tools: what
// they are told, and what they must say. The tools run unchanged, as main classes of their jars.
package console

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/forebaylog/forebay/localstack/compat/suite"
	"github.com/forebaylog/forebay/localstack/compat/transcript"
	"github.com/forebaylog/forebay/localstack/rig"
)

// Suites are the tools of today, and those of the last 3.x as far as they differ in what they ask for.
func Suites() []suite.Suite {
	return []suite.Suite{
		{
			Name: "console", About: "Apache Kafka 4.3.1: the command line tools", Nodes: []int{1, 3}, Limit: limit, Settings: settings,
			Run: func(ctx context.Context, t *suite.Target) ([]suite.Case, error) {
				return run(ctx, t, t.Java, mains, all()), nil
			},
		},
		{
			Name: "console-3.9", About: "Apache Kafka 3.9.2: the command line tools for topics, configs, groups, offsets and records",
			Nodes: []int{1}, Limit: limit, Settings: settings, Prepare: prepare,
			Run: func(ctx context.Context, t *suite.Target) ([]suite.Case, error) {
				dir, err := os.ReadFile(filepath.Join(t.Tools, jarsFile))
				if err != nil {
					return nil, fmt.Errorf("find the jars of the last 3.x: %w", err)
				}
				java, err := rig.FindJava(string(dir))
				if err != nil {
					return nil, err
				}
				return run(ctx, t, java, mainsOf3(), [][]transcript.Case{topics(), configs(), groups(), records()}), nil
			},
		},
	}
}

// limit is generous: a run is some 160 starts of a JVM, which take a minute or two on an idle
// machine and many times that on a busy one.
const limit = 20 * time.Minute

var settings = map[string]string{"group.initial.rebalance.delay.ms": "0", "num.partitions": "1"}

// jarsFile names, in a suite's directory, where its jars are.
const jarsFile = "jars"

// prepare installs the jars of the last 3.x.
func prepare(ctx context.Context, dir string, log io.Writer) error {
	root, err := rig.Root(ctx)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	cmd := suite.Command(ctx, filepath.Join(root, "tools", "install"), "java", "compat/console/3.9")
	cmd.Stdout = &out
	if err := suite.Run(cmd, log); err != nil {
		return fmt.Errorf("install the tools of the last 3.x: %w", err)
	}
	return os.WriteFile(filepath.Join(dir, jarsFile), bytes.TrimSpace(out.Bytes()), 0o600)
}

// mains has the main class of each tool by the name of its script, without kafka-.
var mains = map[string]string{
	"topics":              rig.TopicCommand,
	"configs":             rig.ConfigCommand,
	"consumer-groups":     rig.ConsumerGroups,
	"log-dirs":            rig.LogDirs,
	"leader-election":     "org.apache.kafka.tools.LeaderElectionCommand",
	"reassign-partitions": rig.ReassignCommand,
	"get-offsets":         rig.GetOffsets,
	"delete-records":      rig.DeleteRecords,
	"transactions":        "org.apache.kafka.tools.TransactionsCommand",
	"features":            "org.apache.kafka.tools.FeatureCommand",
	"cluster":             "org.apache.kafka.tools.ClusterTool",
	"broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
	"metadata-quorum":     "org.apache.kafka.tools.MetadataQuorumCommand",
	"acls":                "org.apache.kafka.tools.AclCommand",
	"console-producer":    rig.ConsoleProducer,
	"console-consumer":    rig.ConsoleConsumer,
	"groups":              "org.apache.kafka.tools.GroupsCommand",
	"client-metrics":      "org.apache.kafka.tools.ClientMetricsCommand",
	"producer-perf-test":  rig.ProducerPerformance,
}

// mainsOf3 has those that 3.9 has elsewhere.
func mainsOf3() map[string]string {
	old := make(map[string]string, len(mains))
	for name, main := range mains {
		old[name] = main
	}
	old["console-producer"] = "kafka.tools.ConsoleProducer"
	return old
}

// all are the cases in groups that may run at the same time: each has topics of its own.
func all() [][]transcript.Case {
	return [][]transcript.Case{reassignments(), transactions(), groups(), records(), topics(), slices.Concat(configs(), groupConfigs()), slices.Concat(brokers(), cluster())}
}

// run runs groups of cases with the tools of some jars.
func run(ctx context.Context, t *suite.Target, java *rig.Java, mains map[string]string, groups [][]transcript.Case) []suite.Case {
	nodes := len(t.Brokers)
	on := "--bootstrap-server " + strings.Join(t.Brokers, ",")
	r := transcript.Runner{
		Command: func(ctx context.Context, words []string) (*exec.Cmd, error) {
			main, ok := mains[words[0]]
			if !ok {
				return nil, fmt.Errorf("there is no tool %q", words[0])
			}
			if words[0] == "consumer-groups" {
				words = append(words, "--timeout", "60000") // its own 5 s are short on a busy machine
			}
			tool := java.Tool(ctx, main, words[1:]...)
			return suite.Command(ctx, tool.Path, tool.Args[1:]...), nil
		},
		Vars: map[string]string{
			"dir": t.Dir, "nodes": strconv.Itoa(nodes), "rf": strconv.Itoa(min(nodes, 3)), "broker": t.Brokers[0],
			"on": on,
		},
		Nodes: nodes, Log: t.Log, Parallel: 3,
	}
	return r.Run(ctx, groups...)
}

// say is a step that succeeds and says what is wanted.
func say(run string, want ...string) transcript.Step { return transcript.Step{Run: run, Want: want} }

// refuse is a step that says clearly why it fails.
func refuse(run string, want ...string) transcript.Step {
	return transcript.Step{Run: run, Want: want, Fails: true}
}

// give is a step with standard input.
func give(in, run string, want ...string) transcript.Step {
	return transcript.Step{Run: run, In: in, Want: want}
}
