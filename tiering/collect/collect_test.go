package collect_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/collect"
	"github.com/forebaylog/forebay/tiering/wal"
)

// inTime runs a test in a time of its own.
func inTime(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}

func TestOrphanGoesAfterTwoLooks(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		p := w.topic("a")
		kept := w.seal(p, 0, 10)
		orphan := w.put("packs/orphan.pack")

		r := w.run(w.config())
		require.Equal(t, int64(1), r.Packs.Superfluous.Objects)
		require.Zero(t, r.Due)
		require.ElementsMatch(t, []string{kept, orphan}, w.stored("packs/"))
		require.Len(t, w.stored("collector/"), 2, "marks and a report")

		time.Sleep(time.Hour - time.Second)
		require.Zero(t, w.run(w.config()).Due, "the grace is not over")
		time.Sleep(time.Second)
		r = w.run(w.config())
		require.Equal(t, collect.Count{Objects: 1, Bytes: int64(len(orphan))}, r.Packs.Removed)
		require.Equal(t, []string{kept}, w.stored("packs/"))

		r = w.run(w.config())
		require.Zero(t, r.Packs.Superfluous)
		require.Len(t, w.stored("collector/"), 1, "nothing is left to be remembered, but the report")
		require.Empty(t, r.Damaged)
	})
}

func TestNamedInBetweenBeginsAnew(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		p := w.topic("a")
		seg := w.segment(0, 10)
		w.run(w.config())
		time.Sleep(30 * time.Minute)
		require.NoError(t, w.chains.Append(t.Context(), []chain.Link{{Partition: p, Segment: seg}})[0])
		w.run(w.config()) // it has a name
		time.Sleep(31 * time.Minute)
		w.records = append(w.records, metalog.TopicDeleted{ID: p.Topic})
		require.Zero(t, w.run(w.config()).Due, "it has just lost its name")
		require.Equal(t, []string{seg.Object}, w.stored("packs/"))
	})
}

func TestSpareItemsAndWhatOnlyTheyName(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		p := w.topic("a")
		for base := id.Offset(0); base < 50; base += 10 {
			w.seal(p, base, base+10)
		}
		before := w.items(p)
		merged := w.segment(10, 40)
		require.NoError(t, w.chains.Replace(t.Context(), p, before[1:4], merged))
		w.records = append(w.records, metalog.LogStartsMoved{Moves: []metalog.StartMove{{Partition: p, Start: 15}}})

		r := w.run(w.config())
		require.Equal(t, collect.Items{Kept: 2, Superfluous: 3}, r.Items)
		require.Len(t, w.items(p), 5)
		time.Sleep(time.Hour)
		r = w.run(w.config())
		require.Equal(t, collect.Items{Kept: 2, Superfluous: 3, Removed: 3}, r.Items)
		require.Equal(t, int64(4), r.Packs.Removed.Objects)
		after := w.items(p)
		require.Len(t, after, 2)
		require.Equal(t, merged.Object, after[0].Object)
		require.ElementsMatch(t, []string{merged.Object, before[4].Object}, w.stored("packs/"))
	})
}

func TestItemsStayBeforeObjects(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		p := w.topic("a")
		w.seal(p, 0, 10)
		w.records = append(w.records, metalog.TopicDeleted{ID: p.Topic})
		w.run(w.config())
		time.Sleep(time.Hour)
		cfg := w.config()
		cfg.Chains = kv.Inject(w.table, func(op kv.Op) kv.Fault {
			if op.Kind == kv.OpWrite {
				return kv.FaultFail
			}
			return kv.FaultNone
		})
		c := collect.New(cfg)
		r, err := c.Run(t.Context())
		require.ErrorIs(t, err, kv.ErrInjected)
		require.Zero(t, r.Packs.Removed)
		require.Len(t, w.stored("packs/"), 1, "an item that is still there names it")
		require.Equal(t, int64(1), c.Stats().Errors)

		r = w.run(w.config()) // goes on from the marks
		require.Equal(t, int64(1), r.Items.Removed)
		require.Equal(t, int64(1), r.Chains.Removed)
		require.Equal(t, int64(1), r.Packs.Removed.Objects)
		ps, err := w.chains.Partitions(t.Context())
		require.NoError(t, err)
		require.Empty(t, ps)
	})
}

// TestOverlappingRewrites: of two rewriters at once both have written. What one of them wrote
// is spare until the log start moves; then what it covers is. It must be there then.
func TestOverlappingRewrites(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		p := w.topic("a")
		for base := id.Offset(0); base < 40; base += 10 {
			w.seal(p, base, base+10)
		}
		before := w.items(p)
		require.NoError(t, w.chains.Replace(t.Context(), p, before[1:3], w.segment(10, 30)))
		require.NoError(t, w.chains.Replace(t.Context(), p, before[0:2], w.segment(0, 20)))
		for range 3 {
			w.run(w.config())
			time.Sleep(time.Hour)
		}
		bases := []id.Offset{}
		for _, item := range w.items(p) {
			bases = append(bases, item.Base)
			_, err := w.objects.Stat(t.Context(), item.Object)
			require.NoError(t, err)
		}
		require.Equal(t, []id.Offset{0, 10, 20, 30}, bases)
		w.records = append(w.records, metalog.LogStartsMoved{Moves: []metalog.StartMove{{Partition: p, Start: 25}}})
		for range 2 {
			w.run(w.config())
			time.Sleep(time.Hour)
		}
		canonical, spare, err := chain.Canonical(w.items(p), 25)
		require.NoError(t, err)
		require.Empty(t, spare)
		require.Equal(t, id.Offset(10), canonical[0].Base)
		require.Len(t, canonical, 2)
	})
}

func TestDamagedChainKeepsPacks(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		for name, damage := range map[string]func(p id.Partition){
			"gap": func(p id.Partition) {
				require.NoError(t, w.chains.Remove(t.Context(), p, w.items(p)[1:2]))
			},
			"item": func(p id.Partition) {
				key := kv.Key{Part: "chain/" + p.Topic.String() + "/0", Sort: "00000000000000000010"}
				require.NoError(t, w.table.Write(t.Context(), kv.Write{Key: key, Value: []byte("?"), Any: true})[0].Err)
			},
		} {
			p := w.topic(name)
			for base := id.Offset(0); base < 30; base += 10 {
				w.seal(p, base, base+10)
			}
			damage(p)
			orphan := w.put("packs/orphan-" + name)
			for range 2 {
				r := w.run(w.config())
				require.Len(t, r.Damaged, 1)
				require.Contains(t, r.Damaged[0].Place, p.String())
				require.Zero(t, r.Packs.Superfluous)
				time.Sleep(time.Hour)
			}
			require.Contains(t, w.stored("packs/"), orphan)
			w.records = append(w.records, metalog.TopicDeleted{ID: p.Topic})
		}
	})
}

// wal stores a WAL object and takes the next slot of the stream with it.
func (w *world) commit(session id.Session, n int) string {
	name := w.put("wal/" + session.String() + "/000000000000" + string(rune('0'+n)) + "-abcdefghijklmnop.pack")
	payload := `{"v":1,"objects":[{"name":"` + name + `","size":1}]}`
	require.NoError(w.t, wal.Slots(w.table, session).Append(w.t.Context(), uint64(n), []byte(payload)))
	return name
}

func TestStreams(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		open, fenced, released, damaged := id.NewSession(), id.NewSession(), id.NewSession(), id.NewSession()
		w.records = append(w.records, metalog.BrokerRegistered{ID: 1, Incarnation: open},
			metalog.BrokerRegistered{ID: 2, Incarnation: fenced}, metalog.BrokerRegistered{ID: 3, Incarnation: damaged})
		var kept, gone []string
		pending := func(s id.Session) string { return w.put("wal/" + s.String() + "/0000000000009-pending.pack") }
		kept = append(kept, w.commit(open, 1), pending(open)) // whose slot is still to be taken
		for _, s := range []id.Session{fenced, damaged} {
			w.commit(s, 1)
			w.commit(s, 2)
			_, err := wal.Fence(t.Context(), wal.Slots(w.table, s), 1)
			require.NoError(t, err)
		}
		require.NoError(t, wal.Slots(w.table, fenced).Truncate(t.Context(), 2))
		names := w.stored("wal/" + fenced.String())
		gone = append(gone, names[0], pending(fenced), pending(released))
		kept = append(kept, names[1], pending(damaged))
		kept = append(kept, w.stored("wal/"+damaged.String()+"/0000000000001")...)
		kept = append(kept, w.stored("wal/"+damaged.String()+"/0000000000002")...)
		key := kv.Key{Part: "slot/wal/" + damaged.String(), Sort: "00000000000000000001"}
		require.NoError(t, w.table.Write(t.Context(), kv.Write{Key: key, Value: []byte("{}"), Any: true})[0].Err)

		require.Len(t, w.run(w.config()).Damaged, 1)
		require.Subset(t, w.stored("wal/"), gone)
		time.Sleep(time.Hour)
		r := w.run(w.config())
		require.Equal(t, int64(len(gone)), r.WAL.Removed.Objects)
		require.ElementsMatch(t, kept, w.stored("wal/"))
	})
}

func TestUnknownIsNotTouched(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		for _, name := range []string{"probe/x", "other", "collector/readme", "wal/x", "metalog/x", "packs2/x"} {
			w.put(name)
		}
		for range 3 {
			r := w.run(w.config())
			require.Equal(t, int64(7), r.Unknown.Kept.Objects)
			time.Sleep(2 * time.Hour)
		}
		require.Len(t, w.stored(""), 7+1, "and the last report")
	})
}

// TestLastReport: the report of the last look that has ended without a failure is there, and no other.
func TestLastReport(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		_, err := collect.LastReport(t.Context(), w.objects)
		require.ErrorIs(t, err, objstore.ErrNotFound)
		w.put("packs/orphan.pack")
		for range 3 {
			r := w.run(w.config())
			last, err := collect.LastReport(t.Context(), w.objects)
			require.NoError(t, err)
			require.Equal(t, r.Packs, last.Report.Packs)
			require.Equal(t, r.Look, last.Report.Look)
			time.Sleep(time.Hour)
		}
		require.Len(t, slices.DeleteFunc(w.stored("collector/"), func(name string) bool { return !strings.HasSuffix(name, ".report") }), 1)
	})
}

func TestForeignMetadata(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		require.NoError(t, w.objects.Delete(t.Context(), "cluster-id"))
		require.NoError(t, w.objects.Put(t.Context(), "cluster-id", strings.NewReader("another")))
		_, err := collect.New(w.config()).Run(t.Context())
		require.ErrorIs(t, err, collect.ErrForeign)

		cfg := w.config()
		cfg.Image = func(context.Context) (*metalog.Image, error) { return &metalog.Image{}, nil }
		_, err = collect.New(cfg).Run(t.Context())
		require.ErrorIs(t, err, collect.ErrForeign, "an empty table would make everything superfluous")
	})
}

// TestArchive: the audit is kept for as long as is set, but at least as long as keys, and for the grace.
func TestArchive(t *testing.T) { inTime(t, archiveIsKept) }

func archiveIsKept(t *testing.T, w *world) {
	l, err := metalog.Open(t.Context(), metalog.Options{Store: w.table, Objects: w.objects, SnapshotEvery: 1 << 40, KeepSlots: 1})
	require.NoError(t, err)
	for range 3 {
		_, err := l.Update(t.Context(), func(*metalog.Image) ([]metalog.Record, error) {
			return []metalog.Record{metalog.FeatureFinalized{Name: "f"}}, nil
		})
		require.NoError(t, err)
		require.NoError(t, l.Snapshot(t.Context()))
	}
	require.NoError(t, l.Close(t.Context()))
	archived := w.stored(metalog.ArchivePrefix)
	require.Len(t, archived, 3)
	cfg := w.config()
	cfg.Grace, cfg.Alone = -1, true
	keeps := func(kept time.Duration) {
		t.Helper()
		cfg.AuditKept = func(*metalog.Image) time.Duration { return kept }
		r := w.run(cfg)
		require.Zero(t, r.Archive.Superfluous)
		require.Equal(t, int64(3), r.Archive.Kept.Objects)
	}
	keeps(-1)
	time.Sleep(metalog.KeysKept - time.Second)
	keeps(0)
	time.Sleep(time.Second)
	keeps(metalog.KeysKept + time.Hour)
	keeps(-1)
	require.Equal(t, archived, w.stored(metalog.ArchivePrefix))
	cfg.AuditKept = func(*metalog.Image) time.Duration { return 0 }
	cfg.Grace = time.Hour
	require.Equal(t, int64(3), w.run(cfg).Archive.Superfluous.Objects)
	require.Len(t, w.stored(metalog.ArchivePrefix), 3, "kept for the grace")
	cfg.Grace = -1
	require.Equal(t, int64(3), w.run(cfg).Archive.Removed.Objects)
	require.Empty(t, w.stored(metalog.ArchivePrefix))
	require.Len(t, w.stored(metalog.SnapshotPrefix), 2, "snapshots stay")
}

// TestStoreThatDoesNotSayWhoseItIs: it may be a wrong one, all of whose objects nothing here names.
func TestStoreThatDoesNotSayWhoseItIs(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		require.NoError(t, w.objects.Delete(t.Context(), "cluster-id"))
		known := w.config()
		known.Cluster = clusterID
		w.run(known)
		_, err := collect.New(w.config()).Run(t.Context())
		require.ErrorIs(t, err, collect.ErrForeign, "nobody says which it should be")
		require.ErrorContains(t, err, "start one of its brokers")
		w.put("packs/other")
		for _, cfg := range []collect.Config{known, w.config()} {
			_, err = collect.New(cfg).Run(t.Context())
			require.ErrorIs(t, err, collect.ErrForeign)
		}
		require.Equal(t, []string{"packs/other"}, w.stored("packs/"))
	})
}

func TestSnapshots(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		l, err := metalog.Open(t.Context(), metalog.Options{Store: w.table, Objects: w.objects, SnapshotEvery: 1})
		require.NoError(t, err)
		require.NoError(t, w.objects.Delete(t.Context(), "cluster-id"))
		require.NoError(t, w.objects.Put(t.Context(), "cluster-id", strings.NewReader(l.Image().ClusterID())))
		for range 3 {
			_, err = l.Update(t.Context(), func(*metalog.Image) ([]metalog.Record, error) {
				return []metalog.Record{metalog.TopicCreated{ID: id.NewTopic(), Name: id.NewTopic().String(), ReplicationFactor: 1, Partitions: make([]metalog.Assignment, 1)}}, nil
			})
			require.NoError(t, err)
			synctest.Wait()
		}
		require.NoError(t, l.Close(t.Context()))
		used := w.stored("metalog/")
		require.NotEmpty(t, used)
		next := w.put("metalog/00000000000000000099-X") // that is about to become the current one
		w.put("metalog/00000000000000000001-X")
		cfg := w.config()
		cfg.Image = func(ctx context.Context) (*metalog.Image, error) { return metalog.Load(ctx, w.table, w.objects) }
		w.run(cfg)
		time.Sleep(time.Hour)
		require.Equal(t, int64(1), w.run(cfg).Snapshots.Removed.Objects)
		require.ElementsMatch(t, append(used, next), w.stored("metalog/"))
	})
}

func TestWindowsFindTheSame(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.records = append(w.records, metalog.BrokerRegistered{ID: 1, Incarnation: id.NewSession()})
		p, lost := w.topic("a"), w.topic("b")
		kept := []string{}
		for base := id.Offset(0); base < 100; base += 10 {
			kept = append(kept, w.seal(p, base, base+10))
			w.segment(base, base+10)
			w.seal(lost, base, base+10)
		}
		w.records = append(w.records, metalog.TopicDeleted{ID: lost.Topic})
		cfg := w.config()
		cfg.Window = 3
		require.Equal(t, int64(20), w.run(cfg).Packs.Superfluous.Objects)
		time.Sleep(time.Hour)
		r := w.run(cfg)
		require.Equal(t, int64(20), r.Packs.Removed.Objects)
		require.Equal(t, collect.Items{Kept: 10, Superfluous: 10, Removed: 10}, r.Items)
		require.Equal(t, kept, w.stored("packs/"))
	})
}

func TestMarksAreBounded(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		for range 20000 {
			w.put("packs/" + id.NewTopic().String())
		}
		cfg := w.config()
		cfg.MaxMarks = 100 << 10
		runs := 0
		for ; len(w.stored("packs/")) > 0; runs++ {
			r := w.run(cfg)
			if runs == 0 {
				require.Positive(t, r.Deferred)
			}
			for _, info := range w.stored("collector/") {
				stat, err := w.objects.Stat(t.Context(), info)
				require.NoError(t, err)
				require.Less(t, stat.Size, int64(164<<10), "and what the compressor holds back")
			}
			time.Sleep(time.Hour)
			require.Less(t, runs, 50)
		}
		require.Greater(t, runs, 3)
	})
}

func TestDryRunChangesNothing(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.put("packs/orphan")
		w.run(w.config())
		before := w.stored("")
		time.Sleep(time.Hour)
		cfg := w.config()
		cfg.DryRun = true
		require.Equal(t, int64(1), w.run(cfg).Due)
		require.Equal(t, before, w.stored(""))
	})
}

// TestPausedLook: a look that found an object without a name just before it got one, and then
// stood still for longer than the grace, removes nothing.
func TestPausedLook(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		p := w.topic("a")
		seg := w.segment(0, 10)
		w.run(w.config())
		paused := false
		cfg := w.config()
		cfg.Objects = objstore.Inject(w.objects, func(op objstore.Op) error {
			if op.Kind == objstore.OpPut && strings.HasSuffix(op.Key, ".marks") { // the look is over
				require.NoError(t, w.chains.Append(t.Context(), []chain.Link{{Partition: p, Segment: seg}})[0])
				time.Sleep(2 * time.Hour)
				paused = true
			}
			return nil
		})
		require.Zero(t, w.run(cfg).Due)
		require.True(t, paused)
		require.Equal(t, []string{seg.Object}, w.stored("packs/"))
	})
}

func TestContextEnds(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		for range 100 {
			w.put("packs/" + id.NewTopic().String())
		}
		w.run(w.config())
		time.Sleep(time.Hour)
		cfg := w.config()
		cfg.Rate = 10
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		r, err := collect.New(cfg).Run(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.InDelta(t, 30, r.Packs.Removed.Objects, 2)
		began := time.Now()
		r = w.run(cfg)
		require.InDelta(t, 70, r.Packs.Removed.Objects, 2)
		require.InDelta(t, 7, time.Since(began).Seconds(), 1)
		require.Empty(t, w.stored("packs/"))
	})
}

func TestDamagedMarksBeginAnew(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.put("packs/orphan")
		w.run(w.config())
		marks := w.stored("collector/")[0]
		require.NoError(t, w.objects.Delete(t.Context(), marks))
		require.NoError(t, w.objects.Put(t.Context(), marks, bytes.NewReader([]byte("FBAYMARK damaged, and long enough"))))
		time.Sleep(time.Hour)
		r := w.run(w.config())
		require.Len(t, r.Damaged, 1)
		require.Zero(t, r.Due)
		time.Sleep(time.Hour)
		require.Equal(t, int64(1), w.run(w.config()).Due)
	})
}

func TestUnfinishedUploads(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		hold, failed := make(chan struct{}), make(chan error, 1)
		go func() { failed <- w.objects.Put(t.Context(), "packs/slow", blocked{hold}) }()
		synctest.Wait()
		require.Equal(t, collect.Items{Kept: 1}, w.run(w.config()).Uploads)
		time.Sleep(time.Hour)
		require.Equal(t, collect.Items{Superfluous: 1, Removed: 1}, w.run(w.config()).Uploads)
		close(hold)
		require.Error(t, <-failed)
		require.Empty(t, w.stored("packs/"))
	})
}

// blocked is a body that ends when its channel is closed.
type blocked struct{ hold chan struct{} }

func (b blocked) Read([]byte) (int, error) {
	<-b.hold
	return 0, errors.New("the end")
}

func TestGraceIsLongEnough(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Grace = chain.CommitWithin
	_, err := collect.New(cfg).Run(t.Context())
	require.ErrorIs(t, err, collect.ErrInvalid)
	cfg.Alone = true
	_, err = collect.New(cfg).Run(t.Context())
	require.NoError(t, err)
}
