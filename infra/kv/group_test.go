package kv

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	berrors "go.etcd.io/bbolt/errors"
)

func write(sort string) Write { return Write{Key: Key{Part: "p", Sort: sort}, Any: true} }

// TestGroupGathers: while one commit is under way all other writers gather for one
// more, and a lone writer waits for nobody.
func TestGroupGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		release := make(chan struct{})
		g := newGroup(func(requests []*request) error {
			sizes = append(sizes, len(requests))
			<-release
			return nil
		})
		var wg sync.WaitGroup
		start := func() {
			wg.Go(func() { g.write(context.Background(), []Write{write("s")}) })
			synctest.Wait()
		}
		start() // is alone
		for range 10 {
			start()
		}
		release <- struct{}{}
		release <- struct{}{}
		wg.Wait()
		require.Equal(t, []int{1, 10}, sizes)
		require.NoError(t, g.close())
	})
}

func TestGroupCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var committed []string
		release := make(chan struct{})
		g := newGroup(func(requests []*request) error {
			<-release
			for _, r := range requests {
				for _, w := range r.writes {
					committed = append(committed, w.Key.Sort)
				}
			}
			return nil
		})
		ctx, cancel := context.WithCancel(context.Background())
		results := map[string]Result{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for _, sort := range []string{"under way", "waiting"} {
			wg.Go(func() {
				r := g.write(ctx, []Write{write(sort)})[0]
				mu.Lock()
				defer mu.Unlock()
				results[sort] = r
			})
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		require.Len(t, results, 1, "what is being committed is waited for")
		require.ErrorIs(t, results["waiting"].Err, context.Canceled)
		close(release)
		wg.Wait()
		require.NoError(t, results["under way"].Err)
		require.NoError(t, g.close())
		require.Equal(t, []string{"under way"}, committed)
	})
}

// TestGroupFails: a commit in doubt is the last one.
func TestGroupFails(t *testing.T) {
	broken := errors.New("fsync failed")
	commits := 0
	g := newGroup(func(requests []*request) error {
		commits++
		failAll(requests, ErrUnknown)
		return broken
	})
	require.ErrorIs(t, g.write(context.Background(), []Write{write("s")})[0].Err, ErrUnknown)
	for range 3 {
		err := g.write(context.Background(), []Write{write("s")})[0].Err
		require.ErrorIs(t, err, broken)
		require.NotErrorIs(t, err, ErrUnknown, "it was not tried")
	}
	require.ErrorIs(t, g.close(), broken)
	require.Equal(t, 1, commits)
}

// TestBoltFull: a full table refuses writes, keeps what it has, and takes writes
// again when there is room.
func TestBoltFull(t *testing.T) {
	ctx, path := context.Background(), filepath.Join(t.TempDir(), "kv.db")
	s, err := OpenBolt(path, BoltOptions{NoSync: true, maxSize: 2 << 20})
	require.NoError(t, err)
	sort := func(i int) Key { return Key{Part: "p", Sort: fmt.Sprintf("%04d", i)} }
	kept := 0
	for ; kept < 1000; kept++ {
		if _, err = PutIfAbsent(ctx, s, sort(kept), make([]byte, 100<<10)); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, berrors.ErrMaxSizeReached)
	require.ErrorContains(t, err, "full")
	require.NotErrorIs(t, err, ErrUnknown)
	items, err := s.Query(ctx, "p", Range{})
	require.NoError(t, err)
	require.Len(t, items, kept, "nothing of the failed write is left")

	for i := range kept / 2 {
		require.NoError(t, Delete(ctx, s, sort(i), ""))
	}
	_, err = PutIfAbsent(ctx, s, Key{Part: "a part before", Sort: "s"}, make([]byte, 50<<10))
	require.NoError(t, err)
	b, ok := s.(*Bolt)
	require.True(t, ok)
	require.NoError(t, b.Verify(ctx))
	require.NoError(t, s.Close())
}
