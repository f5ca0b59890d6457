package chain

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// threeItems is a chain of three segments of ten offsets.
func threeItems(t *testing.T, table kv.Store) (*Store, id.Partition, []Item) {
	t.Helper()
	s, p := Open(table), partition(1)
	appendAll(t, s, link(p, 0, 10, "packs/a"), link(p, 10, 20, "packs/b"), link(p, 20, 30, "packs/c"))
	items, err := s.Items(ctx, p)
	require.NoError(t, err)
	require.Len(t, items, 3)
	return s, p, items
}

func TestReplace(t *testing.T) {
	s, p, items := threeItems(t, kv.NewMem())
	require.NoError(t, s.Replace(ctx, p, items[:2], segment(0, 20, "packs/d")))
	now, err := s.Items(ctx, p)
	require.NoError(t, err)
	require.True(t, now[0].Rewritten)
	require.Equal(t, "packs/d", now[0].Object)
	require.Equal(t, items[1:], now[1:], "nothing else is written")
	segs, err := s.Segments(ctx, p, 0, 0)
	require.NoError(t, err)
	require.Equal(t, []id.Offset{0, 20}, []id.Offset{segs[0].Base, segs[1].Base})
	require.ErrorIs(t, s.Replace(ctx, p, items[:1], segment(0, 10, "packs/e")), ErrChanged)

	require.NoError(t, s.Remove(ctx, p, items[1:2]))
	require.NoError(t, s.Remove(ctx, p, items[1:2]), "twice")
	seg, err := s.Find(ctx, p, 15)
	require.NoError(t, err)
	require.Equal(t, "packs/d", seg.Object)
	require.ErrorIs(t, s.Replace(ctx, p, items[1:], segment(10, 30, "packs/f")), ErrChanged, "its place is gone")
	require.ErrorIs(t, s.Append(ctx, []Link{link(p, 10, 20, "packs/g")})[0], ErrTaken)
}

func TestReplaceByNothing(t *testing.T) {
	s, p, items := threeItems(t, kv.NewMem())
	require.NoError(t, s.Replace(ctx, p, items, Segment{Base: 0, Next: 30, MaxTimestamp: -1, LastEpoch: 4}))
	seg, err := s.Find(ctx, p, 5)
	require.NoError(t, err)
	require.True(t, seg.Empty())
	appendAll(t, s, link(p, 30, 40, "packs/e"))
	seg, err = s.Find(ctx, p, 35)
	require.NoError(t, err)
	require.Equal(t, "packs/e", seg.Object)
}

func TestReplaceRefuses(t *testing.T) {
	s, p, items := threeItems(t, kv.NewMem())
	bad := segment(0, 20, "packs/d")
	bad.Records = 21
	for name, err := range map[string]error{
		"nothing":         s.Replace(ctx, p, nil, segment(0, 10, "packs/d")),
		"a gap":           s.Replace(ctx, p, []Item{items[0], items[2]}, segment(0, 30, "packs/d")),
		"another base":    s.Replace(ctx, p, items[:2], segment(5, 20, "packs/d")),
		"another end":     s.Replace(ctx, p, items[:2], segment(0, 30, "packs/d")),
		"a contradiction": s.Replace(ctx, p, items[:2], bad),
	} {
		require.ErrorIs(t, err, ErrInvalid, name)
	}
	now, err := s.Items(ctx, p)
	require.NoError(t, err)
	require.Equal(t, items, now)
}

// Whatever is known of a write, the answer is what the chain says.
func TestReplaceOfUnknownOutcome(t *testing.T) {
	for name, test := range map[string]struct {
		fault kv.Fault
		want  error
	}{
		"lost":   {kv.FaultLost, kv.ErrUnknown},
		"landed": {kv.FaultLanded, nil},
		"late":   {kv.FaultLate, kv.ErrUnknown},
		"failed": {kv.FaultFail, kv.ErrInjected},
	} {
		t.Run(name, func(t *testing.T) {
			fault := kv.FaultNone
			table := kv.Inject(kv.NewMem(), func(op kv.Op) kv.Fault {
				if op.Kind == kv.OpWrite {
					return fault
				}
				if op.Kind == kv.OpLand {
					return kv.FaultLate // not yet
				}
				return kv.FaultNone
			})
			s, p, items := threeItems(t, table)
			fault = test.fault
			err := s.Replace(ctx, p, items[:2], segment(0, 20, "packs/d"))
			fault = kv.FaultNone
			if test.want == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, test.want)
			}
			seg, err := s.Find(ctx, p, 0)
			require.NoError(t, err)
			require.Equal(t, test.want == nil, seg.Object == "packs/d")
		})
	}
}

func TestRewritersRace(t *testing.T) {
	for range 20 {
		s, p, items := threeItems(t, kv.NewMem())
		var work sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			work.Go(func() { errs[i] = s.Replace(ctx, p, items, segment(0, 30, fmt.Sprint("packs/", i))) })
		}
		work.Wait()
		won := -1
		for i, err := range errs {
			if err == nil {
				require.Equal(t, -1, won, "two have won")
				won = i
			} else {
				require.ErrorIs(t, err, ErrChanged)
			}
		}
		seg, err := s.Find(ctx, p, 0)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("packs/", won), seg.Object)
	}
}

// What was replaced since it was marked stays, and a failure leaves what lies above.
func TestRemove(t *testing.T) {
	var failing error
	table := kv.NewMem()
	s, p, items := threeItems(t, kv.Inject(table, func(op kv.Op) kv.Fault {
		if failing != nil && op.Kind == kv.OpWrite && op.Key == segmentKey(partition(1), 10) {
			return kv.FaultFail
		}
		return kv.FaultNone
	}))
	require.NoError(t, s.Replace(ctx, p, items[:1], segment(0, 10, "packs/d")))
	failing = errors.New("armed")
	require.ErrorIs(t, s.Remove(ctx, p, []Item{items[2], items[0], items[1]}), kv.ErrInjected)
	now, err := s.Items(ctx, p)
	require.NoError(t, err)
	require.Equal(t, []id.Offset{0, 10, 20}, bases(now))
	failing = nil
	require.NoError(t, s.Remove(ctx, p, items))
	now, err = s.Items(ctx, p)
	require.NoError(t, err)
	require.Equal(t, []id.Offset{0}, bases(now), "it has changed since")
}
