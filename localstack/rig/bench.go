package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Main is the main of a bench: it runs it until it ends or is interrupted, and ends this process with 1 if it
// has failed.
func Main(name string, run func(context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Forebay returns the path of a binary: the one given, or one that it builds into the directory out if that is empty.
func Forebay(ctx context.Context, given, out string) (string, error) {
	if given != "" {
		return given, nil
	}
	return BuildForebay(ctx, out)
}

// WriteJSON writes the results of a bench to a file; nothing if it has no name.
func WriteJSON(name string, results any) error {
	if name == "" {
		return nil
	}
	b, err := json.MarshalIndent(results, "", "  ")
	if err == nil {
		err = os.WriteFile(name, append(b, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}
