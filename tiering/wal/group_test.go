package wal_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/tracing"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func partition(n int) id.Partition { return id.Partition{Topic: id.Topic{1}, Index: int32(n)} }

func newBatch(base id.Offset) batch.View {
	return batch.New(batch.None).Base(base).Add(batch.Record{Timestamp: 1, Value: make([]byte, 100)}).Build()
}

func openJournal(t testing.TB, fs vfs.FS) *journal.Journal {
	t.Helper()
	j, _, err := journal.Open(context.Background(), journal.Config{Dir: "hot", FS: fs, Cluster: "c", SegmentBytes: 16 << 10})
	require.NoError(t, err)
	t.Cleanup(func() { _ = j.Close(context.Background()) }) // tests of failures close a poisoned journal
	return j
}

// waiter notes what it was told.
type waiter struct {
	log     *[]int // of the group's goroutine
	n       int
	written bool
	err     error
	done    chan struct{}
}

func (w *waiter) Written() { w.written = true }

func (w *waiter) Span() *tracing.Span { return nil }

func (w *waiter) Committed(err error) {
	*w.log = append(*w.log, w.n)
	w.err = err
	close(w.done)
}

func TestCommitInOrder(t *testing.T) {
	j := openJournal(t, vfs.NewMem())
	g := wal.New(j, wal.LocalSink(j, wal.LocalConfig{}), wal.Config{})
	var (
		log  []int
		mu   sync.Mutex
		n    int
		work sync.WaitGroup
	)
	for p := range 4 {
		work.Go(func() {
			for base := range id.Offset(200) {
				w := &waiter{log: &log, done: make(chan struct{})}
				mu.Lock()
				w.n, n = n, n+1
				err := g.Append(partition(p), newBatch(base), w)
				mu.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
				if base%10 == 0 {
					<-w.done
					if !w.written || w.err != nil {
						t.Errorf("written %t, error %v", w.written, w.err)
					}
				}
			}
		})
	}
	work.Wait()
	require.NoError(t, g.Close(context.Background()))
	require.ErrorIs(t, g.Append(partition(0), newBatch(200), &waiter{}), wal.ErrClosed)
	require.Len(t, log, 800)
	for i, got := range log {
		require.Equal(t, i, got)
	}
	require.NoError(t, j.Close(context.Background()))
}

// heldSink lets a test hold a commit.
type heldSink struct {
	wal.Sink
	entered, leave chan struct{}
	commits        atomic.Int32
}

func (s *heldSink) Commit(ctx context.Context, c wal.Chunk, done func(error)) {
	s.commits.Add(1)
	s.entered <- struct{}{}
	<-s.leave
	s.Sink.Commit(ctx, c, done)
}

func TestWhatWaitsSharesOneCommit(t *testing.T) {
	j := openJournal(t, vfs.NewMem())
	sink := &heldSink{Sink: wal.LocalSink(j, wal.LocalConfig{}), entered: make(chan struct{}), leave: make(chan struct{})}
	var took []time.Duration // of the group's goroutine
	g := wal.New(j, sink, wal.Config{OnCommit: func(d time.Duration) { took = append(took, d) }})
	began := time.Now()
	var log []int
	waiters := make([]*waiter, 50)
	for i := range waiters {
		waiters[i] = &waiter{log: &log, n: i, done: make(chan struct{})}
		require.NoError(t, g.Append(partition(0), newBatch(id.Offset(i)), waiters[i]))
		if i == 0 {
			<-sink.entered
		}
	}
	sink.leave <- struct{}{}
	<-waiters[0].done
	<-sink.entered
	require.Len(t, log, 1)
	sink.leave <- struct{}{}
	<-waiters[49].done
	require.EqualValues(t, 2, sink.commits.Load())
	require.NoError(t, g.Close(context.Background()))
	require.NoError(t, j.Close(context.Background()))
	require.Len(t, took, 2)
	for _, d := range took {
		require.Positive(t, d)
		require.LessOrEqual(t, d, time.Since(began))
	}
}

func TestErrorPoisons(t *testing.T) {
	for name, kind := range map[string]vfs.Kind{"write": vfs.OpWrite, "sync": vfs.OpSync} {
		t.Run(name, func(t *testing.T) {
			var armed atomic.Bool
			var hits atomic.Int32
			boom := errors.New("input/output error")
			fs := vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
				if op.Kind == kind && armed.Load() && hits.Add(1) == 1 {
					return boom
				}
				return nil
			})
			j := openJournal(t, fs)
			g := wal.New(j, wal.LocalSink(j, wal.LocalConfig{}), wal.Config{})
			var log []int
			first := &waiter{log: &log, done: make(chan struct{})}
			require.NoError(t, g.Append(partition(0), newBatch(0), first))
			<-first.done
			require.NoError(t, first.err)
			armed.Store(true)
			second := &waiter{log: &log, done: make(chan struct{})}
			require.NoError(t, g.Append(partition(0), newBatch(1), second))
			<-second.done
			require.ErrorIs(t, second.err, boom)
			<-g.Failed()
			require.ErrorIs(t, g.Err(), boom)
			require.ErrorIs(t, g.Append(partition(0), newBatch(2), &waiter{}), boom)
			_, err := j.Sync()
			require.ErrorIs(t, err, journal.ErrFailed)
			require.ErrorIs(t, g.Close(context.Background()), boom)
			require.NoError(t, j.Close(context.Background()))
			require.EqualValues(t, 1, hits.Load(), "the failed operation must not be tried again")
		})
	}
}

func TestCloseGivesUpWithItsContext(t *testing.T) {
	j := openJournal(t, vfs.NewMem())
	sink := &heldSink{Sink: wal.LocalSink(j, wal.LocalConfig{}), entered: make(chan struct{}), leave: make(chan struct{})}
	g := wal.New(j, sink, wal.Config{})
	var log []int
	w := &waiter{log: &log, done: make(chan struct{})}
	require.NoError(t, g.Append(partition(0), newBatch(0), w))
	<-sink.entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, g.Close(ctx), context.Canceled)
	sink.leave <- struct{}{}
	<-w.done
	require.NoError(t, g.Close(context.Background()))
	list, err := j.Read(partition(0), 0, math.MaxInt64, 1)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.NoError(t, j.Close(context.Background()))
}
