package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/forebaylog/forebay/localstack/compat/suite"
)

// result is what came of the last run of a suite against a number of brokers.
type result struct {
	Suite string        `json:"suite"`
	Nodes int           `json:"nodes"`
	Took  time.Duration `json:"took"`
	Error string        `json:"error,omitempty"` // why it could not be run, or not to the end
	Cases []suite.Case  `json:"cases"`
}

// name is that of the run, also of its files.
func (r *result) name() string { return fmt.Sprintf("%s-%d", r.Suite, r.Nodes) }

// count returns how many cases had an outcome.
func (r *result) count(o suite.Outcome) (n int) {
	for _, c := range r.Cases {
		if c.Outcome == o {
			n++
		}
	}
	return n
}

// line says in one line what came of the run.
func (r *result) line() string {
	line := fmt.Sprintf("%-18s %d brokers  %4d passed %3d failed %3d skipped  %s",
		r.Suite, r.Nodes, r.count(suite.Passed), r.count(suite.Failed), r.count(suite.Skipped), r.Took)
	if r.Error != "" {
		line += "  could not be run to its end"
	}
	return line
}

// surprises says what was not as the suite expects: cases that failed and are not known to,
// known ones that passed, and a run that could not be made.
func (r *result) surprises(s suite.Suite) (all []string) {
	if r.Error != "" {
		all = append(all, "error: "+oneLine(r.Error))
	}
	excused := make(map[string]bool) // entries of Known that some case did not pass for
	met := make(map[string]bool)     // entries of Known that there is a case for
	for _, c := range r.Cases {
		key, known := knownAs(s, r.Nodes, c.Name)
		switch {
		case known:
			met[key] = true
			excused[key] = excused[key] || c.Outcome != suite.Passed
		case c.Outcome == suite.Failed:
			all = append(all, fmt.Sprintf("failed: %s: %s", c.Name, oneLine(c.Reason)))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(met)) {
		if !excused[key] {
			all = append(all, fmt.Sprintf("passed: %s, which is known as: %s", key, s.Known[key]))
		}
	}
	return all
}

// oneLine is the beginning of a text that may have many lines, in one. The whole is in the
// results file, and what a tool said in the log.
func oneLine(text string) string {
	const most = 300
	line := []rune(strings.Join(strings.Fields(text), " "))
	if len(line) <= most {
		return string(line)
	}
	return string(line[:most]) + "…"
}

// knownAs finds the entry of Known for a case: its own, or that of a case above it, first for
// this number of brokers.
func knownAs(s suite.Suite, nodes int, name string) (key string, ok bool) {
	for {
		for _, key := range []string{fmt.Sprintf("%s@%d", name, nodes), name} {
			if _, ok := s.Known[key]; ok {
				return key, true
			}
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return "", false
		}
		name = name[:i]
	}
}

// readResults reads the results file; none is there before the first run.
func readResults(path string) (results []result, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read earlier results: %w", err)
	}
	if err := json.Unmarshal(data, &results); err != nil {
		return nil, fmt.Errorf("read earlier results from %s, which may be deleted: %w", path, err)
	}
	return results, nil
}

// keepResult puts a result in the place of the one before it.
func keepResult(path string, r result) error {
	results, err := readResults(path)
	if err != nil {
		return err
	}
	same := func(o result) bool { return o.Suite == r.Suite && o.Nodes == r.Nodes }
	results = append(slices.DeleteFunc(results, same), r)
	slices.SortFunc(results, func(a, b result) int {
		return cmp.Or(cmp.Compare(a.Suite, b.Suite), cmp.Compare(a.Nodes, b.Nodes))
	})
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(results); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	temp := path + ".tmp"
	if err := os.WriteFile(temp, buf.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}
