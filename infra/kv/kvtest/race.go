package kvtest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
)

const racers = 16

// race runs f in racers goroutines at once and returns their errors.
func race(f func(i int) error) []error {
	errs := make([]error, racers)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// requireOneWinner returns the index of the one nil among errs; the others are ErrConflict.
func requireOneWinner(t *testing.T, errs []error) int {
	t.Helper()
	winner := -1
	for i, err := range errs {
		if err == nil {
			require.Equal(t, -1, winner, "two winners")
			winner = i
			continue
		}
		require.ErrorIs(t, err, kv.ErrConflict)
	}
	require.NotEqual(t, -1, winner, "no winner")
	return winner
}

func testRaceAbsent(t *testing.T, s kv.Store) {
	for round := range 20 {
		k := key("race", fmt.Sprint(round))
		winner := requireOneWinner(t, race(func(i int) error {
			_, err := kv.PutIfAbsent(context.Background(), s, k, []byte(strconv.Itoa(i)))
			return err
		}))
		require.Equal(t, strconv.Itoa(winner), string(get(t, s, k).Value))
	}
}

func testRaceVersion(t *testing.T, s kv.Store) {
	k := key("race", "version")
	ver := put(t, s, k, "start")
	for range 20 {
		versions := make([]kv.Version, racers)
		winner := requireOneWinner(t, race(func(i int) (err error) {
			versions[i], err = kv.PutIf(context.Background(), s, k, []byte(strconv.Itoa(i)), ver)
			return err
		}))
		item := get(t, s, k)
		require.Equal(t, strconv.Itoa(winner), string(item.Value))
		require.Equal(t, versions[winner], item.Version)
		ver = item.Version
	}
}

// testRaceCounter: compare-and-set from many goroutines loses no increment.
func testRaceCounter(t *testing.T, s kv.Store) {
	const each = 10
	k := key("race", "counter")
	put(t, s, k, "0")
	for _, err := range race(func(int) error {
		for range each {
			if err := increment(s, k); err != nil {
				return err
			}
		}
		return nil
	}) {
		require.NoError(t, err)
	}
	require.Equal(t, strconv.Itoa(racers*each), string(get(t, s, k).Value))
}

func increment(s kv.Store, k kv.Key) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		item, err := s.Get(ctx, k)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(item.Value))
		if err != nil {
			return err
		}
		_, err = kv.PutIf(ctx, s, k, []byte(strconv.Itoa(n+1)), item.Version)
		if !errors.Is(err, kv.ErrConflict) {
			return err
		}
	}
}

func testRaceDelete(t *testing.T, s kv.Store) {
	for range 10 {
		k := key("race", "delete")
		ver := put(t, s, k, "x")
		requireOneWinner(t, race(func(int) error { return kv.Delete(context.Background(), s, k, ver) }))
		requireAbsent(t, s, k)
	}
}

// testReadYourWrites: a read sees every write that returned before it began,
// whoever wrote, by Get and by Query.
func testReadYourWrites(t *testing.T, s kv.Store) {
	k := key("race", "clock")
	put(t, s, k, "0")
	var written atomic.Int64 // the newest value whose write has returned
	done := make(chan struct{})
	var writeErr error
	go func() {
		defer close(done)
		for n := int64(1); n <= 200; n++ {
			if r := s.Write(context.Background(), kv.Write{Key: k, Value: []byte(strconv.FormatInt(n, 10)), Any: true}); r[0].Err != nil {
				writeErr = r[0].Err
				return
			}
			written.Store(n)
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		floor := written.Load()
		items, err := s.Query(context.Background(), "race", kv.Range{Reverse: true, Limit: 1})
		require.NoError(t, err)
		for _, item := range []kv.Item{get(t, s, k), items[0]} {
			n, err := strconv.ParseInt(string(item.Value), 10, 64)
			require.NoError(t, err)
			require.GreaterOrEqual(t, n, floor)
		}
	}
	require.NoError(t, writeErr)
	require.Equal(t, "200", string(get(t, s, k).Value))
}

func testResolve(t *testing.T, s kv.Store) {
	ctx, k := context.Background(), key("p", "s")
	resolve := func(ver kv.Version) bool {
		t.Helper()
		applied, err := kv.Resolve(ctx, s, k, ver)
		require.NoError(t, err)
		return applied
	}
	require.False(t, resolve("nobody's"), "absent")

	next := kv.FaultLost
	flaky := kv.Inject(s, func(kv.Op) kv.Fault { return next })
	lost, err := kv.PutIfAbsent(ctx, flaky, k, []byte("lost"))
	require.ErrorIs(t, err, kv.ErrUnknown)
	require.False(t, resolve(lost))
	requireAbsent(t, s, k)

	next = kv.FaultLanded
	landed, err := kv.PutIfAbsent(ctx, flaky, k, []byte("landed"))
	require.ErrorIs(t, err, kv.ErrUnknown)
	require.True(t, resolve(landed))
	require.Equal(t, "landed", string(get(t, s, k).Value))

	again, err := kv.PutIfAbsent(ctx, s, k, []byte("again"))
	require.ErrorIs(t, err, kv.ErrConflict, "which is our own success")
	require.False(t, resolve(again))
	require.True(t, resolve(landed))

	put(t, s, k, "replaced")
	require.False(t, resolve(landed))
}

// testSettle: writers who see failures and unknown outcomes of every sort know
// in the end exactly what they did.
func testSettle(t *testing.T, s kv.Store) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	flaky := kv.NewFlaky(s, 42, kv.FlakyRates{Fail: 0.1, Lost: 0.2, Landed: 0.2, Late: 0.2, Read: 0.2})
	for round := range 20 {
		k := key("settle", fmt.Sprint(round))
		versions := make([]kv.Version, racers)
		errs := race(func(i int) error {
			for {
				r := kv.Settle(ctx, flaky, kv.Write{Key: k, Value: []byte(strconv.Itoa(i))})[0]
				if versions[i] = r.Version; errors.Is(r.Err, kv.ErrInjected) && !errors.Is(r.Err, kv.ErrUnknown) {
					continue // known not to be applied
				}
				return r.Err
			}
		})
		winner := requireOneWinner(t, errs)
		item := get(t, s, k)
		require.Equal(t, strconv.Itoa(winner), string(item.Value))
		require.Equal(t, versions[winner], item.Version)
	}
}
