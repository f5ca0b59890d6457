package offsets

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

func pend(epoch id.Epoch, producer id.Producer, entries ...Entry) PendingWrite {
	return PendingWrite{Shard: 3, Coordinator: epoch, Pending: Pending{Group: "g", Producer: producer, Epoch: 5, Entries: entries}}
}

func loadPending(t *testing.T, table *Table, epoch id.Epoch) []Pending {
	t.Helper()
	found, err := table.LoadPending(ctx, 3, epoch)
	require.NoError(t, err)
	return found
}

func writePending(table *Table, writes ...PendingWrite) error {
	for _, err := range table.WritePending(ctx, writes) {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestPending: what is pending outlives its coordinators until it is removed.
func TestPending(t *testing.T) {
	eachStore(t, func(t *testing.T, s kv.Store) {
		table := Open(s, Sole)
		require.ErrorIs(t, writePending(table, pend(1, 7, entry(1, 0, 10))), ErrFenced, "not loaded")
		require.Empty(t, loadPending(t, table, 1))
		require.NoError(t, writePending(table, pend(1, 7, entry(1, 0, 10)), pend(1, 8, entry(1, 1, 20)), pend(1, 7, entry(1, 0, 10), entry(1, 2, 11))))
		other := pend(1, 9, entry(1, 0, 1))
		other.Group = "h%"
		require.NoError(t, writePending(table, other))

		next := Open(s, Sole)
		found := loadPending(t, next, 2)
		require.Equal(t, []Pending{pend(2, 7, entry(1, 0, 10), entry(1, 2, 11)).Pending, pend(2, 8, entry(1, 1, 20)).Pending, other.Pending}, found)
		require.ErrorIs(t, writePending(table, pend(1, 7, entry(1, 0, 12))), ErrFenced)
		require.ErrorIs(t, writePending(table, pend(1, 8)), ErrFenced)
		_, err := table.LoadPending(ctx, 3, 1)
		require.ErrorIs(t, err, ErrFenced)
		require.NoError(t, writePending(next, pend(2, 7), pend(2, 99)))
		require.Len(t, loadPending(t, next, 2), 2)
		require.Len(t, loadPending(t, Open(s, Sole), 3), 2)
	})
}

// TestPendingLate: what a replaced coordinator writes after its successor has read never
// counts, whether the successor has written anything or not.
func TestPendingLate(t *testing.T) {
	for name, busy := range map[string]bool{"busy": true, "idle": false} {
		t.Run(name, func(t *testing.T) {
			var all appointed
			s := kv.NewMem()
			old := Open(s, (&view{appointed: &all}).appoint(1))
			require.Empty(t, loadPending(t, old, 1))
			require.NoError(t, writePending(old, pend(1, 1, entry(1, 0, 1))))
			fresh := Open(s, (&view{appointed: &all}).appoint(2))
			require.Len(t, loadPending(t, fresh, 2), 1)
			require.ErrorIs(t, writePending(old, pend(1, 7, entry(1, 0, 10))), ErrFenced, "it hears of its successor")
			if busy {
				require.NoError(t, writePending(fresh, pend(2, 7, entry(1, 0, 20)), pend(2, 7)))
				require.NoError(t, writePending(fresh, pend(2, 7, entry(1, 0, 20))))
				require.NoError(t, writePending(fresh, pend(2, 7)))
			}
			third := Open(s, (&view{appointed: &all}).appoint(3))
			require.Equal(t, []Pending{pend(2, 1, entry(1, 0, 1)).Pending}, loadPending(t, third, 3))
		})
	}
}

// TestPendingLateHead: the first write of a shard that has been taken over meanwhile.
func TestPendingLateHead(t *testing.T) {
	var all appointed
	s := kv.NewMem()
	old := Open(s, (&view{appointed: &all}).appoint(1))
	require.Empty(t, loadPending(t, old, 1))
	fresh := Open(s, (&view{appointed: &all}).appoint(2))
	require.Empty(t, loadPending(t, fresh, 2))
	require.ErrorIs(t, writePending(old, pend(1, 7, entry(1, 0, 10))), ErrFenced)
	items, err := s.Query(ctx, pendingPart(3), kv.Range{})
	require.NoError(t, err)
	require.Len(t, items, 1, "the head alone")
	require.NoError(t, writePending(fresh, pend(2, 7, entry(1, 0, 20))), "over the head that came late")
	require.Len(t, loadPending(t, Open(s, Sole), 3), 1)
}

// late keeps the first write of an item back until it is let go.
type late struct {
	kv.Store
	held *kv.Write
	on   bool
}

func (l *late) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	if l.on && l.held == nil && writes[0].Key.Sort != pendingHead {
		l.held = &writes[0]
		<-ctx.Done()
		return []kv.Result{{Version: "gone", Err: kv.ErrUnknown}}
	}
	return l.Store.Write(ctx, writes...)
}

// TestPendingDoubtful: a write of unknown outcome that arrives after the end of its transaction
// does not come back.
func TestPendingDoubtful(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := kv.NewMem()
		s := &late{Store: mem}
		table := Open(s, Sole)
		require.Empty(t, loadPending(t, table, 1))
		s.on = true
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		require.ErrorIs(t, table.WritePending(short, []PendingWrite{pend(1, 7, entry(1, 0, 10))})[0], kv.ErrUnknown)
		require.NoError(t, writePending(table, pend(1, 7)))
		require.ErrorIs(t, mem.Write(ctx, *s.held)[0].Err, kv.ErrConflict)
		require.Empty(t, loadPending(t, Open(mem, Sole), 2))
		require.NoError(t, mem.Write(ctx, *s.held)[0].Err, "the shard is taken over")
		require.Empty(t, loadPending(t, Open(mem, Sole), 3))
	})
}

// FuzzDecodePending: the decoder never panics, and what it accepts it reads again from what is written.
func FuzzDecodePending(f *testing.F) {
	for _, it := range []pendingItem{{epoch: 3}, {epoch: 1, ended: true}, {epoch: 2, Pending: Pending{Epoch: 9, Entries: []Entry{entry(1, 0, 1), entry(2, 7, 3)}}}} {
		b, err := appendPending(nil, it)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		it, err := decodePending(pendingHead, b)
		if err != nil {
			return
		}
		again, err := appendPending(nil, it)
		require.NoError(t, err)
		back, err := decodePending(pendingHead, again)
		require.NoError(t, err)
		require.Equal(t, it, back)
	})
}
