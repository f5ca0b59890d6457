package metalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/slotlog"
)

var ctx = context.Background()

// cluster is what the brokers of a test share.
type cluster struct {
	store   kv.Store
	objects objstore.Store
}

func newCluster() cluster { return cluster{kv.NewMem(), objstore.NewMem()} }

// open opens a broker's Log; every and keep are 0 for the defaults.
func (c cluster) open(t *testing.T, every, keep uint64) *Log {
	t.Helper()
	l, err := Open(ctx, Options{Store: c.store, Objects: c.objects, SnapshotEvery: every, KeepSlots: keep})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close(ctx)) })
	return l
}

// objectNames lists the snapshots.
func (c cluster) objectNames(t *testing.T) []string {
	t.Helper()
	var names []string
	for info, err := range c.objects.List(ctx, "", "") {
		require.NoError(t, err)
		if !IsArchive(info.Key) {
			names = append(names, info.Key)
		}
	}
	return names
}

// add appends records in one slot, whatever the Image.
func add(t *testing.T, l *Log, records ...Record) *Image {
	t.Helper()
	m, err := l.Update(ctx, func(*Image) ([]Record, error) { return records, nil })
	require.NoError(t, err)
	return m
}

func requireEqualImages(t *testing.T, a, b *Image) {
	t.Helper()
	require.Equal(t, a.Version(), b.Version())
	require.Equal(t, a.ClusterID(), b.ClusterID())
	require.Equal(t, describe(t, a), describe(t, b))
}

func TestOpenNamesTheClusterOnce(t *testing.T) {
	c := newCluster()
	empty, err := Load(ctx, c.store, c.objects)
	require.NoError(t, err)
	require.Zero(t, empty.Version())
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			l, err := Open(ctx, Options{Store: c.store, Objects: c.objects})
			if err == nil {
				ids[i] = l.Image().ClusterID()
				err = l.Close(ctx)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, got := range ids {
		require.Len(t, got, 22)
		require.Equal(t, ids[0], got)
	}
}

func TestUpdate(t *testing.T) {
	c := newCluster()
	l := c.open(t, 0, 0)
	m := add(t, l, created("a", 1, 1), created("b", 2, 1))
	require.Same(t, m, l.Image())
	require.Equal(t, "a b", topicNames(m))
	require.Equal(t, uint64(2), m.Version(), "one slot for both")

	refused := errors.New("topic exists")
	_, err := l.Update(ctx, func(m *Image) ([]Record, error) {
		_, exists := m.Topic("a")
		require.True(t, exists)
		return []Record{created("c", 3, 1)}, refused
	})
	require.Equal(t, refused, err)
	same, err := l.Update(ctx, func(*Image) ([]Record, error) { return nil, nil })
	require.NoError(t, err)
	require.Same(t, m, same)
	require.Same(t, m, l.Image())

	_, err = l.Update(ctx, func(*Image) ([]Record, error) {
		var records []Record
		for range 20_000 {
			records = append(records, TopicCreated{Name: id.NewTopic().String(), ID: id.NewTopic(), Partitions: led(1)})
		}
		return records, nil
	})
	require.ErrorIs(t, err, kv.ErrTooLarge)
	require.ErrorContains(t, err, "split the change")
	require.Same(t, m, l.Image())
}

// TestUpdateDecidesAgain: what another broker appended since is part of the Image
// that decides, also when it takes the slot at the last moment.
func TestUpdateDecidesAgain(t *testing.T) {
	c := newCluster()
	one, two := c.open(t, 0, 0), c.open(t, 0, 0)
	add(t, two, created("first", 1, 1))
	asked := 0
	m, err := one.Update(ctx, func(m *Image) ([]Record, error) {
		if asked++; asked == 1 {
			require.Equal(t, "first", topicNames(m))
			add(t, two, created("second", 2, 1))
		}
		if _, exists := m.Topic("second"); exists {
			return nil, nil
		}
		return []Record{created("second", 3, 9)}, nil
	})
	require.NoError(t, err)
	require.Equal(t, 2, asked)
	require.Zero(t, m.Ignored())
	topic, _ := m.Topic("second")
	require.Equal(t, topicID(2), topic.ID)
	requireEqualImages(t, m, two.Image())
}

func TestRefreshAndSubscribe(t *testing.T) {
	c := newCluster()
	one, two := c.open(t, 0, 0), c.open(t, 0, 0)
	var versions []uint64
	last := two.Image()
	cancel := two.Subscribe(func(old, next *Image) {
		require.Same(t, last, old)
		require.Same(t, next, two.Image())
		last = next
		versions = append(versions, next.Version())
	})
	add(t, one, created("a", 1, 1))
	add(t, one, created("b", 2, 1))
	require.Empty(t, versions)
	require.NoError(t, two.Refresh(ctx))
	require.NoError(t, two.Refresh(ctx), "nothing new")
	add(t, two, created("c", 3, 1))
	require.Equal(t, []uint64{3, 4}, versions, "two slots folded at once")
	cancel()
	add(t, two, created("d", 4, 1))
	require.Len(t, versions, 2)
	require.NoError(t, one.Refresh(ctx))
	requireEqualImages(t, one.Image(), two.Image())
}

// TestRacingUpdates: counters kept by deciding on the Image lose no increment, and
// no record is ignored. An appender that falls behind the truncation cannot learn
// what became of its slot and says so; that increment alone may be there or not.
func TestRacingUpdates(t *testing.T) {
	bolt, err := kv.OpenBolt(filepath.Join(t.TempDir(), "kv.db"), kv.BoltOptions{NoSync: true})
	require.NoError(t, err)
	for name, store := range map[string]kv.Store{
		"mem": kv.NewMem(), "bolt": bolt,
		"flaky": kv.NewFlaky(kv.NewMem(), 3, kv.FlakyRates{Lost: 0.1, Landed: 0.2, Late: 0.2}),
	} {
		t.Run(name, func(t *testing.T) {
			const brokers, each = 4, 25
			c := cluster{store, objstore.NewMem()}
			var wg sync.WaitGroup
			var open atomic.Int64 // updates of unknown outcome
			logs := make([]*Log, brokers)
			for i := range logs {
				logs[i] = c.open(t, 20, 50)
				wg.Go(func() {
					for range each {
						_, err := logs[i].Update(ctx, func(m *Image) ([]Record, error) {
							return []Record{ProducerIDsAllocated{Broker: id.Broker(i), First: m.NextProducerID(), Count: 10}}, nil
						})
						switch {
						case errors.Is(err, kv.ErrUnknown) && errors.Is(err, slotlog.ErrTruncated):
							open.Add(1)
						case err != nil:
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			for _, l := range logs {
				require.NoError(t, l.Refresh(ctx))
				done := l.Image().NextProducerID() / 10
				require.LessOrEqual(t, done, int64(brokers*each))
				require.GreaterOrEqual(t, done, brokers*each-open.Load())
				require.Zero(t, l.Image().Ignored())
				require.Equal(t, uint64(done+1), l.Image().Version(), "one slot for each")
			}
		})
	}
	require.NoError(t, bolt.Close())
}

func TestSnapshotAndTruncation(t *testing.T) {
	c := newCluster()
	one, lagging := c.open(t, 0, 5), c.open(t, 0, 5)
	for i := range 100 {
		add(t, one, created(fmt.Sprint("topic ", i), i+1, 1, 2))
	}
	require.NoError(t, one.Snapshot(ctx))
	require.NoError(t, one.Snapshot(ctx), "nothing new")
	require.Len(t, c.objectNames(t), 1)
	slots, err := Slots(ctx, c.store, 0, 0)
	require.NoError(t, err)
	require.Len(t, slots, 5)
	require.Equal(t, one.Image().Version(), slots[4].Seq)
	require.Equal(t, []Record{created("topic 99", 100, 1, 2)}, slots[4].Records)

	require.Equal(t, uint64(1), lagging.Image().Version())
	require.NoError(t, lagging.Refresh(ctx), "a reader behind the truncation starts from the snapshot")
	requireEqualImages(t, one.Image(), lagging.Image())

	add(t, lagging, TopicDeleted{ID: topicID(50)}, LeadershipTaken{From: 1, To: 3})
	requireEqualImages(t, lagging.Image(), c.open(t, 0, 0).Image())
	loaded, err := Load(ctx, c.store, c.objects)
	require.NoError(t, err)
	requireEqualImages(t, lagging.Image(), loaded)

	for i := range 3 {
		add(t, one, created(fmt.Sprint("another ", i), 200+i, 1))
		require.NoError(t, one.Snapshot(ctx))
	}
	require.Len(t, c.objectNames(t), 2, "the newest and the one before")
	requireEqualImages(t, one.Image(), c.open(t, 0, 0).Image())
}

// TestSnapshotsByThemselves: the log does not grow for ever.
func TestSnapshotsByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		l, err := Open(ctx, Options{Store: c.store, Objects: c.objects, SnapshotEvery: 10, KeepSlots: 4})
		require.NoError(t, err)
		for i := range 95 {
			add(t, l, created(fmt.Sprint("topic ", i), i+1, 1))
			synctest.Wait() // for the snapshot, if one is due
		}
		slots, err := Slots(ctx, c.store, 0, 0)
		require.NoError(t, err)
		require.Len(t, slots, 4+(96-90))
		m, err := Load(ctx, c.store, c.objects)
		require.NoError(t, err)
		requireEqualImages(t, l.Image(), m)
		require.NoError(t, l.Close(ctx))
	})
}

func TestSnapshotFailureIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, broken := newCluster(), true
		store := kv.Inject(c.store, func(op kv.Op) kv.Fault {
			if broken && op.Key == pointerKey && op.Kind == kv.OpWrite {
				return kv.FaultFail
			}
			return kv.FaultNone
		})
		var logged bytes.Buffer
		l, err := Open(ctx, Options{Store: store, Objects: c.objects, SnapshotEvery: 5, KeepSlots: 1, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		require.NoError(t, err)
		for i := range 5 {
			add(t, l, created(fmt.Sprint(i), i+1, 1))
		}
		synctest.Wait()
		require.Contains(t, logged.String(), "metadata snapshot failed")
		slots, err := Slots(ctx, c.store, 0, 0)
		require.NoError(t, err)
		require.Len(t, slots, 6, "a slot goes only when a snapshot has it")
		broken = false
		add(t, l, created("more", 100, 1))
		synctest.Wait()
		slots, err = Slots(ctx, c.store, 0, 0)
		require.NoError(t, err)
		require.Len(t, slots, 1)
		require.Len(t, c.objectNames(t), 1, "what the failure left behind is swept")
		require.NoError(t, l.Close(ctx))
	})
}

// TestSnapshotStopped stops Snapshot at each operation on the table. At any time
// a new broker folds the same Image, and the next snapshot clears up.
func TestSnapshotStopped(t *testing.T) {
	for stop := 1; ; stop++ {
		c := newCluster()
		ops := -1 << 30
		failing := cluster{kv.Inject(c.store, func(kv.Op) kv.Fault {
			if ops++; ops > stop {
				return kv.FaultFail
			}
			return kv.FaultNone
		}), c.objects}
		l := failing.open(t, 0, 2)
		for i := range 80 {
			add(t, l, created(fmt.Sprint(i), i+1, 1))
		}
		ops = 0
		err := l.Snapshot(ctx)
		ops = -1 << 30
		m, loadErr := Load(ctx, c.store, c.objects)
		require.NoError(t, loadErr)
		requireEqualImages(t, l.Image(), m)
		add(t, l, created("more", 100, 1))
		require.NoError(t, l.Snapshot(ctx))
		slots, slotsErr := Slots(ctx, c.store, 0, 0)
		require.NoError(t, slotsErr)
		require.Len(t, slots, 2)
		require.LessOrEqual(t, len(c.objectNames(t)), 2)
		if err == nil {
			require.Greater(t, stop, 4)
			return
		}
	}
}

// hooked runs a function before the first Stat.
type hooked struct {
	objstore.Store
	before func()
	once   sync.Once
}

func (h *hooked) Stat(ctx context.Context, key string) (objstore.Info, error) {
	h.once.Do(h.before)
	return h.Store.Stat(ctx, key)
}

// TestReaderMeetsReplacedSnapshot: a snapshot removed between the look at the pointer
// and the read is looked for again; one that stays away is an error.
func TestReaderMeetsReplacedSnapshot(t *testing.T) {
	c := newCluster()
	l := c.open(t, 0, 1)
	next := func(n int) {
		add(t, l, created(fmt.Sprint(n), n, 1))
		require.NoError(t, l.Snapshot(ctx))
	}
	next(1)
	m, err := Load(ctx, c.store, &hooked{Store: c.objects, before: func() { next(2); next(3) }})
	require.NoError(t, err)
	requireEqualImages(t, l.Image(), m)

	_, err = Load(ctx, c.store, objstore.NewMem())
	require.ErrorIs(t, err, objstore.ErrNotFound)
}

func TestDamagedLog(t *testing.T) {
	t.Run("slot", func(t *testing.T) {
		c := newCluster()
		l := c.open(t, 0, 0)
		require.NoError(t, slotlog.Open(c.store, stream).Append(ctx, 2, []byte("rubbish of another program")))
		before := l.Image()
		require.ErrorIs(t, l.Refresh(ctx), ErrCorrupt)
		require.ErrorContains(t, l.Refresh(ctx), "slot 2")
		require.Same(t, before, l.Image())
		_, err := Open(ctx, Options{Store: c.store, Objects: c.objects})
		require.ErrorIs(t, err, ErrCorrupt)
	})
	t.Run("missing slot", func(t *testing.T) {
		c := newCluster()
		l := c.open(t, 0, 0)
		payload, err := EncodeSlot([]Record{created("a", 1, 1)})
		require.NoError(t, err)
		require.NoError(t, slotlog.Open(c.store, stream).Append(ctx, 3, payload))
		require.ErrorIs(t, l.Refresh(ctx), ErrCorrupt)
		require.ErrorContains(t, l.Refresh(ctx), "slot 2 is missing")
	})
	t.Run("newer", func(t *testing.T) {
		c := newCluster()
		l := c.open(t, 0, 0)
		payload, err := appendFrame(nil, slotMagic, 1, []byte(`[{"t":"acl-created","v":1,"d":{}}]`))
		require.NoError(t, err)
		require.NoError(t, slotlog.Open(c.store, stream).Append(ctx, 2, payload))
		_, err = l.Update(ctx, func(*Image) ([]Record, error) { return []Record{created("a", 1, 1)}, nil })
		require.ErrorIs(t, err, ErrNewer, "who cannot fold may not append")
	})
	t.Run("snapshot", func(t *testing.T) {
		c := newCluster()
		require.NoError(t, c.open(t, 0, 1).Snapshot(ctx))
		name := c.objectNames(t)[0]
		require.NoError(t, c.objects.Delete(ctx, name))
		require.NoError(t, c.objects.Put(ctx, name, strings.NewReader("rubbish")))
		_, err := Open(ctx, Options{Store: c.store, Objects: c.objects})
		require.ErrorIs(t, err, ErrCorrupt)
		require.ErrorContains(t, err, name)
	})
}

// TestGapThatFills: a slot that was taken while the log was read is no damage.
func TestGapThatFills(t *testing.T) {
	c := newCluster()
	l := c.open(t, 0, 0)
	slots := slotlog.Open(c.store, stream)
	payload, err := EncodeSlot([]Record{created("b", 2, 1)})
	require.NoError(t, err)
	require.NoError(t, slots.Append(ctx, 3, payload))
	first, err := EncodeSlot([]Record{created("a", 1, 1)})
	require.NoError(t, err)
	queries := 0
	late := kv.Inject(c.store, func(op kv.Op) kv.Fault {
		if op.Kind == kv.OpQuery {
			if queries++; queries == 3 {
				require.NoError(t, slots.Append(ctx, 2, first))
			}
		}
		return kv.FaultNone
	})
	m, err := Load(ctx, late, c.objects)
	require.NoError(t, err)
	require.Equal(t, "a b", topicNames(m))
	require.NoError(t, l.Refresh(ctx))
	requireEqualImages(t, l.Image(), m)
}

func TestClosed(t *testing.T) {
	c := newCluster()
	l := c.open(t, 0, 0)
	m := l.Image()
	require.NoError(t, l.Close(ctx))
	require.NoError(t, l.Close(ctx))
	require.ErrorIs(t, l.Refresh(ctx), ErrClosed)
	require.ErrorIs(t, l.Snapshot(ctx), ErrClosed)
	_, err := l.Update(ctx, l.found)
	require.ErrorIs(t, err, ErrClosed)
	require.Same(t, m, l.Image())
}

func TestCancelled(t *testing.T) {
	l := newCluster().open(t, 0, 0)
	cancelled, cancel := context.WithCancel(ctx)
	_, err := l.Update(ctx, func(*Image) ([]Record, error) {
		cancel()
		_, err := l.Update(cancelled, l.found) // its turn does not come
		return nil, err
	})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, l.Refresh(cancelled), context.Canceled)
	require.NoError(t, l.Refresh(ctx))
}

// TestOvertakenUpdate: a broker that sleeps through an append and its truncation
// does not believe that its own append counted.
func TestOvertakenUpdate(t *testing.T) {
	c := newCluster()
	sleepy, busy := c.open(t, 0, 1), c.open(t, 0, 1)
	asked := 0
	_, err := sleepy.Update(ctx, func(*Image) ([]Record, error) {
		if asked++; asked == 1 {
			for i := range 5 {
				add(t, busy, created(fmt.Sprint(i), i+1, 1))
			}
			require.NoError(t, busy.Snapshot(ctx))
		}
		return []Record{created("late", 100, 1)}, nil
	})
	require.ErrorIs(t, err, kv.ErrUnknown)
	require.Equal(t, 1, asked)
	require.NoError(t, sleepy.Refresh(ctx))
	requireEqualImages(t, busy.Image(), sleepy.Image())
	_, exists := sleepy.Image().Topic("late")
	require.False(t, exists)
}
