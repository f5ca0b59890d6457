package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

type produceFlags struct {
	client          clientFlags
	producer        producerFlags
	input           inputFlags
	files           []string
	partition       int32
	deliveryTimeout time.Duration
}

func newProduce() *cobra.Command {
	var f produceFlags
	cmd := &cobra.Command{
		Use:   "produce [TOPIC]",
		Short: "Produce records from lines of text",
		Long: `Produce records from lines of text, read from standard input or from files.

Without a format, each line is a payload, after a key if -K names what ends the
key. A format describes the input by the verbs that 'forebay consume -f' prints
with: %t topic, %p partition, %k key, %s payload, %h headers, %T timestamp in ms,
and %K and %S, the lengths of a key and payload that follow.

Nothing is printed on success. If records fail the exit code is 1, and the first
of them are named.`,
		Example: `  echo hello | forebay produce events
  forebay produce events -K '\t' -z zstd -f events.tsv
  forebay produce events -F '%T %k %s\n' < events.txt
  forebay consume a -e --from-beginning -f '%K %k%S %s%T\n' | forebay produce b -F '%K %k%S %s%T\n'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runProduce(cmd, f, args) },
	}
	flags := cmd.Flags()
	f.client.register(flags)
	f.producer.register(flags)
	f.input.register(flags)
	flags.StringArrayVarP(&f.files, "file", "f", nil, "read this file instead of standard input; may be repeated")
	flags.Int32VarP(&f.partition, "partition", "p", -1, "partition of every record; -1 chooses by key")
	flags.DurationVar(&f.deliveryTimeout, "delivery-timeout", 2*time.Minute, "how long to go on when no record is acknowledged")
	return cmd
}

func runProduce(cmd *cobra.Command, f produceFlags, args []string) error {
	in, err := f.input.parse(cmd.Flags())
	if err != nil {
		return err
	}
	if len(args) == 0 && !in.names('t') {
		return usageErrorf("name the topic, or have %%t in the format")
	}
	if f.deliveryTimeout <= 0 {
		return usageErrorf("--delivery-timeout %v: must be more than zero", f.deliveryTimeout)
	}
	if f.partition < -1 {
		return usageErrorf("--partition %d: want 0 or more, or -1", f.partition)
	}
	opts, err := f.producer.options(cmd.Flags())
	if err != nil {
		return err
	}
	opts = append(opts, kgo.AllowAutoTopicCreation(), kgo.AllowIdempotentProduceCancellation())
	if in.names('p') || f.partition >= 0 {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	if len(args) > 0 {
		opts = append(opts, kgo.DefaultProduceTopic(args[0]))
	}
	client, err := f.client.connect(cmd.Context(), opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	p := &producing{client: client, input: in, partition: f.partition, progress: newProgress(cmd), began: time.Now()}
	return p.run(cmd, f)
}

// producing is one run of produce.
type producing struct {
	client    *kgo.Client
	input     *input
	partition int32
	progress  *progress
	began     time.Time

	mu      sync.Mutex
	records int64
	bytes   int64
	failed  int64
	errs    []error // the first of them
}

// maxNamed is how many failed records are named.
const maxNamed = 10

// errStalled ends a run in which nothing is acknowledged any more.
var errStalled = errors.New("no record was acknowledged within --delivery-timeout")

// run produces everything, then waits until all is delivered. An interrupt stops the
// reading; what was read by then is still delivered. A read that blocks is left to
// the end of the process.
func (p *producing) run(cmd *cobra.Command, f produceFlags) error {
	ctx := cmd.Context()
	delivery, giveUp := context.WithCancelCause(context.WithoutCancel(ctx)) // an interrupt does not fail what is under way
	defer giveUp(nil)
	flushing, stopFlush := context.WithCancel(context.WithoutCancel(ctx))
	defer stopFlush()
	read, delivered := make(chan error, 1), make(chan error, 1)
	go func() { read <- p.readAll(ctx, delivery, cmd.InOrStdin(), f.files) }()
	interrupt := ctx.Done()
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	var err error
	flush := func(cause error) {
		err, read, interrupt = cause, nil, nil
		go func() { delivered <- p.client.Flush(flushing) }()
	}
	last, since := int64(0), time.Now()
	for {
		select {
		case cause := <-read:
			flush(cause)
		case <-interrupt:
			flush(ctx.Err())
		case flushErr := <-delivered:
			if cause := context.Cause(delivery); cause != nil {
				flushErr = cause
			}
			return errors.Join(err, flushErr, p.summary())
		case <-tick.C:
			if done := p.show(); done != last || p.client.BufferedProduceRecords() == 0 {
				last, since = done, time.Now()
			}
			if stalled := time.Since(since); stalled > f.deliveryTimeout {
				giveUp(errStalled) // each record fails with it
				if stalled > f.deliveryTimeout+f.client.timeout {
					stopFlush()
				}
			}
		}
	}
}

// readAll produces the records of every file, or of standard input.
func (p *producing) readAll(ctx, delivery context.Context, stdin io.Reader, files []string) error {
	if len(files) == 0 {
		return p.readFrom(ctx, delivery, "standard input", stdin)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("read records: %w", err)
		}
		err = p.readFrom(ctx, delivery, name, f)
		_ = f.Close() // only read from
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *producing) readFrom(ctx, delivery context.Context, name string, from io.Reader) error {
	records, err := p.input.reader(from)
	if err != nil {
		return err
	}
	for n := int64(1); ctx.Err() == nil && delivery.Err() == nil; n++ {
		r := &kgo.Record{Partition: max(p.partition, 0)}
		switch err := records.next(r); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read record %d of %s: %w", n, name, err)
		}
		p.client.Produce(delivery, r, func(r *kgo.Record, err error) { p.note(name, n, r, err) })
	}
	return nil
}

// note counts the fate of the nth record of an input.
func (p *producing) note(name string, n int64, r *kgo.Record, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.records++
		p.bytes += int64(len(r.Key) + len(r.Value))
		return
	}
	p.failed++
	if len(p.errs) < maxNamed {
		p.errs = append(p.errs, fmt.Errorf("record %d of %s: produce to topic %s: %w", n, name, r.Topic, err))
	}
}

// show draws the progress and returns how many records came to an end.
func (p *producing) show() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress.show("%d records, %s", p.records, humanize.Bytes(uint64(p.bytes)))
	return p.records + p.failed
}

// summary tells the person who watches what was done, and returns what failed.
func (p *producing) summary() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress.say("%d records, %s in %v", p.records, humanize.Bytes(uint64(p.bytes)), time.Since(p.began).Round(time.Millisecond))
	if p.failed == 0 {
		return nil
	}
	named := errors.Join(p.errs...)
	if more := p.failed - int64(len(p.errs)); more > 0 {
		return fmt.Errorf("%w\nand %d more; %d of %d records failed", named, more, p.failed, p.failed+p.records)
	}
	return fmt.Errorf("%w\n%d of %d records failed", named, p.failed, p.failed+p.records)
}
