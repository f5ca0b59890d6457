package session_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/session"
)

// put stores an item that nobody renews.
func put(t *testing.T, store kv.Store, n id.Broker, value string) {
	_, err := kv.PutIfAbsent(ctx, store, kv.Key{Part: "sessions", Sort: fmt.Sprintf("%010d", n)}, []byte(value))
	require.NoError(t, err)
}

func dead(n id.Broker) string {
	return fmt.Sprintf(`{"v":1,"session":"dead","node":%d,"renewals":3,"info":"gone:9092","later":"field"}`, n)
}

func TestWatcherTimesUnchangedItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kv.NewMem()
		put(t, store, 11, dead(11))
		put(t, store, 9, dead(9))
		open(t, store, "")
		w := session.NewWatcher(store, ttl)
		for at := time.Duration(0); at < 2*ttl; at += ttl / 4 {
			seen, err := w.Poll(ctx)
			require.NoError(t, err)
			require.Len(t, seen, 3)
			require.Equal(t, node, seen[0].Node)
			require.False(t, seen[0].Expired)
			for i, n := range []id.Broker{9, 11} {
				require.NotEmpty(t, seen[i+1].Version)
				seen[i+1].Version = ""
				want := session.Seen{Node: n, Session: "dead", Info: "gone:9092", Unchanged: at, Expired: at >= ttl}
				require.Equal(t, want, seen[i+1])
			}
			time.Sleep(ttl / 4)
		}
	})
}

// TestWatcherOfAnotherTTL: a watcher that was told a shorter TTL than the holders' leaves them theirs.
func TestWatcherOfAnotherTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := kv.NewMem()
		s, err := session.Open(ctx, session.Config{Store: store, Node: node, TTL: 4 * ttl})
		require.NoError(t, err)
		w := session.NewWatcher(store, ttl)
		watch := func(d time.Duration) (expired bool) {
			for at := time.Duration(0); at < d; at += ttl / 4 {
				seen := look(t, w)
				expired = expired || seen.Expired
				time.Sleep(ttl / 4)
			}
			return expired
		}
		require.False(t, watch(10*ttl), "it is renewed less often than the watcher's TTL asks for")
		require.Error(t, s.Close(ended()))
		require.False(t, watch(3*ttl))
		require.True(t, watch(2*ttl))
	})
}

// TestWatcherStartsAgain: whatever keeps an observer from seeing renewals is not held
// against their senders.
func TestWatcherStartsAgain(t *testing.T) {
	for name, interrupt := range map[string]func(*testing.T, *session.Watcher, *link){
		"failed poll": func(t *testing.T, w *session.Watcher, l *link) {
			l.set(kv.FaultFail)
			_, err := w.Poll(ctx)
			require.ErrorIs(t, err, kv.ErrInjected)
			l.set(kv.FaultNone)
		},
		"pause":   func(*testing.T, *session.Watcher, *link) { time.Sleep(ttl/2 + 1) },
		"restart": func(_ *testing.T, w *session.Watcher, _ *link) { w.Restart() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLink(kv.NewMem())
				put(t, l, 9, dead(9))
				w := session.NewWatcher(l, ttl)
				for range 2 {
					for at := time.Duration(0); at <= ttl; at += ttl / 2 {
						seen := look(t, w)
						require.Equal(t, at, seen.Unchanged)
						require.Equal(t, at == ttl, seen.Expired)
						if at < ttl {
							time.Sleep(ttl / 2)
						}
					}
					interrupt(t, w, l)
				}
			})
		})
	}
}

func TestWatcherRefusesForeignItems(t *testing.T) {
	for value, want := range map[string]error{
		"":                                  session.ErrCorrupt,
		"{":                                 session.ErrCorrupt,
		"{}":                                session.ErrCorrupt,
		`{"v":1,"node":9}`:                  session.ErrCorrupt,
		`{"v":1,"session":"s","node":8}`:    session.ErrCorrupt,
		`{"v":2,"session":{},"node":9}`:     session.ErrCorrupt,
		`{"v":2,"session":"s","node":"no"}`: session.ErrCorrupt,
		`{"v":2,"session":"s"}`:             session.ErrNewer,
	} {
		store := kv.NewMem()
		put(t, store, 9, value)
		_, err := session.NewWatcher(store, ttl).Poll(ctx)
		require.ErrorIs(t, err, want, value)
		require.ErrorContains(t, err, `"0000000009"`)
		_, err = session.Open(ctx, session.Config{Store: store, Node: 9})
		require.ErrorIs(t, err, want, value)
	}
}

func TestKill(t *testing.T) {
	for _, fault := range []kv.Fault{kv.FaultNone, kv.FaultLost, kv.FaultLanded, kv.FaultLate} {
		synctest.Test(t, func(t *testing.T) {
			mem := kv.NewMem()
			var writes atomic.Int64
			store := kv.Inject(mem, func(op kv.Op) kv.Fault {
				if op.Kind == kv.OpWrite && writes.Add(1) == 1 {
					return fault
				}
				return kv.FaultNone
			})
			s := open(t, mem, "")
			seen := look(t, session.NewWatcher(mem, ttl))
			require.NoError(t, session.Kill(ctx, store, seen))
			_, err := mem.Get(ctx, key)
			require.ErrorIs(t, err, kv.ErrNotFound)
			require.NoError(t, session.Kill(ctx, store, seen), "an absent item counts as killed")

			<-s.Lost()
			require.ErrorContains(t, s.Err(), "another broker found it not renewed for 3s")
			second := open(t, mem, "")
			require.NoError(t, session.Kill(ctx, store, seen), "another session's too")
			require.True(t, second.Valid())

			seen = look(t, session.NewWatcher(mem, ttl))
			time.Sleep(renew + 1)
			require.ErrorIs(t, session.Kill(ctx, store, seen), session.ErrAlive)
			require.True(t, second.Valid())
		})
	}
}

func TestKillWithoutTable(t *testing.T) {
	l := newLink(kv.NewMem())
	put(t, l, 9, dead(9))
	seen := look(t, session.NewWatcher(l, ttl))
	l.set(kv.FaultFail)
	err := session.Kill(ctx, l, seen)
	require.ErrorIs(t, err, kv.ErrInjected)
	require.NotErrorIs(t, err, session.ErrAlive)
}

// TestKillRacesWithRenewal: the kills and the renewal meet in the same instant; either
// all kills fail and the session lives, or all succeed and it is lost.
func TestKillRacesWithRenewal(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			mem := kv.NewMem()
			s := open(t, mem, "")
			seen := look(t, session.NewWatcher(mem, ttl))
			kills := make([]error, 3)
			var wg sync.WaitGroup
			for i := range kills {
				wg.Go(func() {
					time.Sleep(renew)
					kills[i] = session.Kill(ctx, mem, seen)
				})
			}
			wg.Wait()
			time.Sleep(renew)
			synctest.Wait()
			for _, err := range kills {
				require.Equal(t, lost(s), err == nil)
				require.Equal(t, s.Valid(), errors.Is(err, session.ErrAlive))
			}
		})
	}
}
