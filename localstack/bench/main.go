// Command bench runs Forebay and Apache Kafka beside each other on this machine and prints a
// table of medians: throughput, broker CPU and memory, latency, time to start, and what ten
// thousand partitions cost. `make bench` runs it with the jars it needs.
//
// Each round starts both brokers anew, one after the other, in alternating order, with their
// default settings and empty directories that are removed after the round. The load is bounded
// in records and time and goes to loopback addresses only.
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
	"syscall"
	"time"

	"github.com/forebaylog/forebay/localstack/rig"
)

// config is the command line.
type config struct {
	rounds     int
	records    int
	warmup     int
	size       int
	partitions int
	seconds    int
	systems    []string
	parts      []string
	dir        string
	out        string
	binary     string
}

func parse() config {
	var c config
	var systems, parts string
	flag.IntVar(&c.rounds, "rounds", 5, "rounds; each runs every system once")
	flag.IntVar(&c.records, "records", 2_000_000, "records for each producer and round")
	flag.IntVar(&c.warmup, "warmup", 200_000, "records before anything is measured")
	flag.IntVar(&c.size, "size", 1024, "bytes of a record's value")
	flag.IntVar(&c.partitions, "partitions", 10_000, "partitions of the last part")
	flag.IntVar(&c.seconds, "seconds", 20, "seconds of the latency part")
	flag.StringVar(&systems, "systems", "kafka,forebay", "what to run")
	flag.StringVar(&parts, "parts", "start,throughput,latency,partitions", "what to measure; partitions in the first round only")
	flag.StringVar(&c.dir, "dir", os.TempDir(), "where the brokers' directories are made")
	flag.StringVar(&c.out, "out", "", "write all rounds to this file, as JSON")
	flag.StringVar(&c.binary, "binary", "", "a built forebay; it is built if empty")
	flag.Parse()
	c.systems, c.parts = strings.Split(systems, ","), strings.Split(parts, ",")
	return c
}

func main() {
	cfg := parse()
	rig.Main("bench", func(ctx context.Context) error { return run(ctx, cfg) })
}

func run(ctx context.Context, cfg config) error {
	if err := checkMachine(cfg); err != nil {
		return err
	}
	java, err := rig.FindJava(os.Getenv("FOREBAY_JARS"))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(cfg.dir, "forebay-bench-")
	if err != nil {
		return fmt.Errorf("make a directory for the brokers: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if slices.Contains(cfg.systems, "forebay") {
		if cfg.binary, err = rig.Forebay(ctx, cfg.binary, dir); err != nil {
			return err
		}
	}
	var results []result
	for round := 1; round <= cfg.rounds; round++ {
		order := slices.Clone(cfg.systems)
		if round%2 == 0 {
			slices.Reverse(order)
		}
		for _, system := range order {
			b := &bench{config: cfg, java: java, system: system, dir: filepath.Join(dir, "data-"+system), round: round}
			r, err := b.run(ctx)
			if err != nil {
				return fmt.Errorf("round %d, %s: %w", round, system, err)
			}
			results = append(results, r)
			fmt.Fprintf(os.Stderr, "round %d, %s: %v\n", round, system, r.Values)
		}
	}
	printTable(os.Stdout, cfg, results)
	return rig.WriteJSON(cfg.out, results)
}

// checkMachine refuses to start where the disk would fill up, and lets brokers open enough files.
func checkMachine(cfg config) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(cfg.dir, &fs); err != nil {
		return fmt.Errorf("look at the disk of %s: %w", cfg.dir, err)
	}
	// Two producers, and Forebay keeps hot and sealed copies for a while.
	need := 2*2*int64(cfg.records+cfg.warmup)*int64(cfg.size) + 4<<30
	if free := int64(fs.Bavail) * fs.Bsize; free < need {
		return fmt.Errorf("%s has %d GiB free, this run may need %d; free some, or use -records or -dir", cfg.dir, free>>30, need>>30)
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	files.Cur = files.Max // handed on to the brokers only when set explicitly
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("raise the limit of open files: %w", err)
	}
	return nil
}

// bench is one system in one round.
type bench struct {
	config
	java   *rig.Java
	system string
	dir    string
	round  int
	result result
}

// result is what one system showed in one round, by name of the measure.
type result struct {
	Round  int
	System string
	Began  time.Time
	Values map[string]float64
}

func (b *bench) note(name string, value float64) { b.result.Values[name] = value }

// run starts the system on an empty directory, measures it and takes it away again.
func (b *bench) run(ctx context.Context) (result, error) {
	b.result = result{Round: b.round, System: b.system, Began: time.Now(), Values: map[string]float64{}}
	steps := []struct {
		name string
		run  func(context.Context, *rig.Node) error
	}{{"start", b.firstProduce}, {"throughput", b.throughput}, {"latency", b.latency}, {"partitions", b.manyPartitions}}
	for _, step := range steps {
		if !slices.Contains(b.parts, step.name) || step.name == "partitions" && b.round > 1 {
			continue
		}
		if err := b.onFreshNode(ctx, step.run); err != nil {
			return result{}, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return b.result, nil
}

// onFreshNode runs a step on a broker of its own, with nothing left to be written back to
// disk from the step before.
func (b *bench) onFreshNode(ctx context.Context, step func(context.Context, *rig.Node) error) (err error) {
	syscall.Sync()
	node, err := b.launch(ctx, "")
	if err != nil {
		return err
	}
	defer func() {
		_, stopErr := node.Stop(2 * time.Minute)
		if err != nil {
			err = fmt.Errorf("%w; the broker said:\n%s", err, node.Output())
		}
		err = errors.Join(err, stopErr, os.RemoveAll(b.dir))
	}()
	return step(ctx, node)
}

// launch starts the system without waiting for it, on a new address if addr is empty.
func (b *bench) launch(ctx context.Context, addr string) (*rig.Node, error) {
	if b.system == "kafka" {
		return rig.LaunchKafka(ctx, rig.KafkaConfig{Java: b.java, Dir: b.dir, Addr: addr})
	}
	return rig.LaunchForebay(ctx, rig.ForebayConfig{Binary: b.binary, Dir: b.dir, Addr: addr})
}
