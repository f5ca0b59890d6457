// Command up runs a cluster on this machine without Docker: MinIO as object store, dynalite
// as DynamoDB, brokers on them, and the function of the admin API behind a function URL, all on the loopback interface. It says how to reach it,
// stays in the foreground, and ends all of it on Ctrl-C or SIGTERM. `localstack/up` builds
// what it needs and runs it.
//
// It is over package rig, which owns the processes. The exit code is 0 after Ctrl-C or
// SIGTERM, 1 when something failed or ended by itself, and 2 for a wrong command line.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/forebaylog/forebay/localstack/rig"
)

// config is the command line.
type config struct {
	dir       string
	brokers   int
	freePorts bool
	kafkaPort int
	adminPort int
	httpPort  int
	apiPort   int
	storePort int
	tablePort int
	restart   bool
	forebay   string
	api       string
	minio     string
	node      string
}

func parse(args []string, messages io.Writer) (config, error) {
	var c config
	flags := flag.NewFlagSet("localstack/up", flag.ContinueOnError)
	flags.SetOutput(messages)
	flags.StringVar(&c.dir, "dir", "", "directory of all data, made if absent, and found again by the next run; default: a temporary one, removed at the end")
	flags.IntVar(&c.brokers, "brokers", 3, "number of brokers")
	flags.BoolVar(&c.freePorts, "free-ports", false, "choose free ports rather than those below")
	flags.IntVar(&c.kafkaPort, "kafka-port", 9092, "Kafka port of the first broker; the others have the next ones")
	flags.IntVar(&c.adminPort, "admin-port", 8080, "admin port of the first broker; the others have the next ones")
	flags.IntVar(&c.httpPort, "http-port", 8180, "port of the first broker for events over HTTP; the others have the next ones")
	flags.IntVar(&c.apiPort, "api-port", 8070, "port of the admin API's function URL")
	flags.IntVar(&c.storePort, "minio-port", 9000, "port of MinIO; its console has the next one")
	flags.IntVar(&c.tablePort, "dynamodb-port", 4566, "port of DynamoDB")
	flags.BoolVar(&c.restart, "restart", false, "start a broker again that has ended, as a service manager does, rather than end")
	flags.StringVar(&c.forebay, "forebay", "", "a built forebay; it is built if empty")
	flags.StringVar(&c.api, "api", "", "a built bootstrap of functions/api; it is built if empty")
	flags.StringVar(&c.minio, "minio", os.Getenv("FOREBAY_MINIO"), "the MinIO server's binary")
	flags.StringVar(&c.node, "dynalite", os.Getenv("FOREBAY_NODE"), "directory that dynalite is installed in")
	if err := flags.Parse(args); err != nil {
		return c, err
	}
	return c, c.validate(flags.Args())
}

func (c config) validate(rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("unknown argument %q", rest[0])
	}
	if c.brokers < 1 || c.brokers > 100 {
		return fmt.Errorf("-brokers %d: want 1 to 100", c.brokers)
	}
	for _, port := range []int{c.kafkaPort, c.adminPort, c.httpPort, c.apiPort, c.storePort, c.tablePort} {
		if port < 1 || port+c.brokers > 1<<16 {
			return fmt.Errorf("port %d: want 1 to %d", port, 1<<16-c.brokers)
		}
	}
	return nil
}

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(mainCode(os.Args[1:], os.Stdout, os.Stderr)) }

func mainCode(args []string, out, messages io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	cfg, err := parse(args, messages)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(messages, "localstack/up:", err)
		return exitUsage
	}
	if err := up(ctx, cfg, out); err != nil {
		fmt.Fprintln(messages, "localstack/up:", err)
		return exitFailed
	}
	return 0
}

// up runs the cluster until ctx ends, which is no error.
func up(ctx context.Context, cfg config, out io.Writer) (err error) {
	temporary := cfg.dir == ""
	if temporary {
		if cfg.dir, err = os.MkdirTemp("", "forebay-localstack-"); err != nil {
			return fmt.Errorf("make a directory: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(cfg.dir)) }()
	}
	if cfg.dir, err = filepath.Abs(cfg.dir); err != nil {
		return fmt.Errorf("find the directory: %w", err)
	}
	built, err := os.MkdirTemp("", "forebay-build-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(built) }()
	if err := cfg.build(ctx, built); err != nil {
		return err
	}
	fmt.Fprintf(out, "Starting MinIO, DynamoDB, %d brokers and the admin API in %s ...\n", cfg.brokers, cfg.dir)
	stack, err := startStack(ctx, cfg)
	switch {
	case ctx.Err() != nil && stack == nil:
		return nil
	case err != nil:
		return err
	}
	stack.describe(out)
	err = stack.watch(ctx, out)
	fmt.Fprintln(out, "Stopping ...")
	return errors.Join(err, stack.stop())
}

// build builds what is not built into a directory.
func (c *config) build(ctx context.Context, dir string) (err error) {
	if c.forebay == "" {
		if c.forebay, err = rig.BuildForebay(ctx, dir); err != nil {
			return err
		}
	}
	if c.api == "" {
		c.api, err = rig.BuildFunction(ctx, "api", dir)
	}
	return err
}

// loopback is an address on the loopback interface.
func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
