package seal

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
)

// TestHeldPartitions: what is hot of them stays until what lies below is adopted, and holds
// up nothing else.
func TestHeldPartitions(t *testing.T) {
	held := map[id.Partition]bool{partition(2): true}
	w := newWorld(t, vfs.NewMem(), kv.NewMem(), func(c *Config) {
		c.DiskBudget = 1
		c.Held = func(p id.Partition) bool { return held[p] }
	})
	p := partition(2)
	w.walObject(map[id.Partition][]batch.View{p: {w.produce(p, w.build(p, id.NoProducer, 5, 10))}})
	w.fill(3, 100)
	for range 2 {
		require.NoError(t, w.sealer.SealAll(ctx))
		require.NoError(t, w.sealer.Stats().LastError)
		_, end := w.checkSealed(p)
		require.Zero(t, end)
		for _, other := range []id.Partition{partition(1), partition(3)} {
			_, end := w.checkSealed(other)
			require.Equal(t, w.next[other], end)
		}
		for _, v := range w.want[p][1:] {
			w.readHot(p, v)
		}
	}
	adopted, err := w.sealer.Adopt(ctx, w.adoptions())
	require.NoError(t, err)
	require.Equal(t, []Adopted{{Partition: p, End: 5}}, adopted)
	held[p] = false
	require.NoError(t, w.sealer.SealAll(ctx))
	w.checkAllSealed()
	for _, seg := range w.journal.Segments() {
		require.False(t, seg.Rolled, "it is sealed and the budget is tiny")
	}
}

// TestOnlyWhatIsCommittedIsSealed: what is rolled beyond it may yet be replaced by a new leader.
func TestOnlyWhatIsCommittedIsSealed(t *testing.T) {
	committed := map[id.Partition]id.Offset{}
	w := newWorld(t, vfs.NewMem(), kv.NewMem(), func(c *Config) {
		c.DiskBudget = 1
		c.Committed = func(p id.Partition) id.Offset { return committed[p] }
	})
	w.fill(3, 100)
	require.NoError(t, w.sealer.SealAll(ctx))
	require.Zero(t, w.sealer.Stats().Packs)
	for i, at := range []int{0, 1, 20} {
		p := partition(i + 1)
		committed[p] = w.want[p][at].BaseOffset()
	}
	for range 2 {
		require.NoError(t, w.sealer.SealAll(ctx))
		for p, want := range committed {
			_, end := w.checkSealed(p)
			require.Equal(t, want, end)
		}
		w.check() // the rest is hot
	}
	require.Equal(t, int64(1), w.sealer.Stats().Packs)
	maps.Copy(committed, w.next)
	require.NoError(t, w.sealer.SealAll(ctx))
	w.checkAllSealed()
}

// TestForget: a sealer that does not know that another has sealed uploads a pack in vain,
// and one that was told to forget does not.
func TestForget(t *testing.T) {
	for name, forget := range map[string]bool{"it goes by what it saw": false, "it looks again": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, vfs.NewMem(), kv.NewMem())
			other := New(w.sealer.cfg)
			t.Cleanup(func() { require.NoError(t, other.Close(ctx)) })
			w.fill(10, 200)
			require.NoError(t, w.sealer.SealAll(ctx))
			before := w.sealer.Stats()
			w.fill(10, 200)
			require.NoError(t, other.SealAll(ctx))
			var wg sync.WaitGroup
			for i := range 10 {
				wg.Go(func() {
					if forget {
						w.sealer.Forget(partition(2*i+1), partition(2*i+2))
					}
				})
			}
			wg.Wait()
			require.NoError(t, w.sealer.SealAll(ctx))
			stats := w.sealer.Stats()
			if forget {
				require.Equal(t, before, stats)
			} else {
				require.Equal(t, before.Packs+1, stats.Packs)
				require.Equal(t, int64(10), stats.Taken)
			}
			w.sealedAll()
			w.check()
		})
	}
}

// TestForgetDuringARound counts for the next one.
func TestForgetDuringARound(t *testing.T) {
	var s *Sealer
	w := newWorld(t, vfs.NewMem(), kv.NewMem(), func(c *Config) {
		c.AfterPass = func(context.Context, func(context.Context, id.Partition) (id.Offset, error)) error {
			s.Forget(partition(1))
			return nil
		}
	})
	s = w.sealer
	w.fill(1, 10)
	require.NoError(t, s.SealAll(ctx))
	require.Contains(t, s.tails, partition(1))
	require.NoError(t, s.SealAll(ctx))
	require.NotContains(t, s.tails, partition(1))
}

func TestAfterPass(t *testing.T) {
	boom, full := errors.New("cannot release"), errors.New("no space left")
	var calls int
	var fails, storeFails error
	var reads atomic.Int64
	mem := kv.NewMem()
	table := kv.Inject(mem, func(op kv.Op) kv.Fault {
		if op.Kind == kv.OpQuery {
			reads.Add(1)
		}
		return kv.FaultNone
	})
	seen := map[id.Partition]id.Offset{}
	elsewhere := partition(7)
	w := newWorld(t, vfs.NewMem(), mem, func(c *Config) {
		c.Chain = chain.Open(table)
		c.Live = func(p id.Partition) bool { return p != elsewhere }
		c.Objects = objstore.Inject(c.Objects, func(op objstore.Op) error {
			if op.Kind == objstore.OpPut {
				return storeFails
			}
			return nil
		})
		c.AfterPass = func(ctx context.Context, sealedTo func(context.Context, id.Partition) (id.Offset, error)) error {
			calls++
			var mu sync.Mutex
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					end, err := sealedTo(ctx, partition(i))
					assert.NoError(t, err)
					mu.Lock()
					seen[partition(i)] = end
					mu.Unlock()
				})
			}
			wg.Wait()
			return fails
		}
	})
	w.fill(6, 100)
	require.NoError(t, w.sealer.SealAll(ctx))
	require.Equal(t, 1, calls)
	for i := range 8 {
		require.Equal(t, w.next[partition(i)], seen[partition(i)])
	}

	// The owner of another partition seals it, which shows at once.
	seg := chain.Segment{Next: 12, Object: "packs/x", ObjectSize: 10, Length: 5, Records: 12}
	require.NoError(t, w.chain.Append(ctx, []chain.Link{{Partition: elsewhere, Segment: seg}})[0])
	before := reads.Load()
	require.NoError(t, w.sealer.SealAll(ctx))
	require.Equal(t, id.Offset(12), seen[elsewhere])
	require.Equal(t, before+1, reads.Load(), "what is live here is known")

	w.fillWAL(5, 30)
	_, err := w.sealer.Adopt(ctx, w.adoptions())
	require.NoError(t, err)
	require.Equal(t, 3, calls)
	require.Equal(t, w.next[partition(1)], seen[partition(1)])

	fails = boom
	require.ErrorIs(t, w.sealer.SealAll(ctx), boom)
	require.ErrorIs(t, w.sealer.Stats().LastError, boom)
	w.fillWAL(5, 30)
	adopted, err := w.sealer.Adopt(ctx, w.adoptions())
	require.ErrorIs(t, err, boom)
	for _, a := range adopted {
		require.NoError(t, a.Err)
	}
	require.Equal(t, 5, calls)

	storeFails, fails = full, nil
	w.fill(5, 30)
	require.ErrorIs(t, w.sealer.SealAll(ctx), full)
	require.Equal(t, 5, calls, "the pass was broken off")
}

// meeting is a table in which the first reads wait for one another.
type meeting struct {
	kv.Store
	left          atomic.Int64
	all           chan struct{}
	reads, writes atomic.Int64
}

func newMeeting(table kv.Store) *meeting { return &meeting{Store: table, all: make(chan struct{})} }

// arm has the next n reads wait until all of them are under way.
func (m *meeting) arm(n int64) {
	m.all = make(chan struct{})
	m.left.Store(n)
}

func (m *meeting) Query(ctx context.Context, part string, r kv.Range) ([]kv.Item, error) {
	m.reads.Add(1)
	switch left := m.left.Add(-1); {
	case left == 0:
		close(m.all)
	case left > 0:
		select {
		case <-m.all:
		case <-time.After(10 * time.Second):
			return nil, errors.New("the reads come one after the other")
		}
	}
	return m.Store.Query(ctx, part, r)
}

func (m *meeting) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	m.writes.Add(1)
	return m.Store.Write(ctx, writes...)
}

// TestAThousandPartitions: their chains' ends are read once, many at a time, and then known;
// their links share writes.
func TestAThousandPartitions(t *testing.T) {
	const n, together = 1000, 32
	mem := kv.NewMem()
	table := newMeeting(mem)
	w := newWorld(t, vfs.NewMem(), mem, func(c *Config) { c.Chain = chain.Open(table) })
	each := func(f func(p id.Partition, v batch.View)) {
		for i := range n {
			p := partition(i)
			f(p, w.build(p, id.Producer(i), 1, 10))
		}
	}
	cost := func(f func()) (reads, writes int64) {
		r, wr := table.reads.Load(), table.writes.Load()
		f()
		return table.reads.Load() - r, table.writes.Load() - wr
	}
	sealAll := func() {
		each(func(p id.Partition, v batch.View) { w.append(p, v) })
		w.sync()
		require.NoError(t, w.sealer.SealAll(ctx))
	}
	table.arm(together)
	reads, writes := cost(sealAll)
	require.Equal(t, int64(n), reads)
	require.Equal(t, int64(2), writes, "index items and links")
	reads, writes = cost(sealAll)
	require.Zero(t, reads)
	require.Equal(t, int64(1), writes)

	for range 20 {
		runs := map[id.Partition][]batch.View{}
		each(func(p id.Partition, v batch.View) { runs[p] = []batch.View{w.produce(p, v)} })
		w.walObject(runs)
	}
	before := w.cold.Stats()
	table.arm(together)
	reads, writes = cost(func() {
		adopted, err := w.sealer.Adopt(ctx, w.adoptions())
		require.NoError(t, err)
		require.Len(t, adopted, n)
		for _, a := range adopted {
			require.Equal(t, w.next[a.Partition], a.End)
		}
	})
	require.Equal(t, int64(n), reads)
	require.Equal(t, int64(1), writes)
	require.Less(t, w.cold.Stats().FooterRequests-before.FooterRequests, int64(40), "each object is read once, not once for each partition")
	w.checkAllSealed()
}
