package offsets

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// slow is a table whose writes take a time, in which more can gather.
type slow struct {
	kv.Store
	delay  time.Duration
	mu     sync.Mutex
	writes [][]kv.Write
}

func (s *slow) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	s.mu.Lock()
	s.writes = append(s.writes, writes)
	s.mu.Unlock()
	select {
	case <-time.After(s.delay):
		return s.Store.Write(ctx, writes...)
	case <-ctx.Done():
		results := make([]kv.Result, len(writes))
		for i := range results {
			results[i].Err = fmt.Errorf("%w: %w", kv.ErrUnknown, ctx.Err())
		}
		return results
	}
}

func newSlow(t *testing.T, groups ...string) *slow {
	t.Helper()
	s := &slow{Store: kv.NewMem(), delay: 10 * time.Millisecond}
	for _, g := range groups {
		require.NoError(t, Open(s.Store, Sole).Commit(ctx, g, 0, []Entry{entry(9, 0, 0)}))
	}
	return s
}

// warm returns a Table that has the groups listed, so that a commit is one write.
func (s *slow) warm(t *testing.T, groups ...string) *Table {
	t.Helper()
	table := Open(s, Sole)
	for _, g := range groups {
		require.NoError(t, table.Commit(ctx, g, 0, []Entry{entry(9, 0, 0)}))
	}
	s.writes = nil
	return table
}

// TestCommitterGathers: the first commit goes out at once and alone; what comes
// while it is under way goes out together, the latest for each partition.
func TestCommitterGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t)
		c := NewCommitter(s.warm(t, "a", "b"), CommitterConfig{})
		start := time.Now()
		var mu sync.Mutex
		var took []time.Duration
		submit := func(group string, e Entry) {
			c.Submit(Batch{Group: group, Entries: []Entry{e}}, func(err error) {
				require.NoError(t, err)
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(start))
			})
			synctest.Wait()
		}
		submit("a", entry(1, 0, 1))
		for offset := id.Offset(2); offset <= 20; offset++ {
			submit("a", entry(1, 0, offset))
			submit("b", entry(1, 0, offset))
		}
		require.NoError(t, c.Close(ctx))
		require.Len(t, s.writes, 2)
		require.Len(t, s.writes[0], 1)
		require.Len(t, s.writes[1], 2)
		require.Len(t, took, 39)
		require.Equal(t, 10*time.Millisecond, took[0])
		for _, d := range took[1:] {
			require.Equal(t, 20*time.Millisecond, d)
		}
		require.Contains(t, load(t, s, "a"), entry(1, 0, 20))
		require.Contains(t, load(t, s, "b"), entry(1, 0, 20))
	})
}

func TestCommitterWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t)
		c := NewCommitter(s.warm(t, "a"), CommitterConfig{Window: 50 * time.Millisecond})
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				require.NoError(t, c.Commit(ctx, "a", 0, []Entry{entry(1, int32(i), 1)}))
				require.Equal(t, 60*time.Millisecond, time.Since(start))
			})
			time.Sleep(10 * time.Millisecond)
		}
		wg.Wait()
		require.Len(t, s.writes, 1)
		require.Len(t, s.writes[0], 4)

		wg.Go(func() { require.NoError(t, c.Commit(ctx, "a", 0, []Entry{entry(1, 0, 2)})) })
		synctest.Wait()
		start = time.Now()
		require.NoError(t, c.Close(ctx), "does not wait for the window")
		require.Equal(t, 10*time.Millisecond, time.Since(start))
		wg.Wait()
	})
}

// TestCommitterAnswersEach: a group that fails does not fail the others.
func TestCommitterAnswersEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t)
		table := s.warm(t, "good", "fenced")
		require.NoError(t, Open(s.Store, Sole).Commit(ctx, "fenced", 1, []Entry{entry(9, 0, 77)}))
		c := NewCommitter(table, CommitterConfig{Window: time.Millisecond})
		errs := make([]error, 2)
		var wg sync.WaitGroup
		for i, g := range []string{"good", "fenced"} {
			wg.Go(func() { errs[i] = c.Commit(ctx, g, 0, []Entry{entry(9, 0, 5)}) })
		}
		wg.Wait()
		require.NoError(t, errs[0])
		require.ErrorIs(t, errs[1], ErrFenced)
		require.Equal(t, []Entry{entry(9, 0, 5)}, load(t, s, "good"))
		require.Equal(t, []Entry{entry(9, 0, 77)}, load(t, s, "fenced"))
		require.NoError(t, c.Close(ctx))
	})
}

func TestCommitterCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, "a")
		c := NewCommitter(s.warm(t, "a"), CommitterConfig{})
		short, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, c.Commit(short, "a", 0, []Entry{entry(1, 0, 1)}), context.DeadlineExceeded)
		require.ErrorIs(t, c.Commit(short, "a", 0, []Entry{entry(1, 0, 2)}), context.DeadlineExceeded)
		require.NoError(t, c.Close(ctx))
		require.Len(t, s.writes, 1, "who came with no time left was not queued")
		require.Contains(t, load(t, s, "a"), entry(1, 0, 1))
	})
}

func TestCommitterClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, "a")
		c := NewCommitter(s.warm(t, "a"), CommitterConfig{})
		s.delay = time.Hour
		var answers []error
		for i := range 3 {
			c.Submit(Batch{Group: "a", Entries: []Entry{entry(1, int32(i), 1)}}, func(err error) { answers = append(answers, err) })
			synctest.Wait()
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		require.ErrorIs(t, c.Close(short), context.DeadlineExceeded)
		require.Len(t, answers, 3, "everyone is answered")
		for _, err := range answers {
			require.Error(t, err)
		}
		require.NoError(t, c.Close(ctx))
		require.ErrorIs(t, c.Commit(ctx, "a", 0, nil), ErrClosed)
	})
}

// TestCommitterTimeout: a table that does not answer holds nobody for ever.
func TestCommitterTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t, "a")
		c := NewCommitter(s.warm(t, "a"), CommitterConfig{Timeout: 3 * time.Second})
		s.delay = time.Hour
		start := time.Now()
		require.ErrorIs(t, c.Commit(ctx, "a", 0, []Entry{entry(1, 0, 1)}), kv.ErrUnknown)
		require.Less(t, time.Since(start), 4*time.Second)
		s.delay = 0
		require.NoError(t, c.Commit(ctx, "a", 0, []Entry{entry(1, 0, 2)}))
		require.NoError(t, c.Close(ctx))
	})
}

// TestCommitterUnderLoad: each member's own commits keep their order.
func TestCommitterUnderLoad(t *testing.T) {
	eachStore(t, func(t *testing.T, s kv.Store) {
		c := NewCommitter(Open(s, Sole), CommitterConfig{})
		const members, each = 16, 50
		errs := make([]error, members)
		var wg sync.WaitGroup
		for m := range members {
			wg.Go(func() {
				for offset := id.Offset(1); offset <= each; offset++ {
					errs[m] = errors.Join(errs[m], c.Commit(ctx, fmt.Sprint("g", m%4), 0, []Entry{entry(1, int32(m), offset)}))
				}
			})
		}
		wg.Wait()
		require.NoError(t, errors.Join(errs...))
		require.NoError(t, c.Close(ctx))
		for g := range 4 {
			entries := load(t, s, fmt.Sprint("g", g))
			require.Len(t, entries, members/4)
			for _, e := range entries {
				require.Equal(t, id.Offset(each), e.Offset)
			}
		}
	})
}
