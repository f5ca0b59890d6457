package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/forebaylog/forebay/localstack/oracle"
)

// scenario is one sort of fault. Its function injects it for the run's duration under load,
// heals it and returns; the load goes on meanwhile.
type scenario struct {
	name    string
	about   string
	cluster bool          // it needs brokers that have their services behind proxies
	machine bool          // it runs on a machine in this process, whatever the target is
	short   time.Duration // how long it lasts in the short mix
	rounds  int           // how often it strikes in the long mix; 0: as often as fits
	args    []string      // added to the brokers' command lines
	rate    int           // of the ordinary producers; 0: as the command line says
	strikes []string      // what must have been struck, or the run shows nothing
	fault   func(context.Context, *env) error
}

// scenarios are all there are, in the order of -scenario all.
var scenarios = []scenario{
	{name: "kill9", about: "random brokers killed with SIGKILL", short: 12 * time.Second, rounds: 200, strikes: []string{"kill -9"}, fault: kill9},
	{name: "wipe", about: "random brokers killed and their disks deleted", cluster: true, short: 12 * time.Second, strikes: []string{"disk deleted"}, fault: wipe},
	{name: "pause", about: "a leader stopped for three leases and woken under load", short: 12 * time.Second, strikes: []string{"SIGSTOP for 9s"}, fault: pause},
	{name: "power-loss", about: "a machine whose disk forgets what was not synced", machine: true, short: 5 * time.Second, strikes: []string{"power cut"}, fault: powerLoss},
	{name: "lost-ack", about: "clients lose the replies to what was done", short: 8 * time.Second, strikes: []string{"reply lost by a client"}, fault: lostAck},
	{name: "bit-rot", about: "bits flipped in what comes from the object store", short: 8 * time.Second, strikes: []string{"bit flipped", "record read of rot"}, fault: bitRot},
	{name: "late-upload", about: "uploads that land after the takeover", cluster: true, short: 12 * time.Second, strikes: []string{"upload held"}, fault: lateUpload},
	{name: "lost-reply", about: "commits that are applied and whose reply is lost", cluster: true, short: 8 * time.Second, strikes: []string{"slot reply lost", "write reply lost"}, fault: lostReply},
	{name: "no-dynamodb", about: "no table service", cluster: true, short: 12 * time.Second, strikes: []string{"table request lost"}, fault: noTable},
	{name: "no-store", about: "no object store", cluster: true, short: 12 * time.Second, strikes: []string{"store request lost"}, fault: noStore},
	{name: "bad-answers", about: "a fifth of the store's answers bad", cluster: true, short: 10 * time.Second, strikes: []string{"500", "503"}, fault: badAnswers},
	{name: "throttling", about: "the table service is throttled", cluster: true, short: 8 * time.Second, strikes: []string{"throttled", "throttled altogether"}, fault: throttling},
	{name: "rolling", about: "brokers restarted in turn, with no error that a client sees", short: 12 * time.Second, rounds: 50, strikes: []string{"restart"}, fault: rolling},
	{name: "churn", about: "members of groups join, leave and die all the while", short: 12 * time.Second, strikes: []string{"member joined"}, fault: churn},
	{name: "coordinators", about: "coordinators of groups and transactions killed, while members come and go", cluster: true, short: 14 * time.Second, strikes: []string{"coordinator killed"}, fault: coordinators},
	{name: "life", about: "brokers killed, and outages, while retention, compaction, merging and the collector work at a high pace", cluster: true, short: 14 * time.Second, args: lifeArgs, rate: 40, strikes: []string{"kill -9", "table: outage", "store: outage", "life: whole reads", "life: deletions"}, fault: lifeOfData},
}

func findScenario(name string) (scenario, error) {
	for _, s := range scenarios {
		if s.name == name {
			return s, nil
		}
	}
	return scenario{}, fmt.Errorf("find scenario %q: there is none of that name; see -list", name)
}

// fit gives the run of a scenario the length that the mix wants.
func (s scenario) fit(cfg config) config {
	if cfg.short {
		cfg.duration = s.short
	}
	if cfg.long && s.rounds > 0 {
		cfg.rounds = s.rounds
	}
	if s.rate > 0 {
		cfg.rate = s.rate
	}
	cfg.args = slices.Concat(s.args, cfg.args)
	return cfg
}

// env is what a fault works with.
type env struct {
	target
	cfg       config
	rec       *recorder
	load      *load
	life      *life // of the scenario life only
	rng       *rand.Rand
	anomalies []oracle.Anomaly // found beside the oracle
	began     time.Time
	parts     []part // that the run has had, one after the other
}

// part is a part of a run and its time.
type part struct {
	name string
	took time.Duration
}

// Kinds of anomalies that the runs find themselves.
const (
	notHealed        oracle.Kind = "not-healed"        // what a fault had ended did not come back
	notResumed       oracle.Kind = "not-resumed"       // no acknowledgements after all was healed
	clientSawError   oracle.Kind = "client-error"      // a client was left with an error that it should not see
	ackWithoutLease  oracle.Kind = "ack-without-lease" // acknowledged when the lease must have ended
	memoryUnbounded  oracle.Kind = "memory"            // a broker took more memory than it may
	acceptedOldEpoch oracle.Kind = "old-generation"    // a member that is none any more could commit
)

// found notes an anomaly.
func (e *env) found(kind oracle.Kind, format string, args ...any) {
	e.anomalies = append(e.anomalies, oracle.Anomaly{Kind: kind, Detail: fmt.Sprintf(format, args...)})
}

// rounds calls f, with pauses from low to high between, as often as the run has rounds, or
// until its duration is over if it has no number of them.
func (e *env) rounds(ctx context.Context, low, high time.Duration, f func(round int) error) error {
	end := time.Now().Add(e.cfg.duration)
	more := func(round int) bool { return round == 0 || time.Now().Before(end) }
	if e.cfg.rounds > 0 {
		more = func(round int) bool { return round < e.cfg.rounds }
	}
	for round := 0; more(round); round++ {
		if err := e.pause(ctx, e.between(low, high)); err != nil {
			return err
		}
		if err := f(round); err != nil {
			return err
		}
	}
	return nil
}

// between picks a time from low to high.
func (e *env) between(low, high time.Duration) time.Duration {
	return low + time.Duration(e.rng.Int64N(int64(high-low)+1))
}

// pause lets the load go on for a while.
func (e *env) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the run ends: %w", context.Cause(ctx))
	}
}

// processes returns the brokers, which every scenario that is not of a machine has.
func (e *env) processes() *processes {
	p, ok := e.target.(*processes)
	if !ok {
		panic("a scenario of processes runs on another target")
	}
	return p
}
