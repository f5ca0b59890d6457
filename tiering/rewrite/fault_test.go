package rewrite_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

var errCrashed = errors.New("crashed")

// crash fails every operation from the n-th on, and those that change something are not done.
type crash struct{ left atomic.Int64 }

func (c *crash) table(s kv.Store, fault kv.Fault) kv.Store {
	return kv.Inject(s, func(op kv.Op) kv.Fault {
		if op.Kind == kv.OpLand {
			return kv.FaultLate // it never comes
		}
		switch left := c.left.Add(-1); {
		case left == 0:
			return fault
		case left < 0:
			return kv.FaultFail
		}
		return kv.FaultNone
	})
}

func (c *crash) objects(s objstore.Store) objstore.Store {
	return objstore.Inject(s, func(objstore.Op) error {
		if c.left.Add(-1) <= 0 {
			return errCrashed
		}
		return nil
	})
}

// TestCrashAtEveryOperation lets the process die before each operation on the table and the
// bucket, and also in the middle of a write whose outcome it does not learn. Each time readers
// find all that was there, and another engine goes on to the end.
func TestCrashAtEveryOperation(t *testing.T) {
	for name, fault := range map[string]kv.Fault{"not applied": kv.FaultFail, "applied": kv.FaultLanded, "lost": kv.FaultLost} {
		t.Run(name, func(t *testing.T) {
			ps := []id.Partition{partition(1), partition(2), partition(3)}
			for n := int64(1); ; n++ {
				w := newWorld(t)
				for range 4 {
					for _, p := range ps {
						w.records(p, 3, w.of(id.Producer(p.Index), 3))
					}
					w.seal(ps...)
				}
				var jobs []rewrite.Job
				for _, p := range ps {
					jobs = append(jobs, rewrite.Job{Partition: p, Old: w.items(p)})
				}
				var c crash
				c.left.Store(n)
				results, _ := w.engine(c.table(w.table, fault), c.objects(w.objects)).Rewrite(ctx, jobs)
				w.check(ps...)
				crashed := c.left.Load() <= 0
				for i, r := range results {
					if r.Err == nil {
						require.Len(t, w.items(ps[i]), 1)
					}
				}
				for _, p := range ps {
					w.do(rewrite.Job{Partition: p, Old: w.items(p)})
					require.Len(t, w.items(p), 1)
				}
				w.check(ps...)
				if !crashed {
					require.Greater(t, n, int64(10))
					return
				}
			}
		})
	}
}

// TestEnginesRace: two engines rewrite the same and overlapping segments while a sealer goes on.
// Whoever wins, readers find all.
func TestEnginesRace(t *testing.T) {
	for round := range 20 {
		w := newWorld(t)
		ps := []id.Partition{partition(1), partition(2)}
		for range 6 {
			for _, p := range ps {
				w.records(p, 3)
			}
			w.seal(ps...)
		}
		before := map[id.Partition][]chain.Item{}
		for _, p := range ps {
			before[p] = w.items(p)
		}
		var wg sync.WaitGroup
		var won atomic.Int64
		for n, e := range []*rewrite.Engine{w.engine(w.table, w.objects), w.engine(w.table, w.objects), w.engine(w.table, w.objects)} {
			var jobs []rewrite.Job
			for _, p := range ps {
				jobs = append(jobs, rewrite.Job{Partition: p, Old: before[p][max(0, n-1) : 5+n%2]})
			}
			wg.Go(func() {
				results, err := e.Rewrite(ctx, jobs)
				if err != nil {
					t.Error(err)
				}
				for _, r := range results {
					if r.Err == nil {
						won.Add(1)
					} else if !errors.Is(r.Err, chain.ErrChanged) {
						t.Error(r.Err)
					}
				}
			})
		}
		for range 3 {
			for _, p := range ps {
				w.records(p, 2)
			}
			w.seal(ps...)
		}
		wg.Wait()
		require.GreaterOrEqual(t, won.Load(), int64(2), "round %d", round)
		w.check(ps...)
	}
}

func TestNoSession(t *testing.T) {
	w := newWorld(t)
	p := partition(1)
	w.records(p, 3)
	w.seal(p)
	w.records(p, 3)
	w.seal(p)
	var valid atomic.Bool
	valid.Store(true)
	objects := objstore.Inject(w.objects, func(op objstore.Op) error {
		valid.Store(op.Kind != objstore.OpStored) // the session ends with the upload
		return nil
	})
	e := w.engine(w.table, objects, func(c *rewrite.Config) { c.Valid = valid.Load })
	for range 2 { // nor does it begin anything without one
		results, err := e.Rewrite(ctx, []rewrite.Job{{Partition: p, Old: w.items(p)}})
		require.ErrorIs(t, err, rewrite.ErrStale)
		require.ErrorIs(t, results[0].Err, rewrite.ErrStale)
		require.Len(t, w.items(p), 2)
		require.Equal(t, 3, w.objectCount())
	}
}

// TestTooLong: an upload that takes longer than chain.CommitWithin changes nothing.
func TestTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := partition(1)
		w.records(p, 3)
		w.seal(p)
		objects := objstore.Inject(w.objects, func(op objstore.Op) error {
			if op.Kind == objstore.OpStored {
				timer, cancel := context.WithTimeout(ctx, chain.CommitWithin+time.Millisecond)
				defer cancel()
				<-timer.Done()
			}
			return nil
		})
		results, err := w.engine(w.table, objects).Rewrite(ctx, []rewrite.Job{{Partition: p, Old: w.items(p)}})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Error(t, results[0].Err)
		require.False(t, w.items(p)[0].Rewritten)
	})
}

// TestPacks: a pack takes what fits, one run of a partition, and no more than the limit lets
// through in time.
func TestPacks(t *testing.T) {
	w := newWorld(t)
	ps := []id.Partition{partition(1), partition(2), partition(3)}
	for range 2 {
		for _, p := range ps {
			w.records(p, 10)
		}
		w.seal(ps...)
	}
	jobs := func() (jobs []rewrite.Job) {
		for _, p := range ps {
			for _, item := range w.items(p) {
				jobs = append(jobs, rewrite.Job{Partition: p, Old: []chain.Item{item}})
			}
		}
		return jobs
	}
	objects := func(c func(*rewrite.Config)) int {
		results, err := w.engine(w.table, w.objects, c).Rewrite(ctx, jobs())
		require.NoError(t, err)
		names := map[string]bool{}
		for _, r := range results {
			require.NoError(t, r.Err)
			names[r.Segment.Object] = true
		}
		w.check(ps...)
		return len(names)
	}
	run := w.items(ps[0])[0].Length
	require.Equal(t, 2, objects(func(*rewrite.Config) {}))
	require.Equal(t, 4, objects(func(c *rewrite.Config) { c.MaxPackBytes = 5 * run / 2 }))
	require.Equal(t, 6, objects(func(c *rewrite.Config) { c.MaxPackBytes = 1 }))
}

// TestLimit: all bytes that are read and written pass the limit, and a batch may be larger than its burst.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := partition(1)
		w.records(p, 100)
		w.seal(p)
		limit := rate.NewLimiter(1000, 100)
		before := time.Now()
		results, err := w.engine(w.table, w.objects, func(c *rewrite.Config) { c.Limit = limit }).Rewrite(ctx, []rewrite.Job{{Partition: p, Old: w.items(p)}})
		require.NoError(t, err)
		require.NoError(t, results[0].Err)
		bytes := float64(2*results[0].Segment.Length - 100)
		require.InDelta(t, bytes/1000, time.Since(before).Seconds(), 0.01)
	})
}

// TestNothingOldComesBack: while one engine copies segments, another has cleaned one that is not the
// first of them. What it has removed must not come back with the copies.
func TestNothingOldComesBack(t *testing.T) {
	w := newWorld(t)
	p := partition(1)
	for range 3 {
		w.records(p, 3)
		w.seal(p)
	}
	old := w.items(p)
	merging := cleaner(func(v batch.View) (batch.View, error) {
		if v.BaseOffset() == 3 {
			w.do(rewrite.Job{Partition: p, Old: old[1:2], Clean: keep()})
		}
		return v, nil
	})
	results, err := w.engine(w.table, w.objects).Rewrite(ctx, []rewrite.Job{{Partition: p, Old: old[:2], Clean: merging}})
	require.NoError(t, err)
	require.ErrorIs(t, results[0].Err, chain.ErrChanged)
	require.Len(t, w.read(p), 2)
}
