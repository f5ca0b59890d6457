package collect_test

import (
	"context"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/collect"
)

// removals notes the items of chains that are removed, in order, and has a say before each.
type removals struct {
	kv.Store
	keys   []kv.Key
	before func(n int) error // n were removed before; nil: nothing to say
}

func (r *removals) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	if !writes[0].Delete || !strings.HasPrefix(writes[0].Key.Part, "chain/") {
		return r.Store.Write(ctx, writes...)
	}
	if r.before != nil {
		if err := r.before(len(r.keys)); err != nil {
			return []kv.Result{{Err: err}}
		}
	}
	results := r.Store.Write(ctx, writes...)
	if results[0].Err == nil {
		r.keys = append(r.keys, writes[0].Key)
	}
	return results
}

// ascend makes sure that the items of each partition were removed from the lowest base on.
func (r *removals) ascend(t *testing.T) {
	last := map[string]string{}
	for _, key := range r.keys {
		require.Greater(t, key.Sort, last[key.Part])
		last[key.Part] = key.Sort
	}
}

// spare makes a partition with that many items that are due at the next look.
func (w *world) spare(name string, items int) id.Partition {
	p := w.topic(name)
	for i := range id.Offset(items + 2) {
		w.seal(p, 10*i, 10*i+10)
	}
	old := w.items(p)[:items+1]
	require.NoError(w.t, w.chains.Replace(w.t.Context(), p, old, w.segment(0, old[items].Next)))
	return p
}

// TestLookThatTakesLong: a store that is listed for longer than removals may take is looked at window by window, and
// what is due of one is removed before the next.
func TestLookThatTakesLong(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		kept := w.seal(w.topic("a"), 0, 10)
		for range 300 {
			w.put("packs/2026/02/" + id.NewTopic().String())
		}
		look := func() collect.Report {
			cfg := w.config()
			cfg.Objects = slowly{w.objects, chain.CommitWithin / 100}
			return w.run(cfg)
		}
		began := time.Now()
		require.Equal(t, int64(300), look().Packs.Superfluous.Objects)
		require.Greater(t, time.Since(began), 3*chain.CommitWithin)
		time.Sleep(time.Hour)
		r := look()
		require.False(t, r.Late)
		require.Equal(t, int64(300), r.Packs.Removed.Objects)
		require.Equal(t, []string{kept}, w.stored("packs/"))
	})
}

// slowly is a store that takes its time to list each object.
type slowly struct {
	objstore.Store
	each time.Duration
}

func (s slowly) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range s.Store.List(ctx, prefix, after) {
			time.Sleep(s.each)
			if !yield(info, err) {
				return
			}
		}
	}
}

func TestRemovalsEndInTime(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		for range 2000 {
			w.put("packs/" + id.NewTopic().String())
		}
		w.run(w.config())
		time.Sleep(time.Hour)
		cfg := w.config()
		cfg.Rate = 1
		began := time.Now()
		r := w.run(cfg)
		require.True(t, r.Late)
		require.InDelta(t, chain.CommitWithin.Seconds(), r.Packs.Removed.Objects, 1)
		require.Equal(t, chain.CommitWithin, time.Since(began))

		r = w.run(cfg) // goes on at once: the marks know since when
		require.False(t, r.Late)
		require.Empty(t, w.stored("packs/"))
	})
}

// stopped is a table that stands still, once, when the metadata snapshots are asked for: a look does so when it
// has read the chains.
func stopped(table kv.Store, d time.Duration) kv.Store {
	once := false
	return kv.Inject(table, func(op kv.Op) kv.Fault {
		if !once && op.Kind == kv.OpGet {
			once = true
			time.Sleep(d)
		}
		return kv.FaultNone
	})
}

// TestPausedBeforeRemovals: a collector that stood still between its look and its removals
// removes nothing, and the next look does.
func TestPausedBeforeRemovals(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.spare("a", 3)
		gone := w.topic("b")
		w.seal(gone, 0, 10)
		w.records = append(w.records, metalog.TopicDeleted{ID: gone.Topic})
		w.run(w.config())
		time.Sleep(time.Hour)
		stored := w.stored("packs/")
		table := &removals{Store: w.table}
		cfg := w.config()
		cfg.Chains = table
		cfg.Metadata = stopped(w.table, chain.CommitWithin)
		r := w.run(cfg)
		require.True(t, r.Late)
		require.Empty(t, table.keys)
		require.Equal(t, stored, w.stored("packs/"))

		r = w.run(w.config())
		require.False(t, r.Late)
		require.Equal(t, int64(4), r.Items.Removed)
		require.Equal(t, int64(1), r.Chains.Removed)
		require.Equal(t, int64(5), r.Packs.Removed.Objects)
	})
}

// stuck is a store that does not answer removals of packs.
type stuck struct{ objstore.Store }

func (s stuck) Delete(ctx context.Context, key string) error {
	if !strings.HasPrefix(key, chain.ObjectPrefix) {
		return s.Store.Delete(ctx, key)
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestRemovalsUnderWayAreEnded(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.put("packs/orphan")
		w.run(w.config())
		time.Sleep(time.Hour)
		cfg := w.config()
		cfg.Objects = stuck{w.objects}
		began := time.Now()
		r := w.run(cfg)
		require.True(t, r.Late)
		require.Zero(t, r.Packs.Removed)
		require.Equal(t, chain.CommitWithin, time.Since(began))
	})
}

// TestPausedAmidItems: of a collector that stood still amid its removals only the one
// comes late that was under way.
func TestPausedAmidItems(t *testing.T) {
	for _, window := range []int{0, 3} { // all at once, or in many windows
		pausedAmidItems(t, window)
	}
}

func pausedAmidItems(t *testing.T, window int) {
	inTime(t, func(t *testing.T, w *world) {
		p := w.spare("a", 250)
		w.run(w.config())
		time.Sleep(time.Hour)
		packs := w.stored("packs/")
		table := &removals{Store: w.table, before: func(n int) error {
			if n == 120 {
				time.Sleep(chain.CommitWithin)
			}
			return nil
		}}
		cfg := w.config()
		cfg.Chains, cfg.Window = table, window
		r := w.run(cfg)
		require.True(t, r.Late)
		require.Contains(t, []int{120, 121}, len(table.keys))
		table.ascend(t)
		require.Equal(t, packs, w.stored("packs/"), "items that are still there name some of them")
		left := w.items(p)
		require.Equal(t, 252-len(table.keys), len(left))
		require.Equal(t, id.Offset(10*(1+len(table.keys))), left[1].Base, "those below went first")

		table.before = nil
		require.False(t, w.run(cfg).Late)
		table.ascend(t)
		require.Len(t, w.items(p), 2)
	})
}

func TestItemsEndAtAFailure(t *testing.T) {
	for name, failure := range map[string]error{"refused": kv.ErrInjected, "unknown": kv.ErrUnknown} {
		t.Run(name, func(t *testing.T) {
			inTime(t, func(t *testing.T, w *world) {
				ps := []id.Partition{w.spare("a", 150), w.spare("b", 150)}
				w.run(w.config())
				time.Sleep(time.Hour)
				packs := w.stored("packs/")
				table := &removals{Store: w.table, before: func(n int) error {
					if n == 220 {
						return failure
					}
					return nil
				}}
				cfg := w.config()
				cfg.Chains = table
				r, err := collect.New(cfg).Run(t.Context())
				require.ErrorIs(t, err, failure)
				require.False(t, r.Late)
				require.Len(t, table.keys, 220, "none behind the one that failed")
				table.ascend(t)
				require.Equal(t, packs, w.stored("packs/"))

				table.before = nil
				w.run(cfg)
				require.Len(t, table.keys, 300)
				table.ascend(t)
				for _, p := range ps {
					require.Len(t, w.items(p), 2)
				}
			})
		})
	}
}

// TestEndOfTheCallerIsNotLate: who ends a run is told so, whatever the time.
func TestEndOfTheCallerIsNotLate(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.put("packs/orphan")
		w.run(w.config())
		time.Sleep(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		cfg := w.config()
		cfg.Objects = objstore.Inject(w.objects, func(op objstore.Op) error {
			if op.Kind == objstore.OpPut && strings.HasSuffix(op.Key, ".marks") {
				time.Sleep(2 * chain.CommitWithin)
			}
			if op.Kind == objstore.OpStored && strings.HasSuffix(op.Key, ".marks") {
				cancel()
			}
			return nil
		})
		r, err := collect.New(cfg).Run(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.False(t, r.Late)
	})
}
