package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/cmd/forebay/internal/load"
)

func newBenchProduce() *cobra.Command {
	var f benchFlags
	var p producerFlags
	var size int
	var rate float64
	var linger time.Duration
	cmd := &cobra.Command{
		Use:     "produce",
		Short:   "Measure how fast records are accepted",
		Example: "  forebay bench produce --records 2000000 --size 1024\n  forebay bench produce --rate 5000 --clients 4 --acks all -z zstd -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts, err := benchProducerOptions(cmd, &f, &p, size, linger)
			if err != nil {
				return err
			}
			if rate < 0 {
				return usageErrorf("--rate %v: want 0 or more", rate)
			}
			if err := f.ensureTopic(cmd); err != nil {
				return err
			}
			producer := &load.Producer{
				Topic: f.topic, Records: f.records, Size: size, Rate: rate, Clients: f.clients, Connect: f.connect(cmd.Context(), opts...),
			}
			return f.measure(cmd, "produce", producer.Sent, producer.Run)
		},
	}
	flags := cmd.Flags()
	f.register(flags, "bench", 1_000_000)
	f.registerTopic(flags)
	f.registerClients(flags)
	p.register(flags)
	flags.IntVar(&size, "size", 1024, "bytes of a record's payload, which does not compress")
	flags.Float64Var(&rate, "rate", 0, "records a second, of all clients together; 0 for as many as go")
	flags.DurationVar(&linger, "linger", 5*time.Millisecond, "how long a batch waits for more records")
	return cmd
}

// benchProducerOptions checks the flags that load on brokers is made with.
func benchProducerOptions(cmd *cobra.Command, f *benchFlags, p *producerFlags, size int, linger time.Duration) ([]kgo.Opt, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	if size < 1 || size > int(p.maxBytes) {
		return nil, usageErrorf("--size %d: want from 1 to --max-batch-bytes", size)
	}
	if linger < 0 {
		return nil, usageErrorf("--linger %v: want 0 or more", linger)
	}
	opts, err := p.options(cmd.Flags())
	return append(opts, kgo.ProducerLinger(linger), kgo.MaxBufferedRecords(max(10_000, min(1_000_000, 64<<20/size)))), err
}
