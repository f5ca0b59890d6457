// Command torture injects faults into brokers under load and looks for what must not
// happen: records lost, doubled, changed or out of order, offsets that go back, clients that
// get stuck. `go run ./localstack/torture -list` names the faults.
//
// Each run starts brokers of its own in an empty directory, works on them with producers,
// consumers and groups whose every step goes into a history, injects one sort of fault for
// a time, heals it, reads every partition twice, the second time after all was started anew,
// and has the history judged by package oracle. It prints a line for each run, and with -json
// a report. The exit code is 0 if nothing was found, 1 if something was, and 2 if a run could
// not be made. What led to a failure is kept, in the directory that the report names.
//
// The same seed makes the same choices, though not the same interleaving.
//
// -scenario seeded plants bugs and expects each to be found; see infra/seeded.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/forebaylog/forebay/localstack/rig"
)

// The targets.
const (
	targetDev     = "dev"     // one forebay dev
	targetCluster = "cluster" // several forebay broker
	targetKafka   = "kafka"   // Apache Kafka, one node: what the oracle finds there is its own mistake
)

// The names that -scenario takes beside those of scenarios.
const (
	allScenarios    = "all"
	seededScenarios = "seeded"
)

// config is the command line.
type config struct {
	scenario    string
	target      string
	seed        uint64
	duration    time.Duration
	rounds      int
	patience    time.Duration // until all that was sent is answered and consumed, and for a whole read
	short       bool
	long        bool
	list        bool
	brokers     int
	topics      int
	partitions  int // of each topic
	producers   int
	groups      int
	members     int // of each group
	transactors int // transactional ids
	copiers     int
	rate        int // records per second and producer
	memory      int64
	dir         string
	json        string
	binary      string
	minio       string // path of the MinIO server
	node        string // directory that dynalite is installed in
	jars        string // directory of Apache Kafka's jars
	bugs        []string
	args        []string // added to the brokers' command lines
}

func parse(args []string) (config, error) {
	var c config
	var bugs, brokerArgs string
	flags := flag.NewFlagSet("torture", flag.ContinueOnError)
	flags.StringVar(&c.scenario, "scenario", allScenarios, "a scenario, several with commas between, all, or seeded")
	flags.StringVar(&c.target, "target", targetDev, "what to run: dev, cluster or kafka")
	flags.Uint64Var(&c.seed, "seed", uint64(time.Now().UnixNano()), "seed of every choice; default: the time")
	flags.DurationVar(&c.duration, "duration", time.Minute, "how long faults are injected")
	flags.IntVar(&c.rounds, "rounds", 0, "how often a fault is injected; 0: as often as fits into the duration")
	flags.DurationVar(&c.patience, "patience", time.Minute, "how long clients may take to get all answers, and all records")
	flags.BoolVar(&c.short, "short", false, "the mix for CI: each scenario has a short duration of its own")
	flags.BoolVar(&c.long, "long", false, "the mix for a release: killing and restarting have a number of rounds of their own")
	flags.BoolVar(&c.list, "list", false, "list the scenarios")
	flags.IntVar(&c.brokers, "brokers", 3, "brokers of a cluster")
	flags.IntVar(&c.topics, "topics", 2, "topics")
	flags.IntVar(&c.partitions, "partitions", 4, "partitions of each topic")
	flags.IntVar(&c.producers, "producers", 3, "producers")
	flags.IntVar(&c.groups, "groups", 2, "consumer groups")
	flags.IntVar(&c.members, "members", 2, "members of each group")
	flags.IntVar(&c.transactors, "transactors", 2, "transactional producers")
	flags.IntVar(&c.copiers, "copiers", 2, "members of a group that copies a topic in transactions")
	flags.IntVar(&c.rate, "rate", 200, "records per second of each producer")
	flags.Int64Var(&c.memory, "memory", 1<<30, "resident memory that a broker may use, in bytes")
	flags.StringVar(&c.dir, "dir", os.TempDir(), "where the directories of runs are made")
	flags.StringVar(&c.json, "json", "", "write the reports to this file")
	flags.StringVar(&c.binary, "binary", "", "a built forebay; it is built if empty")
	flags.StringVar(&c.minio, "minio", os.Getenv("FOREBAY_MINIO"), "the MinIO server, as \"$(tools/install minio)/minio\"; default: FOREBAY_MINIO")
	flags.StringVar(&c.node, "node", os.Getenv("FOREBAY_NODE"), "the directory of dynalite, as tools/install node prints it; default: FOREBAY_NODE")
	flags.StringVar(&c.jars, "jars", os.Getenv("FOREBAY_JARS"), "the directory of Apache Kafka, as tools/install java prints it; default: FOREBAY_JARS")
	flags.StringVar(&bugs, "bugs", "", "with -scenario seeded: the bugs to plant; default: all")
	flags.StringVar(&brokerArgs, "broker-args", "", "more arguments for the brokers")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	c.bugs, c.args = strings.FieldsFunc(bugs, func(r rune) bool { return r == ',' }), strings.Fields(brokerArgs)
	if c.target != targetDev && c.target != targetCluster && c.target != targetKafka {
		return c, fmt.Errorf("target %q: want %s, %s or %s", c.target, targetDev, targetCluster, targetKafka)
	}
	return c, nil
}

// Exit codes.
const (
	exitOK     = 0
	exitFound  = 1
	exitBroken = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := mainCode(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func mainCode(ctx context.Context, args []string, out, messages io.Writer) int {
	cfg, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		fmt.Fprintln(messages, "torture:", err)
		return exitBroken
	}
	if cfg.list {
		for _, s := range scenarios {
			fmt.Fprintf(out, "%-12s %s\n", s.name, s.about)
		}
		return exitOK
	}
	found, err := torture(ctx, cfg, out, messages)
	switch {
	case err != nil:
		fmt.Fprintln(messages, "torture:", err)
		return exitBroken
	case found:
		return exitFound
	}
	return exitOK
}

// torture runs what the command line asks for and reports whether something was found.
func torture(ctx context.Context, cfg config, out, messages io.Writer) (found bool, err error) {
	if cfg.scenario == seededScenarios {
		return seededBugs(ctx, cfg, out, messages)
	}
	chosen, err := choose(cfg, messages)
	if err != nil {
		return false, err
	}
	build, err := os.MkdirTemp(cfg.dir, "torture-build-")
	if err != nil {
		return false, fmt.Errorf("make a directory for the binary: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(build)) }()
	if cfg.binary == "" && cfg.target != targetKafka {
		if cfg.binary, err = rig.BuildForebay(ctx, build); err != nil {
			return false, err
		}
	}
	var reports []report
	for _, s := range chosen {
		rep, err := run(ctx, s.fit(cfg), s)
		if err != nil {
			return found, err
		}
		fmt.Fprintln(out, rep.line())
		for _, a := range rep.Anomalies {
			fmt.Fprintln(messages, "  ", a)
		}
		if rep.History != "" {
			fmt.Fprintln(messages, "   kept in", rep.History)
		}
		found = found || !rep.Passed
		reports = append(reports, rep)
	}
	if cfg.json != "" {
		return found, writeJSON(cfg.json, reports)
	}
	return found, nil
}

// choose returns the scenarios to run, and says which of all cannot run on the target.
func choose(cfg config, messages io.Writer) (chosen []scenario, err error) {
	if cfg.scenario != allScenarios {
		for _, name := range strings.Split(cfg.scenario, ",") {
			s, err := findScenario(name)
			if err != nil {
				return nil, err
			}
			if s.cluster && cfg.target != targetCluster {
				return nil, fmt.Errorf("scenario %s: it needs -target %s", name, targetCluster)
			}
			chosen = append(chosen, s)
		}
		return chosen, nil
	}
	for _, s := range scenarios {
		switch {
		case s.cluster && cfg.target != targetCluster:
			fmt.Fprintf(messages, "%s is left out: it needs -target %s\n", s.name, targetCluster)
		default:
			chosen = append(chosen, s)
		}
	}
	return chosen, nil
}
