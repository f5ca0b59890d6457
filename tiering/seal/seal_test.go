package seal

import (
	"errors"
	"iter"
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
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/producers"
)

func TestSealAll(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem())
	for range 4 {
		w.fill(20, 200)
		require.NoError(t, w.sealer.SealAll(ctx))
		w.sealedAll()
		w.check()
	}
	sum := w.verify()
	require.Zero(t, sum.Orphans)
	require.Equal(t, 20, sum.Partitions)
	stats := w.sealer.Stats()
	require.Equal(t, int64(4), stats.Packs, "one pack for many small partitions")
	require.Equal(t, int64(sum.Segments), stats.Segments)
	require.Equal(t, sum.Bytes, stats.Bytes)
	require.Equal(t, sum.Records, stats.Records)
	require.Zero(t, stats.LagBytes)
	require.NoError(t, stats.LastError)

	before := w.sealer.Stats()
	require.NoError(t, w.sealer.SealAll(ctx))
	require.Equal(t, before, w.sealer.Stats(), "nothing is left to do")
}

// countingJournal counts the batches that were not read in bulk.
type countingJournal struct {
	Journal
	batches int
}

func (c *countingJournal) Batch(p id.Partition, e journal.Entry) (batch.View, error) {
	c.batches++
	return c.Journal.Batch(p, e)
}

// TestHotSegmentsAreReadInBulk: the sealer knows where a batch lies in a segment
// file, and reads neighbours together.
func TestHotSegmentsAreReadInBulk(t *testing.T) {
	var reads atomic.Int64
	fs := vfs.Inject(vfs.NewMem(), func(op vfs.Op) error {
		if op.Kind == vfs.OpRead {
			reads.Add(1)
		}
		return nil
	})
	var counting *countingJournal
	w := newWorld(t, fs, kv.NewMem(), func(c *Config) {
		counting = &countingJournal{Journal: c.Journal}
		c.Journal = counting
	})
	w.fill(50, 1000)
	before := reads.Load()
	require.NoError(t, w.sealer.SealAll(ctx))
	require.Zero(t, counting.batches)
	require.LessOrEqual(t, reads.Load()-before, int64(len(w.journal.Segments())), "one read for each hot segment")
	w.check()
}

// TestLargePartitions: more than is held in memory at once, of batches larger and
// smaller than all the buffers, becomes one run for each partition.
func TestLargePartitions(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem(), func(c *Config) { c.MaxPackBytes = 1 << 30 })
	w.close()
	w.open(128<<20, func(c *Config) { c.MaxPackBytes = 1 << 30 })
	for n := range 60 {
		for i := 1; i <= 3; i++ {
			size := []int{1 << 20, 300 << 10, 40 << 10}[(n+i)%3]
			if n == 30 && i == 1 {
				size = largeFill + 1000
			}
			w.append(partition(i), w.build(partition(i), id.NoProducer, 1, size))
			w.append(partition(i), w.build(partition(i), id.NoProducer, 1, 10))
		}
	}
	w.sync()
	require.NoError(t, w.sealer.SealAll(ctx))
	w.sealedAll()
	w.check()
	require.Equal(t, 3, w.verify().Segments)
}

func TestMaxPackBytesSplits(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem(), func(c *Config) { c.MaxPackBytes = 20 << 10 })
	w.fill(5, 400)
	require.NoError(t, w.sealer.SealAll(ctx))
	w.sealedAll()
	w.check()
	require.Greater(t, w.sealer.Stats().Packs, int64(10))
	for p := range w.want {
		segs, err := w.chain.Segments(ctx, p, 0, 0)
		require.NoError(t, err)
		for _, s := range segs {
			require.Less(t, s.Length, int64(20<<10+9000), "one batch more than the limit at most")
		}
	}
}

func TestProducersAreCarriedFromPackToPack(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem())
	p, q := partition(1), partition(2)
	produce := func(p id.Partition, ids ...id.Producer) {
		for _, n := range ids {
			w.append(p, w.build(p, n, 3, 10))
		}
		w.sync()
		require.NoError(t, w.sealer.SealAll(ctx))
	}
	states := func(p id.Partition) map[id.Producer]producers.State {
		byID := map[id.Producer]producers.State{}
		for _, s := range w.producers(p) {
			byID[s.Producer] = s
		}
		return byID
	}
	for range 4 {
		produce(p, 100, 101, 100)
	}
	produce(q, 100)
	produce(p, id.NoProducer)
	got := states(p)
	require.Len(t, got, 2)
	require.Len(t, got[100].Batches, producers.Window)
	require.Equal(t, int32(23), got[100].Batches[4].LastSequence, "3 records of each of 8 batches")
	require.Len(t, got[101].Batches, 4)
	require.Len(t, states(q), 1)

	w.now = w.now.Add(23 * time.Hour)
	produce(p, 101)
	require.Len(t, states(p), 2)
	w.now = w.now.Add(2 * time.Hour)
	produce(p, id.NoProducer)
	got = states(p)
	require.Len(t, got, 1, "producer 100 was silent for 25 hours")
	require.Contains(t, got, id.Producer(101))
	w.check()
}

func TestOnlyRolledSegmentsAreSealed(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem())
	w.fill(3, 200)
	require.NoError(t, w.sealer.pass(ctx))
	var rolled, all int64
	for _, seg := range w.journal.Segments() {
		for _, e := range seg.Partitions {
			all += e.Bytes
			if seg.Rolled {
				rolled += e.Bytes
			}
		}
	}
	require.Less(t, rolled, all)
	require.Equal(t, rolled, w.sealer.Stats().Bytes)
	w.check()
}

func TestDiskBudget(t *testing.T) {
	var budget int64 = 200 << 10
	w := newWorld(t, vfs.NewMem(), kv.NewMem(), func(c *Config) { c.DiskBudget = budget })
	w.fill(5, 800)
	segs := w.journal.Segments()
	require.Greater(t, len(segs), 8)
	require.NoError(t, w.sealer.SealAll(ctx))
	left := w.journal.Segments()
	require.Equal(t, segs[len(segs)-len(left)].ID, left[0].ID, "the oldest went")
	var size int64
	for _, s := range left {
		size += s.Size
	}
	require.LessOrEqual(t, size, budget)
	require.Greater(t, size+segs[len(segs)-len(left)-1].Size, budget, "and not one more than needed")
	require.Equal(t, int64(len(segs)-len(left)), w.sealer.Stats().Dropped)
	w.check()
	w.fill(5, 300)
	require.NoError(t, w.sealer.SealAll(ctx))
	w.check()
}

// TestUnsealedSegmentsAreKept: whatever the budget, while the object store fails.
func TestUnsealedSegmentsAreKept(t *testing.T) {
	full := errors.New("no space left")
	var failing bool
	w := newWorld(t, vfs.NewMem(), kv.NewMem(), func(c *Config) {
		c.DiskBudget = 1
		c.Objects = objstore.Inject(c.Objects, func(op objstore.Op) error {
			if failing && op.Kind == objstore.OpPut {
				return full
			}
			return nil
		})
	})
	w.fill(5, 200)
	require.NoError(t, w.sealer.SealAll(ctx))
	failing = true
	w.fill(5, 200)
	for range 3 {
		require.ErrorIs(t, w.sealer.SealAll(ctx), full)
	}
	stats := w.sealer.Stats()
	require.ErrorIs(t, stats.LastError, full)
	require.Equal(t, 3, stats.FailureStreak)
	require.Positive(t, stats.LagBytes)
	require.Positive(t, stats.LagSegments)
	w.check()
	failing = false
	require.NoError(t, w.sealer.SealAll(ctx))
	require.NoError(t, w.sealer.Stats().LastError)
	require.Zero(t, w.sealer.Stats().LagBytes)
	require.Empty(t, w.journal.Segments(), "all is sealed and the budget is tiny")
	w.sealedAll()
	w.check()
	require.Zero(t, w.verify().Orphans)
}

func TestDeletedPartitionsAreNotSealedAndHoldNothingUp(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem(), func(c *Config) {
		c.DiskBudget = 1
		c.Live = func(p id.Partition) bool { return p != partition(2) }
	})
	w.fill(3, 100)
	require.NoError(t, w.sealer.SealAll(ctx))
	_, _, sealed, err := w.chain.End(ctx, partition(2))
	require.NoError(t, err)
	require.False(t, sealed)
	require.Empty(t, w.journal.Segments())
	delete(w.want, partition(2))
	w.check()
}

// TestLostReply: an object that was stored though the store said otherwise is an orphan.
func TestLostReply(t *testing.T) {
	lost := errors.New("connection reset")
	w := newWorld(t, vfs.NewMem(), kv.NewMem(), func(c *Config) {
		inner, times := c.Objects, 1
		c.Objects = objstore.Inject(inner, func(op objstore.Op) error {
			if op.Kind == objstore.OpStored && times > 0 {
				times--
				return lost
			}
			return nil
		})
	})
	w.fill(3, 100)
	require.ErrorIs(t, w.sealer.SealAll(ctx), lost)
	require.NoError(t, w.sealer.SealAll(ctx))
	w.sealedAll()
	w.check()
	require.Equal(t, 1, w.verify().Orphans)
}

func TestFlakyTable(t *testing.T) {
	mem := kv.NewMem()
	flaky := kv.NewFlaky(mem, 3, kv.FlakyRates{Fail: 0.05, Lost: 0.05, Landed: 0.1, Late: 0.1, Read: 0.01})
	w := newWorld(t, vfs.NewMem(), mem, func(c *Config) { c.Chain = chain.Open(flaky) })
	failures := 0
	for range 5 {
		w.fill(30, 100)
		for w.sealer.SealAll(ctx) != nil {
			failures++
			require.Less(t, failures, 1000)
			w.check()
		}
		w.sealedAll()
		w.check()
	}
	require.Positive(t, failures)
	w.verify()
}

// TestTwoSealersRace: two that do not know of each other seal the same journal. It is
// in the chains once, and neither fails.
func TestTwoSealersRace(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem())
	other := New(w.sealer.cfg)
	t.Cleanup(func() { require.NoError(t, other.Close(ctx)) })
	for range 5 {
		w.fill(30, 100)
		var wg sync.WaitGroup
		for _, s := range []*Sealer{w.sealer, other} {
			wg.Go(func() { assert.NoError(t, s.SealAll(ctx)) })
		}
		wg.Wait()
		w.sealedAll()
		w.check()
	}
	w.verify()
}

// damaged is a journal one batch of which cannot be read, neither in bulk nor alone.
type damaged struct {
	Journal
	p    id.Partition
	base id.Offset
}

func (d *damaged) Entries(p id.Partition, from id.Offset) iter.Seq2[journal.Entry, error] {
	return func(yield func(journal.Entry, error) bool) {
		for e, err := range d.Journal.Entries(p, from) {
			if err == nil && p == d.p && e.Base == d.base {
				e.Pos += 5
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// TestDamagedBatchHoldsUpItsPartitionOnly: and what precedes it is sealed.
func TestDamagedBatchHoldsUpItsPartitionOnly(t *testing.T) {
	d := &damaged{p: partition(2), base: -1}
	w := newWorld(t, vfs.NewMem(), kv.NewMem(), func(c *Config) {
		c.DiskBudget = 1
		d.Journal = c.Journal
		c.Journal = d
	})
	w.fill(3, 60)
	d.base = w.want[d.p][7].BaseOffset()
	err := w.sealer.SealAll(ctx)
	require.ErrorContains(t, err, "1 partitions cannot be sealed")
	require.ErrorContains(t, err, "offset "+d.base.String())
	for p, next := range w.next {
		end, _, _, err := w.chain.End(ctx, p)
		require.NoError(t, err)
		if p == d.p {
			next = d.base
		}
		require.Equal(t, next, end)
	}
	require.NotEmpty(t, w.journal.Segments(), "the batch is still there")
	w.check()
	d.base = -1 // it was the disk's controller
	require.NoError(t, w.sealer.SealAll(ctx))
	w.sealedAll()
	w.check()
	require.Empty(t, w.journal.Segments())
}

func TestHoleIsNamed(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem())
	w.fill(2, 10)
	p := partition(3)
	w.next[p] = 5
	w.append(p, w.build(p, id.NoProducer, 1, 10))
	w.sync()
	err := w.sealer.SealAll(ctx)
	require.ErrorIs(t, err, ErrHole)
	require.ErrorContains(t, err, p.String())
	end, _, _, err := w.chain.End(ctx, partition(1))
	require.NoError(t, err)
	require.Equal(t, w.next[partition(1)], end)
}
