package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/forebaylog/forebay/localstack/oracle"
)

// report is what came of a run.
type report struct {
	Scenario   string           `json:"scenario"`
	Target     string           `json:"target"`
	Seed       uint64           `json:"seed"`
	Passed     bool             `json:"passed"`
	Seconds    float64          `json:"seconds"`
	Parts      string           `json:"parts"` // of the seconds, in their order
	Operations operations       `json:"operations"`
	Faults     map[string]int64 `json:"faults"`
	// LongestStall is the longest time without an acknowledgement in a partition while
	// faults were injected and healed, in seconds.
	LongestStall float64          `json:"longest_stall_seconds"`
	PeakRSS      int64            `json:"peak_rss_bytes,omitempty"` // of the largest broker
	ClientErrors int              `json:"client_errors"`
	Anomalies    []oracle.Anomaly `json:"anomalies"`
	History      string           `json:"history,omitempty"` // where it was kept
}

// operations are counts of what clients did.
type operations struct {
	Sends   int `json:"sends"`
	Acked   int `json:"acked"`
	Failed  int `json:"failed"`
	Unknown int `json:"unknown"`
	Polled  int `json:"polled"` // records
	Commits int `json:"commits"`
	Read    int `json:"read"` // records, in the last reads, of which each pass has two

	Committed int `json:"transactions_committed"`
	Aborted   int `json:"transactions_aborted"` // or timed out, or fenced
	Undecided int `json:"transactions_unknown"` // to clients, whose commit was not answered
	Copied    int `json:"copied"`               // records sent as copies, in whatever transactions
}

func (o operations) total() int { return o.Sends + o.Polled + o.Commits + o.Read }

// report judges the history.
func (e *env) report(s scenario) report {
	e.rec.mu.Lock()
	defer e.rec.mu.Unlock()
	h := &e.rec.history
	rep := report{
		Scenario: s.name, Target: e.cfg.target, Seed: e.cfg.seed, Faults: maps.Clone(e.rec.faults),
		LongestStall: e.rec.stall.Seconds(), ClientErrors: len(e.rec.clients), Operations: count(h),
	}
	if s.machine {
		rep.Target = "machine"
	}
	if p, ok := e.target.(*processes); ok {
		rep.PeakRSS = p.peakRSS.Load()
		if rep.PeakRSS > e.cfg.memory {
			e.found(memoryUnbounded, "a broker has used %d MiB, more than %d", rep.PeakRSS>>20, e.cfg.memory>>20)
		}
		p.countFaults(rep.Faults)
	}
	if e.life != nil {
		e.life.judge(e, &rep)
	}
	for _, fault := range s.strikes {
		if !rep.struck(fault) {
			e.found(notAlive, "%q was never struck", fault)
		}
	}
	rep.Anomalies = append(e.anomalies, oracle.Check(h)...)
	rep.Passed = len(rep.Anomalies) == 0
	rep.Seconds = time.Since(e.began).Seconds()
	for _, p := range e.parts {
		rep.Parts += fmt.Sprintf("%s %.1f, ", p.name, p.took.Seconds())
	}
	rep.Parts = strings.TrimSuffix(rep.Parts, ", ")
	return rep
}

// struck reports whether a fault was injected, by the run or, if it is a rule of that name, by a proxy.
func (r report) struck(fault string) bool {
	return r.Faults[fault]+r.Faults["store: "+fault]+r.Faults["table: "+fault] > 0
}

// countFaults adds what the proxies did.
func (p *processes) countFaults(faults map[string]int64) {
	for name, counts := range map[string]func() map[string]int64{"store": p.storeCounts, "table": p.tableCounts} {
		for rule, n := range counts() {
			if rule != "passed" {
				faults[name+": "+rule] += n
			}
		}
	}
}

func (p *processes) storeCounts() map[string]int64 {
	if p.Store == nil {
		return nil
	}
	return p.Store.Counts()
}

func (p *processes) tableCounts() map[string]int64 {
	if p.Table == nil {
		return nil
	}
	return p.Table.Counts()
}

func count(h *oracle.History) operations {
	o := operations{Sends: len(h.Sends), Commits: len(h.Commits)}
	for _, s := range h.Sends {
		switch s.Outcome {
		case oracle.OK:
			o.Acked++
		case oracle.Fail:
			o.Failed++
		default:
			o.Unknown++
		}
	}
	for _, s := range h.Sends {
		if s.Of != nil {
			o.Copied++
		}
	}
	for _, t := range h.Txns {
		switch t.Commit {
		case oracle.OK:
			o.Committed++
		case oracle.Fail:
			o.Aborted++
		default:
			o.Undecided++
		}
	}
	for _, p := range h.Polls {
		o.Polled += len(p.Records)
	}
	for _, r := range h.Reads {
		o.Read += len(r.Records)
	}
	return o
}

// line is the report in one line, which begins as go test's of a package does.
func (r report) line() string {
	verdict := "ok  "
	if !r.Passed {
		verdict = "FAIL"
	}
	var faults []string
	for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
		faults = append(faults, fmt.Sprintf("%s %d", name, r.Faults[name]))
	}
	return fmt.Sprintf("%s\ttorture/%s\t%.1fs\t%s seed=%d ops=%d sent=%d acked=%d failed=%d unknown=%d polled=%d txns=%d/%d/%d copied=%d stall=%.1fs rss=%dMiB faults=[%s] parts=[%s] anomalies=[%s]",
		verdict, r.Scenario, r.Seconds, r.Target, r.Seed, r.Operations.total(), r.Operations.Sends, r.Operations.Acked, r.Operations.Failed,
		r.Operations.Unknown, r.Operations.Polled, r.Operations.Committed, r.Operations.Aborted, r.Operations.Undecided, r.Operations.Copied, r.LongestStall, r.PeakRSS>>20, strings.Join(faults, ", "), r.Parts, r.kinds())
}

// kinds are the kinds of anomalies that were found, each with how many.
func (r report) kinds() string {
	kinds := map[oracle.Kind]int{}
	for _, a := range r.Anomalies {
		kinds[a.Kind]++
	}
	var found []string
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		found = append(found, fmt.Sprintf("%s %d", kind, kinds[kind]))
	}
	return strings.Join(found, ", ")
}

// keep writes the history, the report and what the brokers and clients said into dir.
func (e *env) keep(rep *report, dir string) error {
	rep.History = filepath.Join(dir, "history.json")
	errs := []error{writeJSON(rep.History, &e.rec.history), writeJSON(filepath.Join(dir, "report.json"), rep)}
	for name, output := range e.outputs() {
		errs = append(errs, os.WriteFile(filepath.Join(dir, name+".log"), []byte(output), 0o644))
	}
	if e.life != nil {
		errs = append(errs, writeJSON(filepath.Join(dir, "life.json"), &e.life.load.rec.history))
	}
	e.rec.mu.Lock()
	defer e.rec.mu.Unlock()
	errs = append(errs, os.WriteFile(filepath.Join(dir, "clients.log"), []byte(strings.Join(e.rec.clients, "\n")+"\n"), 0o644))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("keep what was found: %w", err)
	}
	return nil
}

func writeJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.WriteFile(name, append(b, '\n'), 0o644)
}
