package seal

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/journal"
)

// broken is a journal with one rolled segment that cannot be listed.
type broken struct {
	mu   sync.Mutex
	err  error // nil: there is no segment
	asks []time.Time
}

// fail makes err, or nothing, go wrong from now on.
func (b *broken) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *broken) now() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *broken) asked() []time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.asks)
}

func (b *broken) Segments() []journal.SegmentInfo {
	if b.now() == nil {
		return nil
	}
	return []journal.SegmentInfo{{ID: 1, Size: 100, Rolled: true, Partitions: func(yield func(id.Partition, journal.Extent) bool) {
		yield(partition(1), journal.Extent{Next: 10})
	}}}
}

func (b *broken) Entries(id.Partition, id.Offset) iter.Seq2[journal.Entry, error] {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asks = append(b.asks, time.Now())
	err := b.err
	return func(yield func(journal.Entry, error) bool) { yield(journal.Entry{}, err) }
}

func (b *broken) Batch(id.Partition, journal.Entry) (batch.View, error) { return nil, b.now() }
func (b *broken) Roll() error                                           { return nil }
func (b *broken) Drop(id.Segment) error                                 { return nil }
func (b *broken) Rolled() <-chan struct{}                               { return nil }

// TestFailuresAreTriedLessAndLessOftenAndLoggedOnce follows Run for an hour of failures.
func TestFailuresAreTriedLessAndLessOftenAndLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := errors.New("one")
		j, lines := &broken{err: one}, newLogLines()
		s := New(Config{Journal: j, Chain: chain.Open(kv.NewMem()), Logger: slog.New(lines)})
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()

		time.Sleep(time.Hour)
		synctest.Wait()
		var waits []time.Duration
		asks := j.asked()
		for i := 1; i < len(asks); i++ {
			waits = append(waits, asks[i].Sub(asks[i-1]))
		}
		require.Equal(t, time.Second, waits[0], "the interval is the least")
		for _, wait := range waits[10:] {
			require.GreaterOrEqual(t, wait, maxBackoff/2)
			require.LessOrEqual(t, wait, maxBackoff)
		}
		require.Equal(t, []string{"ERROR cannot seal hot segments, trying again"}, lines.all())
		stats := s.Stats()
		require.ErrorIs(t, stats.LastError, one)
		require.Equal(t, len(asks), stats.FailureStreak)
		require.Equal(t, asks[0], stats.FailingSince)
		require.Equal(t, int64(100), stats.LagBytes)
		require.Equal(t, 1, stats.LagSegments)

		j.fail(errors.New("another"))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Len(t, lines.all(), 1, "a change is logged")

		j.fail(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []string{"INFO sealing hot segments again"}, lines.all())
		require.NoError(t, s.Stats().LastError)
		require.Zero(t, s.Stats().LagBytes)

		require.NoError(t, s.Close(ctx))
		require.NoError(t, <-ended)
		require.ErrorIs(t, s.Run(ctx), ErrClosed)
		require.ErrorIs(t, s.SealAll(ctx), ErrClosed)
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	s := New(Config{Journal: &broken{}, Chain: chain.Open(kv.NewMem())})
	ended, cancel := context.WithCancel(ctx)
	cancel()
	require.NoError(t, s.Run(ended))
	require.NoError(t, s.Close(ctx))
}

func TestRunSealsWhatIsRolledAtOnce(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem(), func(c *Config) { c.Interval = time.Hour })
	ended := make(chan error, 1)
	go func() { ended <- w.sealer.Run(ctx) }()
	for range 3 {
		w.fill(3, 100)
		require.NoError(t, w.journal.Roll())
		require.Eventually(t, func() bool {
			for p, next := range w.next {
				if end, _, _, err := w.chain.End(ctx, p); err != nil || end != next {
					return false
				}
			}
			return true
		}, 10*time.Second, time.Millisecond)
	}
	require.NoError(t, w.sealer.Close(ctx))
	require.NoError(t, <-ended)
	w.check()
}

// stuckStore takes the first bytes of an object and then waits for its context's end.
type stuckStore struct {
	objstore.Store
	asked chan struct{}
}

func (s stuckStore) Put(ctx context.Context, _ string, body io.Reader) error {
	if _, err := io.ReadFull(body, make([]byte, 10)); err != nil {
		return err
	}
	close(s.asked)
	<-ctx.Done()
	return ctx.Err()
}

func TestCloseEndsAnUpload(t *testing.T) {
	asked := make(chan struct{})
	w := newWorld(t, vfs.NewMem(), kv.NewMem(), func(c *Config) { c.Objects = stuckStore{c.Objects, asked} })
	w.fill(3, 200)
	ended := make(chan error, 1)
	go func() { ended <- w.sealer.SealAll(ctx) }()
	<-asked
	require.NoError(t, w.sealer.Close(ctx))
	require.ErrorIs(t, <-ended, ErrClosed)
	require.NoError(t, w.sealer.Stats().LastError, "being closed is no failure")
	w.check()
}

func TestBackoff(t *testing.T) {
	for failures := 1; failures < 100; failures++ {
		d := backoff(failures)
		require.GreaterOrEqual(t, d, minBackoff/2)
		require.LessOrEqual(t, d, maxBackoff)
		if failures > 1 && failures < 8 {
			require.GreaterOrEqual(t, d, minBackoff<<(failures-2))
		}
	}
}
