package slotlog_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/slotlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

func openBolt(t *testing.T) kv.Store {
	s, err := kv.OpenBolt(filepath.Join(t.TempDir(), "kv.db"), kv.BoltOptions{NoSync: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// eachStore runs test on every driver.
func eachStore(t *testing.T, test func(t *testing.T, s kv.Store)) {
	t.Run("mem", func(t *testing.T) { test(t, kv.NewMem()) })
	t.Run("bolt", func(t *testing.T) { test(t, openBolt(t)) })
}

func appendAll(t *testing.T, l *slotlog.Log, from, to uint64) {
	t.Helper()
	for seq := from; seq <= to; seq++ {
		require.NoError(t, l.Append(ctx, seq, []byte(fmt.Sprint("payload ", seq))))
	}
}

// read returns the sequences found and checks the payloads.
func read(t *testing.T, l *slotlog.Log, from uint64, limit int) []uint64 {
	t.Helper()
	slots, err := l.Read(ctx, from, limit)
	require.NoError(t, err)
	var seqs []uint64
	for _, s := range slots {
		require.Equal(t, fmt.Sprint("payload ", s.Seq), string(s.Payload))
		seqs = append(seqs, s.Seq)
	}
	return seqs
}

func TestAppendAndRead(t *testing.T) {
	eachStore(t, func(t *testing.T, s kv.Store) {
		l := slotlog.Open(s, "stream")
		_, ok, err := l.Last(ctx)
		require.NoError(t, err)
		require.False(t, ok)
		require.Empty(t, read(t, l, 0, 0))

		appendAll(t, l, 1, 12)
		require.ErrorIs(t, l.Append(ctx, 5, []byte("other")), slotlog.ErrTaken)
		require.ErrorIs(t, l.Append(ctx, 13, make([]byte, kv.MaxValue+1)), kv.ErrTooLarge)

		require.Equal(t, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, read(t, l, 0, 0))
		require.Equal(t, []uint64{9, 10, 11}, read(t, l, 9, 3))
		require.Equal(t, []uint64{11, 12}, read(t, l, 11, 2))
		require.Equal(t, []uint64{11, 12}, read(t, l, 11, 3))
		require.Empty(t, read(t, l, 13, 0))
		last, ok, err := l.Last(ctx)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, slotlog.Slot{Seq: 12, Payload: []byte("payload 12")}, last)
		require.Empty(t, read(t, slotlog.Open(s, "stream2"), 0, 0), "streams are apart")
	})
}

func TestTruncate(t *testing.T) {
	eachStore(t, func(t *testing.T, s kv.Store) {
		l := slotlog.Open(s, "stream")
		require.NoError(t, l.Truncate(ctx, 10), "of an empty log")
		appendAll(t, l, 1, 200)
		require.NoError(t, l.Truncate(ctx, 150))
		for _, limit := range []int{0, 1, 60} {
			_, err := l.Read(ctx, 149, limit)
			require.ErrorIs(t, err, slotlog.ErrTruncated)
		}
		require.Equal(t, []uint64{150, 151}, read(t, l, 150, 2))
		require.Len(t, read(t, l, 150, 0), 51)

		require.NoError(t, l.Truncate(ctx, 20), "never goes back")
		first, err := l.First(ctx)
		require.NoError(t, err)
		require.Equal(t, uint64(150), first)

		require.NoError(t, l.Truncate(ctx, 1000))
		require.Equal(t, []uint64{200}, read(t, l, 200, 0), "the last slot stays")
		require.ErrorIs(t, l.Append(ctx, 200, nil), slotlog.ErrTaken)
		_, err = l.Read(ctx, 199, 0)
		require.ErrorIs(t, err, slotlog.ErrTruncated)
		require.Empty(t, read(t, l, 201, 0))
		appendAll(t, l, 201, 201)
		items, err := s.Query(ctx, "slot/stream", kv.Range{})
		require.NoError(t, err)
		require.Len(t, items, 3, "two slots and the floor")
	})
}

// TestOvertakenAppender: a slot that was taken and removed looks free to one who
// slept through both. It must not believe that it has it, and no reader may see it.
func TestOvertakenAppender(t *testing.T) {
	eachStore(t, func(t *testing.T, s kv.Store) {
		l := slotlog.Open(s, "stream")
		appendAll(t, l, 1, 10)
		require.NoError(t, l.Truncate(ctx, 8))

		require.ErrorIs(t, l.Append(ctx, 4, []byte("late")), slotlog.ErrTruncated)
		_, err := l.Read(ctx, 4, 1)
		require.ErrorIs(t, err, slotlog.ErrTruncated)
		require.Equal(t, []uint64{8, 9, 10}, read(t, l, 8, 0))
		last, _, err := l.Last(ctx)
		require.NoError(t, err)
		require.Equal(t, uint64(10), last.Seq)
		require.ErrorIs(t, l.Append(ctx, 9, nil), slotlog.ErrTaken)
	})
}

// TestTruncateStopped stops Truncate at each of its operations. What can be read
// is contiguous up to the end at any time, and truncating again finishes the work.
func TestTruncateStopped(t *testing.T) {
	stopped := 0
	for stop := 1; ; stop++ {
		s, ops := kv.NewMem(), 0
		appendAll(t, slotlog.Open(s, "stream"), 1, 150)
		err := slotlog.Open(kv.Inject(s, func(kv.Op) kv.Fault {
			if ops++; ops > stop {
				return kv.FaultFail
			}
			return kv.FaultNone
		}), "stream").Truncate(ctx, 140)

		l := slotlog.Open(s, "stream")
		first, firstErr := l.First(ctx)
		require.NoError(t, firstErr)
		require.Contains(t, []uint64{0, 140}, first)
		require.Len(t, read(t, l, max(first, 1), 0), 151-int(max(first, 1)))
		if err == nil {
			break
		}
		stopped++
		require.NoError(t, l.Truncate(ctx, 140))
		items, queryErr := s.Query(ctx, "slot/stream", kv.Range{})
		require.NoError(t, queryErr)
		require.Len(t, items, 12, "eleven slots and the floor")
	}
	require.Greater(t, stopped, 5)
}

func TestForeignItemsAreCorrupt(t *testing.T) {
	for _, bad := range []kv.Key{{Part: "slot/stream", Sort: "0017"}, {Part: "slot/stream", Sort: "~floor"}} {
		s := kv.NewMem()
		_, err := kv.PutIfAbsent(ctx, s, bad, []byte("no number"))
		require.NoError(t, err)
		_, err = slotlog.Open(s, "stream").Read(ctx, 0, 0)
		require.ErrorIs(t, err, kv.ErrCorrupt)
	}
}

// TestUnknownUntilTheEnd: an append that cannot find out, because the store fails
// until the context ends, says so.
func TestUnknownUntilTheEnd(t *testing.T) {
	for name, fault := range map[string]kv.Fault{"lost": kv.FaultLost, "landed": kv.FaultLanded} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			ops := 0
			s := kv.Inject(kv.NewMem(), func(kv.Op) kv.Fault {
				if ops++; ops == 1 {
					return fault
				}
				if ops == 3 {
					cancel()
				}
				return kv.FaultFail
			})
			err := slotlog.Open(s, "stream").Append(ctx, 1, nil)
			require.ErrorIs(t, err, kv.ErrUnknown)
			require.NotErrorIs(t, err, slotlog.ErrTaken)
			require.GreaterOrEqual(t, ops, 3)
		})
	}
	t.Run("floor unknown", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		s := kv.Inject(kv.NewMem(), func(op kv.Op) kv.Fault {
			if op.Kind == kv.OpGet {
				cancel()
				return kv.FaultFail
			}
			return kv.FaultNone
		})
		require.ErrorIs(t, slotlog.Open(s, "stream").Append(ctx, 1, nil), kv.ErrUnknown)
	})
}
