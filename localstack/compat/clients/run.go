package clients

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/forebaylog/forebay/localstack/compat/suite"
	"github.com/forebaylog/forebay/localstack/rig"
)

// partitions are those of every topic.
const partitions = 6

// app is what the cases of one client share.
type app struct {
	client client
	t      *suite.Target
	script string
	file   string // the events as the application reads them
	events []event
}

// run runs the cases of some clients.
func run(clients ...client) func(context.Context, *suite.Target) ([]suite.Case, error) {
	return func(ctx context.Context, t *suite.Target) ([]suite.Case, error) {
		events, err := loadEvents(ctx)
		if err != nil {
			return nil, err
		}
		file := filepath.Join(t.Dir, "events.ndjson")
		if err := writeEvents(file, events); err != nil {
			return nil, err
		}
		var cases []suite.Case
		for _, c := range clients {
			a := &app{client: c, t: t, script: filepath.Join(t.Dir, c.script), file: file, events: events}
			source := pythonSource
			if strings.HasSuffix(c.script, ".js") {
				source = nodeSource
			}
			if err := os.WriteFile(a.script, source, 0o644); err != nil {
				return nil, fmt.Errorf("write the application of %s: %w", c.name, err)
			}
			cases = append(cases, a.cases(ctx)...)
		}
		return cases, nil
	}
}

// caseLimit bounds one case, on a machine that has other work, too.
const caseLimit = 3 * time.Minute

// cases runs what is tried with the client; each needs the topic of the first.
func (a *app) cases(ctx context.Context) []suite.Case {
	var cases []suite.Case
	for _, c := range []struct {
		name string
		run  func(context.Context) error
	}{{"produce", a.produce}, {"group", a.group}, {"transactions", a.copy}} {
		began := time.Now()
		limited, cancel := context.WithTimeout(ctx, caseLimit)
		err := c.run(limited)
		cancel()
		result := suite.Case{Name: a.client.name + "/" + c.name, Outcome: suite.Passed, Took: time.Since(began)}
		if err != nil {
			result.Outcome, result.Reason = suite.Failed, err.Error()
		}
		cases = append(cases, result)
	}
	return cases
}

func (a *app) topic() string { return a.client.name + "-events" }

// produce has the client produce the events and reads them back.
func (a *app) produce(ctx context.Context) error {
	if err := createTopic(ctx, a.t.Brokers, a.topic()); err != nil {
		return err
	}
	p, err := a.start(ctx, nil, "produce", a.brokers(), a.topic(), a.file)
	if err != nil {
		return err
	}
	if err := p.Wait(ctx); err != nil {
		return fmt.Errorf("%w: %s", err, tail(p.Output()))
	}
	got, err := read(ctx, a.t.Brokers, a.topic(), len(a.events))
	if err != nil {
		return err
	}
	return same(a.events, got)
}

// group has three members share the topic, and stops one that has consumed something. Every
// record must come to one of them at least once, as it is in the topic.
func (a *app) group(ctx context.Context) error {
	seen := newSeen()
	var members []*rig.Process
	defer func() { end(members) }()
	for i := range 3 {
		p, err := a.start(ctx, func(line string) { seen.add(i, line) }, "member", a.brokers(), a.topic(), a.client.name+"-group")
		if err != nil {
			return err
		}
		members = append(members, p)
	}
	if err := await(ctx, members, func() bool { return seen.count(0)+seen.count(1)+seen.count(2) > 0 }); err != nil {
		return err
	}
	for i, p := range members {
		if seen.count(i) == 0 {
			continue
		}
		if _, err := p.Stop(20 * time.Second); err != nil {
			return fmt.Errorf("stop member %d: %w: %s", i, err, tail(p.Output()))
		}
		members = append(members[:i:i], members[i+1:]...)
		break
	}
	// What it had consumed and not committed comes again to the others, and more is produced for them.
	if err := a.more(ctx); err != nil {
		return err
	}
	if err := await(ctx, members, func() bool { return seen.distinct() >= 2*len(a.events) }); err != nil {
		return fmt.Errorf("%d of %d records were consumed: %w", seen.distinct(), 2*len(a.events), err)
	}
	got, err := read(ctx, a.t.Brokers, a.topic(), 2*len(a.events))
	if err != nil {
		return err
	}
	return seen.requireAll(got)
}

// more produces the events once more.
func (a *app) more(ctx context.Context) error {
	p, err := a.start(ctx, nil, "produce", a.brokers(), a.topic(), a.file)
	if err != nil {
		return err
	}
	if err := p.Wait(ctx); err != nil {
		return fmt.Errorf("%w: %s", err, tail(p.Output()))
	}
	return nil
}

// copy has the client copy the topic in transactions, kills it on the way and starts it again.
// The copy must hold every record exactly once, and the offsets must be at the end.
func (a *app) copy(ctx context.Context) error {
	want, err := read(ctx, a.t.Brokers, a.topic(), 2*len(a.events))
	if err != nil {
		return err
	}
	to, group := a.client.name+"-copy", a.client.name+"-copiers"
	if err := createTopic(ctx, a.t.Brokers, to); err != nil {
		return err
	}
	var copiers []*rig.Process
	defer func() { end(copiers) }()
	for range 2 {
		end(copiers)
		p, err := a.start(ctx, nil, "copy", a.brokers(), a.topic(), group, to)
		if err != nil {
			return err
		}
		copiers = []*rig.Process{p}
		if err := await(ctx, copiers, func() bool {
			n, err := committed(ctx, a.t.Brokers, group, a.topic())
			return err == nil && n > 0
		}); err != nil {
			return err
		}
	}
	if err := await(ctx, copiers, func() bool {
		n, err := committed(ctx, a.t.Brokers, group, a.topic())
		return err == nil && n == int64(len(want))
	}); err != nil {
		return err
	}
	got, err := read(ctx, a.t.Brokers, to, len(want))
	if err != nil {
		return err
	}
	return same(eventsOf(want), got)
}

func (a *app) brokers() string { return strings.Join(a.t.Brokers, ",") }

// start starts the application and hands each line that it prints to listen.
func (a *app) start(ctx context.Context, listen func(string), args ...string) (*rig.Process, error) {
	program, first, env := a.client.command(a.t.Tools, a.script)
	cmd := exec.CommandContext(ctx, program, append(first, args...)...)
	cmd.Env = append(os.Environ(), env...)
	if listen == nil {
		return rig.StartProcess(a.client.name, cmd)
	}
	r, w := io.Pipe()
	cmd.Stdout = w
	p, err := rig.StartProcess(a.client.name, cmd)
	if err != nil {
		return nil, err
	}
	go func() { // ends with the process, which closes the pipe
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			listen(lines.Text())
		}
	}()
	go func() {
		<-p.Done()
		_ = w.Close()
	}()
	return p, nil
}

// await tries until done reports true, while all processes run.
func await(ctx context.Context, all []*rig.Process, done func() bool) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("it did not come to its end: %w", ctx.Err())
		}
		for _, p := range all {
			if !p.Running() {
				return fmt.Errorf("%s has ended: %s", p.Name(), tail(p.Output()))
			}
		}
	}
	return nil
}

// end kills what still runs.
func end(all []*rig.Process) {
	for _, p := range all {
		_ = p.Kill() // it may have ended
	}
}

// tail is the end of what a program said.
func tail(output string) string {
	output = strings.TrimSpace(output)
	return output[max(0, len(output)-1500):]
}

// seen is what the members of a group have consumed. It is safe for concurrent use.
type seen struct {
	mu   sync.Mutex
	at   map[position]event
	from map[int]int
}

func newSeen() *seen { return &seen{at: map[position]event{}, from: map[int]int{}} }

func (s *seen) add(member int, line string) {
	var r struct {
		Partition  int32
		Offset     int64
		Key, Value string
	}
	if json.Unmarshal([]byte(line), &r) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at[position{r.Partition, r.Offset}] = event{Key: r.Key, Value: r.Value}
	s.from[member]++
}

func (s *seen) count(member int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.from[member]
}

func (s *seen) distinct() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.at)
}

// requireAll checks what was consumed against what is in the topic.
func (s *seen) requireAll(records map[position]event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, want := range records {
		got, ok := s.at[at]
		if !ok {
			return fmt.Errorf("record %d of partition %d was not consumed", at.offset, at.partition)
		}
		if got.Key != want.Key || got.Value != want.Value {
			return fmt.Errorf("record %d of partition %d was consumed as another", at.offset, at.partition)
		}
	}
	if len(s.at) != len(records) {
		return fmt.Errorf("%d records were consumed, there are %d", len(s.at), len(records))
	}
	return nil
}
