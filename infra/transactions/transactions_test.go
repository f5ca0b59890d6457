package transactions

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// epochs is an Authority that the test appoints coordinators with.
type epochs struct {
	mu            sync.Mutex
	newest, known id.Epoch
}

func (a *epochs) Refresh(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known = a.newest
	return nil
}

func (a *epochs) Holds(_ string, epoch id.Epoch) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return epoch == a.known
}

func (a *epochs) appoint(epoch id.Epoch) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.newest = epoch
}

func ongoing(producer id.Producer, partitions ...int32) Transaction {
	t := Transaction{
		State: Ongoing, Version: 2, Producer: producer, Previous: producer - 1, Next: id.NoProducer, Epoch: 7, LastEpoch: 6,
		Timeout: time.Minute, Started: time.UnixMilli(1000).UTC(), Updated: time.UnixMilli(2000).UTC(),
	}
	for _, p := range partitions {
		t.Partitions = append(t.Partitions, id.Partition{Topic: id.Topic{1}, Index: p})
	}
	return t
}

func TestWriteAndLoad(t *testing.T) {
	a := &epochs{newest: 3}
	table := Open(kv.NewMem(), a)
	names := []string{"plain", "100%", "\x00\xff", strings.Repeat("x", maxID)}
	var writes []Write
	for i, name := range names {
		writes = append(writes, Write{Shard: 4, ID: name, Epoch: 3, Transaction: ongoing(id.Producer(i), 0, 1)})
	}
	for _, r := range table.WriteAll(t.Context(), writes) {
		require.NoError(t, r.Err)
		require.NotEmpty(t, r.Version)
	}
	items, err := table.Load(t.Context(), 4, 3)
	require.NoError(t, err)
	require.Len(t, items, len(names))
	found := map[string]Transaction{}
	for _, it := range items {
		found[it.ID] = it.Transaction
	}
	for i, name := range names {
		require.Equal(t, ongoing(id.Producer(i), 0, 1), found[name])
	}
	other, err := table.Load(t.Context(), 5, 3)
	require.NoError(t, err)
	require.Empty(t, other)

	gone := table.WriteAll(t.Context(), []Write{{Shard: 4, ID: items[0].ID, Epoch: 3, If: items[0].Version, Delete: true}})
	require.NoError(t, gone[0].Err)
	items, err = table.Load(t.Context(), 4, 3)
	require.NoError(t, err)
	require.Len(t, items, len(names)-1)
}

func TestCheckID(t *testing.T) {
	require.NoError(t, CheckID("x"))
	require.ErrorIs(t, CheckID(""), ErrInvalidID)
	require.ErrorIs(t, CheckID(strings.Repeat("x", maxID+1)), ErrInvalidID)
	require.ErrorIs(t, CheckID(strings.Repeat("%", maxID/2)), ErrInvalidID)
}

// TestReplacedCoordinator: what a replaced coordinator writes is not acknowledged; its successor
// meets it as the truth, and is not overwritten.
func TestReplacedCoordinator(t *testing.T) {
	a := &epochs{newest: 1, known: 1}
	table := Open(kv.NewMem(), a)
	write := func(epoch id.Epoch, ver kv.Version, txn Transaction) Result {
		return table.WriteAll(t.Context(), []Write{{ID: "x", Epoch: epoch, If: ver, Transaction: txn}})[0]
	}
	first := write(1, "", ongoing(5, 0))
	require.NoError(t, first.Err)

	a.appoint(2)
	items, err := table.Load(t.Context(), 0, 2)
	require.NoError(t, err)
	late := write(1, first.Version, ongoing(5, 0, 1))
	require.ErrorIs(t, late.Err, ErrFenced)

	met := write(2, items[0].Version, ongoing(5, 0, 2))
	require.ErrorIs(t, met.Err, ErrConflict)
	require.Equal(t, ongoing(5, 0, 1), met.Found.Transaction, "the late write is the truth")
	next := write(2, met.Found.Version, ongoing(5, 0, 1, 2))
	require.NoError(t, next.Err)

	late = write(1, late.Version, ongoing(5))
	require.ErrorIs(t, late.Err, ErrFenced)
	_, err = table.Load(t.Context(), 0, 1)
	require.ErrorIs(t, err, ErrFenced, "an item of a higher epoch")
	items, err = table.Load(t.Context(), 0, 2)
	require.NoError(t, err)
	require.Equal(t, ongoing(5, 0, 1, 2), items[0].Transaction)

	removed := table.WriteAll(t.Context(), []Write{{ID: "x", Epoch: 2, If: items[0].Version, Delete: true}})[0]
	require.NoError(t, removed.Err)
	met = write(2, items[0].Version, ongoing(5))
	require.ErrorIs(t, met.Err, ErrConflict)
	require.Equal(t, Item{ID: "x"}, met.Found)
}

func TestWriterGathers(t *testing.T) {
	a := &epochs{newest: 1}
	store := kv.NewMem()
	w := NewWriter(Open(store, a))
	var done sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for i := range 100 {
		done.Add(1)
		w.Submit(Write{ID: strings.Repeat("x", i+1), Epoch: 1, Transaction: ongoing(1)}, func(r Result) {
			mu.Lock()
			errs = append(errs, r.Err)
			mu.Unlock()
			done.Done()
		})
	}
	done.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.NoError(t, w.Close(t.Context()))
	w.Submit(Write{ID: "y"}, func(r Result) { require.ErrorIs(t, r.Err, ErrClosed) })
	items, err := Open(store, a).Load(t.Context(), 0, 1)
	require.NoError(t, err)
	require.Len(t, items, 100)
}

// FuzzValue: what decodes is what is encoded again.
func FuzzValue(f *testing.F) {
	full := ongoing(5, 0, 1, 9)
	f.Add(appendValue(nil, &full, 3))
	none := Transaction{State: Empty, Previous: id.NoProducer, Next: id.NoProducer, Updated: time.UnixMilli(0).UTC()}
	f.Add(appendValue(nil, &none, -1))
	f.Add([]byte{valueVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		txn, epoch, err := decodeValue(b)
		if err != nil {
			return
		}
		require.Equal(t, b, appendValue(nil, &txn, epoch))
	})
}

func TestDecodeRefuses(t *testing.T) {
	txn := ongoing(5, 0, 1)
	good := appendValue(nil, &txn, 3)
	change := func(at int, to byte) []byte {
		b := append([]byte{}, good...)
		b[at] = to
		return b
	}
	for name, tc := range map[string]struct {
		value []byte
		want  error
	}{
		"nothing":           {nil, ErrCorrupt},
		"version 0":         {change(0, 0), ErrCorrupt},
		"a newer version":   {change(0, valueVersion+1), ErrNewer},
		"no state":          {change(1, 0), ErrCorrupt},
		"an unknown state":  {change(1, 9), ErrCorrupt},
		"cut":               {good[:len(good)-1], ErrCorrupt},
		"a partition twice": {change(len(good)-4, 0), ErrCorrupt},
	} {
		_, _, err := decodeValue(tc.value)
		require.ErrorIs(t, err, tc.want, name)
	}
}
