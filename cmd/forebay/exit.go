package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// Exit codes of every command.
const (
	exitOK          = 0
	exitFailed      = 1   // the command could not do what it was asked
	exitUsage       = 2   // flags, arguments or configuration are wrong; nothing was done
	exitUnreachable = 3   // no broker answers at the given address
	exitDamaged     = 4   // verify or inspect has found damaged data
	exitInterrupted = 130 // ended by SIGINT or SIGTERM before it was done
)

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageErrorf reports a mistake of the caller.
func usageErrorf(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// run executes the command line and returns the exit code; an error is printed once, here.
func run(ctx context.Context, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var exit *exitError
	switch {
	case errors.As(err, &exit):
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitInterrupted
	default:
		exit = &exitError{exitFailed, err}
	}
	cmd.PrintErrf("Error: %v\n", err)
	if exit.code == exitUsage {
		cmd.PrintErrf("See '%s --help'.\n", cmd.CommandPath())
	}
	return exit.code
}
