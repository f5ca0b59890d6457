package broker

import (
	"context"
	"io"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/tiering/batch"
)

// A close ends when its time is up though a loop does not, and says so.
func TestCloseLeavesBehindWhatDoesNotEnd(t *testing.T) {
	var once sync.Once
	listing, release := make(chan struct{}), make(chan struct{})
	cfg := testConfig()
	cfg.Lifecycle.CollectInterval = time.Millisecond
	cfg.Objects = objstore.Inject(cfg.Objects, func(op objstore.Op) error {
		if op.Kind == objstore.OpList { // and does not look to its context
			once.Do(func() { close(listing) })
			<-release
		}
		return nil
	})
	b, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	<-listing

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = b.Close(ctx)
	require.ErrorIs(t, err, ErrNotClosed)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	close(release)
	if err := b.Close(t.Context()); err != nil { // what the first call began ends now
		require.NotErrorIs(t, err, ErrNotClosed)
	}
}

// A close does not take for ended what only says that its time is up: whoever is told that all has ended
// frees what it uses, or opens another broker beside it.
func TestCloseWaitsForAnUploadThatDoesNotEnd(t *testing.T) {
	putting, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	cfg := testConfig()
	cfg.Cluster = &Cluster{MetadataPoll: 10 * time.Millisecond}
	cfg.Objects = objstore.Inject(cfg.Objects, func(op objstore.Op) error {
		if op.Kind == objstore.OpPut && strings.HasSuffix(op.Key, ".pack") { // and does not look to its context
			once.Do(func() { close(putting) })
			<-release
		}
		return nil
	})
	b, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	n := &node{Broker: b, t: t}
	n.mustCreate(wantTopic("t", 1, 1))
	n.kgo(kgo.DisableIdempotentWrite()).Produce(t.Context(), &kgo.Record{Topic: "t", Value: []byte("v")}, nil)
	<-putting

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = b.Close(ctx)
	require.ErrorIs(t, err, ErrNotClosed)
	require.ErrorContains(t, err, "bytes of records are not committed")
	close(release)
	if err := b.Close(t.Context()); err != nil {
		require.NotErrorIs(t, err, ErrNotClosed)
	}
}

// stillStore is an object store that, once still, answers nothing until the caller gives up.
type stillStore struct {
	objstore.Store
	still     atomic.Bool
	puts      atomic.Int64 // under way, while it is still
	lists     atomic.Int64
	otherwise atomic.Int64
}

func (s *stillStore) wait(ctx context.Context, count *atomic.Int64) error {
	if !s.still.Load() {
		return nil
	}
	count.Add(1)
	<-ctx.Done()
	return ctx.Err()
}

func (s *stillStore) Put(ctx context.Context, key string, body io.Reader) error {
	if err := s.wait(ctx, &s.puts); err != nil {
		return err
	}
	return s.Store.Put(ctx, key, body)
}

func (s *stillStore) ReadAt(ctx context.Context, key string, p []byte, off int64) (int, error) {
	if err := s.wait(ctx, &s.otherwise); err != nil {
		return 0, err
	}
	return s.Store.ReadAt(ctx, key, p, off)
}

func (s *stillStore) Stat(ctx context.Context, key string) (objstore.Info, error) {
	if err := s.wait(ctx, &s.otherwise); err != nil {
		return objstore.Info{}, err
	}
	return s.Store.Stat(ctx, key)
}

func (s *stillStore) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		if err := s.wait(ctx, &s.lists); err != nil {
			yield(objstore.Info{}, err)
			return
		}
		s.Store.List(ctx, prefix, after)(yield)
	}
}

func (s *stillStore) Delete(ctx context.Context, key string) error {
	if err := s.wait(ctx, &s.otherwise); err != nil {
		return err
	}
	return s.Store.Delete(ctx, key)
}

// Whatever the loops are at, an upload and a listing among it, they end with the broker.
func TestCloseEndsLoopsWhileTheStoreIsAway(t *testing.T) {
	for name, cluster := range map[string]*Cluster{"alone": nil, "cluster": {MetadataPoll: 10 * time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			store := &stillStore{Store: objstore.NewMem()}
			n := startNode(t, looksOften, func(cfg *Config) {
				cfg.Objects, cfg.Cluster = store, cluster
				cfg.Lifecycle.CollectInterval = 5 * time.Millisecond
				cfg.Defaults.Configs = map[string]string{config.CleanerBackoff: "5", config.MergeInterval: "5"}
			})
			n.mustCreate(wantTopic("t", 1, 1, with("cleanup.policy", value("compact")), with("min.cleanable.dirty.ratio", value("0.01"))))
			for range 3 {
				n.mustProduce("t", 0, batchOfNow(batch.None, 2)) // of one key
				require.NoError(t, n.storage.sealer.SealAll(t.Context()))
			}
			n.mustProduce("t", 0, batchOfNow(batch.None, 2))
			store.still.Store(true)
			require.NoError(t, n.storage.journal.Roll()) // to be sealed
			require.Eventually(t, func() bool { return store.puts.Load() > 0 && store.lists.Load() > 0 }, 20*time.Second, 5*time.Millisecond)

			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			began := time.Now()
			require.NoError(t, n.Close(ctx))
			require.Less(t, time.Since(began), 30*time.Second, "something has waited for the end of the time")
		})
	}
}

// What waits for an object store that is away is given up in good time, and told of; the others need not wait for the
// end of the session.
func TestCloseGivesUpWhatTheStoreDoesNotTake(t *testing.T) {
	store := &stillStore{Store: objstore.NewMem()}
	cfg := testConfig()
	cfg.Objects, cfg.Cluster = store, &Cluster{MetadataPoll: 10 * time.Millisecond}
	cfg.Limits.CloseTime = 100 * time.Millisecond
	b, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	n := &node{Broker: b, t: t}
	n.mustCreate(wantTopic("t", 1, 1))
	store.still.Store(true)
	n.kgo(kgo.DisableIdempotentWrite()).Produce(t.Context(), &kgo.Record{Topic: "t", Value: []byte("v")}, nil)
	require.Eventually(t, func() bool { return store.puts.Load() > 0 }, 20*time.Second, 5*time.Millisecond)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	err = b.Close(ctx)
	require.ErrorContains(t, err, "bytes of batches are not committed")
	require.NotErrorIs(t, err, ErrNotClosed)
	require.Less(t, time.Since(began), 30*time.Second, "something has waited for the end of the time")
	sessions, err := session.NewWatcher(cfg.Metadata, time.Second).Poll(t.Context())
	require.NoError(t, err)
	require.Empty(t, sessions, "the session is closed")
}
