// Command sinkbench proves what forebay sink promises with a million records, and measures how
// fast that was: the receiver fails 5% of the requests, and refuses some records for good.
// `make bench-sink` runs it. The load is bounded in records and goes to loopback addresses only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/forebaylog/forebay/localstack/rig"
	"github.com/forebaylog/forebay/localstack/sinkproof"
)

func main() { rig.Main("sinkbench", run) }

func run(ctx context.Context) (err error) {
	var cfg sinkproof.Config
	partitions := flag.Int("partitions", 12, "partitions of the topic")
	limit := flag.Duration("limit", 10*time.Minute, "time limit")
	flag.IntVar(&cfg.Records, "records", 1_000_000, "records")
	flag.IntVar(&cfg.Bytes, "bytes", 200, "bytes of a record's value")
	flag.IntVar(&cfg.Keys, "keys", 10_000, "keys")
	flag.Float64Var(&cfg.FailRate, "fail-rate", 0.05, "share of the requests that fail at random")
	flag.IntVar(&cfg.PoisonEvery, "poison-every", 10_000, "every so manieth record is refused for good; 0 for none")
	flag.IntVar(&cfg.HTTP, "http", 0, "senders that write the records as CloudEvents over HTTP; 0 for a Kafka producer")
	flag.IntVar(&cfg.Sinks, "sinks", 2, "members of the group")
	flag.IntVar(&cfg.Kills, "kills", 0, "how often one of them is killed")
	flag.Uint64Var(&cfg.Seed, "seed", 1, "of what happens at random")
	flag.StringVar(&cfg.Binary, "binary", "", "a built forebay; it is built if empty")
	dir := flag.String("dir", os.TempDir(), "where a directory is made")
	flag.Parse()
	cfg.Partitions, cfg.Args = int32(*partitions), flag.Args()
	cfg.Say = func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

	if cfg.Dir, err = os.MkdirTemp(*dir, "forebay-sinkbench-"); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cfg.Dir)) }()
	if cfg.Binary, err = rig.Forebay(ctx, cfg.Binary, cfg.Dir); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	r, err := sinkproof.Run(ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Printf("%d records of %d bytes, %d keys, %d partitions, %d sinks\n", cfg.Records, cfg.Bytes, cfg.Keys, cfg.Partitions, cfg.Sinks)
	fmt.Printf("written        %8.1f s  %8.0f records/s\n", r.Produce.Seconds(), float64(cfg.Records)/r.Produce.Seconds())
	fmt.Printf("delivered      %8.1f s  %8.0f records/s\n", r.Deliver.Seconds(), float64(cfg.Records)/r.Deliver.Seconds())
	fmt.Printf("requests       %8d  of which %d failed at random\n", r.Requests, r.FailedRequests)
	fmt.Printf("records taken  %8d, %d of them once more, %d dead letters\n", r.Delivered, r.Again, r.DeadLetters)
	fmt.Printf("sinks          %8.1f s of processor, %d MiB peak each\n", r.CPU.Seconds(), r.PeakRSS>>20)
	fmt.Println("nothing lost, every key in its order, dead letters exact")
	return nil
}
