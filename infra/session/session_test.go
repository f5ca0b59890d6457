package session_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ttl      = session.DefaultTTL
	renew    = ttl / 3
	lifetime = ttl - ttl/10
	node     = id.Broker(7)
)

var (
	ctx = context.Background()
	key = kv.Key{Part: "sessions", Sort: "0000000007"}
)

// link is a broker's way to the table, with a fault for all that passes.
type link struct {
	kv.Store
	fault atomic.Int64
}

func newLink(s kv.Store) *link {
	l := &link{}
	l.Store = kv.Inject(s, func(kv.Op) kv.Fault { return kv.Fault(l.fault.Load()) })
	return l
}

func (l *link) set(f kv.Fault) { l.fault.Store(int64(f)) }

func open(t *testing.T, store kv.Store, info string) *session.Session {
	s, err := session.Open(ctx, session.Config{Store: store, Node: node, Info: info})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close(ended()) })
	return s
}

// ended is a context for a Close that need not delete.
func ended() context.Context {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return ctx
}

func lost(s *session.Session) bool {
	select {
	case <-s.Lost():
		return true
	default:
		return false
	}
}

// look is a poll of a watcher that sees one item.
func look(t *testing.T, w *session.Watcher) session.Seen {
	seen, err := w.Poll(ctx)
	require.NoError(t, err)
	require.Len(t, seen, 1)
	return seen[0]
}

func TestRenewalsKeepItAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kv.NewMem()
		s := open(t, store, "here:9092")
		w := session.NewWatcher(store, ttl)
		versions := map[kv.Version]bool{}
		for range 120 {
			seen := look(t, w)
			versions[seen.Version] = true
			require.Equal(t, node, seen.Node)
			require.Equal(t, s.ID(), seen.Session)
			require.Equal(t, "here:9092", seen.Info)
			require.LessOrEqual(t, seen.Unchanged, renew)
			require.False(t, seen.Expired)
			require.True(t, s.Valid())
			require.Greater(t, time.Until(s.Deadline()), lifetime-renew-time.Millisecond)
			time.Sleep(500 * time.Millisecond)
		}
		require.InDelta(t, 60, len(versions), 1)
		require.NoError(t, s.Err())
		require.NoError(t, s.AwaitValid(ctx))

		item, err := store.Get(ctx, key)
		require.NoError(t, err)
		var value map[string]any
		require.NoError(t, json.Unmarshal(item.Value, &value))
		require.InDelta(t, 60, value["renewals"], 1)
		delete(value, "renewals")
		require.Equal(t, map[string]any{"v": 1.0, "session": string(s.ID()), "node": 7.0, "info": "here:9092", "ttl": 3000.0}, value)
	})
}

func TestCloseDeletes(t *testing.T) {
	for name, fault := range map[string]kv.Fault{
		"sound": kv.FaultNone, "lost": kv.FaultLost, "landed": kv.FaultLanded, "late": kv.FaultLate,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := kv.NewMem()
				var writes atomic.Int64 // of which each other one has the fault: a renewal, then the delete
				s := open(t, kv.Inject(mem, func(op kv.Op) kv.Fault {
					if op.Kind == kv.OpWrite && writes.Add(1)%2 == 0 {
						return fault
					}
					return kv.FaultNone
				}), "")
				time.Sleep(renew + time.Millisecond) // one renewal
				require.NoError(t, s.Close(ctx))
				require.NoError(t, s.Close(ended()), "the second one does nothing")
				_, err := mem.Get(ctx, key)
				require.ErrorIs(t, err, kv.ErrNotFound)
				require.False(t, s.Valid())
				require.False(t, time.Now().Before(s.Deadline()))
				require.False(t, lost(s))
				require.ErrorIs(t, s.Err(), session.ErrClosed)
				require.ErrorIs(t, s.AwaitValid(ctx), session.ErrClosed)
				from := time.Now()
				open(t, mem, "")
				require.Zero(t, time.Since(from), "the node id is free at once")
			})
		})
	}
}

func TestCloseWithoutTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := kv.NewMem()
		l := newLink(mem)
		s := open(t, l, "")
		l.set(kv.FaultFail)
		require.ErrorContains(t, s.Close(ctx), "expires after 3s")
		_, err := mem.Get(ctx, key)
		require.NoError(t, err)
	})
}

func TestTwoBrokersWithOneID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kv.NewMem()
		first := open(t, store, "first:9092")
		from := time.Now()
		_, err := session.Open(ctx, session.Config{Store: store, Node: node, Info: "second:9092"})
		require.ErrorIs(t, err, session.ErrInUse)
		require.ErrorContains(t, err, "(first:9092) is alive as node 7: stop that broker or choose another node id")
		require.Less(t, time.Since(from), ttl)
		time.Sleep(time.Minute)
		require.True(t, first.Valid())
		other, err := session.Open(ctx, session.Config{Store: store, Node: node + 1})
		require.NoError(t, err)
		require.NoError(t, other.Close(ctx))
		require.Equal(t, node+1, other.Node())
	})
}

func TestTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := kv.NewMem()
		l := newLink(mem)
		first := open(t, l, "first:9092")
		l.set(kv.FaultFail)
		from := time.Now()
		second := open(t, mem, "second:9092")
		require.GreaterOrEqual(t, time.Since(from), ttl)
		require.Less(t, time.Since(from), ttl+ttl/5)
		require.False(t, first.Valid())
		require.NoError(t, first.Err(), "it cannot know yet")
		l.set(kv.FaultNone)
		<-first.Lost()
		require.ErrorIs(t, first.Err(), session.ErrLost)
		require.ErrorContains(t, first.Err(), fmt.Sprintf("now held by session %s (second:9092)", second.ID()))
		require.ErrorIs(t, first.AwaitValid(ctx), session.ErrLost)
		require.NoError(t, first.Close(ctx))
		time.Sleep(time.Minute)
		require.True(t, second.Valid())
	})
}

func TestOpenTakesWhatIsFreedWhileItWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kv.NewMem()
		put(t, store, node, dead(node))
		seen := look(t, session.NewWatcher(store, ttl))
		time.AfterFunc(ttl/2, func() { _ = session.Kill(ctx, store, seen) })
		from := time.Now()
		s := open(t, store, "")
		require.GreaterOrEqual(t, time.Since(from), ttl/2)
		require.Less(t, time.Since(from), ttl)
		require.Equal(t, s.ID(), look(t, session.NewWatcher(store, ttl)).Session)
	})
}

func TestOpenWithoutTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(kv.NewMem())
		l.set(kv.FaultFail)
		_, err := session.Open(ctx, session.Config{Store: l, Node: node})
		require.ErrorIs(t, err, kv.ErrInjected)

		l.set(kv.FaultLost)
		_, err = session.Open(ctx, session.Config{Store: l, Node: node})
		require.ErrorIs(t, err, kv.ErrUnknown, "only for as long as nobody can have killed it")

		l.set(kv.FaultNone)
		open(t, l, "")
		ctx, cancel := context.WithTimeout(ctx, time.Second/2)
		defer cancel()
		_, err = session.Open(ctx, session.Config{Store: l, Node: node})
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestUnknownOutcomes(t *testing.T) {
	for name, faults := range map[string][]kv.Fault{
		"lost":   {kv.FaultLost, kv.FaultNone},
		"landed": {kv.FaultLanded},
		"late":   {kv.FaultLate, kv.FaultNone},
		"failed": {kv.FaultFail, kv.FaultNone},
		"mixed":  {kv.FaultLate, kv.FaultLanded, kv.FaultLost, kv.FaultLate, kv.FaultFail, kv.FaultNone},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				mem := kv.NewMem()
				var writes atomic.Int64
				s := open(t, kv.Inject(mem, func(op kv.Op) kv.Fault {
					if op.Kind != kv.OpWrite {
						return kv.FaultNone
					}
					n := int(writes.Add(1)) - 2 // the first one, of Open, passes
					if n < 0 {
						return kv.FaultNone
					}
					return faults[n%len(faults)]
				}), "")
				w := session.NewWatcher(mem, ttl)
				for range 600 {
					require.True(t, s.Valid())
					require.False(t, look(t, w).Expired)
					time.Sleep(100 * time.Millisecond)
				}
				require.Greater(t, writes.Load(), int64(60))
				require.Less(t, writes.Load(), int64(60*ttl/(100*time.Millisecond)), "retries are bounded")
			})
		})
	}
}

func TestOpenSettlesUnknownOutcomes(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			mem := kv.NewMem()
			flaky := kv.NewFlaky(mem, seed, kv.FlakyRates{Lost: 0.2, Landed: 0.3, Late: 0.2, Read: 0.2})
			s := open(t, flaky, "")
			seen := look(t, session.NewWatcher(mem, ttl))
			require.Equal(t, s.ID(), seen.Session)
			require.True(t, s.Valid())
			time.Sleep(10 * ttl)
			require.False(t, lost(s), s.Err())
		})
	}
}

// TestDeadlineCountsFromTheSend: however late the answer of a renewal comes, or the news that it
// was applied, the deadline is that of the time before it was sent.
func TestDeadlineCountsFromTheSend(t *testing.T) {
	for name, fault := range map[string]kv.Fault{"late answer": kv.FaultNone, "no answer": kv.FaultLanded} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := make(chan time.Time, 100)
				var slow atomic.Bool
				s := open(t, kv.Inject(kv.NewMem(), func(op kv.Op) kv.Fault {
					if op.Kind != kv.OpWrite || !slow.Load() {
						return kv.FaultNone
					}
					sent <- time.Now()
					time.Sleep(renew - 1)
					return fault
				}), "")
				slow.Store(true)
				for range 10 {
					before := s.Deadline()
					for s.Deadline().Equal(before) {
						time.Sleep(time.Millisecond)
					}
					require.Equal(t, (<-sent).Add(lifetime), s.Deadline())
				}
			})
		})
	}
}

// TestOutage: for a minute nobody reaches the table, and nobody is lost by that.
func TestOutage(t *testing.T) {
	for name, fault := range map[string]kv.Fault{"failed": kv.FaultFail, "lost": kv.FaultLost, "late": kv.FaultLate} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLink(kv.NewMem())
				var mu sync.Mutex
				var changes []bool
				s, err := session.Open(ctx, session.Config{Store: l, Node: node, OnChange: func(valid bool) {
					mu.Lock()
					defer mu.Unlock()
					changes = append(changes, valid)
				}})
				require.NoError(t, err)
				defer func() { _ = s.Close(ctx) }()
				w := session.NewWatcher(l, ttl)
				time.Sleep(10*time.Second + renew/2)
				l.set(fault)
				deadline := s.Deadline()
				for from := time.Now(); time.Since(from) < time.Minute; time.Sleep(100 * time.Millisecond) {
					_, err := w.Poll(ctx)
					require.Error(t, err)
					require.Equal(t, time.Now().Before(deadline), s.Valid())
				}
				short, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				require.ErrorIs(t, s.AwaitValid(short), context.DeadlineExceeded)

				l.set(kv.FaultNone)
				from := time.Now()
				require.NoError(t, s.AwaitValid(ctx))
				require.True(t, s.Valid())
				require.LessOrEqual(t, time.Since(from), 2*renew)
				for range 20 {
					require.False(t, look(t, w).Expired)
					require.True(t, s.Valid())
					time.Sleep(ttl / 4)
				}
				require.NoError(t, s.Err())
				mu.Lock()
				defer mu.Unlock()
				require.Equal(t, []bool{false, true}, changes)
			})
		})
	}
}

// TestFirstPutComesBack: a put of Open lands when the session that it was for has been
// killed. The holder does not take the item for its lease.
func TestFirstPutComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := kv.NewMem()
		var writes atomic.Int64
		var landing atomic.Bool
		store := kv.Inject(mem, func(op kv.Op) kv.Fault {
			switch {
			case op.Kind == kv.OpLand && !landing.Load():
				return kv.FaultLate
			case op.Kind == kv.OpWrite && writes.Add(1) == 1:
				return kv.FaultLate
			}
			return kv.FaultNone
		})
		s := open(t, store, "")
		require.NoError(t, session.Kill(ctx, mem, look(t, session.NewWatcher(mem, ttl))))
		landing.Store(true)
		<-s.Lost()
		require.ErrorIs(t, s.Err(), session.ErrLost)
		require.False(t, s.Valid())
		require.Equal(t, s.ID(), look(t, session.NewWatcher(mem, ttl)).Session, "the put has landed")
	})
}

func TestConfig(t *testing.T) {
	for text, cfg := range map[string]session.Config{
		"no store":           {},
		"negative":           {Store: kv.NewMem(), Node: -1},
		"at most half":       {Store: kv.NewMem(), TTL: time.Second, Renew: 501 * time.Millisecond},
		"more than 0":        {Store: kv.NewMem(), Renew: -1},
		"with a TTL of -1ns": {Store: kv.NewMem(), TTL: -1, Renew: 1},
	} {
		_, err := session.Open(ctx, cfg)
		require.ErrorContains(t, err, text)
	}
}
