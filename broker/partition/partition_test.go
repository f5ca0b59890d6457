package partition_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/producers"
)

func TestAppendIsSeenOnlyOnceCommitted(t *testing.T) {
	r := newRig(t)
	l := r.log(0)
	r.gate.open = make(chan struct{})
	written, committed := make(chan error, 1), make(chan error, 1)
	_, err := l.Append(partition.Append{Batch: batchOf([]int64{1, 2}, id.NoProducer, -1, -1), Acks: partition.AcksLeader, Now: r.now, Done: func(err error) { written <- err }})
	require.NoError(t, err)
	got, err := l.Append(partition.Append{Batch: batchOf([]int64{3}, id.NoProducer, -1, -1), Acks: partition.AcksAll, Now: r.now, Done: func(err error) { committed <- err }})
	require.NoError(t, err)
	require.Equal(t, id.Offset(2), got.Base)
	require.NoError(t, <-written, "acks=1 does not wait for the commit")

	f, err := l.Read(context.Background(), 0, 1000, false)
	require.NoError(t, err)
	require.Empty(t, f.Batches)
	require.Equal(t, id.Offset(0), f.High)
	require.Equal(t, id.Offset(3), f.End)
	select {
	case err := <-committed:
		t.Fatalf("acks=all was answered before the commit: %v", err)
	default:
	}
	close(r.gate.open)
	require.NoError(t, <-committed)
	offsets, _ := r.readAll(l, 0)
	require.Equal(t, []id.Offset{0, 1, 2}, offsets)
}

func TestReadOutsideTheLog(t *testing.T) {
	r := newRig(t)
	l := r.log(0)
	r.putPlain(l, 1, 2)
	for _, from := range []id.Offset{-1, 3, 1 << 40} {
		_, err := l.Read(context.Background(), from, 1000, false)
		require.ErrorIs(t, err, partition.ErrOutOfRange)
	}
	f, err := l.Read(context.Background(), 2, 1000, false)
	require.NoError(t, err)
	require.Empty(t, f.Batches)
}

func TestDuplicateIsAnsweredWithTheOriginal(t *testing.T) {
	r := newRig(t)
	l := r.log(0)
	first := r.put(l, batchOf([]int64{1, 2}, 7, 0, 0))
	r.put(l, batchOf([]int64{3}, 7, 0, 2))
	again := r.put(l, batchOf([]int64{1, 2}, 7, 0, 0))
	require.True(t, again.Duplicate)
	require.Equal(t, first.Base, again.Base)
	require.Equal(t, int64(-1), first.Timestamp)
	require.Equal(t, batchOf([]int64{1, 2}, 7, 0, 0).MaxTimestamp(), again.Timestamp)
	require.Equal(t, id.Offset(3), l.Watermarks().End)

	_, err := l.Append(partition.Append{Batch: batchOf([]int64{9}, 7, 0, 9), Acks: partition.AcksAll, Now: r.now})
	require.ErrorIs(t, err, producers.ErrOutOfOrder)
	require.Equal(t, id.Offset(3), l.Watermarks().End, "a refused batch leaves no trace")
}

// Of two batches under way the first is refused while the partition is not led here yet.
func TestNoLogBeginsInTheMiddleOfASequence(t *testing.T) {
	r := newRig(t)
	l := r.log(0)
	second := partition.Append{Batch: batchOf([]int64{2}, 7, 0, 1), Acks: partition.AcksAll, Now: r.now}
	_, err := l.Append(second)
	require.ErrorIs(t, err, producers.ErrOutOfOrder)
	require.Zero(t, l.Watermarks().End)
	r.put(l, batchOf([]int64{1}, 7, 0, 0))
	_, err = l.Append(second)
	require.NoError(t, err)
	r.put(l, batchOf([]int64{3}, 8, 0, 5)) // its state may have expired
}

func TestDuplicateIsNotAcknowledgedBeforeItsOriginal(t *testing.T) {
	r := newRig(t)
	l := r.log(0)
	r.gate.open = make(chan struct{})
	answers := make(chan string, 2)
	for _, name := range []string{"original", "retry"} {
		_, err := l.Append(partition.Append{Batch: batchOf([]int64{1}, 7, 0, 0), Acks: partition.AcksAll, Now: r.now, Done: func(err error) {
			require.NoError(t, err)
			answers <- name
		}})
		require.NoError(t, err)
	}
	require.Empty(t, answers)
	close(r.gate.open)
	require.ElementsMatch(t, []string{"original", "retry"}, []string{<-answers, <-answers})
	offsets, _ := r.readAll(l, 0)
	require.Equal(t, []id.Offset{0}, offsets)
}

// TestEveryTier reads the same bytes from memory, from disk, from packs and from a mixture.
func TestEveryTier(t *testing.T) {
	r := newRig(t)
	l := r.log(0)
	for i := range int64(20) {
		r.put(l, batchOf([]int64{2 * i, 2*i + 1}, 7, 0, int32(2*i)))
		r.putPlain(r.log(1), i)
	}
	offsets, want := r.readAll(l, 0)
	require.Len(t, offsets, 40)

	check := func(what string) {
		t.Helper()
		l := r.log(0)
		got, data := r.readAll(l, 0)
		require.Equal(t, offsets, got, what)
		require.True(t, bytes.Equal(want, data), "%s: other bytes", what)
		middle, _ := r.readAll(l, 20)
		require.Equal(t, offsets[20:], middle, what)
	}
	r.restart()
	check("from disk after a restart")
	r.seal()
	check("from packs")
	for _, s := range r.journal.Segments() {
		require.False(t, s.Rolled, "every sealed segment was dropped")
	}
	r.restart()
	check("from packs after a restart")

	again := r.put(r.log(0), batchOf([]int64{38, 39}, 7, 0, 38))
	require.True(t, again.Duplicate, "the producer is known from the pack")
	require.Equal(t, id.Offset(38), again.Base)

	for i := int64(20); i < 25; i++ {
		r.put(r.log(0), batchOf([]int64{2 * i, 2*i + 1}, 7, 0, int32(2*i)))
	}
	offsets, want = r.readAll(r.log(0), 0)
	require.Len(t, offsets, 50)
	check("from both tiers")
	r.restart()
	check("from both tiers after a restart")
}

func TestFindTimeInEveryTier(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	r.putPlain(r.log(0), 10, 30, 20)
	r.putPlain(r.log(0), 40)
	r.seal()
	r.putPlain(r.log(0), 35, 60)
	l := r.log(0)
	for _, c := range []struct {
		ts   int64
		want id.Offset
		is   int64
	}{{0, 0, 10}, {10, 0, 10}, {11, 1, 30}, {31, 3, 40}, {41, 5, 60}, {60, 5, 60}} {
		got, ok, err := l.FindTime(ctx, c.ts, 6)
		require.NoError(t, err)
		require.True(t, ok, "time %d", c.ts)
		require.Equal(t, c.want, got.Offset, "time %d", c.ts)
		require.Equal(t, c.is, got.Timestamp)
	}
	_, ok, err := l.FindTime(ctx, 61, 6)
	require.NoError(t, err)
	require.False(t, ok)
	_, ok, err = l.FindTime(ctx, 50, 5)
	require.NoError(t, err)
	require.False(t, ok, "a hit above the limit is none")

	greatest, ok, err := l.FindMaxTime(ctx, 6)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, partition.Found{Offset: 5, Timestamp: 60, Epoch: 0}, greatest)
	_, ok, err = r.log(1).FindMaxTime(ctx, 0)
	require.NoError(t, err)
	require.False(t, ok, "an empty partition has none")
}

// What is sealed and dropped between the look at the chain and that at the hot tier is found in the chain.
func TestFindTimeWhileItIsSealed(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	r.putPlain(r.log(0), 10)
	r.seal()
	r.putPlain(r.log(0), 20)
	r.beforeEntries = r.seal
	got, ok, err := r.log(0).FindTime(ctx, 15, 2)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, id.Offset(1), got.Offset)

	r.putPlain(r.log(0), 30)
	r.beforeEntries = r.seal
	greatest, ok, err := r.log(0).FindMaxTime(ctx, 3)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, id.Offset(2), greatest.Offset)
}

func TestEpochEndAcrossRestartsAndTiers(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	r.putPlain(r.log(0), 1, 2) // epoch 0: [0, 2)
	r.restart()
	r.putPlain(r.log(0), 3) // epoch 1: [2, 3)
	r.seal()
	r.restart() // epoch 2: nothing
	r.restart()
	r.putPlain(r.log(0), 4, 5) // epoch 3: [3, 5)
	l := r.log(0)
	for _, c := range []struct {
		want, epoch id.Epoch
		end         id.Offset
	}{{0, 0, 2}, {1, 1, 3}, {2, 1, 3}, {3, 3, 5}, {4, -1, -1}} {
		epoch, end, err := l.EpochEnd(ctx, c.want)
		require.NoError(t, err)
		require.Equal(t, c.epoch, epoch, "epoch %d", c.want)
		require.Equal(t, c.end, end, "epoch %d", c.want)
	}
	require.NoError(t, l.CheckEpoch(-1))
	require.NoError(t, l.CheckEpoch(3))
	require.ErrorIs(t, l.CheckEpoch(2), partition.ErrFenced)
	require.ErrorIs(t, l.CheckEpoch(-2), partition.ErrFenced)
	require.ErrorIs(t, l.CheckEpoch(4), partition.ErrUnknownEpoch)
}

func TestWaitFiresOnEnoughBytes(t *testing.T) {
	r := newRig(t)
	l := r.log(0)
	size := int64(len(batchOf([]int64{1}, id.NoProducer, -1, -1)))
	fired := make(chan struct{})
	w := partition.NewWait(2*size, time.Hour, func() { close(fired) })
	require.True(t, l.Register(w, 0, false))
	require.True(t, r.log(1).Register(w, 0, false), "one wait over two partitions")
	r.putPlain(l, 1)
	select {
	case <-fired:
		t.Fatal("half of the bytes are not enough")
	default:
	}
	require.False(t, l.Register(partition.NewWait(1, time.Hour, func() {}), 0, false), "the log has moved since")
	r.putPlain(r.log(1), 1)
	<-fired
}

func TestWaitFiresWhenItsTimeIsUp(t *testing.T) {
	r := newRig(t)
	fired := make(chan struct{})
	require.True(t, r.log(0).Register(partition.NewWait(1, time.Millisecond, func() { close(fired) }), 0, false))
	<-fired
}

func TestDeletedTopic(t *testing.T) {
	r := newRig(t)
	l := r.log(0)
	r.putPlain(l, 1)
	fired := make(chan struct{})
	require.True(t, l.Register(partition.NewWait(1, time.Hour, func() { close(fired) }), 1, false))
	r.image = metalog.NewImage("test-cluster")
	r.set.Apply(r.image)
	<-fired
	_, err := l.Append(partition.Append{Batch: batchOf([]int64{2}, id.NoProducer, -1, -1), Now: r.now})
	require.ErrorIs(t, err, partition.ErrClosed)
	_, ok := r.set.Get(l.ID())
	require.False(t, ok)
	r.stop()
	r.start() // what the hot segments hold of it is passed over
	require.Zero(t, r.set.Len())
}

func TestFailedCommitIsNeverAcknowledged(t *testing.T) {
	r := newRig(t)
	l := r.log(0)
	broken := errors.New("disk on fire")
	r.gate.err = broken
	done := make(chan error, 1)
	_, err := l.Append(partition.Append{Batch: batchOf([]int64{1}, id.NoProducer, -1, -1), Acks: partition.AcksAll, Now: r.now, Done: func(err error) { done <- err }})
	require.NoError(t, err)
	require.ErrorIs(t, <-done, broken)
	require.Equal(t, id.Offset(0), l.Watermarks().High)
}
