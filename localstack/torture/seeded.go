package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/forebaylog/forebay/infra/seeded"
	"github.com/forebaylog/forebay/localstack/rig"
)

// seededBug is the name of the environment variable that plants a bug.
const seededBug = "FOREBAY_SEEDED_BUG"

// finders says which scenario must find each bug, and whether that needs a cluster.
// seeded.CollectorGrace has none: make collector-schedules finds it.
var finders = map[string]struct {
	scenario string
	cluster  bool
}{
	seeded.Fencing:         {"pause", true},
	seeded.CRC:             {"bit-rot", false},
	seeded.Fsync:           {"power-loss", false},
	seeded.Dedup:           {"lost-ack", false},
	seeded.GCGrace:         {"wipe", true},
	seeded.AckBeforeCommit: {"kill9", true},
	seeded.LastStable:      {"lost-ack", false},
	seeded.AbortedList:     {"lost-ack", false},
	seeded.UnpreparedEnd:   {"coordinators", true},
	seeded.AbortOnInit:     {"lost-ack", false},
}

// seededBugs builds everything with bugs that can be planted and proves that each is found
// by its scenario, which finds nothing in the same build without a bug.
func seededBugs(ctx context.Context, cfg config, out, messages io.Writer) (missed bool, err error) {
	dir, err := os.MkdirTemp(cfg.dir, "torture-seeded-")
	if err != nil {
		return false, fmt.Errorf("make a directory for binaries: %w", err)
	}
	defer func() { // what is left of a run that has not ended as it should is kept
		if err == nil && !missed {
			err = os.RemoveAll(dir)
		} else {
			fmt.Fprintln(messages, "   kept in", dir)
		}
	}()
	binary, err := rig.BuildForebay(ctx, dir, "-tags", "seededbugs")
	if err != nil {
		return false, err
	}
	self, err := buildSelf(ctx, dir)
	if err != nil {
		return false, err
	}
	bugs := cfg.bugs
	if len(bugs) == 0 {
		bugs = slices.DeleteFunc(seeded.Bugs(), func(bug string) bool { return bug == seeded.CollectorGrace })
	}
	clean := map[string]bool{} // scenarios that found nothing without a bug
	for _, bug := range bugs {
		f, ok := finders[bug]
		if !ok {
			return missed, fmt.Errorf("plant bug %q: no scenario is named for it", bug)
		}
		if f.cluster && cfg.target != targetCluster {
			fmt.Fprintf(messages, "%s is left out: %s needs -target %s\n", bug, f.scenario, targetCluster)
			continue
		}
		if !clean[f.scenario] {
			if _, err := expect(ctx, cfg, self, binary, dir, f.scenario, "", exitOK); err != nil {
				return missed, fmt.Errorf("without a bug: %w", err)
			}
			clean[f.scenario] = true
		}
		found, err := expect(ctx, cfg, self, binary, dir, f.scenario, bug, exitFound)
		if ctx.Err() != nil {
			return missed, fmt.Errorf("plant bug %q: %w", bug, context.Cause(ctx))
		}
		if err != nil {
			missed = true
			fmt.Fprintf(out, "%-18s MISSED by %s\n", bug, f.scenario)
			fmt.Fprintln(messages, "  ", err)
			continue
		}
		fmt.Fprintf(out, "%-18s caught by %s: %s\n", bug, f.scenario, found)
	}
	return missed, nil
}

// buildSelf builds this command with bugs that can be planted, for machines in its process.
func buildSelf(ctx context.Context, out string) (string, error) {
	binary := filepath.Join(out, "torture")
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "seededbugs", "-o", binary, "github.com/forebaylog/forebay/localstack/torture")
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build torture: %w\n%s", err, said)
	}
	return binary, nil
}

// expect runs a scenario with a bug, or with none, and fails unless it ends with the code.
// It returns the kinds of anomalies that were found.
func expect(ctx context.Context, cfg config, self, binary, dir, scenario, bug string, want int) (found string, err error) {
	reports := filepath.Join(dir, scenario+"-"+bug+".json")
	cmd := exec.CommandContext(ctx, self, "-scenario", scenario, "-target", cfg.target, "-binary", binary, "-dir", dir, "-json", reports,
		"-seed", fmt.Sprint(cfg.seed), "-duration", cfg.duration.String(), "-brokers", fmt.Sprint(cfg.brokers),
		"-groups", fmt.Sprint(cfg.groups), "-minio", cfg.minio, "-node", cfg.node,
		"-broker-args", strings.Join(cfg.args, " "))
	if bug != "" { // what is lost is not worth waiting for
		cmd.Args = append(cmd.Args, "-patience", "15s")
	}
	cmd.Env = append(os.Environ(), seededBug+"="+bug)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it ends what it has started
	said, err := cmd.CombinedOutput()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		return "", fmt.Errorf("run %s: %w", scenario, err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		return "", fmt.Errorf("run %s with bug %q: exit code %d, want %d; it said:\n%s", scenario, bug, got, want, said)
	}
	raw, err := os.ReadFile(reports)
	if err != nil {
		return "", fmt.Errorf("read the report of %s: %w", scenario, err)
	}
	var list []report
	if err := json.Unmarshal(raw, &list); err != nil {
		return "", fmt.Errorf("read the report of %s: %w", scenario, err)
	}
	return list[0].kinds(), nil
}
