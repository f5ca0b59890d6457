package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/forebaylog/forebay/broker/lifecycle"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/tracing"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/journal"
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
	looks  counts // at chains, which all rounds share
	known  *lifecycle.Chains
	chains *chain.Store // uncounted
	table  *kv.Mem
	bucket *bucket

	journal *journal.Journal
	stream  *wal.Stream
	gate    *gate
	group   *wal.Group
	sealer  *seal.Sealer
	cold    []*cold.Reader
	meta    *metalog.Log
	life    []*stage // what is done to sealed data

	ps       []id.Partition // the large one first, then those that are compacted
	next     map[id.Partition]id.Offset
	produced int64 // bytes of batches
	filler   []byte
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

func (w waiter) Span() *tracing.Span { return nil }

func (w waiter) Committed(err error) {
	if err != nil {
		w.err.Store(&err)
	}
	w.wg.Done()
}

func newSim(ctx context.Context, cfg config) (*sim, error) {
	s := &sim{
		cfg: cfg, rng: rand.New(rand.NewPCG(1, 2)), table: kv.NewMem(),
		next: map[id.Partition]id.Offset{}, filler: make([]byte, 1<<20),
	}
	for i := range s.filler {
		s.filler[i] = byte(s.rng.Uint32())
	}
	s.now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	s.bucket = newBucket(s.clock)
	for _, t := range s.topics() {
		for i := range t.Partitions {
			s.ps = append(s.ps, id.Partition{Topic: t.ID, Index: int32(i)})
		}
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
	s.known = lifecycle.NewChains(chain.Open(countedTable{s.table, &s.looks}), lifecycle.ChainsConfig{Now: s.clock})
	s.sealer = seal.New(seal.Config{
		Sealed:  s.known.Sealed,
		Journal: j, FS: fs, Chain: chain.Open(countedTable{s.table, &s.seal}), Objects: countedObjects{s.bucket, &s.seal},
		Cold: s.reader(&s.seal), DiskBudget: 1, Cluster: "bench", Node: 1, Now: s.clock,
		AfterPass: func(ctx context.Context, sealedTo func(context.Context, id.Partition) (id.Offset, error)) error {
			return s.stream.Release(ctx, sealedTo)
		},
	})
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// reader reads packs for one part of the system.
func (s *sim) reader(c *counts) *cold.Reader {
	r := cold.New(countedObjects{s.bucket, c}, cold.Config{})
	s.cold = append(s.cold, r)
	return r
}

func (s *sim) clock() time.Time { return time.UnixMilli(s.now.Load()) }

func (s *sim) close(ctx context.Context) error {
	errs := []error{s.group.Close(ctx), s.stream.Close(ctx), s.sealer.Close(ctx), s.journal.Close(ctx), s.meta.Close(ctx)}
	for _, r := range s.cold {
		errs = append(errs, r.Close(ctx))
	}
	return errors.Join(errs...)
}

// run lets the time pass.
func (s *sim) run(ctx context.Context) error {
	tick := time.Second / time.Duration(s.cfg.chunks)
	sealAt := s.clock().Add(s.cfg.seal)
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
		for _, stage := range s.life {
			if err := stage.tick(ctx, s.clock()); err != nil {
				return fmt.Errorf("%s: %w", stage.name, err)
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
	add := func(p id.Partition, bytes int, key []byte) error {
		b := batch.New(batch.None)
		for left := bytes; left > 0; left -= 1 << 10 {
			n := min(left, 1<<10)
			at := s.rng.IntN(len(s.filler) - n)
			b.Add(batch.Record{Timestamp: s.now.Load(), Key: key, Value: s.filler[at : at+n]})
		}
		v := b.Build()
		v.Stamp(s.next[p], 0)
		s.next[p], s.produced = v.NextOffset(), s.produced+int64(v.Length())
		wg.Add(1)
		return s.group.Append(p, v, waiter{&wg, &failed})
	}
	s.gate.open.Store(false)
	if err := add(s.ps[0], int(float64(s.cfg.largeRate)*share), nil); err != nil {
		return err
	}
	for i, p := range s.ps[1:] {
		if s.rng.Float64() < share/s.cfg.every.Seconds() {
			var key []byte
			if i < s.cfg.compacted {
				key = strconv.AppendInt([]byte("key-"), int64(s.rng.IntN(s.cfg.keys)), 10)
			}
			if err := add(p, s.cfg.smallBatch, key); err != nil {
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

// left is what the chains hold at the end.
type left struct {
	large, median, most int   // runs: of the large partition, and of the small ones
	bytes               int64 // in the runs of all
}

func (s *sim) left(ctx context.Context) (l left, err error) {
	var small []int
	for i, p := range s.ps {
		canonical, err := s.canonical(ctx, s.chains, p)
		if err != nil {
			return l, err
		}
		for _, item := range canonical {
			l.bytes += item.Length
		}
		if i == 0 {
			l.large = len(canonical)
			continue
		}
		small = append(small, len(canonical))
	}
	slices.Sort(small)
	l.median, l.most = small[len(small)/2], small[len(small)-1]
	return l, nil
}
