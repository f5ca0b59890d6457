package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/cmd/forebay/internal/load"
)

func newBenchE2E() *cobra.Command {
	f := benchFlags{clients: 1}
	var p producerFlags
	var size int
	var rate float64
	var warmup time.Duration
	var linger time.Duration
	cmd := &cobra.Command{
		Use:   "e2e",
		Short: "Measure the time from producing a record to consuming it",
		Long: `Measure the time from producing a record to consuming it, at a steady rate, with
the producer and the consumer in this process.`,
		Example: "  forebay bench e2e --rate 5000 --records 100000\n  forebay bench e2e --rate 100 --records 3000 --acks 1 -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts, err := benchProducerOptions(cmd, &f, &p, size, linger)
			if err != nil {
				return err
			}
			skip := int64(rate * warmup.Seconds())
			switch {
			case size < load.MinSize:
				return usageErrorf("--size %d: want at least %d", size, load.MinSize)
			case rate <= 0:
				return usageErrorf("--rate %v: want more than 0", rate)
			case skip < 0 || skip >= f.records:
				return usageErrorf("--warmup %v: at --rate %v it takes all %d records", warmup, rate, f.records)
			}
			if err := f.ensureTopic(cmd); err != nil {
				return err
			}
			ends, err := f.offsets(cmd, true)
			if err != nil {
				return err
			}
			e := &load.EndToEnd{
				Topic: f.topic, Records: f.records, Warmup: skip, Size: size, Rate: rate, Partitions: ends, Connect: f.connect(cmd.Context(), opts...),
			}
			return f.measure(cmd, "e2e", e.Got, e.Run)
		},
	}
	flags := cmd.Flags()
	f.register(flags, "bench-e2e", 100_000)
	f.registerTopic(flags)
	p.register(flags)
	flags.IntVar(&size, "size", 1024, "bytes of a record's payload, which does not compress")
	flags.Float64Var(&rate, "rate", 5000, "records a second")
	flags.DurationVar(&warmup, "warmup", 2*time.Second, "time at the start that is not measured")
	flags.DurationVar(&linger, "linger", 0, "how long a batch waits for more records")
	return cmd
}
