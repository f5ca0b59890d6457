// Package transcript runs cases that are written as command lines with what they are expected
// to say: the manner of the suites of command line tools.
package transcript

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/forebaylog/forebay/localstack/compat/suite"
)

// Step is one command. Its texts may name variables as {name}: those of the Runner, and what
// named groups of earlier expectations of the case have matched.
type Step struct {
	// Run is the command's words. Words with spaces stand between ', where \n is a line's end.
	Run string
	In  string // its standard input
	// File is a file to be written before, with Text, below the variable dir. A step that has no
	// command writes its file only.
	File, Text string
	Out        string // file below dir that its standard output is kept in
	Want       []string
	Not        []string // expressions that must not match what it says
	Fails      bool     // it must end with an exit code other than 0
	// Await runs the command again until it says what is wanted, for up to patience.
	Await bool
	// Behind leaves the command running behind the following steps; it is killed with the case.
	Behind bool
}

// Case is steps that depend on each other. It ends with the first that is not as expected.
type Case struct {
	Name  string
	Nodes int // brokers that it needs at least; 0 is 1
	Steps []Step
}

// Runner runs cases.
type Runner struct {
	// Command makes the command of a step.
	Command func(ctx context.Context, words []string) (*exec.Cmd, error)
	Vars    map[string]string // dir among them
	Nodes   int
	Log     io.Writer
	// Parallel is how many groups of cases run at once.
	Parallel int

	mu sync.Mutex // of Log
}

// Limits of a step: how long it may take, and how long it is tried again.
const (
	stepTime = 90 * time.Second
	patience = 45 * time.Second
	pause    = 300 * time.Millisecond
)

// Run runs groups of cases, those of a group one after the other, and returns what came of
// them in their order.
func (r *Runner) Run(ctx context.Context, groups ...[]Case) []suite.Case {
	results := make([][]suite.Case, len(groups))
	free := make(chan struct{}, max(r.Parallel, 1))
	var work sync.WaitGroup
	for i, group := range groups {
		work.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			for _, c := range group {
				results[i] = append(results[i], r.run(ctx, c))
			}
		})
	}
	work.Wait()
	var all []suite.Case
	for _, cases := range results {
		all = append(all, cases...)
	}
	return all
}

func (r *Runner) run(ctx context.Context, c Case) suite.Case {
	result := suite.Case{Name: c.Name, Outcome: suite.Passed}
	if c.Nodes > r.Nodes {
		result.Outcome, result.Reason = suite.Skipped, fmt.Sprintf("needs %d brokers", c.Nodes)
		return result
	}
	ctx, cancel := context.WithCancel(ctx)
	var behind sync.WaitGroup
	defer behind.Wait()
	defer cancel()
	vars := make(map[string]string, len(r.Vars))
	for name, value := range r.Vars {
		vars[name] = value
	}
	began := time.Now()
	for i := range c.Steps {
		if err := r.step(ctx, c.Name, &c.Steps[i], vars, &behind); err != nil {
			result.Outcome, result.Reason = suite.Failed, fmt.Sprintf("step %d: %v", i+1, err)
			break
		}
	}
	result.Took = time.Since(began)
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.Log, "= %s: %s\n\n", result.Outcome, c.Name)
	return result
}

func (r *Runner) step(ctx context.Context, name string, s *Step, vars map[string]string, behind *sync.WaitGroup) error {
	if s.File != "" {
		if err := os.WriteFile(filepath.Join(vars["dir"], expand(s.File, vars)), []byte(expand(s.Text, vars)), 0o600); err != nil {
			return fmt.Errorf("write a file for the command: %w", err)
		}
	}
	if s.Run == "" {
		return nil
	}
	if s.Behind {
		behind.Go(func() { _, _ = r.execute(ctx, name, s, vars) })
		return nil
	}
	for end := time.Now().Add(patience); ; {
		said, err := r.execute(ctx, name, s, vars)
		if err == nil {
			err = s.check(said, vars)
		}
		if err == nil || !s.Await || time.Now().After(end) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// execute runs the command of a step once and returns what it said.
func (r *Runner) execute(ctx context.Context, name string, s *Step, vars map[string]string) (string, error) {
	line := expand(s.Run, vars)
	if !s.Behind {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, stepTime)
		defer cancel()
	}
	cmd, err := r.Command(ctx, split(line))
	if err != nil {
		return "", err
	}
	var both locked
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(expand(s.In, vars)), io.MultiWriter(&both, &out), &both
	began := time.Now()
	failed := suite.Run(cmd, io.Discard)
	r.mu.Lock()
	fmt.Fprintf(r.Log, "# %s\n$ %s  (%v)\n%s\n", name, line, time.Since(began).Round(time.Millisecond), both.String())
	r.mu.Unlock()
	exit := (*exec.ExitError)(nil)
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s: does not end: %w\n%s", line, ctx.Err(), both.String())
	case failed != nil && !errors.As(failed, &exit):
		return "", failed
	case s.Fails && failed == nil:
		return "", fmt.Errorf("%s: did not fail\n%s", line, both.String())
	case !s.Fails && failed != nil:
		return "", fmt.Errorf("%s: %w\n%s", line, exit, both.String())
	}
	if s.Out != "" {
		if err := os.WriteFile(filepath.Join(vars["dir"], expand(s.Out, vars)), out.Bytes(), 0o600); err != nil {
			return "", fmt.Errorf("keep what the command said: %w", err)
		}
	}
	return both.String(), nil
}

// locked is a buffer that a command's two streams go to.
type locked struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// check compares what a command said with what is wanted, and keeps named groups as variables.
func (s *Step) check(said string, vars map[string]string) error {
	for _, want := range s.Want {
		re, err := regexp.Compile("(?m)" + expandQuoted(want, vars))
		if err != nil {
			return fmt.Errorf("an expectation is no expression: %w", err)
		}
		found := re.FindStringSubmatch(said)
		if found == nil {
			return fmt.Errorf("%s: want %q in\n%s", s.Run, want, said)
		}
		for i, name := range re.SubexpNames() {
			if name != "" {
				vars[name] = found[i]
			}
		}
	}
	for _, not := range s.Not {
		re, err := regexp.Compile("(?m)" + expandQuoted(not, vars))
		if err != nil {
			return fmt.Errorf("an expectation is no expression: %w", err)
		}
		if re.MatchString(said) {
			return fmt.Errorf("%s: %q must not be in\n%s", s.Run, not, said)
		}
	}
	return nil
}

var variable = regexp.MustCompile(`\{[a-z]+\}`)

// expand puts in the values of variables.
func expand(text string, vars map[string]string) string {
	return variable.ReplaceAllStringFunc(text, func(v string) string {
		if value, ok := vars[v[1:len(v)-1]]; ok {
			return value
		}
		return v
	})
}

// expandQuoted is expand for expressions, which take values as they are.
func expandQuoted(text string, vars map[string]string) string {
	quoted := make(map[string]string, len(vars))
	for name, value := range vars {
		quoted[name] = regexp.QuoteMeta(value)
	}
	return expand(text, quoted)
}

// split divides a line into words.
func split(line string) (words []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, strings.ReplaceAll(part, `\n`, "\n"))
			continue
		}
		words = append(words, strings.Fields(part)...)
	}
	return words
}
