package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/forebaylog/forebay/localstack/compat/suite"
)

// What is between these lines of the documentation is generated.
const (
	beginTable = "<!-- begin: written by make compat -->"
	endTable   = "<!-- end: written by make compat -->"
)

// writeDocs puts the table of all suites into the file, between its markers.
func writeDocs(path string, suites []suite.Suite, results []result) error {
	doc, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("write the table of results: %w", err)
	}
	before, rest, ok := bytes.Cut(doc, []byte(beginTable+"\n"))
	_, after, closed := bytes.Cut(rest, []byte(endTable))
	if !ok || !closed {
		return fmt.Errorf("write the table of results: %s has no lines %q and %q", path, beginTable, endTable)
	}
	doc = slices.Concat(before, []byte(beginTable+"\n"+table(suites, results)+endTable), after)
	if err := os.WriteFile(path, doc, 0o644); err != nil {
		return fmt.Errorf("write the table of results: %w", err)
	}
	return nil
}

// table is the table, and what it says of cases that did not pass.
func table(suites []suite.Suite, results []result) string {
	var b, notes strings.Builder
	fmt.Fprint(&b, "\n| suite | what it is | brokers | ran | passed | failed | skipped |\n|---|---|--:|--:|--:|--:|--:|\n")
	for _, s := range suites {
		var of []result
		for _, nodes := range s.Nodes {
			i := slices.IndexFunc(results, func(r result) bool { return r.Suite == s.Name && r.Nodes == nodes })
			if i < 0 {
				fmt.Fprintf(&b, "| `%s` | %s | %d | not run | | | |\n", s.Name, s.About, nodes)
				continue
			}
			r := results[i]
			of = append(of, r)
			passed, failed := r.count(suite.Passed), r.count(suite.Failed)
			fmt.Fprintf(&b, "| `%s` | %s | %d | %d | %d | %d | %d |\n",
				s.Name, s.About, nodes, passed+failed, passed, failed, r.count(suite.Skipped))
		}
		notes.WriteString(explain(s, of))
	}
	b.WriteString("\n")
	b.WriteString(notes.String())
	return b.String()
}

// explain lists the cases of a suite that did not pass, by reason; empty if there are none.
func explain(s suite.Suite, results []result) string {
	type note struct {
		outcome suite.Outcome
		reason  string
	}
	cases := make(map[note][]string)
	var order []note
	for _, r := range results {
		if r.Error != "" {
			r.Cases = append(r.Cases, suite.Case{Name: "the whole suite", Outcome: suite.Failed, Reason: "could not be run to its end"})
		}
		for _, c := range r.Cases {
			if c.Outcome == suite.Passed {
				continue
			}
			n := note{c.Outcome, cmp.Or(firstLine(c.Reason), "without a reason given")}
			if c.Outcome == suite.Skipped {
				n.reason, _, _ = strings.Cut(n.reason, "; ") // why comes first, and is the same for many
			}
			if key, ok := knownAs(s, r.Nodes, c.Name); ok {
				n.reason = s.Known[key]
			} else if c.Outcome == suite.Failed {
				n.reason = "**unexpected**: " + n.reason
			}
			if _, ok := cases[n]; !ok {
				order = append(order, n)
			}
			if !slices.Contains(cases[n], c.Name) {
				cases[n] = append(cases[n], c.Name)
			}
		}
	}
	if len(order) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "`%s`:\n\n", s.Name)
	for _, n := range order {
		fmt.Fprintf(&b, "- %s: %s. Cases: %s\n", n.outcome, strings.TrimSuffix(n.reason, "."), some(cases[n]))
	}
	return b.String() + "\n"
}

// some lists names, the first few of many.
func some(names []string) string {
	const most = 12
	var b strings.Builder
	for i, name := range names {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(names)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("`" + name + "`")
	}
	return b.String()
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.ReplaceAll(line, "|", "\\|")
}
