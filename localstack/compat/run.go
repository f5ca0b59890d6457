package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/forebaylog/forebay/localstack/compat/suite"
	"github.com/forebaylog/forebay/localstack/rig"
)

// runAll runs suites one after the other, keeps each result as soon as it is there, and returns
// how much was not as expected.
func runAll(ctx context.Context, cfg config, suites []suite.Suite, out io.Writer) (unexpected int, err error) {
	if err := os.MkdirAll(cfg.dir, 0o755); err != nil {
		return 0, fmt.Errorf("make the directory of logs: %w", err)
	}
	if cfg.binary == "" && !cfg.prepare {
		if cfg.binary, err = rig.BuildForebay(ctx, cfg.dir); err != nil {
			return 0, err
		}
	}
	if cfg.binary, err = filepath.Abs(cfg.binary); err != nil {
		return 0, fmt.Errorf("find the binary: %w", err)
	}
	var surprises []string
	for _, s := range suites {
		for _, nodes := range s.Nodes {
			if len(cfg.nodes) > 0 && !slices.Contains(cfg.nodes, nodes) {
				continue
			}
			r := runOnce(ctx, cfg, s, nodes)
			if ctx.Err() != nil {
				return len(surprises), fmt.Errorf("run suite %s: %w", s.Name, ctx.Err())
			}
			if cfg.prepare && r.Error == "" {
				break // once is enough
			}
			fmt.Fprintln(out, r.line())
			for _, surprise := range r.surprises(s) {
				fmt.Fprintln(out, "  ", surprise)
				surprises = append(surprises, r.name()+": "+surprise)
			}
			if cfg.prepare {
				break
			}
			if err := keepResult(cfg.results, r); err != nil {
				return len(surprises), err
			}
		}
	}
	if len(surprises) > 0 {
		fmt.Fprintln(out, "\nunexpected:")
		for _, surprise := range surprises {
			fmt.Fprintln(out, "  ", surprise)
		}
	}
	return len(surprises), nil
}

// runOnce runs a suite against that many brokers. What goes wrong is in the result.
func runOnce(ctx context.Context, cfg config, s suite.Suite, nodes int) result {
	r := result{Suite: s.Name, Nodes: nodes}
	began := time.Now()
	if err := r.run(ctx, cfg, s); err != nil {
		r.Error = err.Error()
	}
	r.Took = time.Since(began).Round(time.Second)
	return r
}

// run prepares the suite, starts brokers, runs it against them and stops all.
func (r *result) run(ctx context.Context, cfg config, s suite.Suite) (err error) {
	dir := filepath.Join(cfg.dir, r.name())
	if cfg.prepare {
		dir = filepath.Join(cfg.dir, s.Name+"-prepare")
	}
	log, err := os.Create(dir + ".log")
	if err != nil {
		return fmt.Errorf("make the log of the run: %w", err)
	}
	defer log.Close()
	tools := filepath.Join(cfg.tools, s.Name)
	if s.Prepare != nil {
		if err := os.MkdirAll(tools, 0o755); err != nil {
			return fmt.Errorf("make a directory for what the suite needs: %w", err)
		}
		if err := s.Prepare(ctx, tools, log); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	if cfg.prepare {
		return nil
	}
	t := &suite.Target{Dir: filepath.Join(dir, "scratch"), Tools: tools, Binary: cfg.binary, Log: log}
	if cfg.jars != "" {
		if t.Java, err = rig.FindJava(cfg.jars); err != nil {
			return err
		}
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(t.Dir, 0o755)); err != nil {
		return fmt.Errorf("make a scratch directory: %w", err)
	}
	if s.Limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, s.Limit, fmt.Errorf("it took longer than %s", s.Limit))
		defer cancel()
	}
	return r.against(ctx, cfg, s, t, dir)
}

// against starts brokers, runs the suite against them and stops them.
func (r *result) against(ctx context.Context, cfg config, s suite.Suite, t *suite.Target, dir string) (err error) {
	b := &brokers{cfg: cfg, suite: s, nodes: r.Nodes, dir: dir, target: t}
	defer func() { err = errors.Join(err, b.end(cfg.keep)) }()
	t.Restart = b.restart
	if err := b.start(ctx, s.Settings, s.Addrs); err != nil {
		return err
	}
	if r.Cases, err = s.Run(ctx, t); err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}
