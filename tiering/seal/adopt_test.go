package seal

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
)

// TestAdopt: chains that another broker began, runs that straddle their ends, many small
// runs, and then the hot tier of the new leader.
func TestAdopt(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem(), func(c *Config) { c.DiskBudget = 1 })
	w.fill(20, 300)
	require.NoError(t, w.sealer.SealAll(ctx))
	before := w.sealer.Stats()
	w.overlap()
	for range 30 {
		w.fillWAL(20, 100)
	}
	adopted, err := w.sealer.Adopt(ctx, w.adoptions())
	require.NoError(t, err)
	w.allAdopted(adopted)
	stats := w.sealer.Stats()
	require.Equal(t, before.Packs+1, stats.Packs, "many runs become one pack")
	require.Equal(t, before.Segments+20, stats.Segments)
	require.Zero(t, w.verify().Orphans)

	again, err := w.sealer.Adopt(ctx, w.adoptions())
	require.NoError(t, err)
	require.Equal(t, adopted, again)
	require.Equal(t, stats, w.sealer.Stats(), "there is nothing left to do")
	none, err := w.sealer.Adopt(ctx, []Adoption{{Partition: partition(99)}})
	require.NoError(t, err)
	require.Equal(t, []Adopted{{Partition: partition(99)}}, none)

	w.fill(20, 300)
	require.NoError(t, w.sealer.SealAll(ctx))
	w.checkAllSealed()
}

func TestAdoptGoesOnInTheNextPack(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem(), func(c *Config) { c.MaxPackBytes = 40 << 10 })
	for range 30 {
		w.fillWAL(3, 12)
	}
	adopted, err := w.sealer.Adopt(ctx, w.adoptions())
	require.NoError(t, err)
	w.allAdopted(adopted)
	require.Greater(t, w.sealer.Stats().Packs, int64(5))
	for p := range w.want {
		segs, err := w.chain.Segments(ctx, p, 0, 0)
		require.NoError(t, err)
		for _, seg := range segs {
			require.Less(t, seg.Length, int64(2*40<<10), "one run more than the limit at most")
		}
	}
}

// TestAdoptCarriesTransactions: one that began below the chain's end is aborted in a WAL object.
func TestAdoptCarriesTransactions(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem())
	p := partition(1)
	b := batch.New(batch.None).Producer(5, 0, 0).Transactional().Add(batch.Record{Value: []byte("x")}).Build()
	w.append(p, b)
	w.sync()
	require.NoError(t, w.sealer.SealAll(ctx))
	w.fillWAL(1, 3)
	m := batch.NewMarker(batch.Marker{CoordinatorEpoch: 1}, 5, 0, 7)
	m.Stamp(w.next[p], 0)
	w.walObject(map[id.Partition][]batch.View{p: {w.produce(p, m)}})
	w.fillWAL(1, 3)
	adopted, err := w.sealer.Adopt(ctx, w.adoptions())
	require.NoError(t, err)
	w.allAdopted(adopted)
	_, last, _, err := w.chain.End(ctx, p)
	require.NoError(t, err)
	footer, err := w.cold.Footer(ctx, last.Object, last.ObjectSize)
	require.NoError(t, err)
	run, _ := footer.Run(p)
	require.Len(t, run.Aborted, 1)
	require.Equal(t, id.Offset(0), run.Aborted[0].First)
	require.Equal(t, m.BaseOffset(), run.Aborted[0].Last)
}

// TestAdoptOneFails: in every way that one can fail, the others are adopted, and what
// comes before the place that is wrong.
func TestAdoptOneFails(t *testing.T) {
	boom := errors.New("disk full")
	var failing bool
	mem := kv.NewMem()
	table := kv.Inject(mem, func(op kv.Op) kv.Fault {
		if failing && (op.Kind == kv.OpQuery && strings.HasSuffix(op.Key.Part, "/4") || op.Kind == kv.OpWrite && strings.HasSuffix(op.Key.Part, "/5")) {
			return kv.FaultFail
		}
		return kv.FaultNone
	})
	w := newWorld(t, vfs.NewMem(), mem, func(c *Config) {
		c.Chain = chain.Open(table)
	})
	for range 10 {
		w.fillWAL(6, 60)
	}
	lost := w.next[partition(2)]
	v := w.produce(partition(2), w.build(partition(2), id.NoProducer, 1, 10))
	w.walObject(map[id.Partition][]batch.View{partition(2): {v}})
	gone := w.wal[partition(2)][len(w.wal[partition(2)])-1]
	w.fillWAL(6, 60)
	as := w.adoptions()
	whole := as[2].Segments
	as[2].Segments = slices.Delete(slices.Clone(whole), 5, 6)
	require.NoError(t, w.objects.Delete(ctx, gone.Object))
	failing = true

	adopted, err := w.sealer.Adopt(ctx, as)
	require.ErrorContains(t, err, "4 of 6 partitions")
	require.ErrorIs(t, w.sealer.Stats().LastError, err)
	for i, want := range []error{nil, objstore.ErrNotFound, ErrHole, kv.ErrInjected, kv.ErrInjected, nil} {
		require.ErrorIs(t, adopted[i].Err, want, as[i].Partition.String())
		if want == nil {
			require.Equal(t, w.next[as[i].Partition], adopted[i].End)
		}
	}
	require.Equal(t, lost, adopted[1].End)
	require.Equal(t, whole[5].Base, adopted[2].End)
	require.Equal(t, id.Offset(-1), adopted[3].End)
	require.Zero(t, adopted[4].End)
	for p := range w.want {
		w.checkSealed(p)
	}

	failing, as[2].Segments = false, whole
	w.walObject(map[id.Partition][]batch.View{partition(2): {v}})
	as[1].Segments[len(as[1].Segments)-2] = w.wal[partition(2)][len(w.wal[partition(2)])-1]
	slices.SortFunc(as[1].Segments, func(a, b chain.Segment) int { return int(a.Base - b.Base) })
	adopted, err = w.sealer.Adopt(ctx, as)
	require.NoError(t, err)
	w.allAdopted(adopted)

	w.fillWAL(6, 20)
	w.sealer.cfg.Objects = objstore.Inject(w.objects, func(op objstore.Op) error {
		if op.Kind == objstore.OpPut {
			return boom
		}
		return nil
	})
	adopted, err = w.sealer.Adopt(ctx, w.adoptions())
	require.ErrorIs(t, err, boom)
	for _, a := range adopted {
		require.ErrorIs(t, a.Err, boom)
	}
}

// TestAdoptWhatAnotherSealsMeanwhile: the place is taken, and even the WAL objects are
// gone by the time that they are read.
func TestAdoptWhatAnotherSealsMeanwhile(t *testing.T) {
	for name, removed := range map[string]bool{"the place is taken": false, "and the WAL objects are gone": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, vfs.NewMem(), kv.NewMem())
			for range 5 {
				w.fillWAL(10, 50)
			}
			most := w.adoptions()
			for range 2 {
				w.fillWAL(10, 50)
			}
			other := New(w.sealer.cfg)
			t.Cleanup(func() { require.NoError(t, other.Close(ctx)) })
			w.sealer.cfg.Cold = w.newCold()
			var once sync.Once
			meanwhile := func() {
				_, err := other.Adopt(ctx, most)
				assert.NoError(t, err)
				if removed {
					for _, seg := range most[0].Segments {
						assert.NoError(t, w.objects.Delete(ctx, seg.Object))
					}
				}
			}
			w.sealer.cfg.Objects = objstore.Inject(w.objects, func(op objstore.Op) error {
				if op.Kind == objstore.OpPut && !removed || op.Kind == objstore.OpRead && removed {
					once.Do(meanwhile)
				}
				return nil
			})
			if removed {
				w.sealer.cfg.Cold = w.newColdOf(w.sealer.cfg.Objects)
			}
			adopted, err := w.sealer.Adopt(ctx, w.adoptions())
			require.NoError(t, err)
			w.allAdopted(adopted)
			if !removed {
				require.Equal(t, int64(10), w.sealer.Stats().Taken)
			}
			require.Equal(t, int64(1), other.Stats().Packs)
		})
	}
}

// TestAdoptGivesUp: when another is always faster. How far the chain reaches is told all the same.
func TestAdoptGivesUp(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem())
	for range 10 {
		w.fillWAL(1, 5)
	}
	as, n := w.adoptions(), 0
	other := New(w.sealer.cfg)
	t.Cleanup(func() { require.NoError(t, other.Close(ctx)) })
	w.sealer.cfg.Objects = objstore.Inject(w.objects, func(op objstore.Op) error {
		if op.Kind == objstore.OpPut {
			n++
			_, err := other.Adopt(ctx, []Adoption{{as[0].Partition, as[0].Segments[:n]}})
			assert.NoError(t, err)
		}
		return nil
	})
	adopted, err := w.sealer.Adopt(ctx, as)
	require.ErrorIs(t, err, errStalled)
	require.ErrorIs(t, adopted[0].Err, errStalled)
	require.Equal(t, maxStalls, n)
	require.Equal(t, as[0].Segments[n-1].Next, adopted[0].End)
}

// TestAdoptRefusesWhatDoesNotFollow: a run that has no batch at the chain's end, and one of
// a leader before that of the chain's last batch.
func TestAdoptRefusesWhatDoesNotFollow(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem())
	for i := 1; i <= 3; i++ {
		p := partition(i)
		w.walObject(map[id.Partition][]batch.View{p: {w.produce(p, w.build(p, id.NoProducer, 10, 5)), w.produce(p, w.build(p, id.NoProducer, 10, 5))}})
	}
	for i, seg := range []chain.Segment{{Next: 15}, {Next: 10, FirstEpoch: 4, LastEpoch: 4}} {
		seg.Object, seg.ObjectSize, seg.Length = "packs/x", 10, 10
		require.NoError(t, w.chain.Append(ctx, []chain.Link{{Partition: partition(1 + i), Segment: seg}})[0])
	}
	adopted, err := w.sealer.Adopt(ctx, w.adoptions())
	require.ErrorContains(t, err, "2 of 3 partitions")
	require.ErrorIs(t, adopted[0].Err, ErrHole)
	require.ErrorContains(t, adopted[0].Err, "a batch at 10")
	require.ErrorIs(t, adopted[1].Err, ErrHole)
	require.ErrorContains(t, adopted[1].Err, "epoch 4")
	require.Equal(t, Adopted{Partition: partition(3), End: 20}, adopted[2])
}

// TestAdoptRacesWithTheFormerLeadersRound: it seals from its hot tier what the new leader
// seals from WAL objects. It is in the chains once, and neither fails.
func TestAdoptRacesWithTheFormerLeadersRound(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem())
	cfg := w.sealer.cfg
	cfg.Cold = w.newCold()
	leader := New(cfg)
	t.Cleanup(func() { require.NoError(t, leader.Close(ctx)) })
	for range 10 {
		runs := map[id.Partition][]batch.View{}
		for range 200 {
			p := partition(1 + w.rng.IntN(30))
			v := w.build(p, id.NoProducer, 1, 1+w.rng.IntN(1000))
			w.append(p, v)
			runs[p] = append(runs[p], v)
		}
		w.sync()
		w.walObject(runs)
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, w.sealer.SealAll(ctx)) })
		wg.Go(func() {
			adopted, err := leader.Adopt(ctx, w.adoptions())
			assert.NoError(t, err)
			for _, a := range adopted {
				assert.Equal(t, w.next[a.Partition], a.End)
			}
		})
		wg.Wait()
		w.sealedAll()
		w.check()
	}
	w.verify()
}

func TestAdoptAfterClose(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), kv.NewMem())
	require.NoError(t, w.sealer.Close(ctx))
	_, err := w.sealer.Adopt(ctx, nil)
	require.ErrorIs(t, err, ErrClosed)
}
