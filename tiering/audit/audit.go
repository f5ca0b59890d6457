// Package audit proves from the stores of a cluster whose brokers are off that every byte
// that matters is what was written and that no offset of any partition is missing, and
// accounts for every object: what it is there for, and what that costs.
//
// It reads, and changes nothing but its own notes (State). What it finds is either damage,
// or harmless: things that nothing depends on and that wait for the collector. Which brokers
// are alive is for the caller to ask; see Alive. What is written meanwhile may be reported,
// wrongly, as damage.
//
// In memory are, beside the metadata: for each object some 150 bytes with its name, for each
// item of a chain 24, the runs that are in WAL streams, the items of as many whole chains as
// there are workers, and for each worker 1 MiB and one footer.
package audit

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
)

// Config says what to look at. Control, Offsets and Objects must be set.
type Config struct {
	Control kv.Store       // metadata log, chains, streams
	Offsets kv.Store       // offsets of groups, transactions
	Objects objstore.Store // all objects, those of a WAL store too (objstore.Route)

	Workers int // objects and chains that are read at once: 8
	// MaxHarmless is how many harmless findings are kept in the report: 1000. All are counted.
	MaxHarmless int
	// PricePerGiB is what a GiB costs that is stored for a month; 0: 0.023 US dollars, of S3 Standard.
	PricePerGiB float64
	// State, if not nil, knows the objects that an earlier run has read to the end.
	State *State
	// Progress, if not nil, is called often, by one goroutine at a time. It must not block.
	Progress func(Progress)
}

func (c Config) withDefaults() Config {
	c.Workers = cmp.Or(max(c.Workers, 0), 8)
	c.MaxHarmless = cmp.Or(max(c.MaxHarmless, 0), 1000)
	c.PricePerGiB = cmp.Or(c.PricePerGiB, 0.023)
	if c.Progress == nil {
		c.Progress = func(Progress) {}
	}
	return c
}

// Progress is how far a run has come.
type Progress struct {
	Stage       string
	Done, Total int64 // bytes of objects, once they are read; else 0
}

// auditor is one run.
type auditor struct {
	cfg    Config
	seed   maphash.Seed
	report *Report
	image  *metalog.Image // nil if it could not be read

	partitions []id.Partition     // by number in links
	objects    map[string]*object // by name
	streams    map[id.Session]*stream
	ends       map[id.Partition]id.Offset // of the chains
	blind      bool                       // something cannot be read that may name objects

	mu       sync.Mutex // guards what follows, and report
	topics   map[id.Topic]*TopicCost
	progress Progress
}

// Run checks everything and returns what it found. The error is of reading, not of what was
// found; with it the report is what was known by then.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	a := &auditor{
		cfg: cfg.withDefaults(), seed: maphash.MakeSeed(), report: &Report{Findings: []Finding{}},
		objects: map[string]*object{}, streams: map[id.Session]*stream{}, ends: map[id.Partition]id.Offset{}, topics: map[id.Topic]*TopicCost{},
	}
	steps := []struct {
		name string
		run  func(context.Context) error
	}{
		{"tables", a.tables},
		{"metadata log", a.metadata},
		{"list of objects", a.list},
		{"chains", a.chains},
		{"streams", a.readStreams},
		{"objects", a.readObjects},
		{"continuity", a.continuity},
		{"group offsets", a.groups},
		{"transactions", a.transactions},
	}
	for _, s := range steps {
		a.stage(s.name)
		if err := s.run(ctx); err != nil {
			return a.report, fmt.Errorf("verify %s: %w", s.name, err)
		}
		if err := ctx.Err(); err != nil {
			return a.report, err
		}
	}
	a.account()
	slices.SortStableFunc(a.report.Findings, Finding.compare)
	return a.report, nil
}

func (a *auditor) stage(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.progress.Stage = name
	a.cfg.Progress(a.progress)
}

// read notes that n more bytes of objects were read.
func (a *auditor) read(n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.progress.Done += n
	a.cfg.Progress(a.progress)
}

// parallel calls f for each number below n, as many at once as there are workers.
func (a *auditor) parallel(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	g, within := errgroup.WithContext(ctx)
	g.SetLimit(a.cfg.Workers)
	for i := 0; i < n && within.Err() == nil; i++ {
		g.Go(func() error { return f(within, i) })
	}
	return cmp.Or(g.Wait(), ctx.Err())
}
