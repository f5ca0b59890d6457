package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/rewrite"
	"github.com/forebaylog/forebay/tiering/seal"
	"github.com/forebaylog/forebay/tiering/wal"
)

const session id.Session = "lifebench"

// sim is a broker's path of the data, on stores in memory and a clock that it drives.
type sim struct {
	cfg    config
	now    atomic.Int64 // ms since 1970
	rng    *rand.Rand
	wal    counts
	seal   counts
	merge  counts
	chains *chain.Store // uncounted
	table  *kv.Mem
	bucket *objstore.Mem

	journal *journal.Journal
	stream  *wal.Stream
	gate    *gate
	group   *wal.Group
	sealer  *seal.Sealer
	cold    []*cold.Reader
	merged  *chain.Store // as merging sees it
	engine  *rewrite.Engine

	ps       []id.Partition // the large one first
	next     map[id.Partition]id.Offset
	produced int64 // bytes of batches
	filler   []byte
	merges   int64 // segments merged
}

// gate is a sink that takes a chunk only while it is open, so that what is produced within a tick
// of the clock leaves together.
type gate struct {
	*wal.Stream
	open atomic.Bool
	wake chan struct{}
}

// Ready implements wal.Sink.
func (g *gate) Ready(queued int64) (bool, time.Duration) {
	if !g.open.Load() {
		return false, time.Hour
	}
	return g.Stream.Ready(queued)
}

// Wake implements wal.Sink.
func (g *gate) Wake() <-chan struct{} { return g.wake }

// waiter waits for the batches of a tick.
type waiter struct {
	wg  *sync.WaitGroup
	err *atomic.Pointer[error]
}

func (w waiter) Written() {}

func (w waiter) Committed(err error) {
	if err != nil {
		w.err.Store(&err)
	}
	w.wg.Done()
}

func newSim(ctx context.Context, cfg config) (*sim, error) {
	s := &sim{
		cfg: cfg, rng: rand.New(rand.NewPCG(1, 2)), table: kv.NewMem(), bucket: objstore.NewMem(),
		next: map[id.Partition]id.Offset{}, filler: make([]byte, 1<<20),
	}
	for i := range s.filler {
		s.filler[i] = byte(s.rng.Uint32())
	}
	s.now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	for i := range cfg.small + 1 {
		s.ps = append(s.ps, id.Partition{Topic: id.Topic{6: 0x40, 15: byte(min(i, 1) + 1)}, Index: int32(i)})
	}
	fs := vfs.NewMem()
	j, _, err := journal.Open(ctx, journal.Config{Dir: "/hot", FS: fs, Cluster: "bench"})
	if err != nil {
		return nil, err
	}
	s.journal = j
	s.stream = wal.OpenStream(wal.StreamConfig{
		Slots: wal.Slots(countedTable{s.table, &s.wal}, session), Objects: countedObjects{s.bucket, &s.wal},
		Cluster: "bench", Session: session, Node: 1, Rate: -1, Now: s.clock,
	})
	s.gate = &gate{Stream: s.stream, wake: make(chan struct{}, 1)}
	s.group = wal.New(j, s.gate, wal.Config{})
	s.chains = chain.Open(s.table)
	reader := func(c *counts) *cold.Reader {
		r := cold.New(countedObjects{s.bucket, c}, cold.Config{})
		s.cold = append(s.cold, r)
		return r
	}
	s.sealer = seal.New(seal.Config{
		Journal: j, FS: fs, Chain: chain.Open(countedTable{s.table, &s.seal}), Objects: countedObjects{s.bucket, &s.seal},
		Cold: reader(&s.seal), DiskBudget: 1, Cluster: "bench", Node: 1, Now: s.clock,
		AfterPass: func(ctx context.Context, sealedTo func(context.Context, id.Partition) (id.Offset, error)) error {
			return s.stream.Release(ctx, sealedTo)
		},
	})
	s.merged = chain.Open(countedTable{s.table, &s.merge})
	s.engine = rewrite.New(rewrite.Config{
		Chain: s.merged, Objects: countedObjects{s.bucket, &s.merge}, Cold: reader(&s.merge), Cluster: "bench", Node: 1, Now: s.clock,
	})
	return s, nil
}

func (s *sim) clock() time.Time { return time.UnixMilli(s.now.Load()) }

func (s *sim) close(ctx context.Context) error {
	errs := []error{s.group.Close(ctx), s.stream.Close(ctx), s.sealer.Close(ctx), s.journal.Close(ctx)}
	for _, r := range s.cold {
		errs = append(errs, r.Close(ctx))
	}
	return errors.Join(errs...)
}

// run lets the time pass.
func (s *sim) run(ctx context.Context) error {
	tick := time.Second / time.Duration(s.cfg.chunks)
	sealAt, mergeAt := s.clock().Add(s.cfg.seal), s.clock().Add(s.cfg.merge)
	for end := s.clock().Add(s.cfg.duration); s.clock().Before(end) && ctx.Err() == nil; {
		s.now.Add(tick.Milliseconds())
		if err := s.produce(tick); err != nil {
			return err
		}
		if !s.clock().Before(sealAt) {
			sealAt = sealAt.Add(s.cfg.seal)
			if err := s.sealer.SealAll(ctx); err != nil {
				return err
			}
		}
		if s.cfg.merge > 0 && !s.clock().Before(mergeAt) {
			mergeAt = mergeAt.Add(s.cfg.merge)
			if err := s.mergeAll(ctx); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// produce appends what a tick brings and waits until it is committed.
func (s *sim) produce(tick time.Duration) error {
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	share := tick.Seconds()
	add := func(p id.Partition, bytes int) error {
		b := batch.New(batch.None)
		for left := bytes; left > 0; left -= 1 << 10 {
			n := min(left, 1<<10)
			at := s.rng.IntN(len(s.filler) - n)
			b.Add(batch.Record{Timestamp: s.now.Load(), Value: s.filler[at : at+n]})
		}
		v := b.Build()
		v.Stamp(s.next[p], 0)
		s.next[p], s.produced = v.NextOffset(), s.produced+int64(v.Length())
		wg.Add(1)
		return s.group.Append(p, v, waiter{&wg, &failed})
	}
	s.gate.open.Store(false)
	if err := add(s.ps[0], int(float64(s.cfg.largeRate)*share)); err != nil {
		return err
	}
	for _, p := range s.ps[1:] {
		if s.rng.Float64() < share/s.cfg.every.Seconds() {
			if err := add(p, s.cfg.smallBatch); err != nil {
				return err
			}
		}
	}
	s.gate.open.Store(true)
	select {
	case s.gate.wake <- struct{}{}:
	default:
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// mergeAll merges what the policy says, as a broker does for the partitions that it leads.
func (s *sim) mergeAll(ctx context.Context) error {
	policy := rewrite.MergePolicy{FanIn: s.cfg.fanIn, Span: 7 * 24 * time.Hour}
	var jobs []rewrite.Job
	for _, p := range s.ps {
		items, err := s.merged.Items(ctx, p)
		if err != nil {
			return err
		}
		canonical, _, err := chain.Canonical(items, 0)
		if err != nil {
			return err
		}
		for _, group := range policy.Plan(canonical, s.clock()) {
			jobs = append(jobs, rewrite.Job{Partition: p, Old: group})
			s.merges += int64(len(group))
		}
	}
	results, err := s.engine.Rewrite(ctx, jobs)
	for _, r := range results {
		err = errors.Join(err, r.Err)
	}
	return err
}

// runs returns how many segments the large partition has, and the median and the most of the small ones.
func (s *sim) runs(ctx context.Context) (large, median, most int, err error) {
	var small []int
	for i, p := range s.ps {
		items, err := s.chains.Items(ctx, p)
		if err != nil {
			return 0, 0, 0, err
		}
		canonical, _, err := chain.Canonical(items, 0)
		if err != nil {
			return 0, 0, 0, fmt.Errorf("chain of %s: %w", p, err)
		}
		if i == 0 {
			large = len(canonical)
			continue
		}
		small = append(small, len(canonical))
	}
	slices.Sort(small)
	return large, small[len(small)/2], small[len(small)-1], nil
}
