package wal_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/wal"
)

// weather is what stores do in one run of the property.
type weather struct {
	mu         sync.Mutex
	rng        *rand.Rand
	table      kv.FlakyRates
	fail, lost float64       // of Puts
	slow       time.Duration // a Put takes at most so long
}

func (w *weather) chance(p float64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.Float64() < p
}

func (w *weather) onTable(op kv.Op) kv.Fault {
	switch op.Kind {
	case kv.OpWrite:
		for _, f := range []struct {
			rate  float64
			fault kv.Fault
		}{{w.table.Fail, kv.FaultFail}, {w.table.Lost, kv.FaultLost}, {w.table.Landed, kv.FaultLanded}, {w.table.Late, kv.FaultLate}} {
			if w.chance(f.rate) {
				return f.fault
			}
		}
	case kv.OpLand:
		if w.chance(0.8) {
			return kv.FaultLate
		}
	default:
		if w.chance(w.table.Read) {
			return kv.FaultFail
		}
	}
	return kv.FaultNone
}

func (w *weather) onStore(op objstore.Op) error {
	switch op.Kind {
	case objstore.OpPut:
		w.mu.Lock()
		d := time.Duration(w.rng.Int64N(int64(w.slow) + 1))
		w.mu.Unlock()
		time.Sleep(d)
		if w.chance(w.fail) {
			return errStore
		}
	case objstore.OpStored:
		if w.chance(w.lost) {
			return errStore
		}
	}
	return nil
}

// TestNothingAcknowledgedIsLost: whatever the stores do, whatever was acknowledged is in what
// ReadStream returns up to the fence, or was released, and only what is sealed was released.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	var total struct{ acknowledged, refused, released int }
	rapid.Check(t, func(rt *rapid.T) {
		rates := rapid.SampledFrom([]float64{0, 0.1, 0.3})
		w := &weather{
			rng:   rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1)),
			table: kv.FlakyRates{Fail: rates.Draw(rt, "fail"), Lost: rates.Draw(rt, "lost"), Landed: rates.Draw(rt, "landed"), Late: rates.Draw(rt, "late"), Read: rates.Draw(rt, "read")},
			fail:  rates.Draw(rt, "put fail"), lost: rates.Draw(rt, "put lost"),
			slow: time.Duration(rapid.SampledFrom([]int{0, 10, 500}).Draw(rt, "slow")) * time.Millisecond,
		}
		steps := rapid.SliceOfN(rapid.IntRange(0, 11), 20, 60).Draw(rt, "steps")
		every, inFlight := rapid.IntRange(1, 8).Draw(rt, "index every"), rapid.IntRange(1, 5).Draw(rt, "in flight")
		inBubble(t, func(t *testing.T, r *streamRig) {
			r.faults(w.onTable, w.onStore)
			sealed := map[id.Partition]id.Offset{}
			for _, step := range steps {
				r.step(step, sealed, w)
			}
			through := r.fence() // while some of it is under way
			r.noneMissing()
			if a, err := r.append(0); err == nil {
				require.ErrorIs(t, a.await(), wal.ErrFenced, "nothing is acknowledged after the fence")
			}
			_ = r.group.Close(context.Background()) // its error is ErrFenced, if there was anything left
			r.complete(through, sealed)
			require.Len(t, r.answers, r.n, "all are answered")
			for _, a := range r.answers {
				if a.err == nil {
					total.acknowledged++
				} else {
					total.refused++
				}
			}
			for p, got := range r.spans(r.read(through)) {
				require.LessOrEqual(t, got.base, sealed[p], "%s: only what is sealed is gone", p)
			}
			total.released += int(r.stream.Stats().Released)
		}, func(c *wal.StreamConfig, _ *wal.Config) { c.IndexEvery, c.InFlight = every, inFlight })
	})
	require.NotZero(t, total.acknowledged)
	require.NotZero(t, total.refused)
	require.NotZero(t, total.released)
}

// step is one thing that happens: mostly appends to one of three partitions, but also time
// that passes, seals of what is acknowledged, releases and reads.
func (r *streamRig) step(n int, sealed map[id.Partition]id.Offset, w *weather) {
	switch {
	case n < 6:
		_, err := r.append(n % 3)
		require.NoError(r.t, err)
	case n == 6:
		synctest.Wait()
	case n == 7 || n == 10:
		time.Sleep(200 * time.Millisecond)
	case n <= 9:
		r.mu.Lock()
		for _, a := range r.answers {
			if a.err == nil && w.chance(0.8) {
				sealed[a.p] = max(sealed[a.p], a.next)
			}
		}
		r.mu.Unlock()
		_ = r.stream.Release(context.Background(), sealedAt(sealed)) // the stores may fail
		r.noneMissing()
	default:
		r.spans(r.read(r.stream.Through()))
	}
}
