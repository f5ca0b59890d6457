package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	owner "github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/wal"
)

func TestWhatIsWholeIsCounted(t *testing.T) {
	w := newWorld(t)
	r := w.run(t)
	require.Empty(t, r.Findings)
	require.Zero(t, r.Damage+r.Harmless)
	require.Equal(t, w.cluster, r.Cluster)
	require.Equal(t, []int{2, 3, 3, 3, 1, 1, 2, 1, 1}, []int{
		r.Topics, r.Partitions, r.Chains, r.Segments, r.SpareSegments, r.Streams, r.StreamSlots, r.Groups, r.GroupOffsets,
	})
	require.Equal(t, int64(40), r.Records)
	require.Equal(t, int64(10), r.Unsealed)

	o := r.Objects
	kinds := []Count{o.Packs, o.Spare, o.WAL, o.Indexes, o.Snapshots, o.Archive, o.Collector, o.Identity, o.Orphans, o.Unknown}
	var all Count
	for _, c := range kinds {
		all.Objects += c.Objects
		all.Bytes += c.Bytes
	}
	require.Equal(t, o.Stored, all, "each object is in one count")
	require.Equal(t, []int{2, 1, 2, 1, 1, 0, 0, 1, 0, 0}, []int{
		o.Packs.Objects, o.Spare.Objects, o.WAL.Objects, o.Indexes.Objects, o.Snapshots.Objects, o.Archive.Objects, o.Collector.Objects, o.Identity.Objects, o.Orphans.Objects, o.Unknown.Objects,
	})
}

func TestCostByTopic(t *testing.T) {
	w := newWorld(t)
	w.put(t, "packs/left.pack", w.get(t, second))
	cfg := w.config()
	cfg.PricePerGiB = 1 << 30
	r := w.runWith(t.Context(), t, cfg)
	c := r.Cost
	require.Len(t, c.Topics, 2)
	require.Equal(t, "events", c.Topics[0].Topic)
	require.Equal(t, r.Objects.Packs.Bytes, c.Topics[0].ShareBytes+c.Topics[1].ShareBytes, "the packs that count are shared out")
	require.InDelta(t, len(w.get(t, first))/2, c.Topics[1].ShareBytes, 1, "orders has half of what counts in the first pack")
	require.Equal(t, r.Objects.Spare.Bytes+r.Objects.Orphans.Bytes, c.WaitingBytes)
	require.InDelta(t, float64(c.WaitingBytes), c.WaitingMonth, 1e-6)
	require.InDelta(t, float64(r.Objects.Stored.Bytes), c.Month, 1e-6)
	require.Equal(t, c.Topics[1].LiveBytes, c.DeadBytes, "the run of events-0 in the first pack is as long as that of orders")
	require.Equal(t, []int{2, 2, 1, 2}, []int{c.Topics[0].Partitions, c.Topics[0].Segments, c.Topics[0].SpareSegments, c.Topics[0].Objects})
}

// One flipped bit in any object is found and the object is named.
func TestEveryFlippedBitIsFound(t *testing.T) {
	w := newWorld(t)
	checks := map[string]string{first: "pack", second: "pack", merged: "pack", wal1: "wal object", wal2: "wal object", index: "stream index"}
	for name, check := range checks {
		size := len(w.get(t, name))
		for bit := 0; bit < size*8; bit += 37 {
			w.flip(t, name, bit)
			r := w.run(t)
			require.NotZero(t, r.Damage, "%s bit %d", name, bit)
			require.Equal(t, 1, r.Objects.Damaged.Objects, "%s bit %d: %+v", name, bit, r.Findings)
			require.True(t, has(r, Damage, check, name, ""), "%s bit %d: %+v", name, bit, r.Findings)
			w.flip(t, name, bit)
		}
	}
	require.Empty(t, w.run(t).Findings, "all is as it was")
}

func TestFlippedBitOfTheSnapshot(t *testing.T) {
	w := newWorld(t)
	for o, err := range w.objects.List(t.Context(), "metalog/", "") {
		require.NoError(t, err)
		w.flip(t, o.Key, 800)
	}
	r := w.run(t)
	require.True(t, has(r, Damage, "metadata", "", "snapshot"), "%+v", r.Findings)
	require.Zero(t, r.Objects.Orphans.Objects, "who knows what names them")
}

// has reports whether there is such a finding.
func has(r *Report, s Severity, check, object, says string) bool {
	for _, f := range r.Findings {
		if f.Severity == s && f.Check == check && f.Object == object && strings.Contains(f.What, says) {
			return true
		}
	}
	return false
}

func TestWhatIsNotAsItShouldBe(t *testing.T) {
	start := func(w *world, p id.Partition, to id.Offset) metalog.Record {
		return metalog.LogStartsMoved{Moves: []metalog.StartMove{{Partition: p, Start: to}}}
	}
	itemKey := func(w *world, p id.Partition, base id.Offset) kv.Key {
		return kv.Key{Part: fmt.Sprintf("chain/%s/%d", p.Topic, p.Index), Sort: fmt.Sprintf("%020d", base)}
	}
	tests := []struct {
		name         string
		harm         func(t *testing.T, w *world)
		severity     Severity
		check        string
		object, says string
	}{
		{"a pack is missing", func(t *testing.T, w *world) { w.remove(t, merged) }, Damage, "pack", merged, "not found"},
		{"a spare pack is missing", func(t *testing.T, w *world) { w.remove(t, second) }, Damage, "pack", second, "not found"},
		{"a WAL object is missing", func(t *testing.T, w *world) { w.remove(t, wal1) }, Damage, "wal object", wal1, "not found"},
		{"an index is missing", func(t *testing.T, w *world) { w.remove(t, index) }, Damage, "stream index", index, "not found"},
		{"an orphan", func(t *testing.T, w *world) { w.put(t, "packs/x.pack", w.get(t, first)) }, Harmless, "objects", "packs/x.pack", "orphan"},
		{"an orphan in a WAL", func(t *testing.T, w *world) { w.put(t, "wal/x/1.pack", w.get(t, wal1)) }, Harmless, "objects", "wal/x/1.pack", "orphan"},
		{"a damaged orphan", func(t *testing.T, w *world) { w.put(t, "packs/x.pack", []byte("junk")) }, Harmless, "pack", "packs/x.pack", "trailer"},
		{"a stranger", func(t *testing.T, w *world) { w.put(t, "notes.txt", []byte("hello")) }, Harmless, "objects", "notes.txt", "not Forebay's"},
		{"a gap in a chain", func(t *testing.T, w *world) {
			w.seal(t, "packs/3.pack", run{w.order(), 10, 15})
			w.seal(t, "packs/4.pack", run{w.order(), 15, 20})
			w.item(t, kv.Write{Key: itemKey(w, w.order(), 10), Delete: true, Any: true})
		}, Damage, "chain", "", "offset 10 is followed by 15"},
		{"the first item of a chain is gone", func(t *testing.T, w *world) {
			w.seal(t, "packs/3.pack", run{w.order(), 10, 15})
			w.item(t, kv.Write{Key: itemKey(w, w.order(), 0), Delete: true, Any: true})
		}, Damage, "chain", "", "nothing holds the log start"},
		{"an item is damaged", func(t *testing.T, w *world) {
			w.item(t, kv.Write{Key: itemKey(w, w.order(), 0), Value: []byte{2, 3}, Any: true})
		}, Damage, "chain", "", "corrupt"},
		{"a chain that is not listed", func(t *testing.T, w *world) {
			w.item(t, kv.Write{Key: kv.Key{Part: "chains", Sort: fmt.Sprintf("%s/%010d", w.orders, 0)}, Delete: true, Any: true})
		}, Damage, "chain", "", "list of chains"},
		{"another run than the chain says", func(t *testing.T, w *world) {
			w.remove(t, first)
			w.pack(t, first, run{w.event(0), 0, 10}, run{w.event(1), 0, 10}, run{w.order(), 0, 15})
		}, Damage, "pack", first, "the chain says"},
		{"a run is missing", func(t *testing.T, w *world) {
			w.remove(t, first)
			w.pack(t, first, run{w.event(0), 0, 10}, run{w.event(1), 0, 10})
		}, Damage, "pack", first, "no run"},
		{"a slot is missing", func(t *testing.T, w *world) {
			w.item(t, kv.Write{Key: kv.Key{Part: "slot/wal/" + string(writer), Sort: fmt.Sprintf("%020d", 1)}, Delete: true, Any: true})
		}, Damage, "stream", "", "slots 1 to 1 are missing"},
		{"a gap between chain and stream", func(t *testing.T, w *world) {
			_, size := w.pack(t, "wal/x.pack", run{w.order(), 15, 20})
			w.slot(t, 3, wal.Slot{Objects: []wal.ObjectRef{{Name: "wal/x.pack", Size: size}}})
		}, Damage, "continuity", "wal/x.pack", "offsets 10 to 14 are neither"},
		{"the log start is beyond the end", func(t *testing.T, w *world) { w.change(t, start(w, w.order(), 12)) }, Damage, "continuity", "", "starts at 12"},
		{"offsets are damaged", func(t *testing.T, w *world) {
			wr := kv.Write{Key: kv.Key{Part: "offsets/g", Sort: "junk"}, Value: []byte("junk"), Any: true}
			require.NoError(t, w.offsets.Write(t.Context(), wr)[0].Err)
		}, Damage, "offsets", "", "junk"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.harm(t, w)
			r := w.run(t)
			require.True(t, has(r, tt.severity, tt.check, tt.object, tt.says), "%+v", r.Findings)
			require.Equal(t, tt.severity == Damage, r.Damage > 0)
		})
	}
}

func TestMovedLogStartAndDeletedTopic(t *testing.T) {
	w := newWorld(t)
	w.seal(t, "packs/3.pack", run{w.order(), 10, 15})
	w.change(t, metalog.LogStartsMoved{Moves: []metalog.StartMove{{Partition: w.order(), Start: 12}}})
	r := w.run(t)
	require.Empty(t, r.Findings)
	require.Equal(t, 2, r.SpareSegments, "the item below the log start is spare")

	w.change(t, metalog.TopicDeleted{ID: w.orders})
	w.remove(t, "packs/3.pack")
	r = w.run(t)
	require.Equal(t, 2, r.GoneSegments)
	require.Equal(t, 1, r.Harmless, "%+v", r.Findings)
	require.Zero(t, r.Damage, "nobody reads what is left of a deleted topic")
}

// stopping is a store that fails after some reads.
type stopping struct {
	objstore.Store
	left  atomic.Int64
	bytes atomic.Int64
}

var errStopped = errors.New("stopped")

func (s *stopping) ReadAt(ctx context.Context, key string, p []byte, off int64) (int, error) {
	if s.left.Add(-1) < 0 {
		return 0, errStopped
	}
	n, err := s.Store.ReadAt(ctx, key, p, off)
	s.bytes.Add(int64(n))
	return n, err
}

func TestAnInterruptedRunGoesOn(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		w.pack(t, fmt.Sprintf("packs/%02d.pack", i), run{w.event(0), 0, 2000})
	}
	w.flip(t, "packs/07.pack", 9999)
	want := w.run(t)
	path := filepath.Join(t.TempDir(), "notes")

	ctx, cancel := context.WithCancel(t.Context())
	cfg := w.config()
	cfg.Workers = 1
	state, err := OpenState(path)
	require.NoError(t, err)
	cfg.State = state
	var total int64
	cfg.Progress = func(p Progress) {
		if total = p.Total; p.Done > p.Total/2 {
			cancel()
		}
	}
	_, err = Run(ctx, cfg)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, state.Close())
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(raw, `{"o":"pac`...), 0o644), "as if it were cut off")

	state, err = OpenState(path)
	require.NoError(t, err)
	var left Progress
	cfg.State, cfg.Progress = state, func(p Progress) { left = p }
	require.Equal(t, want, w.runWith(t.Context(), t, cfg), "the same report")
	require.Less(t, left.Total, total*2/3, "what was read is not read again")
	require.Positive(t, left.Total)
	require.NoError(t, state.Close())

	state, err = OpenState(path)
	require.NoError(t, err)
	cfg.State = state
	other := newWorld(t).config()
	other.State = state
	_, err = Run(t.Context(), other)
	require.ErrorIs(t, err, ErrState, "the notes are of another cluster")
	require.NoError(t, state.Close())
	require.NoError(t, os.WriteFile(path, []byte("shopping list\n"), 0o644))
	_, err = OpenState(path)
	require.ErrorIs(t, err, ErrState)
}

func TestFailingStoreIsNoDamage(t *testing.T) {
	w := newWorld(t)
	s := &stopping{Store: w.objects}
	s.left.Store(1) // the snapshot
	cfg := w.config()
	cfg.Objects = s
	_, err := Run(t.Context(), cfg)
	require.ErrorIs(t, err, errStopped)
}

func TestAlive(t *testing.T) {
	w := newWorld(t)
	alive, err := Alive(t.Context(), w.control, owner.DefaultTTL)
	require.NoError(t, err)
	require.Empty(t, alive)
	s, err := owner.Open(t.Context(), owner.Config{Store: w.control, Node: 1, TTL: 100e6})
	require.NoError(t, err)
	alive, err = Alive(t.Context(), w.control, 300e6)
	require.NoError(t, err)
	require.Len(t, alive, 1)
	require.NoError(t, s.Close(t.Context()))
}

func TestRewrittenSegments(t *testing.T) {
	w := newWorld(t)
	chains := chain.Open(w.control)
	replace := func(p id.Partition, seg chain.Segment) {
		t.Helper()
		items, err := chains.Items(t.Context(), p)
		require.NoError(t, err)
		require.NoError(t, chains.Replace(t.Context(), p, items[:1], seg))
	}
	replace(w.order(), chain.Segment{Base: 0, Next: 10, CleanedTo: 10}) // nothing is left of it

	var b bytes.Buffer
	out := pack.NewWriter(&b, pack.Header{Cluster: w.cluster, Node: 1, Created: time.UnixMilli(1)})
	require.NoError(t, out.BeginSparse(w.event(1), 0, 10))
	require.NoError(t, out.Append(batch.New(batch.None).Base(3).Add(batch.Record{Value: []byte("what is left")}).Build()))
	require.NoError(t, out.EndSparse([]pack.EpochStart{{Epoch: 0, Start: 0}}, nil, nil))
	footer, err := out.Close()
	require.NoError(t, err)
	size := int64(b.Len())
	w.put(t, "packs/sparse.pack", b.Bytes())
	replace(w.event(1), chain.SegmentOf(&footer.Runs[0], "packs/sparse.pack", size))

	r := w.run(t)
	require.Empty(t, filter(r.Findings, Damage), "%+v", r.Findings)
	require.Equal(t, 1, r.EmptySegments)
	require.Equal(t, int64(21), r.Records)
	require.Equal(t, 1, r.Objects.Orphans.Objects, "nothing of the first pack is named any more")
}

// filter returns the findings of a severity.
func filter(all []Finding, s Severity) (some []Finding) {
	for _, f := range all {
		if f.Severity == s {
			some = append(some, f)
		}
	}
	return some
}

// TestArchive: the slots that a snapshot has replaced are accounted for, and read.
func TestArchive(t *testing.T) {
	w := newWorld(t)
	log, err := metalog.Open(t.Context(), metalog.Options{Store: w.control, Objects: w.objects, KeepSlots: 1})
	require.NoError(t, err)
	w.update(t, log, metalog.FeatureFinalized{Name: "f", Level: 1})
	require.NoError(t, log.Snapshot(t.Context()))
	require.NoError(t, log.Close(t.Context()))
	r := w.run(t)
	require.Equal(t, 1, r.Objects.Archive.Objects)
	require.Empty(t, r.Findings)

	for is, failure := range map[string]error{"collected": objstore.ErrNotFound, "store": errors.New("the store is away")} {
		cfg := w.config()
		cfg.Objects = objstore.Inject(cfg.Objects, func(op objstore.Op) error {
			if op.Kind == objstore.OpRead && metalog.IsArchive(op.Key) {
				return failure
			}
			return nil
		})
		r, err := Run(t.Context(), cfg)
		if is == "store" {
			require.ErrorIs(t, err, failure, "which says nothing of the object")
			continue
		}
		require.NoError(t, err)
		require.Empty(t, r.Findings)
		require.Zero(t, r.Objects.Archive.Objects)
	}

	var flipped string
	for o, err := range w.objects.List(t.Context(), metalog.ArchivePrefix, "") {
		require.NoError(t, err)
		flipped = o.Key
		w.flip(t, o.Key, 300)
	}
	r = w.run(t)
	require.True(t, has(r, Damage, "metadata archive", flipped, "checksum"), "%+v", r.Findings)
	require.Equal(t, 1, r.Objects.Damaged.Objects)
}
