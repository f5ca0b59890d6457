package chain

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/pack"
)

// sealed is a table and a store in which two packs hold three partitions: offsets
// 0 to 10 of each in the first and 10 to 20 of the first two in the second.
type sealed struct {
	table   *kv.Mem
	objects *objstore.Mem
	links   map[string][]Link
}

func newSealed(t *testing.T) *sealed {
	t.Helper()
	s := &sealed{kv.NewMem(), objstore.NewMem(), map[string][]Link{}}
	s.pack(t, "packs/a", 0, 3)
	s.pack(t, "packs/b", 10, 2)
	return s
}

func (s *sealed) pack(t *testing.T, name string, base id.Offset, partitions int) {
	t.Helper()
	var object bytes.Buffer
	w := pack.NewWriter(&object, pack.Header{Cluster: "test", Node: 1, Created: time.UnixMilli(1)})
	for n := range partitions {
		require.NoError(t, w.BeginRun(partition(n+1)))
		for i := range id.Offset(2) {
			b := batch.New(batch.None).Base(base + 5*i)
			for range 5 {
				b.Add(batch.Record{Value: []byte("value")})
			}
			require.NoError(t, w.Append(b.Build()))
		}
		require.NoError(t, w.EndRun(nil, nil))
	}
	footer, err := w.Close()
	require.NoError(t, err)
	for i := range footer.Runs {
		run := &footer.Runs[i]
		s.links[name] = append(s.links[name], Link{Partition: run.Partition, Segment: SegmentOf(run, name, int64(object.Len()))})
	}
	require.NoError(t, s.objects.Put(ctx, name, &object))
	appendAll(t, Open(s.table), s.links[name]...)
}

func (s *sealed) verify(t *testing.T) (Summary, []Finding) {
	t.Helper()
	var found []Finding
	sum, err := Verify(ctx, s.table, s.objects, func(f Finding) { found = append(found, f) })
	require.NoError(t, err)
	return sum, found
}

// damage flips a bit of an object in place.
func (s *sealed) damage(t *testing.T, name string, pos int64) {
	t.Helper()
	info, err := s.objects.Stat(ctx, name)
	require.NoError(t, err)
	raw := make([]byte, info.Size)
	_, err = s.objects.ReadAt(ctx, name, raw, 0)
	require.NoError(t, err)
	raw[pos] ^= 1
	require.NoError(t, s.objects.Delete(ctx, name))
	require.NoError(t, s.objects.Put(ctx, name, bytes.NewReader(raw)))
}

func (s *sealed) write(t *testing.T, w kv.Write) {
	t.Helper()
	require.NoError(t, s.table.Write(ctx, w)[0].Err)
}

func TestVerifyOfWhatIsWell(t *testing.T) {
	s := newSealed(t)
	require.NoError(t, s.objects.Put(ctx, "metalog/1", bytes.NewReader(nil)))
	sum, found := s.verify(t)
	require.Empty(t, found)
	bytes := sum.Bytes
	require.Positive(t, bytes)
	require.Equal(t, Summary{Partitions: 3, Segments: 5, Objects: 2, Records: 50, Bytes: bytes}, sum)
}

func TestVerifyFindsEachDamage(t *testing.T) {
	p := partition(1)
	for name, test := range map[string]struct {
		do     func(t *testing.T, s *sealed)
		kinds  []Kind
		object string
		offset id.Offset
	}{
		"missing object": {func(t *testing.T, s *sealed) {
			require.NoError(t, s.objects.Delete(ctx, "packs/b"))
		}, []Kind{Missing}, "packs/b", 10},
		"flipped bit in a run": {func(t *testing.T, s *sealed) {
			s.damage(t, "packs/a", s.links["packs/a"][1].Segment.Pos+70)
		}, []Kind{BadObject}, "packs/a", 0},
		"flipped bit in a footer": {func(t *testing.T, s *sealed) {
			s.damage(t, "packs/a", s.links["packs/a"][0].Segment.ObjectSize-30)
		}, []Kind{BadObject}, "packs/a", 0},
		"flipped bit in an item": {func(t *testing.T, s *sealed) {
			v := s.links["packs/b"][0].Segment.AppendTo(nil)
			v[20] ^= 4
			s.write(t, kv.Write{Key: segmentKey(p, 10), Value: v, Any: true})
		}, []Kind{BadItem}, "", 10},
		"missing item": {func(t *testing.T, s *sealed) {
			s.pack(t, "packs/c", 20, 1)
			s.write(t, kv.Write{Key: segmentKey(p, 10), Delete: true, Any: true})
		}, []Kind{BadChain}, "", 20},
		"an item that says something else": {func(t *testing.T, s *sealed) {
			seg := s.links["packs/b"][0].Segment
			seg.Records--
			s.write(t, kv.Write{Key: segmentKey(p, 10), Value: seg.AppendTo(nil), Any: true})
		}, []Kind{Mismatch}, "packs/b", 10},
		"an item of another object": {func(t *testing.T, s *sealed) {
			seg := s.links["packs/b"][0].Segment
			s.write(t, kv.Write{Key: segmentKey(partition(3), 10), Value: seg.AppendTo(nil)})
		}, []Kind{Mismatch}, "packs/b", 10},
		"orphan": {func(t *testing.T, s *sealed) {
			require.NoError(t, s.objects.Put(ctx, "packs/c", bytes.NewReader([]byte("x"))))
		}, []Kind{OrphanFound}, "packs/c", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSealed(t)
			test.do(t, s)
			sum, found := s.verify(t)
			require.Len(t, found, len(test.kinds))
			for i, f := range found {
				require.Equal(t, test.kinds[i], f.Kind)
				require.Equal(t, test.object, f.Object)
				require.Equal(t, test.offset, f.Offset)
				require.Contains(t, f.String(), string(f.Kind))
				require.Contains(t, f.String(), f.Object)
			}
			require.Equal(t, len(found), sum.Orphans+sum.Damage)
		})
	}
}

// TestVerifyWalksLongChains: past one page of items.
func TestVerifyWalksLongChains(t *testing.T) {
	table, objects := kv.NewMem(), objstore.NewMem()
	s, p := Open(table), partition(1)
	for i := range id.Offset(2500) {
		appendAll(t, s, link(p, i, i+1, "packs/gone"))
	}
	var kinds []Kind
	sum, err := Verify(ctx, table, objects, func(f Finding) { kinds = append(kinds, f.Kind) })
	require.NoError(t, err)
	require.Equal(t, 2500, sum.Segments)
	require.Equal(t, []Kind{Missing}, kinds)
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	s := newSealed(t)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err := Verify(ended, s.table, s.objects, func(Finding) { t.Error("a finding") })
	require.Error(t, err)
}

// What was replaced, emptied or collected is no damage.
func TestVerifyKnowsTheLifeOfAChain(t *testing.T) {
	s := newSealed(t)
	p, store := partition(1), Open(s.table)
	items, err := store.Items(ctx, p)
	require.NoError(t, err)
	require.NoError(t, store.Replace(ctx, p, items, Segment{Base: 0, Next: 20, MaxTimestamp: -1}))
	sum, found := s.verify(t)
	require.Empty(t, found, "the item at 10 is spare")
	require.Zero(t, sum.Damage)

	p = partition(2)
	items, err = store.Items(ctx, p)
	require.NoError(t, err)
	require.NoError(t, store.Remove(ctx, p, items[:1]))
	_, found = s.verify(t)
	require.Empty(t, found, "the log of partition 2 starts at 10")
}
