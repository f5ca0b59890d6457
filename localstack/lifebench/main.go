// Command lifebench counts what the life of the data costs: how many bytes are put to the object
// store for each byte produced, and how many requests of each kind each GiB takes, of the WAL, of
// sealing, merging, compaction, retention and the collector. `make bench-life` runs it.
//
// One large and many small partitions, some of them compacted, are produced to for a time that passes as
// fast as it can, through the real packages, on stores in memory that count. Nothing is sent anywhere. An object
// counts as one PUT: a driver that sends large ones in parts takes more. A thousand names that are
// listed count as one LIST.
//
// The requests of retention, of compaction and of the collector depend on how often they look more than on
// the data's rate. They look as often as a broker does by default, but for the collector, which looks
// more often and with a short grace, so that what is superfluous goes within the time.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/forebaylog/forebay/localstack/rig"
)

// config is the command line.
type config struct {
	duration    time.Duration
	small       int
	compacted   int
	keys        int
	smallBatch  int
	every       time.Duration
	largeRate   int
	chunks      int
	kept        float64
	seal, merge time.Duration
	compact     time.Duration
	retain      time.Duration
	collect     time.Duration
	grace       time.Duration
	fanIn       int
	rounds      string
}

func parse() config {
	var c config
	flag.DurationVar(&c.duration, "duration", time.Hour, "simulated time")
	flag.IntVar(&c.small, "small", 1000, "small partitions")
	flag.IntVar(&c.compacted, "compacted", 500, "of the small partitions: those of a compacted topic")
	flag.IntVar(&c.keys, "keys", 20, "keys of a compacted partition")
	flag.IntVar(&c.smallBatch, "small-batch", 1<<10, "bytes of values in a batch of theirs")
	flag.DurationVar(&c.every, "every", 30*time.Second, "average time between two of them")
	flag.IntVar(&c.largeRate, "large-rate", 64<<10, "bytes a second of the large partition")
	flag.IntVar(&c.chunks, "chunks", 10, "WAL objects a second")
	flag.Float64Var(&c.kept, "kept", 0.5, "how much of what is produced retention by size keeps, where nothing is compacted")
	flag.DurationVar(&c.seal, "seal", time.Minute, "time between two rounds of sealing")
	flag.DurationVar(&c.merge, "merge", 5*time.Minute, "time between two rounds of merging")
	flag.DurationVar(&c.compact, "compact", 15*time.Second, "time between two looks for what is to be compacted")
	flag.DurationVar(&c.retain, "retain", 5*time.Minute, "time between two rounds of retention")
	flag.DurationVar(&c.collect, "collect", 10*time.Minute, "time between two looks of the collector")
	flag.DurationVar(&c.grace, "grace", 10*time.Minute, "of the collector")
	flag.IntVar(&c.fanIn, "fan-in", 8, "of the merging")
	flag.StringVar(&c.rounds, "rounds", "seal,merge,all", "what is done beside the WAL: sealing alone, merging too, or everything")
	flag.Parse()
	return c
}

func main() {
	cfg := parse()
	rig.Main("lifebench", func(ctx context.Context) error { return run(ctx, cfg) })
}

func run(ctx context.Context, cfg config) error {
	for _, round := range strings.Split(cfg.rounds, ",") {
		c := cfg
		switch round {
		case "seal":
			c.merge, c.compact, c.retain, c.collect = 0, 0, 0, 0
		case "merge":
			c.compact, c.retain, c.collect = 0, 0, 0
		case "all":
		default:
			return fmt.Errorf("round %q: want seal, merge or all", round)
		}
		if err := one(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// one runs one simulation and prints its table.
func one(ctx context.Context, cfg config) error {
	s, err := newSim(ctx, cfg)
	if err != nil {
		return err
	}
	err = s.run(ctx)
	if err == nil {
		err = s.report(ctx)
	}
	if closeErr := s.close(context.WithoutCancel(ctx)); err == nil {
		err = closeErr
	}
	return err
}

// report prints what was counted.
func (s *sim) report(ctx context.Context) error {
	const gib = 1 << 30
	left, err := s.left(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%.1f MiB produced in %s\n", float64(s.produced)/(1<<20), s.cfg.duration)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tput/produced\tread/produced\tPUT/GiB\tGET/GiB\tLIST/GiB\tDELETE/GiB\ttable writes/GiB\ttable reads/GiB\t")
	var all counts
	row := func(name string, c *counts) {
		per := func(n int64) float64 { return float64(n) * gib / float64(s.produced) }
		share := func(n int64) float64 { return float64(n) / float64(s.produced) }
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t\n", name, share(c.putBytes.Load()), share(c.getBytes.Load()), per(c.puts.Load()),
			per(c.gets.Load()), per(c.lists.Load()), per(c.deletes.Load()), per(c.tableWrites.Load()), per(c.tableReads.Load()))
	}
	for _, stage := range s.stages() {
		row(stage.name, stage.counts)
		all.add(stage.counts)
	}
	row("all", &all)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, stage := range s.stages() {
		if stage.rounds > 0 {
			fmt.Printf("%s: %d rounds, %s\n", stage.name, stage.rounds, stage.did())
		}
	}
	const mib = 1 << 20
	fmt.Printf("runs at the end: large partition %d, small ones %d (median), %d (most); %d MiB in runs, %d MiB in %d objects\n\n",
		left.large, left.median, left.most, left.bytes/mib, s.bucket.bytes()/mib, s.bucket.objects())
	return nil
}
