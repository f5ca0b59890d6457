package kv_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
)

func TestProbeSound(t *testing.T) {
	f := newFakeDynamo(t)
	for name, s := range map[string]kv.Store{
		"memory":   kv.NewMem(),
		"bolt":     openBolt(t, filepath.Join(t.TempDir(), "kv.db"), kv.BoltOptions{NoSync: true}),
		"dynamodb": f.open(t, kv.DynamoConfig{}),
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			parts := map[string]bool{}
			noting := kv.Inject(s, func(op kv.Op) kv.Fault {
				mu.Lock()
				defer mu.Unlock()
				parts[op.Key.Part] = true
				return kv.FaultNone
			})
			var probers sync.WaitGroup
			for range 3 {
				probers.Go(func() {
					if err := kv.Probe(ctx, noting); err != nil {
						t.Error(err)
					}
				})
			}
			probers.Wait()
			require.Len(t, parts, 3, "a part of its own for each")
			for part := range parts {
				items, err := s.Query(ctx, part, kv.Range{})
				require.NoError(t, err)
				require.Empty(t, items, "what it wrote is removed")
			}
			require.NoError(t, s.Close())
		})
	}
}

// unsoundStore is a table in memory that breaks one guarantee.
type unsoundStore struct {
	kv.Store
	write func(kv.Store, kv.Write) kv.Result        // nil if sound
	get   func(kv.Item, error) (kv.Item, error)     // nil if sound
	query func([]kv.Item, error) ([]kv.Item, error) // nil if sound
}

func (u unsoundStore) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	if u.write == nil || len(writes) != 1 {
		return u.Store.Write(ctx, writes...)
	}
	return []kv.Result{u.write(u.Store, writes[0])}
}

func (u unsoundStore) Get(ctx context.Context, key kv.Key) (kv.Item, error) {
	item, err := u.Store.Get(ctx, key)
	if u.get != nil {
		return u.get(item, err)
	}
	return item, err
}

func (u unsoundStore) Query(ctx context.Context, part string, r kv.Range) ([]kv.Item, error) {
	items, err := u.Store.Query(ctx, part, r)
	if u.query != nil {
		return u.query(items, err)
	}
	return items, err
}

func apply(s kv.Store, w kv.Write) kv.Result { return s.Write(context.Background(), w)[0] }

// writeFunc is a write of an unsound table.
type writeFunc = func(kv.Store, kv.Write) kv.Result

// ignoring applies the writes that ignored selects whatever their condition.
func ignoring(ignored func(s kv.Store, w kv.Write) bool) writeFunc {
	return func(s kv.Store, w kv.Write) kv.Result {
		w.Any = w.Any || ignored(s, w)
		return apply(s, w)
	}
}

// applyingRefused applies also what is refused, if concerned.
func applyingRefused(concerned func(kv.Write) bool) writeFunc {
	return func(s kv.Store, w kv.Write) kv.Result {
		r := apply(s, w)
		if errors.Is(r.Err, kv.ErrConflict) && concerned(w) {
			w.Any = true
			apply(s, w)
		}
		return r
	}
}

// refusingApplied tells conflicts for what was applied, if concerned.
func refusingApplied(concerned func(kv.Write) bool) writeFunc {
	return func(s kv.Store, w kv.Write) kv.Result {
		r := apply(s, w)
		if concerned(w) {
			r.Err = kv.ErrConflict
		}
		return r
	}
}

// losing tells success for what was not done, if concerned.
func losing(concerned func(kv.Write) bool) writeFunc {
	return func(s kv.Store, w kv.Write) kv.Result {
		if concerned(w) {
			return kv.Result{Version: "lost"}
		}
		return apply(s, w)
	}
}

func absent(w kv.Write) bool   { return w.If == "" && !w.Any }
func putIf(w kv.Write) bool    { return w.If != "" && !w.Delete }
func deleteIf(w kv.Write) bool { return w.If != "" && w.Delete }

func exists(s kv.Store, k kv.Key) bool {
	_, err := s.Get(context.Background(), k)
	return err == nil
}

// checkThenAct reads, decides, and writes some time later, so that concurrent writers all
// find their condition to hold.
func checkThenAct(concerned func(kv.Write) bool) func(kv.Store, kv.Write) kv.Result {
	return func(s kv.Store, w kv.Write) kv.Result {
		if !concerned(w) {
			return apply(s, w)
		}
		item, err := s.Get(context.Background(), w.Key)
		if w.If != item.Version || (err == nil) != (w.If != "") {
			return kv.Result{Err: kv.ErrConflict}
		}
		time.Sleep(time.Millisecond)
		w.Any = true
		return apply(s, w)
	}
}

// brokenWrites are tables that write wrongly, with what the probe says of each.
var brokenWrites = map[string]struct {
	write writeFunc
	says  string
}{
	"put-if-absent replaces": {
		ignoring(func(_ kv.Store, w kv.Write) bool { return absent(w) }),
		"put-if-absent on an item that exists was applied",
	},
	"put-if-version replaces another version": {
		ignoring(func(s kv.Store, w kv.Write) bool { return putIf(w) && exists(s, w.Key) }),
		"put-if-version with a version that is not the item's was applied",
	},
	"put-if-version makes an item": {
		ignoring(func(s kv.Store, w kv.Write) bool { return putIf(w) && !exists(s, w.Key) }),
		"put-if-version on no item was applied",
	},
	"delete-if-version removes another version": {
		ignoring(func(s kv.Store, w kv.Write) bool { return deleteIf(w) && exists(s, w.Key) }),
		"delete-if-version with a version that is not the item's was applied",
	},
	"delete-if-version finds no item": {
		ignoring(func(s kv.Store, w kv.Write) bool { return deleteIf(w) && !exists(s, w.Key) }),
		"delete-if-version on no item was applied",
	},
	"a refused put is applied": {
		applyingRefused(absent), "after put-if-absent on an item that exists was refused",
	},
	"a refused delete is applied": {
		applyingRefused(deleteIf), "after delete-if-version with a version that is not the item's was refused",
	},
	"an applied put is refused": {
		refusingApplied(putIf), "put-if-version was refused although its condition holds",
	},
	"an applied delete is refused": {
		refusingApplied(deleteIf), "delete-if-version was refused although its condition holds",
	},
	"a put is lost":    {losing(func(w kv.Write) bool { return w.Any && !w.Delete }), "right after a put"},
	"a delete is lost": {losing(func(w kv.Write) bool { return w.Any && w.Delete }), "right after a delete"},
	"put-if-version checks, then acts": {
		checkThenAct(putIf), "of 8 concurrent writers with put-if-version",
	},
	"put-if-absent checks, then acts": {
		checkThenAct(absent), "of 8 concurrent writers with put-if-absent",
	},
}

func TestProbeUnsoundWrites(t *testing.T) {
	for name, c := range brokenWrites {
		t.Run(name, func(t *testing.T) { requireUnsound(t, unsoundStore{write: c.write}, c.says) })
	}
}

func TestProbeUnsoundReads(t *testing.T) {
	requireUnsound(t, unsoundStore{get: staleGet()}, "after put-if-absent, get found no item")
	requireUnsound(t, unsoundStore{query: staleQuery()}, "after put-if-absent, query found no item")
	requireUnsound(t, unsoundStore{get: func(i kv.Item, err error) (kv.Item, error) {
		i.Value = bytes.ToUpper(i.Value)
		return i, err
	}}, `get found "FIRST"`)
}

func requireUnsound(t *testing.T, s unsoundStore, says string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s.Store = kv.NewMem()
		err := kv.Probe(ctx, s)
		require.ErrorIs(t, err, kv.ErrUnsound)
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, "refuses to run")
	})
}

// staleGet answers each read with what the read before it should have found.
func staleGet() func(kv.Item, error) (kv.Item, error) {
	last, lastErr := kv.Item{}, error(kv.ErrNotFound)
	return func(i kv.Item, err error) (kv.Item, error) {
		i, last = last, i
		err, lastErr = lastErr, err
		return i, err
	}
}

func staleQuery() func([]kv.Item, error) ([]kv.Item, error) {
	var last []kv.Item
	return func(items []kv.Item, err error) ([]kv.Item, error) {
		items, last = last, items
		return items, err
	}
}

// TestProbeFlaky: a table that fails is not one that is unsound, and one that
// fails a little is probed all the same.
func TestProbeFlaky(t *testing.T) {
	passed := 0
	for seed := range uint64(50) {
		flaky := kv.NewFlaky(kv.NewMem(), seed, kv.FlakyRates{Lost: 0.002, Landed: 0.002, Late: 0.002})
		err := kv.Probe(ctx, flaky)
		require.NotErrorIs(t, err, kv.ErrUnsound)
		if err == nil {
			passed++
		}
	}
	require.Greater(t, passed, 40)

	down := kv.Inject(kv.NewMem(), func(kv.Op) kv.Fault { return kv.FaultFail })
	err := kv.Probe(ctx, down)
	require.ErrorIs(t, err, kv.ErrInjected)
	require.NotErrorIs(t, err, kv.ErrUnsound)

	ended, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, kv.Probe(ended, kv.NewMem()), context.Canceled)
}
