// Command groupbench measures the coordinators: what the heartbeats and commits of thousands
// of group members cost, how soon a large group settles after a death, how many offsets a
// second can be committed and in how many writes, and what transactions cost a producer.
// `make bench-groups` runs it with what it needs.
//
// Each part of each round starts each system anew on an empty directory: Apache Kafka, one
// node of Forebay, and, as cluster, one broker on MinIO and dynalite. The load is bounded in
// time and records and goes to loopback addresses only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/faultproxy"
	"github.com/forebaylog/forebay/localstack/rig"
)

// config is the command line.
type config struct {
	rounds           int
	systems, parts   []string
	seconds          int
	groups, members  int
	large, deaths    int
	commitRate       int
	commitGroups     int
	commitPartitions int
	records          int
	txnRecords       int
	dir, binary      string
}

// The systems.
const (
	systemKafka   = "kafka"
	systemDev     = "forebay"
	systemCluster = "cluster"
)

func parse() config {
	var c config
	var systems, parts string
	flag.IntVar(&c.rounds, "rounds", 3, "rounds; each runs every system once")
	flag.StringVar(&systems, "systems", "kafka,forebay,cluster", "what to run: kafka, forebay (one node) and cluster (one broker on MinIO and dynalite)")
	flag.StringVar(&parts, "parts", "heartbeats,settle,commits,transactions", "what to measure")
	flag.IntVar(&c.seconds, "seconds", 15, "seconds of the parts heartbeats and commits")
	flag.IntVar(&c.groups, "groups", 1000, "groups of the part heartbeats")
	flag.IntVar(&c.members, "members", 10, "members of each of them")
	flag.IntVar(&c.large, "large", 100, "members of the group of the part settle")
	flag.IntVar(&c.deaths, "deaths", 3, "members that die in it")
	flag.IntVar(&c.commitRate, "commit-rate", 10_000, "offsets a second of the part commits")
	flag.IntVar(&c.commitGroups, "commit-groups", 10, "groups that they are of")
	flag.IntVar(&c.commitPartitions, "commit-partitions", 10, "partitions of each of them")
	flag.IntVar(&c.records, "records", 300_000, "records of 1 KiB of the part transactions, with and without them")
	flag.IntVar(&c.txnRecords, "txn-records", 1000, "records of a transaction")
	flag.StringVar(&c.dir, "dir", os.TempDir(), "where directories are made")
	flag.StringVar(&c.binary, "binary", "", "a built forebay; it is built if empty")
	flag.Parse()
	c.systems, c.parts = strings.Split(systems, ","), strings.Split(parts, ",")
	return c
}

func main() {
	cfg := parse()
	rig.Main("groupbench", func(ctx context.Context) error { return run(ctx, cfg) })
}

// parts are all there is to measure.
var parts = []struct {
	name string
	run  func(context.Context, *bench, *rig.Node) error
}{{"heartbeats", heartbeats}, {"settle", settle}, {"commits", commits}, {"transactions", transactions}}

// bench is one system under one part.
type bench struct {
	config
	part, system string
	table        *faultproxy.Proxy // before the table of a cluster, where it counts; else nil
	results      *results
}

// results are all values by part and measure, then by system, in order of their first note.
type results struct {
	names  []string
	values map[string]map[string][]float64
}

func (b *bench) note(name string, value float64) {
	name = b.part + ": " + name
	r := b.results
	if r.values[name] == nil {
		r.names, r.values[name] = append(r.names, name), map[string][]float64{}
	}
	r.values[name][b.system] = append(r.values[name][b.system], value)
	fmt.Fprintf(os.Stderr, "%-8s %-60s %12.3f\n", b.system, name, value)
}

// noteTimes tells percentiles.
func (b *bench) noteTimes(name string, times []time.Duration) {
	slices.Sort(times)
	for _, q := range []struct {
		name string
		at   float64
	}{{"p50", 0.5}, {"p99", 0.99}} {
		if len(times) > 0 {
			b.note(name+", "+q.name+", ms", float64(times[int(q.at*float64(len(times)-1))].Microseconds())/1000)
		}
	}
}

func run(ctx context.Context, cfg config) (err error) {
	dir, err := os.MkdirTemp(cfg.dir, "forebay-groupbench-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if cfg.binary, err = rig.Forebay(ctx, cfg.binary, dir); err != nil {
		return err
	}
	all := &results{values: map[string]map[string][]float64{}}
	for round := range cfg.rounds {
		systems := slices.Clone(cfg.systems)
		if round%2 == 1 {
			slices.Reverse(systems)
		}
		for _, part := range parts {
			if !slices.Contains(cfg.parts, part.name) {
				continue
			}
			for _, system := range systems {
				b := &bench{config: cfg, part: part.name, system: system, results: all}
				if err := b.onFresh(ctx, filepath.Join(dir, system), part.run); err != nil {
					return fmt.Errorf("round %d, %s, %s: %w", round+1, part.name, system, err)
				}
			}
		}
	}
	all.print(cfg)
	return nil
}

// onFresh runs a part on a node of its own.
func (b *bench) onFresh(ctx context.Context, dir string, f func(context.Context, *bench, *rig.Node) error) (err error) {
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cluster := rig.ClusterConfig{Dir: dir, Brokers: 1}
	base := rig.ForebayConfig{Binary: b.binary, Args: []string{"--set", "group.initial.rebalance.delay.ms=300"}}
	switch b.system {
	case systemKafka:
		java, err := rig.FindJava(os.Getenv("FOREBAY_JARS"))
		if err != nil {
			return err
		}
		cluster.Launch = func(ctx context.Context, at rig.Place, _ []string) (*rig.Node, error) {
			return rig.LaunchKafka(ctx, rig.KafkaConfig{Java: java, Dir: at.Dir, Addr: at.Addr, Set: map[string]string{
				"group.initial.rebalance.delay.ms": "300",
			}})
		}
	case systemCluster:
		cluster.Launch = rig.LaunchBrokers(base, rig.MinIOBucket, "groupbench")
		cluster.Store, cluster.Table = startStore, startTable
	case systemDev:
		cluster.Launch = rig.LaunchDev(base)
	default:
		return fmt.Errorf("system %q: want %s, %s or %s", b.system, systemKafka, systemDev, systemCluster)
	}
	c, err := rig.StartCluster(ctx, cluster)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if b.table = c.Table; b.table != nil {
		countPuts(b.table)
	}
	if err := f(ctx, b, c.Brokers()[0].Node()); err != nil {
		return fmt.Errorf("%w; the broker said:\n%s", err, c.Brokers()[0].Output())
	}
	return nil
}

// startStore starts MinIO.
func startStore(ctx context.Context, dir string) (*rig.Backend, error) {
	m, err := rig.StartMinIO(ctx, os.Getenv("FOREBAY_MINIO"), dir)
	if err != nil {
		return nil, err
	}
	return &rig.Backend{Addr: m.Addr, Env: m.Env(), Close: m.Kill}, nil
}

// startTable starts dynalite.
func startTable(ctx context.Context, _ string) (*rig.Backend, error) {
	d, err := rig.StartDynalite(ctx, os.Getenv("FOREBAY_NODE"))
	if err != nil {
		return nil, err
	}
	return &rig.Backend{Addr: strings.TrimPrefix(d.Endpoint, "http://"), Env: rig.DynaliteEnv, Close: d.Kill}, nil
}

func createTopic(ctx context.Context, addr, topic string, partitions int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, int32(partitions), 1, nil, topic); err != nil {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	return awaitCoordinator(ctx, kadm.NewClient(client))
}

// awaitCoordinator waits until there is a coordinator, which the first who asks for one brings about.
func awaitCoordinator(ctx context.Context, admin *kadm.Client) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := admin.FindGroupCoordinators(ctx, "warm-up").Error()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("find a coordinator: %w", err)
		}
	}
}

// print prints the median of each measure, with its least and highest value.
func (r *results) print(cfg config) {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "median of %d rounds (least - highest)\t%s\t\n", cfg.rounds, strings.Join(cfg.systems, "\t"))
	for _, name := range r.names {
		fmt.Fprintf(table, "%s\t", name)
		for _, system := range cfg.systems {
			v := slices.Sorted(slices.Values(r.values[name][system]))
			if len(v) == 0 {
				fmt.Fprint(table, "-\t")
				continue
			}
			fmt.Fprintf(table, "%.2f (%.2f - %.2f)\t", (v[(len(v)-1)/2]+v[len(v)/2])/2, v[0], v[len(v)-1])
		}
		fmt.Fprintln(table)
	}
	_ = table.Flush()
}
