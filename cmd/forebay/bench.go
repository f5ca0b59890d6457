package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/cmd/forebay/internal/load"
)

// benchFlags are what every benchmark has.
type benchFlags struct {
	client     clientFlags
	output     output
	topic      string
	partitions int32
	replicas   int16
	records    int64
	clients    int
}

func newBench() *cobra.Command {
	return newNoun("bench", "Measure throughput and latency, of any broker of the Kafka protocol",
		`Measure throughput and latency. The benchmarks work against any broker of the
Kafka protocol. A topic that does not exist is created; it is never deleted.

Latency is in milliseconds. At a fixed --rate it counts from the moment a record was
due, so that a stall of the broker is counted for every record that it holds up.`,
		newBenchProduce(), newBenchConsume(), newBenchE2E())
}

func (f *benchFlags) register(flags *pflag.FlagSet, topic string, records int64) {
	f.client.register(flags)
	f.output.register(flags)
	flags.StringVar(&f.topic, "topic", topic, "topic to use")
	flags.Int64Var(&f.records, "records", records, "number of records")
}

func (f *benchFlags) registerTopic(flags *pflag.FlagSet) {
	flags.Int32Var(&f.partitions, "partitions", 6, "partitions of the topic, if it is created")
	flags.Int16Var(&f.replicas, "replication-factor", -1, "replicas of the topic, if it is created; -1 for the broker's default")
}

func (f *benchFlags) registerClients(flags *pflag.FlagSet) {
	flags.IntVar(&f.clients, "clients", 1, "clients, each with its own connections")
}

func (f *benchFlags) check() error {
	if f.records < 1 {
		return usageErrorf("--records %d: want at least 1", f.records)
	}
	if f.clients < 1 {
		return usageErrorf("--clients %d: want at least 1", f.clients)
	}
	return nil
}

// ensureTopic creates the topic if it does not exist.
func (f *benchFlags) ensureTopic(cmd *cobra.Command) error {
	return f.client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
		_, err := adm.CreateTopic(ctx, f.partitions, f.replicas, nil, f.topic)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", f.topic, err)
		}
		return nil
	})
}

// offsets lists the first or next offset of each partition of the topic.
func (f *benchFlags) offsets(cmd *cobra.Command, ends bool) (map[int32]int64, error) {
	found := make(map[int32]int64)
	err := f.client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
		list := adm.ListStartOffsets
		if ends {
			list = adm.ListEndOffsets
		}
		if _, err := topicDetails(ctx, adm, f.topic); err != nil {
			return err
		}
		offsets, err := list(ctx, f.topic)
		if err != nil {
			return fmt.Errorf("list offsets of %s: %w", f.topic, err)
		}
		offsets.Each(func(o kadm.ListedOffset) {
			err = errors.Join(err, o.Err)
			found[o.Partition] = o.Offset
		})
		return err
	})
	return found, err
}

// connect makes clients for load.
func (f *benchFlags) connect(ctx context.Context, more ...kgo.Opt) func(...kgo.Opt) (*kgo.Client, error) {
	return func(opts ...kgo.Opt) (*kgo.Client, error) {
		return f.client.connect(ctx, append(append([]kgo.Opt(nil), more...), opts...)...)
	}
}

// measure runs a benchmark with a line of progress, and prints its result.
func (f *benchFlags) measure(cmd *cobra.Command, name string, count func() int64, run func(context.Context) (load.Result, error)) error {
	type outcome struct {
		load.Result
		err error
	}
	ctx := cmd.Context()
	done := make(chan outcome, 1)
	go func() {
		result, err := run(ctx)
		done <- outcome{result, err}
	}()
	line := newProgress(cmd)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			line.show("%s: %s of %s records", name, humanize.Comma(count()), humanize.Comma(f.records))
		case o := <-done:
			line.done()
			if o.Records == 0 {
				return f.client.explain(ctx, o.err)
			}
			return errors.Join(f.client.explain(ctx, o.err), f.report(cmd, name, o.Result))
		}
	}
}

// benchReport is the document of a benchmark.
type benchReport struct {
	Benchmark string `json:"benchmark"`
	Topic     string `json:"topic"`
	load.Result
}

func (f *benchFlags) report(cmd *cobra.Command, name string, r load.Result) error {
	t := newTable("RECORDS", "SECONDS", "RECORDS/S", "MB/S")
	row := []any{r.Records, fmt.Sprintf("%.3f", r.Seconds), fmt.Sprintf("%.0f", r.RecordsPerSecond), fmt.Sprintf("%.2f", r.MBPerSecond)}
	if l := r.Latency; l != nil {
		t.head = append(t.head, "MEAN MS", "P50", "P90", "P99", "P99.9", "MAX")
		for _, ms := range []float64{l.Mean, l.P50, l.P90, l.P99, l.P999, l.Max} {
			row = append(row, fmt.Sprintf("%.3f", ms))
		}
	}
	t.add(row...)
	return f.output.print(cmd, benchReport{name, f.topic, r}, t)
}
