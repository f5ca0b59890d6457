package gosuites

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/forebaylog/forebay/localstack/compat/suite"
)

// goCommand is the go command in an installed module, outside of every workspace.
func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := suite.Command(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Env, "GOWORK=off", "GOFLAGS=-mod=mod")
	return cmd
}

// goTest is a run of `go test`.
type goTest struct {
	dir  string   // of the package
	env  []string // added to the environment
	args []string // to go test
}

// run runs the tests and returns what came of them. A test that began and did not end has
// failed. An error says that no test was run, or not all.
func (g goTest) run(ctx context.Context, log io.Writer) ([]suite.Case, error) {
	cmd := goCommand(ctx, g.dir, append([]string{"test", "-json", "-count=1"}, g.args...)...)
	cmd.Env = append(cmd.Env, g.env...)
	events := newEvents(log)
	cmd.Stdout = events
	err := suite.Run(cmd, log)
	cases := events.cases()
	switch {
	case ctx.Err() != nil:
		return cases, fmt.Errorf("run the tests: %w", context.Cause(ctx))
	case len(cases) == 0:
		return nil, fmt.Errorf("run the tests: none was run: %w", err)
	case events.panicked:
		return cases, fmt.Errorf("run the tests: the test binary ended early: %w", err)
	}
	return cases, nil
}

// event is a line of `go test -json`.
type event struct {
	Action, Test, Output string
	Elapsed              float64 // seconds
}

// test is one that has begun.
type test struct {
	name     string
	outcome  string // pass, fail, skip; empty while it runs
	output   strings.Builder
	took     time.Duration
	children int
	failed   int // children that failed
}

// events reads the output of `go test -json` as it comes, and writes what the tests say to a log.
type events struct {
	log      io.Writer
	rest     []byte
	tests    map[string]*test
	order    []*test
	panicked bool
}

func newEvents(log io.Writer) *events { return &events{log: log, tests: make(map[string]*test)} }

// Write takes a part of the output.
func (e *events) Write(b []byte) (int, error) {
	e.rest = append(e.rest, b...)
	for {
		line, rest, ok := bytes.Cut(e.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		e.line(line)
		e.rest = rest
	}
}

func (e *events) line(line []byte) {
	var ev event
	if json.Unmarshal(line, &ev) != nil {
		fmt.Fprintf(e.log, "%s\n", line)
		return
	}
	fmt.Fprint(e.log, ev.Output)
	if strings.HasPrefix(ev.Output, "panic: ") {
		e.panicked = true
	}
	if ev.Test == "" {
		return
	}
	t := e.tests[ev.Test]
	if t == nil {
		t = &test{name: ev.Test}
		e.tests[ev.Test] = t
		e.order = append(e.order, t)
		if parent := e.parent(t); parent != nil {
			parent.children++
		}
	}
	switch ev.Action {
	case "output":
		t.output.WriteString(ev.Output)
	case "pass", "fail", "skip":
		t.outcome, t.took = ev.Action, time.Duration(ev.Elapsed*float64(time.Second))
		if parent := e.parent(t); parent != nil && ev.Action == "fail" {
			parent.failed++
		}
	}
}

func (e *events) parent(t *test) *test {
	i := strings.LastIndexByte(t.name, '/')
	if i < 0 {
		return nil
	}
	return e.tests[t.name[:i]]
}

// cases returns what came of the tests. One that only has others below it does not count, unless
// it failed on its own.
func (e *events) cases() (all []suite.Case) {
	for _, t := range e.order {
		c := suite.Case{Name: t.name, Took: t.took}
		switch t.outcome {
		case "pass":
			if t.children > 0 {
				continue
			}
			c.Outcome = suite.Passed
		case "skip":
			c.Outcome, c.Reason = suite.Skipped, said(t.output.String())
		case "fail":
			if t.failed > 0 {
				continue
			}
			c.Outcome, c.Reason = suite.Failed, said(t.output.String())
		default:
			c.Outcome, c.Reason = suite.Failed, "it did not end"
		}
		all = append(all, c)
	}
	return all
}

// said is what a test has said itself, in one line of bounded length: what stands behind the
// place in a source file, or else its last words.
func said(output string) string {
	const most = 300
	var lines []string
	last, inError := "", false // the latter: of testify, over several lines
	for scanner := bufio.NewScanner(strings.NewReader(output)); scanner.Scan(); {
		line := strings.TrimSpace(scanner.Text())
		if line == "" || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "---") {
			continue
		}
		switch {
		case strings.HasPrefix(line, "Error Trace:"):
			continue
		case strings.HasPrefix(line, "Test:"):
			inError = false
			continue
		case strings.HasPrefix(line, "Error:") || inError:
			inError = true
			lines = append(lines, strings.TrimSpace(strings.TrimPrefix(line, "Error:")))
			continue
		}
		last = line
		if _, words, ok := strings.Cut(line, "_test.go:"); ok {
			if _, words, ok = strings.Cut(words, ": "); ok {
				lines = append(lines, words)
			}
		}
	}
	reason := strings.Join(lines, "; ")
	if reason == "" {
		reason = last
	}
	if len(reason) > most {
		reason = strings.ToValidUTF8(reason[:most], "") + "..."
	}
	return reason
}
