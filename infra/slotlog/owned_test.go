package slotlog_test

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/slotlog"
)

// TestAppendOwned: one write and no read where Append looks at the floor too.
func TestAppendOwned(t *testing.T) {
	eachStore(t, func(t *testing.T, s kv.Store) {
		ops := map[kv.OpKind]int{}
		l := slotlog.Open(kv.Inject(s, func(op kv.Op) kv.Fault { ops[op.Kind]++; return kv.FaultNone }), "stream")
		for seq := uint64(1); seq <= 5; seq++ {
			require.NoError(t, l.AppendOwned(ctx, seq, []byte(fmt.Sprint("payload ", seq))))
		}
		require.Equal(t, map[kv.OpKind]int{kv.OpWrite: 5}, ops)
		require.Equal(t, []uint64{1, 2, 3, 4, 5}, read(t, l, 0, 0))
		require.ErrorIs(t, l.AppendOwned(ctx, 3, nil), slotlog.ErrTaken)
		require.ErrorIs(t, l.AppendOwned(ctx, 6, make([]byte, kv.MaxValue+1)), kv.ErrTooLarge)

		require.NoError(t, l.Append(ctx, 6, []byte("payload 6")), "another fences")
		require.NoError(t, l.Truncate(ctx, math.MaxUint64), "and releases")
		require.ErrorIs(t, l.AppendOwned(ctx, 6, []byte("late")), slotlog.ErrTaken, "the slot that fences stays")
		require.Equal(t, []uint64{6}, read(t, l, 6, 0))
	})
}

// TestAppendOwnedOfUnknownOutcome: whether the write was applied is found out.
func TestAppendOwnedOfUnknownOutcome(t *testing.T) {
	for _, fault := range []kv.Fault{kv.FaultLost, kv.FaultLanded, kv.FaultLate} {
		mem, writes := kv.NewMem(), 0
		l := slotlog.Open(kv.Inject(mem, func(op kv.Op) kv.Fault {
			if op.Kind == kv.OpWrite {
				if writes++; writes == 1 {
					return fault
				}
			}
			return kv.FaultNone
		}), "stream")
		require.NoError(t, l.AppendOwned(ctx, 1, []byte("payload 1")))
		require.Equal(t, []uint64{1}, read(t, l, 0, 0))
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	ops := 0
	l := slotlog.Open(kv.Inject(kv.NewMem(), func(kv.Op) kv.Fault {
		if ops++; ops == 1 {
			return kv.FaultLanded
		}
		return kv.FaultFail
	}), "stream")
	err := l.AppendOwned(ctx, 1, nil)
	require.ErrorIs(t, err, kv.ErrUnknown)
	require.NotErrorIs(t, err, slotlog.ErrTaken)
}

// TestOwnerRacesWithFence: of the owner and the one that fences it exactly one has the slot,
// and both know which.
func TestOwnerRacesWithFence(t *testing.T) {
	wins := map[string]int{}
	for seed := range uint64(200) {
		mem := kv.NewMem()
		rates := kv.FlakyRates{Fail: 0, Lost: 0.2, Landed: 0.2, Late: 0.2, Read: 0.2}
		owner := slotlog.Open(kv.NewFlaky(mem, seed, rates), "stream")
		other := slotlog.Open(kv.NewFlaky(mem, seed+1000, rates), "stream")
		require.NoError(t, owner.AppendOwned(ctx, 1, []byte("payload 1")))
		var owned, fenced error
		var race sync.WaitGroup
		race.Go(func() { owned = owner.AppendOwned(ctx, 2, []byte("owner")) })
		race.Go(func() { fenced = other.Append(ctx, 2, []byte("fence")) })
		race.Wait()
		slots, err := slotlog.Open(mem, "stream").Read(ctx, 2, 0)
		require.NoError(t, err)
		require.Len(t, slots, 1)
		winner := string(slots[0].Payload)
		wins[winner]++
		if winner == "owner" {
			require.NoError(t, owned)
			require.ErrorIs(t, fenced, slotlog.ErrTaken)
		} else {
			require.NoError(t, fenced)
			require.ErrorIs(t, owned, slotlog.ErrTaken)
		}
	}
	require.Len(t, wins, 2, "the race was one: %v", wins)
}

// TestOwnerOvertaken is the reason why the floor need not be looked at: an owner whose slot was
// applied, released and removed before it knew takes it anew, below the floor. Its answer is
// right, for the payload was committed; no reader sees the slot; and the next one is taken.
func TestOwnerOvertaken(t *testing.T) {
	mem := kv.NewMem()
	l := slotlog.Open(mem, "stream")
	appendAll(t, l, 1, 2)
	appendAll(t, l, 3, 3) // the fence
	require.NoError(t, l.Truncate(ctx, 3))
	require.NoError(t, l.AppendOwned(ctx, 2, []byte("payload 2")))
	_, err := l.Read(ctx, 2, 0)
	require.ErrorIs(t, err, slotlog.ErrTruncated)
	require.Equal(t, []uint64{3}, read(t, l, 3, 0))
	require.ErrorIs(t, l.AppendOwned(ctx, 3, nil), slotlog.ErrTaken)
	last, _, err := l.Last(ctx)
	require.NoError(t, err)
	require.Equal(t, uint64(3), last.Seq)
}
