// Command forebay runs and operates Forebay. Commands are a noun, then a verb
// (forebay topic create); data goes to standard output, everything else to
// standard error. A flag comes before FOREBAY_* in the environment, which comes
// before the configuration file. The exit codes are listed in exit.go.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, newRoot(), os.Args[1:])
	stop()
	os.Exit(code)
}
