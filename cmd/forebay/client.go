package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// clientFlags say how a command reaches the brokers.
type clientFlags struct {
	brokers []string
	timeout time.Duration
}

func (c *clientFlags) register(flags *pflag.FlagSet) {
	flags.StringSliceVarP(&c.brokers, "brokers", "b", []string{defaultBroker}, "brokers to connect to first, as host:port")
	flags.DurationVar(&c.timeout, "timeout", 15*time.Second, "how long to wait for the brokers")
}

// connect returns a client that has reached a broker.
func (c *clientFlags) connect(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	if c.timeout <= 0 {
		return nil, usageErrorf("--timeout %v: must be more than zero", c.timeout)
	}
	opts = append([]kgo.Opt{
		kgo.SeedBrokers(c.brokers...), kgo.ClientID("forebay"), kgo.SoftwareNameAndVersion("forebay", versionString()),
		kgo.DialTimeout(c.timeout), kgo.RetryTimeout(c.timeout), kgo.RequestTimeoutOverhead(min(max(c.timeout, 100*time.Millisecond), 15*time.Minute)),
		kgo.MetadataMinAge(500 * time.Millisecond), // a person waits
	}, opts...)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, usageErrorf("connect to %s: %w", c.list(), err)
	}
	ping, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := client.Ping(ping); err != nil {
		client.Close()
		return nil, c.unreachable(ctx, err)
	}
	return client, nil
}

func (c *clientFlags) list() string { return strings.Join(c.brokers, ", ") }

// unreachable explains why no broker has answered at all.
func (c *clientFlags) unreachable(ctx context.Context, err error) error {
	err = c.explain(ctx, err)
	var exit *exitError
	if ctx.Err() != nil || errors.As(err, &exit) {
		return err
	}
	return &exitError{exitUnreachable, fmt.Errorf("no broker answers at %s: %w", c.list(), err)}
}

// explain gives the errors of an unreachable broker their words and their exit
// code. ctx is the command's, without the time limit of a call.
func (c *clientFlags) explain(ctx context.Context, err error) error {
	var network *net.OpError
	var first *kgo.ErrFirstReadEOF
	switch {
	case err == nil || ctx.Err() != nil:
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return &exitError{exitUnreachable, fmt.Errorf("no answer from %s within %v: %w", c.list(), c.timeout, err)}
	case errors.As(err, &first):
		return &exitError{exitUnreachable, fmt.Errorf("%s does not speak the Kafka protocol, or wants TLS: %w", c.list(), err)}
	case errors.As(err, &network), errors.Is(err, io.EOF):
		return &exitError{exitUnreachable, fmt.Errorf("no broker reachable at %s: %w; start one with 'forebay dev', or name another with --brokers", c.list(), err)}
	}
	return err
}

// withAdmin runs f with an administrative client, within the time limit.
func (c *clientFlags) withAdmin(cmd *cobra.Command, f func(ctx context.Context, adm *kadm.Client) error) error {
	client, err := c.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), c.timeout)
	defer cancel()
	adm := kadm.NewClient(client)
	adm.SetTimeoutMillis(int32(min(c.timeout.Milliseconds(), 1<<31-1)))
	return c.explain(cmd.Context(), f(ctx, adm))
}

// kafkaError is an error code as the broker sent it, with the broker's own words if there are any.
func kafkaError(err error, message string) error {
	if err == nil || message == "" {
		return err
	}
	var code *kerr.Error
	if errors.As(err, &code) {
		return &brokerError{code, message}
	}
	return fmt.Errorf("%s: %w", message, err)
}

// brokerError is an error code with the broker's words in place of the code's general ones.
type brokerError struct {
	code    *kerr.Error
	message string
}

func (e *brokerError) Error() string { return e.code.Message + ": " + e.message }
func (e *brokerError) Unwrap() error { return e.code }
