package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/cmd/forebay/internal/sink"
	"github.com/forebaylog/forebay/infra/lambda"
)

// lambdaScheme begins a --to that names a Lambda function.
const lambdaScheme = "lambda:"

// What a batch and a request are if nothing else is said. A function's own timeout ends an invocation
// that lasts; it can be 15 minutes.
const (
	lambdaBatch    = 100
	webhookTimeout = 30 * time.Second
	lambdaTimeout  = 16 * time.Minute
)

// sinkFlags are the settings of forebay sink.
type sinkFlags struct {
	client         clientFlags
	sink           sink.Config
	to             string
	start          string
	format         string
	headers        []string
	lambdaEndpoint string
	adminAddr      string
}

func newSink() *cobra.Command {
	var f sinkFlags
	cmd := &cobra.Command{
		Use:   "sink --topic TOPIC --group GROUP --to URL|lambda:FUNCTION",
		Short: "Take the records of a topic to a webhook or a Lambda function",
		Long: `Take the records of a topic to a receiver, as a member of a consumer group, until it is interrupted.
Start it more than once with the same group to share the partitions.

Every record is delivered at least once, or written to the dead-letter topic. Records of a
partition with the same key keep their order; others go in parallel.

A webhook gets CloudEvents: one in the body of each request, or with --batch-size a JSON
batch; or with --format json an array of records. A Lambda function gets what its event source
mapping for self-managed Kafka gives it. Both may answer with batchItemFailures.

A receiver that is away or overloaded (429, 502, 503, 504, no connection), or that does not
know this sender (401, 403, 404), is tried for as long as that lasts. A record that makes it fail
(500, a time-out, a function error) is tried --max-attempts times, and one that it refuses
(400, 413, 422) once. docs/events.md says it all.`,
		Example: `  forebay sink --topic orders --group billing --to https://billing.example.org/events --dead-letter-topic orders-failed
  forebay sink --topic clicks --group lake --to lambda:clicks-to-lake --batch-size 500 --batch-window 2s
  FOREBAY_HEADER='Authorization: Bearer TOKEN' forebay sink --topic orders --group crm --to https://crm.example.org/hook --format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runSink(cmd, f) },
	}
	f.register(cmd.Flags())
	return cmd
}

func (f *sinkFlags) register(flags *pflag.FlagSet) {
	f.client.register(flags)
	c := &f.sink
	flags.StringVar(&c.Topic, "topic", "", "topic to take records from")
	flags.StringVarP(&c.Group, "group", "g", "", "consumer group that keeps how far they were taken")
	flags.StringVar(&f.to, "to", "", "receiver: an http:// or https:// URL, or lambda:NAME or lambda:ARN")
	flags.StringVar(&f.start, "start", "beginning", "where a group without offsets starts: beginning or end")
	flags.StringVar(&c.DeadLetterTopic, "dead-letter-topic", "", "topic for records that cannot be delivered; without one they end the sink")
	flags.IntVar(&c.BatchSize, "batch-size", 0, "most records of a request (default 1 for a webhook, 100 for a function)")
	flags.IntVar(&c.BatchBytes, "batch-bytes", 1<<20, "most bytes of keys, values and headers of a request; a larger record goes alone")
	flags.DurationVar(&c.BatchWindow, "batch-window", 0, "how long a record waits for others to fill a batch")
	flags.IntVar(&c.Concurrency, "concurrency", 8, "requests at once")
	flags.IntVar(&c.MaxAttempts, "max-attempts", 8, "how often a record is tried that makes the receiver fail")
	flags.DurationVar(&c.Backoff, "backoff", 100*time.Millisecond, "first pause between attempts; it doubles, and half of it is by chance")
	flags.DurationVar(&c.MaxBackoff, "max-backoff", 30*time.Second, "longest pause between attempts")
	flags.DurationVar(&c.Timeout, "request-timeout", 0, "how long a request may take (default 30s for a webhook, 16m for a function)")
	flags.DurationVar(&c.SessionTimeout, "session-timeout", 15*time.Second, "how long the group waits for a member that shows no sign of life")
	flags.DurationVar(&c.Drain, "drain-timeout", 10*time.Second, "how long requests under way may go on when the sink ends or loses a partition")
	flags.StringVar(&f.format, "format", string(sink.FormatCloudEvents), "body of a webhook: cloudevents or json")
	flags.StringArrayVar(&f.headers, "header", nil, "header of a webhook's requests as 'Name: value'; may be repeated")
	flags.StringVar(&f.lambdaEndpoint, "lambda-endpoint", "", "URL of a stand-in for AWS Lambda")
	flags.StringVar(&f.adminAddr, "admin-addr", "", "address of /healthz, /readyz and /metrics; empty for none")
}

// check refuses what cannot be, and fills in what depends on the receiver.
func (f *sinkFlags) check() error {
	c := &f.sink
	for name, value := range map[string]string{"--topic": c.Topic, "--group": c.Group, "--to": f.to} {
		if value == "" {
			return usageErrorf("%s is missing", name)
		}
	}
	switch f.start {
	case "beginning":
	case "end":
		c.FromEnd = true
	default:
		return usageErrorf("--start %q: use beginning or end", f.start)
	}
	size, timeout := 1, webhookTimeout
	if strings.HasPrefix(f.to, lambdaScheme) {
		size, timeout = lambdaBatch, lambdaTimeout
	}
	if c.BatchSize == 0 {
		c.BatchSize = size
	}
	if c.Timeout == 0 {
		c.Timeout = timeout
	}
	for name, n := range map[string]int{"--batch-size": c.BatchSize, "--batch-bytes": c.BatchBytes, "--concurrency": c.Concurrency, "--max-attempts": c.MaxAttempts} {
		if n < 1 {
			return usageErrorf("%s %d: want 1 or more", name, n)
		}
	}
	for name, d := range map[string]time.Duration{"--backoff": c.Backoff, "--max-backoff": c.MaxBackoff, "--request-timeout": c.Timeout, "--session-timeout": c.SessionTimeout, "--drain-timeout": c.Drain} {
		if d <= 0 {
			return usageErrorf("%s %v: must be more than zero", name, d)
		}
	}
	if c.DeadLetterTopic == c.Topic {
		return usageErrorf("--dead-letter-topic %s is the topic itself: choose another", c.Topic)
	}
	return nil
}

// target opens the receiver.
func (f *sinkFlags) target(ctx context.Context) (sink.Target, func(), error) {
	if name, ok := strings.CutPrefix(f.to, lambdaScheme); ok {
		function, err := lambda.Open(ctx, lambda.Config{Function: name, Endpoint: f.lambdaEndpoint, Concurrency: f.sink.Concurrency})
		if err != nil {
			return nil, nil, err
		}
		return sink.NewFunction(function, f.client.brokers), function.Close, nil
	}
	cfg := sink.WebhookConfig{URL: f.to, Format: sink.Format(f.format), Batch: f.sink.BatchSize > 1, Header: http.Header{}, Concurrency: f.sink.Concurrency}
	for _, text := range f.headers {
		name, value, ok := strings.Cut(text, ":")
		if !ok || name == "" {
			return nil, nil, usageErrorf("--header: want 'Name: value'")
		}
		cfg.Header.Add(name, strings.TrimSpace(value))
	}
	webhook, err := sink.NewWebhook(cfg)
	if err != nil {
		return nil, nil, usageErrorf("--to: %w", err)
	}
	return webhook, webhook.Close, nil
}

func runSink(cmd *cobra.Command, f sinkFlags) (err error) {
	if err := f.check(); err != nil {
		return err
	}
	ctx := cmd.Context()
	log, err := logger(cmd, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	target, closeTarget, err := f.target(ctx)
	if err != nil {
		return err
	}
	defer closeTarget()
	cfg := f.sink
	cfg.Client = []kgo.Opt{kgo.SeedBrokers(f.client.brokers...), kgo.ClientID("forebay-sink"), kgo.SoftwareNameAndVersion("forebay", versionString())}
	cfg.Target, cfg.Logger, cfg.Registerer = target, log, registry
	opening, cancel := context.WithTimeout(ctx, f.client.timeout)
	s, err := sink.New(opening, cfg)
	cancel()
	if err != nil {
		return f.client.explain(ctx, err)
	}
	admin, err := serveSinkAdmin(ctx, f.adminAddr, s.Ready, registry)
	if err != nil {
		return err
	}
	defer admin.close()
	fmt.Fprintf(cmd.OutOrStdout(), "Forebay takes %s to %s as group %s%s.\n", cfg.Topic, f.to, cfg.Group, admin.says())
	return s.Run(ctx)
}
