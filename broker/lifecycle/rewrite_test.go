package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/compact"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

// packed is a world whose packs have bytes.
type packed struct {
	*world
	objects *objstore.Mem
	bulk    *cold.Reader
	packs   int
	dead    map[string]bool
	told    told
	get     func(object string) error // asked before an object is read
}

func newPacked(t *testing.T, partitions int) *packed {
	w := &packed{world: &world{t: t}, objects: objstore.NewMem(), told: told{}, get: func(string) error { return nil }}
	w.world = newWorld(t, partitions, w.keeps)
	w.cfg = &config.Effective{SegmentBytes: 1 << 20, RetentionBytes: -1, Retention: config.Unlimited, MinCleanableDirty: 0.5, MaxCompactionLag: config.Unlimited}
	w.now = time.UnixMilli(1_700_000_000_000)
	return w
}

// keeps configures a keeper of the world.
func (w *packed) keeps(c *Config) {
	store := objstore.Inject(w.objects, func(op objstore.Op) error {
		if op.Kind == objstore.OpRead {
			return w.get(op.Key)
		}
		return nil
	})
	bulk := cold.New(store, cold.Config{})
	w.t.Cleanup(func() { require.NoError(w.t, bulk.Close(ctx)) })
	w.bulk = bulk
	c.Cold, c.Bulk = w.bulk, w.bulk
	c.Chains = NewChains(c.Chains.store, ChainsConfig{Now: c.Now, Cleaned: func(p id.Partition, upTo id.Offset) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told[p] = append(w.told[p], upTo)
	}})
	c.Rewriter = rewrite.New(rewrite.Config{Chain: c.Chains.store, Objects: store, Cold: w.bulk, Now: c.Now})
	c.Dead = func(context.Context) (map[string]bool, error) { return w.dead, nil }
}

// pack seals records, key=value, of some partitions into one pack, and returns its name.
func (w *packed) pack(records map[id.Partition][]string) string {
	w.t.Helper()
	var b bytes.Buffer
	pw := pack.NewWriter(&b, pack.Header{Created: w.now})
	for i := range int32(len(w.meta.Image().Topics()[0].Partitions)) {
		p := part(i)
		if len(records[p]) == 0 {
			continue
		}
		end, _, _, err := w.chain.End(ctx, p)
		require.NoError(w.t, err)
		require.NoError(w.t, pw.BeginRun(p))
		for _, r := range records[p] {
			key, value, _ := strings.Cut(r, "=")
			v := batch.New(batch.None).Add(batch.Record{Timestamp: w.now.UnixMilli(), Key: []byte(key), Value: []byte(value)}).Build()
			v.Stamp(end, 0)
			end = v.NextOffset()
			require.NoError(w.t, pw.Append(v))
		}
		require.NoError(w.t, pw.EndRun(nil, nil))
	}
	footer, err := pw.Close()
	require.NoError(w.t, err)
	w.packs++
	name := fmt.Sprintf("packs/%d", w.packs)
	require.NoError(w.t, w.objects.Put(ctx, name, &b))
	for i := range footer.Runs {
		seg := chain.SegmentOf(&footer.Runs[i], name, pw.Size())
		seg.Sealed = w.now.UnixMilli()
		p := footer.Runs[i].Partition
		require.NoError(w.t, w.chain.Append(ctx, []chain.Link{{Partition: p, Segment: seg}})[0])
		w.keeper.cfg.Chains.Sealed(p, seg)
	}
	return name
}

// canonical are the segments of a partition that count.
func (w *packed) canonical(p id.Partition) []chain.Item {
	w.t.Helper()
	items, err := w.chain.Items(ctx, p)
	require.NoError(w.t, err)
	items, _, err = chain.Canonical(items, w.start(p))
	require.NoError(w.t, err)
	return items
}

// read returns the records of a partition, key=value.
func (w *packed) read(p id.Partition) (all []string) {
	w.t.Helper()
	for _, item := range w.canonical(p) {
		if item.Empty() {
			continue
		}
		for v, err := range w.bulk.Batches(ctx, p, item.Segment, item.Base) {
			require.NoError(w.t, err)
			for r, err := range batch.Decode(v, 0) {
				require.NoError(w.t, err)
				all = append(all, fmt.Sprintf("%s=%s", r.Key, r.Value))
			}
		}
	}
	return all
}

func TestMergeMerges(t *testing.T) {
	w := newPacked(t, 3)
	var want []string
	for i := range 9 {
		r := fmt.Sprintf("k=%d", i)
		want = append(want, r)
		w.pack(map[id.Partition][]string{part(0): {r}, part(1): {r}})
	}
	merge := func() {
		require.NoError(t, w.keeper.Merge(ctx, append(parts(3), id.Partition{Topic: id.Topic{15: 9}})))
	}
	merge() // the last segment is fresh
	w.now = w.now.Add(time.Hour)
	merge()
	for _, p := range parts(2) {
		require.LessOrEqual(t, len(w.canonical(p)), 2)
		require.Equal(t, want, w.read(p))
	}
	require.Equal(t, w.canonical(part(0))[0].Object, w.canonical(part(1))[0].Object, "in one pack")
	require.GreaterOrEqual(t, w.keeper.Stats().Merged, int64(16))
	require.Empty(t, w.told, "nothing is gone")
	merge()
	require.Zero(t, w.asks(merge))
}

// Somebody else has merged meanwhile, or does so while this one does: it is no failure, and nothing is done by what is
// known from before.
func TestMergeBesideOthers(t *testing.T) {
	w := newPacked(t, 1)
	for i := range 10 {
		w.pack(map[id.Partition][]string{part(0): {fmt.Sprintf("k=%d", i)}})
	}
	w.now = w.now.Add(time.Hour)
	w.get = func(object string) error { // right when the first object is read
		if object == "packs/1" && !w.canonical(part(0))[0].Rewritten {
			w.replace(part(0), 2, 2)
		}
		return nil
	}
	require.NoError(t, w.keeper.Merge(ctx, parts(1)))
	require.Zero(t, w.keeper.Stats().Merged)
	require.Len(t, w.canonical(part(0)), 9)

	w.get = func(string) error { return nil }
	w.keeper.cfg.Chains.Forget(part(0))
	_, err := w.keeper.cfg.Chains.Get(ctx, part(0), 0)
	require.NoError(t, err)
	w.replace(part(0), 9, 10)
	require.NoError(t, w.keeper.Merge(ctx, parts(1)))
	require.Zero(t, w.keeper.Stats().Merged, "there is but one segment")
}

func TestMergeGoesOnAfterAFailure(t *testing.T) {
	w := newPacked(t, 2)
	for i := range 9 {
		for _, p := range parts(2) {
			w.pack(map[id.Partition][]string{p: {fmt.Sprintf("k=%d", i)}})
		}
	}
	w.now = w.now.Add(time.Hour)
	broken := errors.New("object is broken")
	w.get = func(object string) error {
		if object == "packs/1" {
			return broken
		}
		return nil
	}
	require.ErrorIs(t, w.keeper.Merge(ctx, parts(2)), broken)
	require.Len(t, w.canonical(part(0)), 9)
	require.LessOrEqual(t, len(w.canonical(part(1))), 2)
	w.get = func(string) error { return nil }
	require.NoError(t, w.keeper.Merge(ctx, parts(2)))
	require.LessOrEqual(t, len(w.canonical(part(0))), 2)
}

// TestMovesOutOfDeadPacks: of a pack with runs of partitions that two brokers lead, each moves its own.
func TestMovesOutOfDeadPacks(t *testing.T) {
	w := newPacked(t, 3)
	dead := w.pack(map[id.Partition][]string{part(0): {"a=1"}, part(1): {"b=1"}, part(2): {"c=1"}})
	other := w.pack(map[id.Partition][]string{part(0): {"a=2"}})
	w.now = w.now.Add(48 * time.Hour)
	named := func() (by []int32) {
		for _, p := range parts(3) {
			if w.canonical(p)[0].Object == dead {
				by = append(by, p.Index)
			}
		}
		return by
	}
	require.NoError(t, w.keeper.Merge(ctx, parts(3)))
	require.Equal(t, []int32{0, 1, 2}, named(), "nobody has said so")
	w.dead = map[string]bool{dead: true}
	require.NoError(t, w.keeper.Merge(ctx, parts(2)))
	require.Equal(t, []int32{2}, named())
	another := w.keeper.cfg
	w.keeps(&another)
	require.NoError(t, New(another).Merge(ctx, []id.Partition{part(2)}))
	require.Empty(t, named())
	require.Equal(t, []string{"a=1", "a=2"}, w.read(part(0)))
	require.Equal(t, other, w.canonical(part(0))[1].Object, "which is not dead")
	require.Equal(t, w.canonical(part(0))[0].Object, w.canonical(part(1))[0].Object, "into one pack")
	moved := w.keeper.Stats().Merged
	require.NoError(t, w.keeper.Merge(ctx, parts(2)))
	require.Equal(t, moved, w.keeper.Stats().Merged, "once")
}

// The dirtiest come first, and those that are overdue before them. Then nothing is asked until something is sealed.
func TestCompactTakesTheDirtiestFirst(t *testing.T) {
	w := newPacked(t, 4)
	w.cfg.Compact = true
	compact := func(ps ...id.Partition) { require.NoError(t, w.keeper.Compact(ctx, ps)) }
	for _, p := range parts(3) { // clean: 10 records
		w.pack(map[id.Partition][]string{p: {"a=1", "b=1", "c=1", "d=1", "e=1", "f=1", "g=1", "h=1", "i=1", "j=1", "j=2"}})
	}
	compact(parts(3)...)
	require.Equal(t, told{part(0): {11}, part(1): {11}, part(2): {11}}, w.told)
	w.pack(map[id.Partition][]string{part(0): {"a=2"}})
	w.pack(map[id.Partition][]string{part(1): slicesOf("a", 12)})
	w.pack(map[id.Partition][]string{part(2): slicesOf("a", 30)})
	var order []string
	w.get = func(object string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		order = append(order, object)
		return nil
	}
	compact(parts(4)...)
	require.Equal(t, []string{"packs/6", "packs/5"}, firsts(order, "packs/5", "packs/6"))
	require.NotContains(t, order, "packs/4", "not dirty enough")
	require.InDelta(t, 30.0/40, w.keeper.Stats().MaxDirtyRatio, 0.1)
	require.EqualValues(t, 5, w.keeper.Stats().Compacted)
	require.Equal(t, []string{"b=1", "c=1", "d=1", "e=1", "f=1", "g=1", "h=1", "i=1", "j=2", "a=30"}, w.read(part(2)))
	compact(parts(4)...)
	require.Zero(t, w.asks(func() { compact(parts(4)...) }))

	w.cfg.MaxCompactionLag = time.Hour // and its dirty record is older than that
	w.now = w.now.Add(time.Hour + time.Minute)
	w.pack(map[id.Partition][]string{part(1): slicesOf("b", 40)})
	order = nil
	compact(parts(4)...)
	require.Equal(t, []string{"packs/4", "packs/7"}, firsts(order, "packs/4", "packs/7"), "overdue before the dirtiest")
}

// TestCompactAwaitsTheLag: a partition that is not dirty enough is not asked about until its oldest dirty record is old enough.
func TestCompactAwaitsTheLag(t *testing.T) {
	w := newPacked(t, 1)
	w.cfg.Compact, w.cfg.MinCleanableDirty, w.cfg.MaxCompactionLag = true, 1, time.Hour
	w.pack(map[id.Partition][]string{part(0): {"a=1", "a=2"}})
	w.now = w.now.Add(30 * time.Minute)
	w.pack(map[id.Partition][]string{part(0): {"b=1"}})
	compact := func() { require.NoError(t, w.keeper.Compact(ctx, parts(1))) }
	compact()
	require.Zero(t, w.asks(compact))
	w.now = w.now.Add(30 * time.Minute)
	require.Zero(t, w.asks(compact))
	require.Zero(t, w.keeper.Stats().Compacted)
	w.now = w.now.Add(time.Minute)
	compact()
	require.EqualValues(t, 1, w.keeper.Stats().Compacted)
	require.Equal(t, []string{"a=2", "b=1"}, w.read(part(0)))
}

// Another has compacted meanwhile: what is known from before leads to one look and no more.
func TestCompactBesideOthers(t *testing.T) {
	w := newPacked(t, 1)
	w.cfg.Compact = true
	w.pack(map[id.Partition][]string{part(0): {"a=1", "a=2"}})
	_, err := w.keeper.cfg.Chains.Get(ctx, part(0), 0)
	require.NoError(t, err)
	another := w.keeper.cfg
	w.keeps(&another)
	require.NoError(t, New(another).Compact(ctx, parts(1)))
	w.told = told{}
	require.NoError(t, w.keeper.Compact(ctx, parts(1)))
	require.Zero(t, w.keeper.Stats().Compacted)
	require.NoError(t, w.keeper.Compact(ctx, parts(1)))
	require.Equal(t, told{part(0): {2}}, w.told, "and the hot copies are known to be old")
	require.Zero(t, w.asks(func() { require.NoError(t, w.keeper.Compact(ctx, parts(1))) }))
}

func TestCompactGoesOnAfterAFailure(t *testing.T) {
	w := newPacked(t, 2)
	w.cfg.Compact = true
	for _, p := range parts(2) {
		w.pack(map[id.Partition][]string{p: {"a=1", "a=2"}})
	}
	broken := errors.New("object is broken")
	w.get = func(object string) error {
		if object == "packs/1" {
			return broken
		}
		return nil
	}
	require.ErrorIs(t, w.keeper.Compact(ctx, parts(2)), broken)
	require.Equal(t, []string{"a=2"}, w.read(part(1)))
	ended, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, w.keeper.Compact(ended, parts(2)), context.Canceled)
}

// Small partitions share packs, of each their segments in order, but for one that fails.
func TestCompactSharesPacks(t *testing.T) {
	w := newPacked(t, 4)
	w.cfg.Compact, w.cfg.SegmentBytes = true, 1
	for _, p := range parts(4) {
		w.pack(map[id.Partition][]string{p: {"a=1", "b=1"}})
		w.pack(map[id.Partition][]string{p: {"b=2", "c=1", "c=2"}})
	}
	reads, broken := 0, errors.New("object is broken")
	w.get = func(object string) error {
		if object != "packs/3" {
			return nil
		}
		if reads++; reads > 1 { // behind its footer
			return broken
		}
		return nil
	}
	require.ErrorIs(t, w.keeper.Compact(ctx, parts(4)), broken)
	for i := range 2 {
		object := w.canonical(part(0))[i].Object
		for _, p := range []id.Partition{part(0), part(2), part(3)} {
			require.Equal(t, object, w.canonical(p)[i].Object)
			require.Equal(t, []string{"a=1", "b=2", "c=2"}, w.read(p))
		}
	}
	require.EqualValues(t, 3, w.keeper.Stats().Compacted)
	require.Equal(t, "packs/3", w.canonical(part(1))[0].Object)
	require.Equal(t, "packs/4", w.canonical(part(1))[1].Object, "not before the first")
	w.get = func(string) error { return nil }
	w.now = w.now.Add(minRetry)
	require.NoError(t, w.keeper.Compact(ctx, parts(4)))
	require.Equal(t, []string{"a=1", "b=2", "c=2"}, w.read(part(1)))
}

// Those whose maps are not within the memory for keys are made one after the other.
func TestCompactKeepsWithinItsMemory(t *testing.T) {
	w := newPacked(t, 3)
	w.cfg.Compact = true
	w.keeper.cfg.Keys = func() compact.MapConfig { return compact.MapConfig{Budget: 5000} }
	for _, p := range parts(3) {
		w.pack(map[id.Partition][]string{p: {"a=1", "a=2"}})
	}
	require.NoError(t, w.keeper.Compact(ctx, parts(3)))
	objects := map[string]int{}
	for _, p := range parts(3) {
		require.Equal(t, []string{"a=2"}, w.read(p))
		objects[w.canonical(p)[0].Object]++
	}
	require.Len(t, objects, 2, "64 slots of 24 bytes and an item each: two have room")
}

// TestSlowRewritingMakesSmallSegments: what the rate does not let through in time is not put into one.
func TestSlowRewritingMakesSmallSegments(t *testing.T) {
	for _, compacted := range []bool{false, true} {
		w := newPacked(t, 1)
		w.cfg.Compact = compacted
		for i := range 10 {
			w.pack(map[id.Partition][]string{part(0): {fmt.Sprintf("%d=1", i)}})
		}
		size := w.canonical(part(0))[0].Length
		limit := rate.NewLimiter(rate.Limit(float64(3*size)*8/chain.CommitWithin.Seconds()+0.01), 1<<20)
		w.keeper.cfg.Rewriter = rewrite.New(rewrite.Config{Chain: w.chain, Objects: w.objects, Cold: w.bulk, Limit: limit, Now: func() time.Time { return w.now }})
		w.now = w.now.Add(time.Hour)
		require.NoError(t, w.keeper.Merge(ctx, parts(1)))
		require.NoError(t, w.keeper.Compact(ctx, parts(1)))
		for _, item := range w.canonical(part(0)) {
			require.LessOrEqual(t, item.Next-item.Base, id.Offset(3))
		}
		require.Equal(t, compacted, w.canonical(part(0))[0].CleanedTo > 0)
		require.Len(t, w.read(part(0)), 10)
	}
}

// TestCompactRetriesSeldom: a partition that fails is read more and more seldom, until something has changed.
func TestCompactRetriesSeldom(t *testing.T) {
	w := newPacked(t, 1)
	w.cfg.Compact = true
	w.pack(map[id.Partition][]string{part(0): {"a=1", "a=2"}})
	tries, broken := 0, errors.New("object is broken")
	w.get = func(string) error {
		tries++
		return broken
	}
	for range 60*4 - 1 { // nearly an hour
		_ = w.keeper.Compact(ctx, parts(1))
		w.now = w.now.Add(15 * time.Second)
	}
	require.Equal(t, 7, tries, "after 1, 2, 4 and 8 minutes, and then each 15")
	w.get = func(string) error { return nil }
	require.NoError(t, w.keeper.Compact(ctx, parts(1)))
	require.Zero(t, w.keeper.Stats().Compacted)
	w.pack(map[id.Partition][]string{part(0): {"b=1"}})
	require.NoError(t, w.keeper.Compact(ctx, parts(1)))
	require.Zero(t, w.keeper.Stats().Compacted, "what fails, fails with a segment more as well")
	w.now = w.now.Add(15 * time.Minute)
	require.NoError(t, w.keeper.Compact(ctx, parts(1)))
	require.EqualValues(t, 1, w.keeper.Stats().Compacted)
}

// slicesOf are n records of one key.
func slicesOf(key string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%s=%d", key, i+1))
	}
	return all
}

// firsts returns the names in the order in which they come first in all.
func firsts(all []string, names ...string) (order []string) {
	seen := map[string]bool{}
	for _, s := range all {
		for _, name := range names {
			if s == name && !seen[s] {
				seen[s] = true
				order = append(order, s)
			}
		}
	}
	return order
}
