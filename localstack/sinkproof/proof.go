// Package sinkproof proves what forebay sink promises: it writes numbered records, has the built
// binary take them to a receiver that fails, and compares. Every record was delivered or, if the
// receiver refuses it for good, dead-lettered; the records of each key came in their order; and
// the group's offsets say that all is done.
//
// It starts processes, which it ends, and loads loopback addresses only.
package sinkproof

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/rig"
)

// Names of what a proof makes.
const (
	topic   = "orders"
	letters = "orders-failed"
	group   = "billing"
)

// Config says what to prove. Zero values mean the defaults.
type Config struct {
	Binary  string // the built forebay
	Dir     string // for data
	Records int    // default 20,000
	Bytes   int    // of a record's value: default 200
	Keys    int    // default 1,000
	// Partitions of the topic: default 12.
	Partitions int32
	// FailRate is how many requests fail at random: 500, 503 and 429 in turn.
	FailRate float64
	// PoisonEvery makes every so manieth record one that is always refused; 0 for none.
	PoisonEvery int
	Seed        uint64
	// HTTP has the records written as CloudEvents over HTTP, in batches, by so many senders; 0 for a Kafka producer.
	HTTP int
	// Sinks are the members of the group: default 2.
	Sinks int
	// Kills is how often one of them is killed and started again.
	Kills int
	// Args are added to the command line of each sink.
	Args []string
	// Say tells how it goes, if it is given.
	Say func(format string, args ...any)
}

func (c Config) withDefaults() Config {
	c.Records = cmp.Or(c.Records, 20_000)
	c.Bytes = cmp.Or(c.Bytes, 200)
	c.Keys = cmp.Or(c.Keys, 1000)
	c.Partitions = cmp.Or(c.Partitions, 12)
	c.Sinks = cmp.Or(c.Sinks, 2)
	if c.Say == nil {
		c.Say = func(string, ...any) {}
	}
	return c
}

func (c Config) poisoned(n int) bool { return c.PoisonEvery > 0 && n%c.PoisonEvery == c.PoisonEvery-1 }

// value is what is in a record.
type value struct {
	N   int    `json:"n"`
	Pad string `json:"pad"`
}

// Result is what came of a proof that has succeeded.
type Result struct {
	Delivered, Again, DeadLetters int
	Requests, FailedRequests      int
	Produce, Deliver              time.Duration
	CPU                           time.Duration // of the sinks that were not killed
	PeakRSS                       int64         // of the largest of them, in bytes
}

// proof is a proof under way.
type proof struct {
	Config
	broker   *rig.Node
	events   string // its address for events over HTTP
	receiver *Receiver
	client   *kgo.Client
	admin    *kadm.Client
	sinks    []*rig.Process
}

// Run proves once.
func Run(ctx context.Context, cfg Config) (result Result, err error) {
	p := &proof{Config: cfg.withDefaults()}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.open(ctx); err != nil {
		return result, err
	}
	began := time.Now()
	if err := p.produce(ctx); err != nil {
		return result, err
	}
	result.Produce = time.Since(began)
	p.Say("%d records written in %s", p.Records, result.Produce.Round(time.Millisecond))
	began = time.Now()
	for range p.Sinks {
		if err := p.start(ctx); err != nil {
			return result, err
		}
	}
	if err := p.await(ctx); err != nil {
		return result, fmt.Errorf("%w\n%s", err, p.output())
	}
	result.Deliver = time.Since(began)
	if err := p.stop(&result); err != nil {
		return result, err
	}
	return p.judge(ctx, result)
}

func (p *proof) open(ctx context.Context) (err error) {
	if p.events, err = rig.FreeAddr(); err != nil {
		return err
	}
	if p.broker, err = rig.StartForebay(ctx, rig.ForebayConfig{Binary: p.Binary, Dir: filepath.Join(p.Dir, "broker"), HTTP: p.events}); err != nil {
		return err
	}
	if p.receiver, err = listen(p.Config); err != nil {
		return err
	}
	if p.client, err = kgo.NewClient(kgo.SeedBrokers(p.broker.Addr), kgo.MaxBufferedRecords(100_000)); err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	p.admin = kadm.NewClient(p.client)
	if _, err := p.admin.CreateTopics(ctx, p.Partitions, 1, nil, topic, letters); err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	return nil
}

// close ends what runs.
func (p *proof) close() error {
	var errs []error
	for _, s := range p.sinks {
		errs = append(errs, s.Kill())
	}
	if p.client != nil {
		p.client.Close()
	}
	if p.receiver != nil {
		errs = append(errs, p.receiver.Close())
	}
	if p.broker != nil {
		errs = append(errs, p.broker.Kill())
	}
	return errors.Join(errs...)
}

func (p *proof) output() string {
	var b strings.Builder
	for _, s := range p.sinks {
		b.WriteString(s.Output())
	}
	return b.String()
}

// start starts a sink.
func (p *proof) start(ctx context.Context) error {
	args := slices.Concat([]string{
		"sink", "--brokers", p.broker.Addr, "--topic", topic, "--group", group, "--to", p.receiver.URL, "--dead-letter-topic", letters,
		"--batch-size", "100", "--backoff", "10ms", "--max-backoff", "200ms", "--log-level", "error",
	}, p.Args)
	s, err := rig.StartProcess(fmt.Sprintf("sink %d", len(p.sinks)+1), exec.CommandContext(ctx, p.Binary, args...))
	if err != nil {
		return err
	}
	p.sinks = append(p.sinks, s)
	return nil
}

// await waits until the group's offsets say that all is done, and kills sinks on the way.
func (p *proof) await(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	killed, said := 0, time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d records delivered: %w", p.receiver.Taken(), p.Records, ctx.Err())
		}
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			p.Say("%d delivered", p.receiver.Taken())
		}
		if killed < p.Kills && p.receiver.Taken() > (killed+1)*p.Records/(p.Kills+1) {
			victim := p.sinks[killed]
			p.Say("%s is killed", victim.Name())
			if err := victim.Kill(); err != nil {
				return err
			}
			if err := p.start(ctx); err != nil {
				return err
			}
			killed++
		}
		for _, s := range p.sinks[killed:] {
			if !s.Running() {
				return fmt.Errorf("%s has ended:\n%s", s.Name(), s.Output())
			}
		}
		offsets, err := p.admin.FetchOffsets(ctx, group)
		if err != nil {
			return fmt.Errorf("look at the group's offsets: %w", err)
		}
		var done int64
		offsets.Each(func(o kadm.OffsetResponse) { done += max(o.At, 0) })
		if done == int64(p.Records) {
			return nil
		}
	}
}

// stop ends the sinks, which must end cleanly, and notes what they used.
func (p *proof) stop(result *Result) error {
	for _, s := range p.sinks[p.Kills:] {
		usage, err := rig.ReadUsage(s.PID())
		if err != nil {
			return err
		}
		result.CPU += usage.CPU
		result.PeakRSS = max(result.PeakRSS, usage.PeakRSS)
		if _, err := s.Stop(20 * time.Second); err != nil {
			return err
		}
		ending, cancel := context.WithTimeout(context.Background(), time.Second)
		err = s.Wait(ending)
		cancel()
		if err != nil {
			return fmt.Errorf("%s does not end cleanly: %w\n%s", s.Name(), err, s.Output())
		}
	}
	return nil
}

// judge compares what was written with what was taken.
func (p *proof) judge(ctx context.Context, result Result) (Result, error) {
	r := p.receiver
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	poisoned := 0
	for n, seen := range r.seen {
		switch bad := p.poisoned(n); {
		case bad && seen:
			errs = append(errs, fmt.Errorf("record %d was taken and is refused for good", n))
		case !bad && !seen:
			errs = append(errs, fmt.Errorf("record %d was not delivered", n))
		case bad:
			poisoned++
		}
		if len(errs) > 10 {
			break
		}
	}
	for _, text := range r.disorders {
		errs = append(errs, errors.New(text))
	}
	dead, err := p.deadLetters(ctx)
	errs = append(errs, err)
	for n, times := range dead {
		if !p.poisoned(n) || times > 1 && p.Kills == 0 {
			errs = append(errs, fmt.Errorf("record %d is %d times among the dead letters", n, times))
		}
	}
	if len(dead) != poisoned {
		errs = append(errs, fmt.Errorf("%d of %d records are among the dead letters", len(dead), poisoned))
	}
	result.Delivered, result.Again, result.DeadLetters, result.Requests, result.FailedRequests = r.taken, r.again, len(dead), r.requests, r.failed
	return result, errors.Join(errs...)
}

// deadLetters reads all dead letters: how often each number is there.
func (p *proof) deadLetters(ctx context.Context) (map[int]int, error) {
	ends, err := p.admin.ListEndOffsets(ctx, letters)
	if err != nil {
		return nil, fmt.Errorf("look at dead letters: %w", err)
	}
	var want int64
	ends.Each(func(o kadm.ListedOffset) { want += o.Offset })
	c, err := kgo.NewClient(kgo.SeedBrokers(p.broker.Addr), kgo.ConsumeTopics(letters))
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	defer c.Close()
	found := map[int]int{}
	for got := int64(0); got < want; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return nil, fmt.Errorf("read dead letters: %w", err)
		}
		for _, r := range fetches.Records() {
			got++
			var v value
			if err := json.Unmarshal(r.Value, &v); err != nil {
				return nil, fmt.Errorf("read a dead letter: %w", err)
			}
			if !slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool {
				return h.Key == "__connect.errors.exception.class.name" && string(h.Value) == "HTTP 422"
			}) {
				return nil, fmt.Errorf("dead letter %d does not say why it is there", v.N)
			}
			found[v.N]++
		}
	}
	return found, nil
}
