package broker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/broker/config"
)

// clockwork runs loops in a time of its own.
type clockwork struct {
	*lifecycleLoops
	began   time.Time
	invalid atomic.Bool
	logged  bytes.Buffer
}

func newClockwork() *clockwork {
	c := &clockwork{began: time.Now()}
	c.lifecycleLoops = &lifecycleLoops{
		b: &Broker{log: slog.New(slog.NewTextHandler(&c.logged, nil))}, valid: func() bool { return !c.invalid.Load() },
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "failures"}, []string{"work"}),
	}
	return c
}

// start runs the loops until stop is called, which returns when all have ended.
func (c *clockwork) start(t *testing.T, loops ...loop) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { c.run(ctx, loops); close(ended) }()
	return func() { cancel(); <-ended }
}

// failed are the failures by work.
func (c *clockwork) failed(t *testing.T) map[string]float64 {
	reg := prometheus.NewRegistry()
	require.NoError(t, reg.Register(c.failures))
	return metricValues(t, reg, "failures")
}

// at notes when a loop does its work.
type at []time.Duration

func (c *clockwork) note(into *at) func(context.Context) error {
	return func(context.Context) error { *into = append(*into, time.Since(c.began)); return nil }
}

func TestLoopsKeepTheirIntervals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClockwork()
		var often, seldom, changing at
		interval := time.Minute
		stop := c.start(t,
			loop{"often", fixed(20 * time.Second), c.note(&often)}, loop{"seldom", fixed(time.Hour), c.note(&seldom)},
			loop{"changing", func() time.Duration { return interval }, func(ctx context.Context) error {
				interval = max(interval/2, 10*time.Second)
				return c.note(&changing)(ctx)
			}},
		)
		time.Sleep(2 * time.Minute)
		stop()
		require.Equal(t, at{20 * time.Second, 40 * time.Second, time.Minute, 80 * time.Second, 100 * time.Second}, often[:5])
		require.Equal(t, at{firstRound}, seldom, "the first round does not wait for an hour")
		require.Equal(t, at{30 * time.Second, time.Minute, 75 * time.Second}, changing[:3], "the config is asked each time")
	})
}

// TestLoopsPause: nothing is done while the session is not valid, and a slow round does not hold up the other loops.
func TestLoopsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClockwork()
		var done at
		slow := func(ctx context.Context) error {
			select {
			case <-time.After(time.Hour):
			case <-ctx.Done():
			}
			return ctx.Err()
		}
		stop := c.start(t, loop{"work", fixed(10 * time.Second), c.note(&done)}, loop{"slow", fixed(10 * time.Second), slow})
		time.Sleep(25 * time.Second)
		c.invalid.Store(true)
		time.Sleep(20 * time.Second)
		c.invalid.Store(false)
		time.Sleep(10 * time.Second)
		stop()
		require.Equal(t, at{10 * time.Second, 20 * time.Second, 50 * time.Second}, done)
	})
}

// TestLoopsEndAmidTheirWork: the end is awaited of what is under way, and is no failure.
func TestLoopsEndAmidTheirWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClockwork()
		tidied := false
		stop := c.start(t, loop{"work", fixed(time.Second), func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Minute) // to end what it has begun
			tidied = true
			return ctx.Err()
		}})
		time.Sleep(5 * time.Second)
		stop()
		require.True(t, tidied)
		require.Equal(t, 65*time.Second, time.Since(c.began))
		require.Equal(t, map[string]float64{"work": 0}, c.failed(t))
		require.Empty(t, c.logged.String())
	})
}

// TestLoopsGoOnAfterFailures: each is counted, and each kind is logged once.
func TestLoopsGoOnAfterFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClockwork()
		rounds := 0
		stop := c.start(t, loop{"work", fixed(time.Second), func(context.Context) error {
			rounds++
			return []error{errors.New("one"), errors.New("one"), errors.New("two"), nil, errors.New("two")}[min(rounds-1, 4)]
		}})
		time.Sleep(5500 * time.Millisecond)
		stop()
		require.Equal(t, 5, rounds)
		require.Equal(t, map[string]float64{"work": 4}, c.failed(t))
		require.Equal(t, []int{1, 2}, []int{strings.Count(c.logged.String(), "err=one"), strings.Count(c.logged.String(), "err=two")})
	})
}

// TestLoopsOfConfigs: functions take over retention, merging and compaction, and nothing else.
func TestLoopsOfConfigs(t *testing.T) {
	for _, c := range []struct {
		cfg  Lifecycle
		want []string
	}{
		{Lifecycle{}, []string{"roll", "reading of chains", "collection", "retention", "merging", "compaction"}},
		{Lifecycle{NoCleaner: true}, []string{"roll", "reading of chains", "collection", "retention", "merging"}},
		{Lifecycle{Maintenance: config.MaintenanceNone, CollectInterval: -1}, []string{"roll", "reading of chains"}},
	} {
		l := &lifecycleLoops{b: &Broker{cfg: Config{Lifecycle: c.cfg.withDefaults()}}}
		var works []string
		for _, o := range l.loops() {
			works = append(works, o.work)
		}
		require.Equal(t, c.want, works)
	}
}
