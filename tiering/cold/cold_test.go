package cold

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/pack"
)

var ctx = context.Background()

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func partition(n int) id.Partition {
	return id.Partition{Topic: id.Topic{6: 0x40, 15: byte(n)}, Index: int32(n)}
}

// makeBatch returns a batch of records with size random bytes of values together.
func makeBatch(rng *rand.Rand, base id.Offset, epoch id.Epoch, records, size int) batch.View {
	b := batch.New(batch.None).Base(base).Epoch(epoch)
	for i := range records {
		value := make([]byte, size/records)
		for j := range value {
			value[j] = byte(rng.Uint32())
		}
		b.Add(batch.Record{Timestamp: 1000 + int64(base) + int64(i), Value: value})
	}
	return b.Build()
}

// fixture is one pack in a store that counts reads.
type fixture struct {
	store   *objstore.Mem
	name    string
	batches map[id.Partition][]batch.View
	segs    map[id.Partition]chain.Segment

	mu    sync.Mutex
	reads map[int64]int              // by position
	hook  func(op objstore.Op) error // on every read, outside of the lock
}

// newFixture stores a pack in which each partition has batches of the given sizes.
func newFixture(t *testing.T, sizes ...[]int) *fixture {
	t.Helper()
	f := &fixture{
		store: objstore.NewMem(), name: "packs/x.pack", reads: map[int64]int{},
		batches: map[id.Partition][]batch.View{}, segs: map[id.Partition]chain.Segment{},
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var object bytes.Buffer
	w := pack.NewWriter(&object, pack.Header{Cluster: "test", Node: 1, Created: time.UnixMilli(1)})
	for n, ss := range sizes {
		p := partition(n + 1)
		require.NoError(t, w.BeginRun(p))
		base := id.Offset(100 * n)
		for i, size := range ss {
			v := makeBatch(rng, base, id.Epoch(i/3), 1+i%4, size)
			require.NoError(t, w.Append(v))
			f.batches[p] = append(f.batches[p], v)
			base = v.NextOffset()
		}
		require.NoError(t, w.EndRun(nil, nil))
	}
	footer, err := w.Close()
	require.NoError(t, err)
	for i := range footer.Runs {
		run := &footer.Runs[i]
		f.segs[run.Partition] = chain.SegmentOf(run, f.name, int64(object.Len()))
	}
	require.NoError(t, f.store.Put(ctx, f.name, &object))
	return f
}

// reader returns a Reader of the fixture that is closed with the test.
func (f *fixture) reader(t *testing.T, cfg Config) *Reader {
	t.Helper()
	r := New(objstore.Inject(f.store, func(op objstore.Op) error {
		if op.Kind != objstore.OpRead {
			return nil
		}
		f.mu.Lock()
		f.reads[op.Offset]++
		hook := f.hook
		f.mu.Unlock()
		if hook != nil {
			return hook(op)
		}
		return nil
	}), cfg)
	t.Cleanup(func() { require.NoError(t, r.Close(ctx)) })
	return r
}

// chunkReads returns how often each chunk of p's run was requested.
func (f *fixture) chunkReads(p id.Partition, size int64) []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	var counts []int
	for i := f.segs[p].Pos / size; i*size < f.segs[p].Pos+f.segs[p].Length; i++ {
		counts = append(counts, f.reads[i*size])
	}
	return counts
}

// noReadAhead with chunks of 4 KiB.
var small = Config{ChunkBytes: 4 << 10, CacheBytes: 1 << 20, ReadAhead: -1}

func sizes(n int, size func(i int) int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = size(i)
	}
	return s
}

func mixed(i int) int { return []int{10, 900, 3000, 5000, 70, 20000}[i%6] }

func TestReadReturnsTheBatches(t *testing.T) {
	f := newFixture(t, sizes(5, mixed), sizes(40, mixed), sizes(2, mixed))
	for _, chunk := range []int64{128, 1000, 4 << 10, 1 << 20} {
		t.Run(fmt.Sprintf("chunks of %d", chunk), func(t *testing.T) {
			r := f.reader(t, Config{ChunkBytes: chunk, CacheBytes: 1 << 20})
			for p, all := range f.batches {
				seg := f.segs[p]
				for from := seg.Base - 1; from <= seg.Next; from++ {
					for _, limit := range []id.Offset{seg.Next, seg.Base, from + 5} {
						for _, maxBytes := range []int{0, 4000, 1 << 20} {
							got, err := r.Read(ctx, p, seg, from, limit, maxBytes)
							require.NoError(t, err)
							require.Equal(t, expect(all, from, limit, maxBytes), got, "from %d limit %d max %d", from, limit, maxBytes)
						}
					}
				}
			}
		})
	}
}

// expect is what Read promises, said plainly.
func expect(all []batch.View, from, limit id.Offset, maxBytes int) [][]byte {
	var want [][]byte
	for _, v := range all {
		if v.NextOffset() <= from {
			continue
		}
		if v.NextOffset() > limit || (len(want) > 0 && len(v) > maxBytes) {
			break
		}
		maxBytes -= len(v)
		want = append(want, v)
	}
	return want
}

func TestBatchesWithinAChunkAreNotCopied(t *testing.T) {
	f := newFixture(t, []int{100})
	r, p := f.reader(t, small), partition(1)
	a, err := r.Read(ctx, p, f.segs[p], 0, 1, 1000)
	require.NoError(t, err)
	b, err := r.Read(ctx, p, f.segs[p], 0, 1, 1000)
	require.NoError(t, err)
	require.Same(t, &a[0][0], &b[0][0])
	require.Equal(t, len(a[0]), cap(a[0]), "an append must not run into the chunk")
}

func TestBatchesYieldsToTheEnd(t *testing.T) {
	f := newFixture(t, sizes(40, mixed))
	r, p := f.reader(t, small), partition(1)
	all := f.batches[p]
	for i, from := range all {
		n := i
		for v, err := range r.Batches(ctx, p, f.segs[p], from.LastOffset()) {
			require.NoError(t, err)
			require.Equal(t, all[n], v)
			n++
		}
		require.Equal(t, len(all), n)
	}
}

// TestSparseIndex: a look-up in a large run reads the chunks around its place only.
func TestSparseIndex(t *testing.T) {
	f := newFixture(t, sizes(200, func(int) int { return 16 << 10 }))
	r, p := f.reader(t, Config{ChunkBytes: 64 << 10, ReadAhead: -1}), partition(1)
	want := f.batches[p][150]
	got, err := r.Read(ctx, p, f.segs[p], want.LastOffset(), f.segs[p].Next, 1)
	require.NoError(t, err)
	require.Equal(t, [][]byte{want}, got)
	require.LessOrEqual(t, r.Stats().Requests, int64(3))
	require.Equal(t, int64(1), r.Stats().FooterRequests)
}

func TestOneRequestForOneChunkHoweverManyWait(t *testing.T) {
	f := newFixture(t, sizes(3, func(int) int { return 1000 }))
	r, p := f.reader(t, small), partition(1)
	_, err := r.Footer(ctx, f.name, f.segs[p].ObjectSize)
	require.NoError(t, err)
	clear(f.reads)
	open := f.block(t)

	const waiters = 20
	results := make(chan error, waiters)
	for range waiters {
		go func() {
			got, err := r.Read(ctx, p, f.segs[p], 0, 1, 1)
			if err == nil && !bytes.Equal(got[0], f.batches[p][0]) {
				err = fmt.Errorf("wrong bytes")
			}
			results <- err
		}()
	}
	require.Eventually(t, func() bool { return r.Stats().Shared == waiters-1 }, 30*time.Second, time.Millisecond)
	open()
	for range waiters {
		require.NoError(t, <-results)
	}
	require.Equal(t, []int{1}, f.chunkReads(p, small.ChunkBytes))
}

// block holds back every read until the returned function is called or the test ends.
func (f *fixture) block(t *testing.T) (open func()) {
	gate := make(chan struct{})
	open = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(open)
	f.mu.Lock()
	f.hook = func(objstore.Op) error { <-gate; return nil }
	f.mu.Unlock()
	return open
}

func TestCancelledWaiterLeavesTheOthersAlone(t *testing.T) {
	f := newFixture(t, []int{1000})
	r, p := f.reader(t, small), partition(1)
	_, err := r.Footer(ctx, f.name, f.segs[p].ObjectSize)
	require.NoError(t, err)
	clear(f.reads)
	open := f.block(t)

	first, cancel := context.WithCancel(ctx)
	gaveUp, stayed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := r.Read(first, p, f.segs[p], 0, 1, 1)
		gaveUp <- err
	}()
	require.Eventually(t, func() bool { return r.Stats().Requests == 1 }, 30*time.Second, time.Millisecond)
	go func() {
		_, err := r.Read(ctx, p, f.segs[p], 0, 1, 1)
		stayed <- err
	}()
	require.Eventually(t, func() bool { return r.Stats().Shared == 1 }, 30*time.Second, time.Millisecond)
	cancel() // the one that started the request
	require.ErrorIs(t, <-gaveUp, context.Canceled)
	open()
	require.NoError(t, <-stayed)
	require.Equal(t, []int{1}, f.chunkReads(p, small.ChunkBytes))
}

func TestReadAhead(t *testing.T) {
	const chunk = 64 << 10
	f := newFixture(t, sizes(4, mixed), sizes(100, func(int) int { return 20 << 10 }), sizes(50, mixed))
	p := partition(2)
	seg := f.segs[p]
	first, last := seg.Pos/chunk, (seg.Pos+seg.Length-1)/chunk

	t.Run("sequential", func(t *testing.T) {
		r := f.reader(t, Config{ChunkBytes: chunk, ReadAhead: 3})
		clear(f.reads)
		next := seg.Base
		for next < seg.Next {
			got, err := r.Read(ctx, p, seg, next, seg.Next, 1)
			require.NoError(t, err)
			v, _, err := batch.Parse(got[0])
			require.NoError(t, err)
			next = v.NextOffset()
		}
		require.Positive(t, r.Stats().Ahead)
		for i, n := range f.chunkReads(p, chunk) {
			require.Equal(t, 1, n, "chunk %d", i)
		}
		require.Equal(t, last-first+1, r.Stats().Requests, "nothing outside of the run")
	})
	t.Run("starts with the second chunk", func(t *testing.T) {
		r := f.reader(t, Config{ChunkBytes: chunk, ReadAhead: 3})
		for i := range int64(2) {
			require.Zero(t, r.Stats().Ahead)
			c := cursor{r: r, src: source{p, seg}}
			_, err := c.chunk(ctx, first+i)
			require.NoError(t, err)
		}
		require.Equal(t, int64(3), r.Stats().Ahead)
	})
	t.Run("not for look-ups", func(t *testing.T) {
		r := f.reader(t, Config{ChunkBytes: chunk, ReadAhead: 3})
		for _, i := range []int64{9, 5, 2, 7} {
			c := cursor{r: r, src: source{p, seg}}
			_, err := c.chunk(ctx, first+i)
			require.NoError(t, err)
		}
		require.Zero(t, r.Stats().Ahead)
		require.Equal(t, int64(4), r.Stats().Requests)
	})
	t.Run("not for another run of the same chunks", func(t *testing.T) {
		r := f.reader(t, Config{ChunkBytes: chunk, ReadAhead: 3})
		for i, of := range []id.Partition{p, partition(3), p} {
			c := cursor{r: r, src: source{of, f.segs[of]}}
			_, err := c.chunk(ctx, first+[]int64{0, 1, 3}[i])
			require.NoError(t, err)
		}
		require.Zero(t, r.Stats().Ahead)
	})
}

// TestMemoryBound: what is kept and what is on the way stay within the budget.
func TestMemoryBound(t *testing.T) {
	const chunk, readers = 4 << 10, 30
	f := newFixture(t, sizes(300, func(int) int { return 3000 }))
	p := partition(1)
	cfg := Config{ChunkBytes: chunk, CacheBytes: 16 * chunk, ReadAhead: 4}
	r := f.reader(t, cfg)
	rng := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		from := f.batches[p][rng.IntN(300)].BaseOffset()
		_, err := r.Read(ctx, p, f.segs[p], from, f.segs[p].Next, 20000)
		require.NoError(t, err)
		require.LessOrEqual(t, r.Stats().CachedBytes, cfg.CacheBytes/2)
	}
	require.Greater(t, r.Stats().CachedBytes, cfg.CacheBytes/2-chunk, "it is full")
	require.NoError(t, r.Close(ctx))

	r = f.reader(t, cfg)
	_, err := r.Footer(ctx, f.name, f.segs[p].ObjectSize)
	require.NoError(t, err)
	clear(f.reads)
	open := f.block(t)
	var wg sync.WaitGroup
	for n := range readers {
		wg.Go(func() {
			c := cursor{r: r, src: source{p, f.segs[p]}}
			_, err := c.chunk(ctx, int64(5*n))
			assert.NoError(t, err)
		})
	}
	require.Eventually(t, func() bool { return r.Stats().Requests == readers }, 30*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return f.flying() == 8 }, 30*time.Second, time.Millisecond, "the other half of the budget")
	open()
	wg.Wait()
}

// flying returns how many requests were made.
func (f *fixture) flying() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.reads)
}

// TestSetCacheBytes: the bounds of TestMemoryBound follow the setting while reads go on.
func TestSetCacheBytes(t *testing.T) {
	const chunk = 4 << 10
	f := newFixture(t, sizes(300, func(int) int { return 3000 }))
	p := partition(1)
	r := f.reader(t, Config{ChunkBytes: chunk, CacheBytes: 16 * chunk, ReadAhead: -1})
	read := func(n int64) error {
		c := cursor{r: r, src: source{p, f.segs[p]}}
		_, err := c.chunk(ctx, n)
		return err
	}
	for _, chunks := range []int64{16, 4, 64, 8} {
		r.SetCacheBytes(chunks * chunk)
		require.LessOrEqual(t, r.Stats().CachedBytes, chunks*chunk, "what is beyond the setting goes at once")
		for n := range int64(100) {
			require.NoError(t, read(n))
		}
		fetches := min(maxFetches, chunks/2)
		require.LessOrEqual(t, r.Stats().CachedBytes, (chunks-fetches)*chunk)
		require.Greater(t, r.Stats().CachedBytes, (chunks-fetches-1)*chunk, "it is full")
	}

	r.SetCacheBytes(16 * chunk)
	clear(f.reads)
	open := f.block(t)
	var wg sync.WaitGroup
	want := func(flying int) {
		require.Eventually(t, func() bool { return f.flying() == flying }, 30*time.Second, time.Millisecond, "%d", flying)
	}
	for n := range 30 {
		wg.Go(func() { assert.NoError(t, read(int64(100+n))) })
	}
	want(8)
	r.SetCacheBytes(64 * chunk)
	want(16)
	r.SetCacheBytes(4 * chunk) // 14 slots are owed by the loads under way
	open()
	wg.Wait()
	require.Eventually(t, func() bool { return len(r.chunks.slots) == maxFetches-2 }, 30*time.Second, time.Millisecond)
	require.NoError(t, read(1), "two are left")
}
