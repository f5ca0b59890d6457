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
	"github.com/forebaylog/forebay/localstack/oracle"
	"github.com/forebaylog/forebay/localstack/rig"
)

// seededRuns is how often a scenario may run until it finds a bug.
const seededRuns = 3

// seededBug is the name of the environment variable that plants a bug.
const seededBug = "FOREBAY_SEEDED_BUG"

// finder is the scenario that must find a bug, by an anomaly that shows this bug: a client that is merely stuck does not.
type finder struct {
	scenario string
	cluster  bool          // it needs one
	shows    []oracle.Kind // one of them at least must be found
}

// finders names the finder of each bug.
// seeded.CollectorGrace has none: make collector-schedules finds it.
var finders = map[string]finder{
	seeded.Fencing:         {"pause", true, []oracle.Kind{oracle.LostWrite, oracle.InconsistentOffsets}},
	seeded.CRC:             {"bit-rot", false, []oracle.Kind{oracle.InconsistentOffsets, oracle.ReadsDiffer, oracle.UnknownValue}},
	seeded.Fsync:           {"power-loss", false, []oracle.Kind{oracle.LostWrite, oracle.InconsistentOffsets}},
	seeded.Dedup:           {"lost-ack", false, []oracle.Kind{oracle.Duplicate}},
	seeded.GCGrace:         {"wipe", true, []oracle.Kind{oracle.LostWrite, oracle.ReadsDiffer, oracle.Gap}},
	seeded.AckBeforeCommit: {"kill9", true, []oracle.Kind{oracle.LostWrite, oracle.InconsistentOffsets}},
	seeded.LastStable:      {"lost-ack", false, []oracle.Kind{oracle.BeyondStable}},
	seeded.AbortedList:     {"lost-ack", false, []oracle.Kind{oracle.AbortedRead}},
	seeded.UnpreparedEnd:   {"coordinators", true, []oracle.Kind{oracle.LostWrite, oracle.TornTransaction, oracle.CopyTwice}},
	seeded.AbortOnInit:     {"lost-ack", false, []oracle.Kind{oracle.AbortedRead, oracle.ZombieCommit}},
	seeded.Retention:       {"life", true, []oracle.Kind{oracle.LostWrite}},
	seeded.Tombstones:      {"life", true, []oracle.Kind{oracle.LostWrite, oracle.OldValue}},
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
		found, err := f.find(ctx, cfg, self, binary, dir, bug)
		if ctx.Err() != nil {
			return missed, fmt.Errorf("plant bug %q: %w", bug, context.Cause(ctx))
		}
		if err != nil {
			missed = true
			fmt.Fprintf(out, "%-18s MISSED by %s\n", bug, f.scenario)
			fmt.Fprintln(messages, "  ", err)
			continue
		}
		fmt.Fprintf(out, "%-18s caught by %s, seed %d: %s\n", bug, f.scenario, found.Seed, found.kinds())
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

// find runs the scenario with the bug until it is found. What a kill must meet at the right moment is not met by each of
// the few that a run on a busy machine has, so that there are several runs, each with a seed of its own.
func (f finder) find(ctx context.Context, cfg config, self, binary, dir, bug string) (found report, err error) {
	var errs []error
	for range seededRuns {
		found, err = expect(ctx, cfg, self, binary, dir, f.scenario, bug, exitFound)
		if err == nil && !f.shown(found) {
			err = fmt.Errorf("it found %s, and none of %v, which show the bug", found.kinds(), f.shows)
		}
		if err == nil || ctx.Err() != nil {
			return found, err
		}
		errs = append(errs, err)
		cfg.seed++
	}
	return found, errors.Join(errs...)
}

// shown reports whether a run has found what shows the bug.
func (f finder) shown(rep report) bool {
	return slices.ContainsFunc(rep.Anomalies, func(a oracle.Anomaly) bool { return slices.Contains(f.shows, a.Kind) })
}

// expect runs a scenario with a bug, or with none, fails unless it ends with the code, and returns its report.
func expect(ctx context.Context, cfg config, self, binary, dir, scenario, bug string, want int) (rep report, err error) {
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
		return rep, fmt.Errorf("run %s: %w", scenario, err)
	}
	if got := cmd.ProcessState.ExitCode(); got != want {
		return rep, fmt.Errorf("run %s with bug %q: exit code %d, want %d; it said:\n%s", scenario, bug, got, want, said)
	}
	raw, err := os.ReadFile(reports)
	if err != nil {
		return rep, fmt.Errorf("read the report of %s: %w", scenario, err)
	}
	var list []report
	if err := json.Unmarshal(raw, &list); err != nil {
		return rep, fmt.Errorf("read the report of %s: %w", scenario, err)
	}
	return list[0], nil
}
