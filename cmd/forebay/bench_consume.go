package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/cmd/forebay/internal/load"
)

func newBenchConsume() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:     "consume",
		Short:   "Measure how fast a topic is read from its beginning",
		Example: "  forebay bench consume\n  forebay bench consume --topic events --records 500000 --clients 2 -o json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runBenchConsume(cmd, &f) },
	}
	f.register(cmd.Flags(), "bench", 0)
	cmd.Flags().Lookup("records").Usage = "number of records; 0 for all there are"
	f.registerClients(cmd.Flags())
	return cmd
}

func runBenchConsume(cmd *cobra.Command, f *benchFlags) error {
	starts, err := f.offsets(cmd, false)
	if err != nil {
		return err
	}
	ends, err := f.offsets(cmd, true)
	if err != nil {
		return err
	}
	var there int64
	for p, start := range starts {
		there += ends[p] - start
	}
	if f.records == 0 {
		f.records = there
	}
	if there == 0 || there < f.records {
		return fmt.Errorf("topic %s holds %d records, %d are asked for; 'forebay bench produce --topic %s' makes more", f.topic, there, f.records, f.topic)
	}
	if err := f.check(); err != nil {
		return err
	}
	f.clients = min(f.clients, len(starts))
	c := &load.Consumer{Topic: f.topic, Records: f.records, Partitions: starts, Clients: f.clients, Connect: f.connect(cmd.Context())}
	return f.measure(cmd, "consume", c.Got, c.Run)
}
