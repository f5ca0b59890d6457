package session_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/session"
)

// weather is what a run of the property goes through.
type weather struct {
	seed     uint64
	slow     time.Duration // the holder's way to the table, and the way back, take at most so long
	quick    time.Duration // the observer's
	rates    kv.FlakyRates
	holder   []time.Duration // time until the table is out of reach for the holder, for how long, and so on
	observer []time.Duration // the same, for the observer
	pauses   time.Duration   // between polls, at most
}

func drawWeather(t *rapid.T) weather {
	phases := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.IntRange(0, 7000).Draw(t, "ms")) * time.Millisecond
	}), 0, 8)
	rate := rapid.SampledFrom([]float64{0, 0.05, 0.2})
	return weather{
		seed:     rapid.Uint64().Draw(t, "seed"),
		slow:     time.Duration(rapid.SampledFrom([]int{0, 50, 400, 700, 900, 2000}).Draw(t, "slow")) * time.Millisecond,
		quick:    time.Duration(rapid.SampledFrom([]int{0, 0, 50, 400}).Draw(t, "quick")) * time.Millisecond,
		rates:    kv.FlakyRates{Fail: rate.Draw(t, "fail"), Lost: rate.Draw(t, "lost"), Landed: rate.Draw(t, "landed"), Late: rate.Draw(t, "late"), Read: rate.Draw(t, "read")},
		holder:   phases.Draw(t, "holder"),
		observer: phases.Draw(t, "observer"),
		pauses:   time.Duration(rapid.SampledFrom([]int{10, 10, 500, 2000}).Draw(t, "pauses")) * time.Millisecond,
	}
}

// path is a slow way to the table that is cut at times.
type path struct {
	kv.Store
	latency time.Duration
	from    time.Time
	phases  []time.Duration

	mu  sync.Mutex
	rng *rand.Rand
}

func newPath(s kv.Store, latency time.Duration, seed uint64, phases []time.Duration) *path {
	return &path{Store: s, latency: latency, from: time.Now(), phases: phases, rng: rand.New(rand.NewPCG(seed, 1))}
}

// pass is one way; it fails when the way is cut or ctx ends.
func (p *path) pass(ctx context.Context) error {
	p.mu.Lock()
	d := time.Duration(p.rng.Int64N(int64(p.latency) + 1))
	p.mu.Unlock()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return ctx.Err()
	}
	at := time.Since(p.from)
	for i, phase := range p.phases {
		if at -= phase; at < 0 {
			if i%2 == 1 {
				return kv.ErrInjected
			}
			return nil
		}
	}
	return nil
}

func (p *path) Get(ctx context.Context, key kv.Key) (kv.Item, error) {
	if err := p.pass(ctx); err != nil {
		return kv.Item{}, err
	}
	item, err := p.Store.Get(context.WithoutCancel(ctx), key)
	if cut := p.pass(ctx); cut != nil {
		return kv.Item{}, cut
	}
	return item, err
}

func (p *path) Query(ctx context.Context, part string, r kv.Range) ([]kv.Item, error) {
	if err := p.pass(ctx); err != nil {
		return nil, err
	}
	items, err := p.Store.Query(context.WithoutCancel(ctx), part, r)
	if cut := p.pass(ctx); cut != nil {
		return nil, cut
	}
	return items, err
}

func (p *path) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	if err := p.pass(ctx); err != nil {
		results := make([]kv.Result, len(writes))
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	results := p.Store.Write(context.WithoutCancel(ctx), writes...)
	if cut := p.pass(ctx); cut != nil {
		for i := range results {
			results[i].Err = fmt.Errorf("%w: %w", kv.ErrUnknown, cut)
		}
	}
	return results
}

// counts says that the property was put to the test.
type counts struct{ expired, killed, recovered int }

// TestNoTwoMinds: while an item is in the version that an observer has seen expired, its
// holder is not valid; and once an observer has killed it, the holder never is again.
func TestNoTwoMinds(t *testing.T) {
	var total counts
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWeather(rt)
		var failure string
		synctest.Test(t, func(t *testing.T) { failure = w.run(t, &total) })
		if failure != "" {
			rt.Fatal(failure)
		}
	})
	require.NotZero(t, total.expired)
	require.NotZero(t, total.killed)
	require.NotZero(t, total.recovered)
}

func (w weather) run(t *testing.T, total *counts) (failure string) {
	mem := kv.NewMem()
	flaky := kv.NewFlaky(mem, w.seed, w.rates)
	var changes atomic.Int64 // of Valid to true
	s, err := session.Open(ctx, session.Config{
		Store: newPath(flaky, w.slow, w.seed, w.holder), Node: node,
		OnChange: func(valid bool) {
			if valid {
				changes.Add(1)
			}
		},
	})
	if err != nil {
		return "" // the weather was too bad for a start
	}
	defer func() { _ = s.Close(ended()) }()
	o := &observer{store: newPath(flaky, w.quick, w.seed+1, w.observer), rng: rand.New(rand.NewPCG(w.seed, 2))}
	stop, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { o.run(stop, w.pauses) })
	for ; stop.Err() == nil && failure == ""; time.Sleep(7 * time.Millisecond) {
		failure = o.check(s, mem)
	}
	cancel()
	wg.Wait()
	if o.killed.Load() {
		total.killed++
	}
	if o.expired.Load() != nil {
		total.expired++
	}
	total.recovered += int(changes.Load())
	return failure
}

// observer polls and, at times, kills what has expired.
type observer struct {
	store   kv.Store
	rng     *rand.Rand
	expired atomic.Pointer[session.Seen] // the last one seen expired
	killed  atomic.Bool
}

func (o *observer) run(ctx context.Context, pauses time.Duration) {
	w := session.NewWatcher(o.store, ttl)
	for ctx.Err() == nil {
		seen, err := w.Poll(ctx)
		if err == nil && len(seen) == 1 && seen[0].Expired {
			o.expired.Store(&seen[0])
			if o.rng.IntN(3) == 0 && session.Kill(ctx, o.store, seen[0]) == nil {
				o.killed.Store(true)
				return
			}
		}
		time.Sleep(time.Duration(o.rng.Int64N(int64(pauses))))
	}
}

// check looks at what is so in order: seen expired, then valid, then not renewed.
func (o *observer) check(s *session.Session, table kv.Store) string {
	killed, expired := o.killed.Load(), o.expired.Load()
	deadline, valid := s.Deadline(), s.Valid()
	switch {
	case !valid || expired == nil:
		return ""
	case killed:
		return fmt.Sprintf("valid until %v, but killed", deadline)
	}
	item, err := table.Get(ctx, key)
	if err == nil && item.Version == expired.Version {
		return fmt.Sprintf("valid until %v, but seen expired at %v: %+v", deadline, time.Now(), *expired)
	}
	return ""
}
