package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
)

var ctx = context.Background()

// footers are those of objects that have no bytes.
type footers map[string]*pack.Footer

func (f footers) Footer(_ context.Context, object string, _ int64) (*pack.Footer, error) {
	if footer, ok := f[object]; ok {
		return footer, nil
	}
	return nil, fmt.Errorf("footer of %s: %w", object, objstore.ErrNotFound)
}

// world is a cluster's metadata and chains, without the bytes of packs.
type world struct {
	t       *testing.T
	queries atomic.Int64 // of the table
	table   kv.Store
	meta    *metalog.Log
	chain   *chain.Store
	footers footers
	cfg     *config.Effective
	now     time.Time
	keeper  *Keeper

	mu   sync.Mutex
	fail map[string]error // reads of the table, by part
}

// failing is a table of which parts cannot be read.
type failing struct {
	kv.Store
	w *world
}

func (f failing) Query(ctx context.Context, part string, r kv.Range) ([]kv.Item, error) {
	f.w.queries.Add(1)
	f.w.mu.Lock()
	err := f.w.fail[part]
	f.w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return f.Store.Query(ctx, part, r)
}

func newWorld(t *testing.T, partitions int, options ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, table: kv.NewMem(), footers: footers{}, cfg: keep(second, -1), now: now, fail: map[string]error{}}
	var err error
	w.meta, err = metalog.Open(ctx, metalog.Options{Store: kv.NewMem(), Objects: objstore.NewMem()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.meta.Close(ctx)) })
	w.add(metalog.TopicCreated{Name: "t", ID: topic, Partitions: make([]metalog.Assignment, partitions), ReplicationFactor: 1})
	w.chain = chain.Open(failing{w.table, w})
	cfg := Config{
		Image: w.meta.Image, Update: w.meta.Update, Topic: func(*metalog.Topic) *config.Effective { return w.cfg },
		Chains: NewChains(w.chain, ChainsConfig{Now: func() time.Time { return w.now }}), Cold: w.footers, Now: func() time.Time { return w.now },
	}
	for _, o := range options {
		o(&cfg)
	}
	w.keeper = New(cfg)
	return w
}

var topic = id.Topic{6: 0x40, 15: 1}

func part(i int32) id.Partition { return id.Partition{Topic: topic, Index: i} }

// parts are the first n partitions.
func parts(n int) (ps []id.Partition) {
	for i := range int32(n) {
		ps = append(ps, part(i))
	}
	return ps
}

func (w *world) add(r metalog.Record) {
	w.t.Helper()
	_, err := w.meta.Update(ctx, func(*metalog.Image) ([]metalog.Record, error) { return []metalog.Record{r}, nil })
	require.NoError(w.t, err)
}

// seal appends segments to the chain of a partition, as the keeper's process does, with objects of their own; producers are
// what the last one tells of.
func (w *world) seal(p id.Partition, segments row, states ...producers.State) {
	w.t.Helper()
	for i := range segments {
		s := &segments[i]
		if s.Object != "" {
			s.Object = fmt.Sprintf("%s/%d", p, s.Base)
		}
		for _, err := range w.chain.Append(ctx, []chain.Link{{Partition: p, Segment: *s}}) {
			require.NoError(w.t, err)
		}
		w.keeper.cfg.Chains.Sealed(p, *s)
		if s.Object != "" {
			w.footers[s.Object] = footer(w.t, p, states)
		}
	}
}

// footer is one with a run of p that tells of producers.
func footer(t *testing.T, p id.Partition, states []producers.State) *pack.Footer {
	t.Helper()
	w := pack.NewWriter(io.Discard, pack.Header{})
	require.NoError(t, w.BeginRun(p))
	require.NoError(t, w.Append(batch.New(batch.None).Add(batch.Record{Value: []byte("v")}).Build()))
	require.NoError(t, w.EndRun(states, nil))
	f, err := w.Close()
	require.NoError(t, err)
	return f
}

func (w *world) start(p id.Partition) id.Offset {
	w.t.Helper()
	state, ok := w.meta.Image().Partition(p)
	require.True(w.t, ok)
	return state.Start
}

func (w *world) last(p id.Partition) chain.Segment {
	w.t.Helper()
	_, last, ok, err := w.chain.End(ctx, p)
	require.NoError(w.t, err)
	require.True(w.t, ok)
	return last
}

func TestRetainMovesStarts(t *testing.T) {
	w := newWorld(t, 4)
	w.seal(part(0), row{}.at(1, 2, 99_500))
	w.seal(part(1), row{}.at(99_500))
	w.seal(part(2), row{}.at(1, 99_500))
	before := w.meta.Image().Version()
	gone := id.Partition{Topic: id.Topic{15: 9}}
	require.NoError(t, w.keeper.Retain(ctx, append(parts(4), gone)))
	require.Equal(t, before+1, w.meta.Image().Version(), "one record for all")
	require.Equal(t, []id.Offset{20, 0, 10, 0}, []id.Offset{w.start(part(0)), w.start(part(1)), w.start(part(2)), w.start(part(3))})
	require.Equal(t, Stats{Moved: 2, RetainedBytes: 300, RetainedRecords: 30}, w.keeper.Stats())

	require.NoError(t, w.keeper.Retain(ctx, parts(4)))
	require.Equal(t, before+1, w.meta.Image().Version(), "nothing is written when nothing moves")
	w.now = w.now.Add(time.Hour)
	require.NoError(t, w.keeper.Retain(ctx, parts(4)))
	require.Equal(t, []id.Offset{30, 10, 20, 0}, []id.Offset{w.start(part(0)), w.start(part(1)), w.start(part(2)), w.start(part(3))})
}

func TestRetainCountsWhatIsHot(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) {
		c.Unsealed = func() func(id.Partition, id.Offset) int64 {
			return func(p id.Partition, from id.Offset) int64 {
				require.Equal(t, part(0), p)
				require.Equal(t, id.Offset(30), from)
				return 100
			}
		}
	})
	w.cfg = keep(config.Unlimited, 200)
	w.seal(part(0), row{}.at(1, 2, 3))
	require.NoError(t, w.keeper.Retain(ctx, parts(1)))
	require.Equal(t, id.Offset(20), w.start(part(0)))
}

func TestRetainOfManyPartitions(t *testing.T) {
	const n = maxMoves + 1
	w := newWorld(t, n)
	for _, p := range parts(n) {
		w.seal(p, row{}.at(1, 99_500))
	}
	before := w.meta.Image().Version()
	require.NoError(t, w.keeper.Retain(ctx, parts(n)))
	require.Equal(t, before+2, w.meta.Image().Version())
	for _, p := range parts(n) {
		require.Equal(t, id.Offset(10), w.start(p))
	}
}

func TestRetainIsFencedByTheEpoch(t *testing.T) {
	w := newWorld(t, 1)
	update := w.keeper.cfg.Update
	w.keeper.cfg.Update = func(ctx context.Context, decide func(*metalog.Image) ([]metalog.Record, error)) (*metalog.Image, error) {
		w.add(metalog.LeadersChanged{Changes: []metalog.LeaderChange{{Partition: part(0), Leader: 2, Epoch: 1}}})
		return update(ctx, decide)
	}
	w.seal(part(0), row{}.at(1, 99_500))
	require.NoError(t, w.keeper.Retain(ctx, parts(1)))
	require.Zero(t, w.start(part(0)), "who leads now decides")
	require.Zero(t, w.keeper.Stats())
}

func TestRetainGoesOnAfterAnError(t *testing.T) {
	w := newWorld(t, 3)
	for _, p := range parts(3) {
		w.seal(p, row{}.at(1, 99_500))
	}
	broken := errors.New("table is broken")
	w.fail["chain/"+topic.String()+"/1"] = broken
	require.ErrorIs(t, w.keeper.Retain(ctx, parts(3)), broken)
	require.Equal(t, []id.Offset{10, 0, 10}, []id.Offset{w.start(part(0)), w.start(part(1)), w.start(part(2))})
	delete(w.fail, "chain/"+topic.String()+"/1")
	require.NoError(t, w.keeper.Retain(ctx, parts(3)))
	require.Equal(t, id.Offset(10), w.start(part(1)))
}

// TestRetainOfATableThatIsAway: it does not hold the metadata log for as long as chains may be changed.
func TestRetainOfATableThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		w := newWorld(t, 2*maxMoves, func(c *Config) {
			c.Update = func(ctx context.Context, _ func(*metalog.Image) ([]metalog.Record, error)) (*metalog.Image, error) {
				calls++
				<-ctx.Done()
				return nil, ctx.Err()
			}
		})
		for _, p := range parts(2 * maxMoves) {
			w.seal(p, row{}.at(1, 99_500))
		}
		began := time.Now()
		require.ErrorIs(t, w.keeper.Retain(t.Context(), parts(2*maxMoves)), context.DeadlineExceeded)
		require.LessOrEqual(t, time.Since(began), time.Minute)
		require.Equal(t, 1, calls)
	})
}

func TestRetainEmptiesChains(t *testing.T) {
	w := newWorld(t, 1)
	w.seal(part(0), row{}.at(1, 2))
	require.NoError(t, w.keeper.Retain(ctx, parts(1)))
	require.Equal(t, id.Offset(20), w.start(part(0)))
	require.Equal(t, chain.Segment{Base: 10, Next: 20, MaxTimestamp: -1, Sealed: 100_000, Rewritten: true}, w.last(part(0)))
	require.EqualValues(t, 1, w.keeper.Stats().Emptied)

	require.NoError(t, w.keeper.Retain(ctx, parts(1)))
	require.EqualValues(t, 1, w.keeper.Stats().Emptied, "once")
	w.seal(part(0), row{}.at(1, 2, 99_500)[2:]) // the log goes on
	require.NoError(t, w.keeper.Retain(ctx, parts(1)))
	require.Equal(t, id.Offset(20), w.start(part(0)))
	require.False(t, w.last(part(0)).Empty())
}

func TestRetainKeepsProducers(t *testing.T) {
	open := producers.State{Producer: 1, TxnStart: 15, LastSeen: 1}
	active := producers.State{Producer: 2, TxnStart: -1, LastSeen: now.UnixMilli()}
	unknown := producers.State{Producer: 3, TxnStart: -1}
	w := newWorld(t, 3, func(c *Config) { c.ProducerExpiry = time.Minute })
	for i, s := range []producers.State{open, active, unknown} {
		w.seal(part(int32(i)), row{}.add(1, now.UnixMilli(), 100), s)
	}
	require.NoError(t, w.keeper.Retain(ctx, parts(3)))
	for _, p := range parts(3) {
		require.Equal(t, id.Offset(10), w.start(p))
		require.False(t, w.last(p).Empty())
	}
	w.now = w.now.Add(time.Minute + time.Millisecond)
	require.NoError(t, w.keeper.Retain(ctx, parts(3)))
	require.False(t, w.last(part(0)).Empty(), "a transaction is open")
	require.True(t, w.last(part(1)).Empty())
	require.True(t, w.last(part(2)).Empty())
}

func TestRetainChangesNoChainWithoutASession(t *testing.T) {
	w := newWorld(t, 1, func(c *Config) { c.Valid = func() bool { return false } })
	w.seal(part(0), row{}.at(1))
	require.NoError(t, w.keeper.Retain(ctx, parts(1)))
	require.False(t, w.last(part(0)).Empty())
}

// DeleteRecords moves the start too, whatever the policy.
func TestRetainEmptiesWhatWasDeleted(t *testing.T) {
	w := newWorld(t, 1)
	w.cfg = &config.Effective{Compact: true, Retention: config.Unlimited, RetentionBytes: -1}
	w.seal(part(0), row{}.at(99_500))
	require.NoError(t, w.keeper.Retain(ctx, parts(1)))
	require.False(t, w.last(part(0)).Empty())
	w.add(metalog.LogStartsMoved{Moves: []metalog.StartMove{{Partition: part(0), Start: 12}}})
	require.NoError(t, w.keeper.Retain(ctx, parts(1)))
	require.True(t, w.last(part(0)).Empty())
	require.Equal(t, id.Offset(12), w.start(part(0)))
}
