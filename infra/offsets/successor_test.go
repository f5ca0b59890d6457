package offsets

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// appointed is the newest epoch there is.
type appointed struct{ newest atomic.Int32 }

// view is the Authority of one process, which knows what it was told when it last asked.
type view struct {
	*appointed
	known atomic.Int32
	ask   func() // called before it asks; nil: nothing
}

func (v *view) Refresh(context.Context) error {
	if v.ask != nil {
		v.ask()
	}
	v.known.Store(v.newest.Load())
	return nil
}

func (v *view) Holds(_ string, epoch id.Epoch) bool { return int32(epoch) == v.known.Load() }

// appoint makes the epoch the newest, which only v knows yet.
func (v *view) appoint(epoch id.Epoch) *view {
	v.newest.Store(int32(epoch))
	v.known.Store(int32(epoch))
	return v
}

// TestReplaced: what a coordinator that has been replaced does fails, and changes
// nothing that its successor has written.
func TestReplaced(t *testing.T) {
	eachStore(t, func(t *testing.T, s kv.Store) {
		var all appointed
		old := Open(s, (&view{appointed: &all}).appoint(1))
		require.NoError(t, old.Commit(ctx, "g", 1, []Entry{entry(1, 0, 10), entry(1, 1, 10)}))
		_, err := old.Load(ctx, "empty", 1)
		require.NoError(t, err)
		fresh := Open(s, (&view{appointed: &all}).appoint(2))
		_, err = fresh.Load(ctx, "g", 2)
		require.NoError(t, err)
		require.NoError(t, fresh.Commit(ctx, "g", 2, []Entry{entry(1, 0, 20), entry(1, 2, 20)}))
		require.NoError(t, fresh.Commit(ctx, "empty", 2, []Entry{entry(1, 0, 20)}))

		require.ErrorIs(t, old.Commit(ctx, "g", 1, []Entry{entry(1, 0, 11)}), ErrFenced)
		require.ErrorIs(t, old.Commit(ctx, "empty", 1, []Entry{entry(1, 0, 11)}), ErrFenced)
		require.ErrorIs(t, old.Delete(ctx, "g", 1, id.Partition{Topic: topicID(1), Index: 1}), ErrFenced)
		require.ErrorIs(t, old.DeleteGroup(ctx, "g", 1), ErrFenced)
		_, err = old.Load(ctx, "g", 1)
		require.ErrorIs(t, err, ErrFenced)
		require.Equal(t, []Entry{entry(1, 0, 20), entry(1, 1, 10), entry(1, 2, 20)}, load(t, s, "g"))
		require.Equal(t, []Entry{entry(1, 0, 20)}, load(t, s, "empty"))
	})
}

// TestReplacedUnseen: the items are as the old coordinator knows them, but it hears of its
// successor before it acknowledges anything, and the successor gets through.
func TestReplacedUnseen(t *testing.T) {
	var all appointed
	s := kv.NewMem()
	old := Open(s, (&view{appointed: &all}).appoint(1))
	require.NoError(t, old.Commit(ctx, "g", 1, []Entry{entry(1, 0, 10), entry(1, 1, 10)}))
	fresh := Open(s, (&view{appointed: &all}).appoint(2))
	loaded, err := fresh.Load(ctx, "g", 2)
	require.NoError(t, err)
	require.Len(t, loaded, 2)
	require.ErrorIs(t, old.Commit(ctx, "g", 1, []Entry{entry(1, 0, 11), entry(1, 7, 11)}), ErrFenced)
	require.NoError(t, fresh.Commit(ctx, "g", 2, []Entry{entry(1, 0, 10), entry(1, 7, 3)}), "written over what arrived late")
	require.Equal(t, []Entry{entry(1, 0, 10), entry(1, 1, 10), entry(1, 7, 3)}, load(t, s, "g"))
}

// TestReplacedRemoval: a removal by a coordinator that does not know its successor
// leaves the offset, also for those who come after.
func TestReplacedRemoval(t *testing.T) {
	for name, remove := range map[string]func(*Table) error{
		"partition": func(old *Table) error { return old.Delete(ctx, "g", 1, id.Partition{Topic: topicID(1)}) },
		"group":     func(old *Table) error { return old.DeleteGroup(ctx, "g", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			var all appointed
			s := kv.NewMem()
			old := Open(s, (&view{appointed: &all}).appoint(1))
			require.NoError(t, old.Commit(ctx, "g", 1, []Entry{entry(1, 0, 10)}))
			fresh := Open(s, (&view{appointed: &all}).appoint(2))
			_, err := fresh.Load(ctx, "g", 2)
			require.NoError(t, err)
			require.ErrorIs(t, remove(old), ErrFenced)
			third := Open(s, (&view{appointed: &all}).appoint(3))
			loaded, err := third.Load(ctx, "g", 3)
			require.NoError(t, err)
			require.Equal(t, []Entry{entry(1, 0, 10)}, loaded)
			require.Equal(t, []string{"g"}, groups(t, s))
			items, _, err := third.query(ctx, &group{escaped: "g"})
			require.NoError(t, err)
			require.False(t, items[0].removing, "the announcement is written over")
		})
	}
}

// TestEpochs: a Table knows a group under the newest epoch it was used with.
func TestEpochs(t *testing.T) {
	s := kv.NewMem()
	table := Open(s, Sole)
	require.NoError(t, table.Commit(ctx, "g", 2, []Entry{entry(1, 0, 10)}))
	require.ErrorIs(t, table.Commit(ctx, "g", 1, []Entry{entry(1, 0, 9)}), ErrFenced)
	table.Forget("g", 1)
	require.NotEmpty(t, table.groups, "it is known under a later epoch")
	table.Forget("g", 2)
	require.Empty(t, table.groups)
	require.ErrorIs(t, table.Commit(ctx, "g", 1, []Entry{entry(1, 0, 9)}), ErrFenced, "the items know it")
	errs := table.CommitAll(ctx, []Batch{
		{"g", 3, []Entry{entry(1, 0, 11)}}, {"g", 4, []Entry{entry(1, 0, 12)}}, {"g", 3, []Entry{entry(1, 0, 13)}},
	})
	require.ErrorIs(t, errs[0], ErrFenced)
	require.NoError(t, errs[1])
	require.ErrorIs(t, errs[2], ErrFenced)
	require.Equal(t, []Entry{entry(1, 0, 12)}, load(t, s, "g"))
}

// interleaved is a store, and an Authority's log, whose users go one step at a time, in an order
// that next decides.
type interleaved struct {
	kv.Store
	mu      sync.Mutex
	waiting []chan struct{}
}

func (i *interleaved) step() {
	turn := make(chan struct{})
	i.mu.Lock()
	i.waiting = append(i.waiting, turn)
	i.mu.Unlock()
	<-turn
}

// run lets one after the other go until done is closed.
func (i *interleaved) run(rng *rand.Rand, done <-chan struct{}) {
	for {
		synctest.Wait()
		i.mu.Lock()
		if n := len(i.waiting); n > 0 {
			at := rng.IntN(n)
			close(i.waiting[at])
			i.waiting = slices.Delete(i.waiting, at, at+1)
			i.mu.Unlock()
			continue
		}
		i.mu.Unlock()
		select {
		case <-done:
			return
		case <-time.After(time.Millisecond): // some look back at an unknown outcome
		}
	}
}

func (i *interleaved) Get(ctx context.Context, key kv.Key) (kv.Item, error) {
	i.step()
	return i.Store.Get(ctx, key)
}

func (i *interleaved) Query(ctx context.Context, part string, r kv.Range) ([]kv.Item, error) {
	i.step()
	return i.Store.Query(ctx, part, r)
}

func (i *interleaved) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	results := make([]kv.Result, len(writes))
	for at, w := range writes {
		i.step()
		results[at] = i.Store.Write(ctx, w)[0]
	}
	return results
}

// act is what a client asked of a coordinator: a commit or, with offset none, a removal.
type act struct {
	offset id.Offset
	acked  bool
}

const none = id.Offset(-1)

// term is one coordinator in the race.
type term struct {
	t      *testing.T
	epoch  id.Epoch
	table  *Table
	loaded []id.Offset
	acts   [][]act
	flaky  bool
	keep   bool // no removals
}

const racedPartitions = 3

// load is the taking over.
func (c *term) load() {
	c.loaded = slices.Repeat([]id.Offset{none}, racedPartitions)
	for {
		entries, err := c.table.Load(ctx, "g", c.epoch)
		if err != nil && c.flaky {
			continue
		}
		require.NoError(c.t, err)
		for _, e := range entries {
			c.loaded[e.Partition] = e.Offset
		}
		return
	}
}

// clients act, on one partition after the other, with offsets above all before.
func (c *term) clients(rng *rand.Rand) {
	for n := range 10 {
		partition := rng.IntN(racedPartitions)
		a := act{offset: id.Offset(100*c.epoch) + id.Offset(n)}
		if !c.keep && rng.IntN(4) == 0 {
			a.offset = none
		}
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		var err error
		if a.offset == none {
			err = c.table.Delete(short, "g", c.epoch, id.Partition{Topic: topicID(1), Index: int32(partition)})
		} else {
			err = c.table.Commit(short, "g", c.epoch, []Entry{entry(1, int32(partition), a.offset)})
		}
		cancel()
		a.acked = err == nil
		c.acts[partition] = append(c.acts[partition], a)
	}
}

// may reports whether a successor may find offset, given what coordinators before c left
// unacknowledged. Once an offset is removed, writes on their way from before may bring one back.
func (c *term) may(partition int, offset id.Offset, before []*term) bool {
	at, last := -1, c.loaded[partition]
	for i, a := range c.acts[partition] {
		if a.acked {
			at, last = i, a.offset
		}
	}
	if offset == last {
		return true
	}
	removed := last == none || slices.ContainsFunc(c.acts[partition][at+1:], func(a act) bool { return a.offset == none })
	for i, a := range c.acts[partition] {
		if a.offset == offset && (i > at && !a.acked || removed) {
			return true
		}
	}
	if at >= 0 && !removed || offset == none {
		return false // its own write stands, whoever comes late
	}
	return slices.ContainsFunc(before, func(b *term) bool {
		return slices.ContainsFunc(b.acts[partition], func(a act) bool { return a.offset == offset && (!a.acked || removed) })
	})
}

// TestSuccession: three coordinators follow each other while the clients of all of them
// commit and remove, their steps in any order, writes arriving late. Each finds what those before
// it ever acknowledged, sooner or later, and loses to them nothing that it has found or acknowledged.
func TestSuccession(t *testing.T) {
	for seed := range uint64(1000) {
		synctest.Test(t, func(t *testing.T) { race(t, seed, seed%2 == 1) })
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func race(t *testing.T, seed uint64, flaky bool) {
	var rates kv.FlakyRates
	if flaky {
		rates = kv.FlakyRates{Fail: 0.02, Lost: 0.05, Landed: 0.05, Late: 0.1, Read: 0.02}
	}
	mem := kv.NewMem()
	s := &interleaved{Store: kv.NewFlaky(mem, seed, rates)}
	var all appointed
	terms, delay := make([]*term, 3), int(seed%16)
	var wg sync.WaitGroup
	var follow func(i int)
	follow = func(i int) {
		c := terms[i]
		for range delay * i {
			s.step()
		}
		v := &view{appointed: &all, ask: s.step}
		c.table = Open(s, v.appoint(c.epoch))
		c.load()
		if i+1 < len(terms) {
			wg.Go(func() { follow(i + 1) })
		}
		c.clients(rand.New(rand.NewPCG(seed, uint64(c.epoch))))
	}
	for i := range terms {
		terms[i] = &term{t: t, epoch: id.Epoch(i + 1), acts: make([][]act, racedPartitions), flaky: flaky, keep: seed%4 < 2}
	}
	require.NoError(t, Open(mem, Sole).Commit(ctx, "g", 0, []Entry{entry(1, 0, 1)}))
	wg.Go(func() { follow(0) })
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	s.run(rand.New(rand.NewPCG(seed, 0)), done)

	last := &term{t: t, epoch: 4, table: Open(mem, Sole)}
	last.load()
	for i, c := range append(terms[1:], last) {
		for p, found := range c.loaded {
			require.True(t, terms[i].may(p, found, terms[:i]), "seed %d: coordinator %d found %d in partition %d after %v, %v",
				seed, c.epoch, found, p, terms[i].loaded, describe(terms[:i+1], p))
			require.True(t, !terms[i].keep || found >= acknowledged(terms[:i+1], p), "seed %d: coordinator %d found %d in partition %d after %v",
				seed, c.epoch, found, p, describe(terms[:i+1], p))
		}
	}
	for p, acts := range terms[2].acts {
		for _, a := range acts {
			require.True(t, a.acked || flaky, "seed %d: the last coordinator was refused %v in partition %d", seed, a, p)
		}
	}
}

// acknowledged is the highest offset that clients of these coordinators were told is committed.
func acknowledged(terms []*term, partition int) id.Offset {
	highest := none
	for _, c := range terms {
		for _, a := range c.acts[partition] {
			if a.acked {
				highest = max(highest, a.offset)
			}
		}
	}
	return highest
}

func describe(terms []*term, partition int) string {
	text := ""
	for _, c := range terms {
		text += fmt.Sprintf("%d: %v; ", c.epoch, c.acts[partition])
	}
	return text
}
