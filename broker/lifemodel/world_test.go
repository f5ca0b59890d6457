package lifemodel

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/broker/lifecycle"
	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/collect"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/rewrite"
	"github.com/forebaylog/forebay/tiering/seal"
	"github.com/forebaylog/forebay/tiering/wal"
)

const node id.Broker = 1

// world is one node's storage in memory: what a restart keeps, and what it opens anew.
type world struct {
	t       *rapid.T
	fs      *vfs.Mem
	memory  *kv.Mem       // behind table
	table   kv.Store      // metadata and chains; fails with fuse
	objects *dated        // fails with fuse
	fuse    fuse          // blown in the middle of a step before a crash
	now     atomic.Int64  // ms since 1970
	budget  int64         // of the hot tier, in bytes
	expiry  time.Duration // of silent producers

	meta      *metalog.Log
	journal   *journal.Journal
	wal       *wal.Group
	cold      *cold.Reader
	chains    *chain.Store
	sealer    *seal.Sealer
	set       *partition.Set
	known     *lifecycle.Chains
	keeper    *lifecycle.Keeper
	engine    *rewrite.Engine
	collector *collect.Collector
	rewritten *cold.Reader // of engine
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, fs: vfs.NewMem(), memory: kv.NewMem()}
	w.now.Store(1_700_000_000_000)
	w.budget = rapid.SampledFrom([]int64{1, 10 << 10, 1 << 30}).Draw(t, "hot budget")
	w.expiry = rapid.SampledFrom([]time.Duration{forever, 48 * time.Hour}).Draw(t, "producers' expiry")
	w.table = kv.Inject(w.memory, func(kv.Op) kv.Fault {
		if w.fuse.blown() {
			return kv.FaultFail
		}
		return kv.FaultNone
	})
	w.objects = &dated{Store: objstore.NewMem(), world: w, written: map[string]time.Time{}}
	w.start()
	require.NoError(t, w.objects.Put(context.Background(), "cluster-id", strings.NewReader(w.meta.Image().ClusterID())))
	return w
}

func (w *world) clock() time.Time { return time.UnixMilli(w.now.Load()) }

// start opens everything on what there is, under new leader epochs.
func (w *world) start() {
	ctx := context.Background()
	var err error
	w.meta, err = metalog.Open(ctx, metalog.Options{Store: w.table, Objects: w.objects})
	require.NoError(w.t, err)
	w.update(metalog.LeadershipTaken{From: node, To: node})
	cluster := w.meta.Image().ClusterID()
	w.journal, _, err = journal.Open(ctx, journal.Config{FS: w.fs, Dir: "hot", SegmentBytes: 8 << 10, TailBytes: 4 << 10, Cluster: cluster, Now: w.clock})
	require.NoError(w.t, err)
	w.wal = wal.New(w.journal, wal.LocalSink(w.journal, wal.LocalConfig{Interval: -1}), wal.Config{})
	w.cold = cold.New(w.objects, cold.Config{CacheBytes: 1 << 20})
	w.chains = chain.Open(w.table)
	w.set, err = partition.Open(ctx, partition.Config{
		Tiers: partition.Tiers{WAL: w.wal, Hot: w.journal, Chain: w.chains, Cold: w.cold},
		Node:  node, Image: w.meta.Image, ProducerExpiry: w.expiry, Now: w.clock, Logger: slog.New(slog.DiscardHandler),
	}, w.journal)
	require.NoError(w.t, err)
	w.known = lifecycle.NewChains(w.chains, lifecycle.ChainsConfig{Now: w.clock, Cleaned: w.set.Cleaned})
	w.sealer = seal.New(seal.Config{
		Journal: w.journal, FS: w.fs, Chain: w.chains, Objects: w.objects, Cold: w.cold, DiskBudget: w.budget, MaxPackBytes: 12 << 10,
		ProducerExpiry: w.expiry, Cluster: cluster, Node: node, Now: w.clock, Live: w.set.Live, AfterPass: w.set.ForgetAborted, Sealed: w.known.Sealed,
	})
	w.rewritten = cold.New(w.objects, cold.Config{CacheBytes: 64 << 10})
	w.engine = rewrite.New(rewrite.Config{
		Chain: w.chains, Objects: w.objects, Cold: w.rewritten, Cluster: cluster, Node: node, Now: w.clock, MaxPackBytes: 24 << 10,
	})
	w.collector = collect.New(collect.Config{
		Metadata: w.table, Objects: w.objects, Image: w.freshImage, Grace: grace, Alone: true, Rate: -1, Now: w.clock,
	})
	w.keeper = lifecycle.New(lifecycle.Config{
		Image: w.meta.Image, Update: w.decide, Topic: effective, Chains: w.known, Cold: w.cold, ProducerExpiry: w.expiry, Now: w.clock,
		Rewriter: w.engine, Bulk: w.rewritten,
	})
}

// effective is what counts for a topic.
func effective(t *metalog.Topic) *config.Effective {
	return config.Resolve(config.Layers{Resource: t.Configs, Source: config.DynamicTopic})
}

// forever is longer than any clock step: producers are never forgotten.
const forever = 100 * 365 * 24 * time.Hour

// stop closes everything; after a crash that may fail.
func (w *world) stop(crashed bool) {
	ctx := context.Background()
	errs := []error{w.sealer.Close(ctx)}
	w.set.Close()
	errs = append(errs, w.wal.Close(ctx), w.journal.Close(ctx), w.cold.Close(ctx), w.rewritten.Close(ctx), w.meta.Close(ctx))
	for _, err := range errs {
		if !crashed {
			require.NoError(w.t, err)
		}
	}
}

// crash loses what was not synced, or keeps a part of it.
func (w *world) crash(keep ...vfs.CrashOption) {
	left := w.fs.Crash(keep...)
	w.stop(true)
	w.fs = left
	w.fuse.mend()
	w.start()
}

// update appends records to the metadata log, and lets the logs follow.
func (w *world) update(records ...metalog.Record) {
	_, err := w.decide(context.Background(), func(*metalog.Image) ([]metalog.Record, error) { return records, nil })
	require.NoError(w.t, err)
}

func (w *world) decide(ctx context.Context, f func(*metalog.Image) ([]metalog.Record, error)) (*metalog.Image, error) {
	image, err := w.meta.Update(ctx, f)
	if err == nil && w.set != nil {
		w.set.Apply(image)
	}
	return image, err
}

func (w *world) log(p id.Partition) *partition.Log {
	l, ok := w.set.Get(p)
	require.True(w.t, ok, "there is a log of %s", p)
	return l
}

// fuse lets some operations through and then fails all others until it is mended.
type fuse struct {
	mu   sync.Mutex
	set  bool
	left int
	end  context.CancelFunc
}

// light returns a context that ends when the fuse has blown: nobody goes on trying.
func (f *fuse) light(operations int) context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	ctx, end := context.WithCancel(context.Background())
	f.set, f.left, f.end = true, operations, end
	return ctx
}

func (f *fuse) mend() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.set {
		f.end()
	}
	f.set = false
}

func (f *fuse) blown() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.set {
		return false
	}
	f.left--
	if f.left < 0 {
		f.end()
	}
	return f.left < 0
}

// dated is an object store whose clock is that of the world, and which fails with its fuse.
type dated struct {
	objstore.Store
	world   *world
	mu      sync.Mutex
	written map[string]time.Time
}

func (d *dated) fail() error {
	if d.world.fuse.blown() {
		return kv.ErrInjected
	}
	return nil
}

func (d *dated) Put(ctx context.Context, key string, body io.Reader) error {
	if err := d.fail(); err != nil {
		return err
	}
	err := d.Store.Put(ctx, key, body)
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.written[key] = d.world.clock()
	}
	return err
}

func (d *dated) ReadAt(ctx context.Context, key string, p []byte, off int64) (int, error) {
	if err := d.fail(); err != nil {
		return 0, err
	}
	return d.Store.ReadAt(ctx, key, p, off)
}

func (d *dated) Delete(ctx context.Context, key string) error {
	if err := d.fail(); err != nil {
		return err
	}
	return d.Store.Delete(ctx, key)
}

func (d *dated) Stat(ctx context.Context, key string) (objstore.Info, error) {
	if err := d.fail(); err != nil {
		return objstore.Info{}, err
	}
	info, err := d.Store.Stat(ctx, key)
	info.Modified = d.at(key)
	return info, err
}

func (d *dated) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range d.Store.List(ctx, prefix, after) {
			if err == nil {
				err = d.fail()
			}
			info.Modified = d.at(info.Key)
			if !yield(info, err) || err != nil {
				return
			}
		}
	}
}

func (d *dated) at(key string) time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.written[key]
}
