// Command lifebench counts what the life of the data costs: how many bytes are put to the object
// store for each byte produced, and how many requests of each kind each GiB takes, of the WAL, of
// sealing and of merging. `make bench-life` runs it.
//
// One large and many small partitions are produced to for a time that passes as fast as it can,
// through the real packages, on stores in memory that count. Nothing is sent anywhere. An object
// counts as one PUT: a driver that sends large ones in parts takes more. The collector, whose
// requests depend on its interval and not on the data's rate, is not in it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"
)

// config is the command line.
type config struct {
	duration    time.Duration
	small       int
	smallBatch  int
	every       time.Duration
	largeRate   int
	chunks      int
	seal, merge time.Duration
	fanIn       int
}

func parse() config {
	var c config
	flag.DurationVar(&c.duration, "duration", time.Hour, "simulated time")
	flag.IntVar(&c.small, "small", 1000, "small partitions")
	flag.IntVar(&c.smallBatch, "small-batch", 1<<10, "bytes of values in a batch of theirs")
	flag.DurationVar(&c.every, "every", 30*time.Second, "average time between two of them")
	flag.IntVar(&c.largeRate, "large-rate", 64<<10, "bytes a second of the large partition")
	flag.IntVar(&c.chunks, "chunks", 10, "WAL objects a second")
	flag.DurationVar(&c.seal, "seal", time.Minute, "time between two rounds of sealing")
	flag.DurationVar(&c.merge, "merge", 5*time.Minute, "time between two rounds of merging")
	flag.IntVar(&c.fanIn, "fan-in", 8, "of the merging")
	flag.Parse()
	return c
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, parse())
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lifebench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, cfg config) error {
	for _, merging := range []bool{false, true} {
		c := cfg
		if !merging {
			c.merge = 0
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
	large, median, most, err := s.runs(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("merging every %s, fan-in %d: %.1f MiB produced in %s; %d segments merged\n", s.cfg.merge, s.cfg.fanIn, float64(s.produced)/(1<<20), s.cfg.duration, s.merges)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tput/produced\tPUT/GiB\tGET/GiB\tread/produced\tLIST/GiB\ttable writes/GiB\ttable reads/GiB\t")
	var all counts
	row := func(name string, c *counts) {
		per := func(n int64) float64 { return float64(n) * gib / float64(s.produced) }
		share := func(n int64) float64 { return float64(n) / float64(s.produced) }
		fmt.Fprintf(w, "%s\t%.2f\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f\t%.0f\t\n", name, share(c.putBytes.Load()), per(c.puts.Load()), per(c.gets.Load()),
			share(c.getBytes.Load()), per(c.lists.Load()), per(c.tableWrites.Load()), per(c.tableReads.Load()))
	}
	for _, part := range []struct {
		name string
		c    *counts
	}{{"WAL", &s.wal}, {"sealing", &s.seal}, {"merging", &s.merge}} {
		row(part.name, part.c)
		all.add(part.c)
	}
	row("all", &all)
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Printf("runs at the end: large partition %d, small ones %d (median), %d (most)\n\n", large, median, most)
	return nil
}
