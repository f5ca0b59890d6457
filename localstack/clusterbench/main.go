// Command clusterbench measures a cluster of three brokers on MinIO and dynalite, all on this
// machine: how long partitions are without a leader when a broker is killed, moved away from or
// restarted, latency and throughput of producers beside the raw requests of the same
// store in the same run, reads from packs, and what requests all of it takes. `make
// bench-cluster` runs it with the servers that it needs.
//
// Each part starts a cluster of its own on empty directories. The load is bounded in records
// and time and goes to loopback addresses only.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/forebaylog/forebay/localstack/rig"
)

// config is the command line.
type config struct {
	parts      []string
	kills      int
	moves      int
	partitions int // that the killed broker leads
	seconds    int // of each step of the load
	records    int
	putRate    float64
	dir        string
	out        string
	binary     string
}

func parse() config {
	var c config
	var parts string
	flag.StringVar(&parts, "parts", "failover,move,rolling,latency,throughput,catchup,requests", "what to measure")
	flag.IntVar(&c.kills, "kills", 20, "brokers killed, one after the other")
	flag.IntVar(&c.moves, "moves", 20, "planned moves")
	flag.IntVar(&c.partitions, "partitions", 1000, "partitions that each broker leads in the parts failover and requests")
	flag.IntVar(&c.seconds, "seconds", 10, "seconds of each step of the load")
	flag.IntVar(&c.records, "records", 1_000_000, "records of 1 KiB in the parts throughput and catchup")
	flag.Float64Var(&c.putRate, "wal-put-rate", 0, "the brokers' --wal-put-rate; 0 is their default")
	flag.StringVar(&c.dir, "dir", os.TempDir(), "where directories are made")
	flag.StringVar(&c.out, "out", "", "write the results to this file, as JSON")
	flag.StringVar(&c.binary, "binary", "", "a built forebay; it is built if empty")
	flag.Parse()
	c.parts = strings.Split(parts, ",")
	return c
}

func main() {
	cfg := parse()
	rig.Main("clusterbench", func(ctx context.Context) error { return run(ctx, cfg) })
}

// part measures something on a cluster of its own.
type part struct {
	name  string
	flags []string // of the brokers
	run   func(context.Context, *bench) error
	tally bool // count what the brokers ask of the tables
}

var parts = []part{
	{"failover", []string{"--rebalance-interval", "1s"}, failover, false},
	{"move", nil, move, false},
	{"rolling", []string{"--rebalance-interval", "1s"}, rolling, false},
	{"latency", nil, latency, false},
	{"throughput", nil, throughput, false},
	{"catchup", []string{"--segment-bytes", "67108864", "--hot-bytes", "1"}, catchup, false},
	{"requests", nil, requests, true},
}

func run(ctx context.Context, cfg config) error {
	dir, err := os.MkdirTemp(cfg.dir, "forebay-clusterbench-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if cfg.binary, err = rig.Forebay(ctx, cfg.binary, dir); err != nil {
		return err
	}
	var figures []figure
	for _, p := range parts {
		if !slices.Contains(cfg.parts, p.name) {
			continue
		}
		b, err := start(ctx, cfg, dir, p)
		if err == nil {
			err = p.run(ctx, b)
			figures = append(figures, b.figures...)
			err = b.close(err)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return rig.WriteJSON(cfg.out, figures)
}

// figure is one result.
type figure struct {
	Part, Name string
	Value      float64
	Unit       string
}

func (b *bench) note(name string, value float64, unit string) {
	b.figures = append(b.figures, figure{b.part, name, value, unit})
	fmt.Printf("%-10s  %-60s %12.3f %s\n", b.part, name, value, unit)
}

// noteTimes tells the percentiles of durations.
func (b *bench) noteTimes(name string, d []time.Duration) {
	if len(d) == 0 {
		b.note(name+", count", 0, "")
		return
	}
	slices.Sort(d)
	at := func(q float64) float64 { return float64(d[int(q*float64(len(d)-1))].Microseconds()) / 1000 }
	b.note(name+", count", float64(len(d)), "")
	b.note(name+", p50", at(0.5), "ms")
	b.note(name+", p99", at(0.99), "ms")
	b.note(name+", max", at(1), "ms")
}
