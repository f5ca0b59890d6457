package lifecycle

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/producers"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

// told is what Chains has told of partitions that were compacted.
type told map[id.Partition][]id.Offset

// chains are those of a world beside its keeper's.
func (w *world) chains() (*Chains, told) {
	found := told{}
	return NewChains(w.chain, ChainsConfig{Now: func() time.Time { return w.now }, Cleaned: func(p id.Partition, upTo id.Offset) {
		w.mu.Lock()
		defer w.mu.Unlock()
		found[p] = append(found[p], upTo)
	}}), found
}

func (w *world) get(c *Chains, p id.Partition, start id.Offset) Chain {
	w.t.Helper()
	now, err := c.Get(ctx, p, start)
	require.NoError(w.t, err)
	return now
}

// asks returns how many requests of the table f makes.
func (w *world) asks(f func()) int64 {
	before := w.queries.Load()
	f()
	return w.queries.Load() - before
}

// replace puts a segment that lacks records in the place of the first n of a chain, as another process does.
func (w *world) replace(p id.Partition, n int, records int64) {
	w.t.Helper()
	items, err := w.chain.Items(ctx, p)
	require.NoError(w.t, err)
	items, _, err = chain.Canonical(items, 0)
	require.NoError(w.t, err)
	seg := items[0].Segment
	seg.Next, seg.Records, seg.Object = items[n-1].Next, records, seg.Object+"r"
	require.NoError(w.t, w.chain.Replace(ctx, p, items[:n], seg))
}

// starts gives partitions with their log starts.
func (w *world) starts(ps []id.Partition) map[id.Partition]id.Offset {
	starts := map[id.Partition]id.Offset{}
	for _, p := range ps {
		starts[p] = w.start(p)
	}
	return starts
}

func everything(id.Partition) bool { return true }

// TestIdleChainsCostNothing: of a partition that nothing is done to, retention, merging, compaction and the sizes cost one
// request together, and then those of Refresh, which are as many as there are partitions each RereadWithin.
func TestIdleChainsCostNothing(t *testing.T) {
	const n = 300
	w := newWorld(t, n, func(c *Config) { c.Rewriter = rewrite.New(rewrite.Config{}) }) // which has nothing to do
	w.cfg = &config.Effective{Compact: true, Delete: true, Retention: time.Hour, RetentionBytes: -1, MinCleanableDirty: 0.5}
	ps := parts(n)
	for _, p := range ps {
		w.seal(p, row{}.at(99_000, 99_500))
	}
	compacted := w.keeper.cfg.Chains
	round := func() {
		require.NoError(t, w.keeper.Retain(ctx, ps))
		require.NoError(t, w.keeper.Merge(ctx, ps))
		for _, p := range ps {
			_, err := w.keeper.dirty(ctx, p)
			require.NoError(t, err)
		}
		sizes, err := compacted.Sizes(ctx, w.starts(ps))
		require.NoError(t, err)
		require.Len(t, sizes, n)
	}
	require.EqualValues(t, n, w.asks(round), "a look at each")
	require.Zero(t, w.asks(round))
	for _, p := range ps[:10] {
		w.seal(p, row{}.at(99_000, 99_500, 99_600)[2:])
	}
	require.Zero(t, w.asks(round), "what this process seals it need not read")

	interval, reads := 30*time.Second, int64(0)
	for range RereadWithin / interval {
		w.now = w.now.Add(interval)
		asked := w.asks(func() { require.NoError(t, compacted.Refresh(ctx, w.starts(ps), interval, everything)) })
		require.EqualValues(t, n*interval/RereadWithin, asked, "a few at a time")
		reads += asked
	}
	require.EqualValues(t, n, reads)
	require.Zero(t, w.asks(round))
}

// What others do becomes known by and by; who acts before does so on what is there.
func TestChainsOfOthers(t *testing.T) {
	w := newWorld(t, 3)
	c, found := w.chains()
	ps := parts(3)
	for _, p := range ps {
		w.seal(p, row{}.at(1, 2, 3))
	}
	refresh := func() { require.NoError(t, c.Refresh(ctx, w.starts(ps), RereadWithin, everything)) }
	refresh()
	require.Empty(t, found)
	w.replace(part(1), 2, 7)
	require.Len(t, w.get(c, part(1), 0).Items, 3)
	require.Empty(t, found, "it cannot know")
	refresh()
	require.Equal(t, told{part(1): {20}}, found)
	require.Len(t, w.get(c, part(1), 0).Items, 2)
	refresh()
	require.Equal(t, told{part(1): {20}}, found, "once")
	w.replace(part(1), 2, 19)
	c.Forget(part(1))
	w.get(c, part(1), 0)
	require.Equal(t, told{part(1): {20, 30}}, found)
	w.replace(part(2), 3, 30)
	refresh()
	require.NotContains(t, found, part(2), "merged, and all is there")
	c.Cleaned(part(2), 5)
	require.Equal(t, told{part(1): {20, 30}, part(2): {5}}, found)

	w.seal(part(0), row{}.at(1, 2, 3, 4)[3:]) // by another
	seg := row{}.at(1, 2, 3, 4, 5)[4]
	seg.Object = "o"
	require.NoError(t, w.chain.Append(ctx, []chain.Link{{Partition: part(0), Segment: seg}})[0])
	c.Sealed(part(0), seg)
	require.EqualValues(t, 50, w.get(c, part(0), 0).End())
}

func TestChainsFollowTheLogStart(t *testing.T) {
	w := newWorld(t, 1)
	c, _ := w.chains()
	w.seal(part(0), row{}.at(1, 2, 3))
	require.EqualValues(t, 300, w.get(c, part(0), 0).Bytes)
	require.Zero(t, w.asks(func() {
		for _, want := range [][2]int64{{5, 300}, {15, 200}, {20, 100}, {30, 0}} {
			require.Equal(t, want[1], w.get(c, part(0), id.Offset(want[0])).Bytes)
		}
	}))
	now := w.get(c, part(0), 30)
	require.Empty(t, now.Items)
	require.EqualValues(t, 30, now.End())
	require.Equal(t, id.Offset(20), now.Last.Base)
	require.EqualValues(t, 100, w.get(c, part(0), 25).Bytes, "read for whoever has an older image")
}

// What does not find room is read whenever it is asked for, but for its size.
func TestChainsAreBounded(t *testing.T) {
	w := newWorld(t, 3)
	c, _ := w.chains()
	c.most = 5
	for _, p := range parts(3) {
		w.seal(p, row{}.at(1, 2))
		w.get(c, p, 0)
	}
	require.Equal(t, 4, c.items)
	require.EqualValues(t, 1, w.asks(func() {
		for _, p := range parts(3) {
			require.Len(t, w.get(c, p, 0).Items, 2)
		}
	}))
	for i, p := range parts(3) {
		c.Sealed(p, row{}.at(1, 2, 3)[2])
		require.LessOrEqual(t, c.items, 5, i)
	}
	require.Zero(t, w.asks(func() {
		sizes, err := c.Sizes(ctx, w.starts(parts(3)))
		require.NoError(t, err)
		require.Equal(t, map[id.Partition]Size{part(0): {30, 300}, part(1): {30, 300}, part(2): {30, 300}}, sizes)
	}))
	require.NoError(t, c.Refresh(ctx, w.starts(parts(1)), time.Second, func(p id.Partition) bool { return p == part(0) }))
	require.LessOrEqual(t, c.items, 3)
	require.Len(t, c.known, 1)
}

// What is sealed while a chain is read is not lost, whether or not the read has seen it.
func TestSealedWhileItIsRead(t *testing.T) {
	for _, seen := range []bool{true, false} {
		w := newWorld(t, 1)
		c, _ := w.chains()
		w.seal(part(0), row{}.at(1))
		seal := func() {
			w.seal(part(0), row{}.at(1, 2)[1:])
			c.Sealed(part(0), w.last(part(0)))
		}
		k := &known{}
		c.known[part(0)] = k
		if seen {
			seal()
		}
		now, err := c.fetch(ctx, part(0), 0)
		require.NoError(t, err)
		if !seen {
			seal()
		}
		c.keep(part(0), k, 0, 0, &now)
		require.EqualValues(t, 20, w.get(c, part(0), 0).End())
	}
}

func TestSizesThatCannotBeRead(t *testing.T) {
	w := newWorld(t, 2)
	c, _ := w.chains()
	broken := errors.New("table is broken")
	w.fail["chain/"+topic.String()+"/1"] = broken
	sizes, err := c.Sizes(ctx, w.starts(parts(2)))
	require.ErrorIs(t, err, broken)
	require.Equal(t, map[id.Partition]Size{part(0): {}}, sizes)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = c.Sizes(ended, w.starts(parts(2)))
	require.ErrorIs(t, err, context.Canceled)
}

// TestIdleEmptiedLogs: a log of which nothing is left, but producers that are remembered, is not looked at
// until they are not.
func TestIdleEmptiedLogs(t *testing.T) {
	w := newWorld(t, 1)
	w.seal(part(0), row{}.at(1))
	w.add(metalog.LogStartsMoved{Moves: []metalog.StartMove{{Partition: part(0), Start: 10}}})
	w.footers[w.last(part(0)).Object] = footer(t, part(0), []producers.State{{Producer: 1, TxnStart: -1, LastSeen: w.now.UnixMilli()}})
	retain := func() { require.NoError(t, w.keeper.Retain(ctx, parts(1))) }
	require.Positive(t, w.asks(retain))
	require.Zero(t, w.asks(retain))
	require.False(t, w.last(part(0)).Empty())
	w.now = w.now.Add(24*time.Hour + time.Millisecond)
	retain()
	require.True(t, w.last(part(0)).Empty())
	retain()
	require.Zero(t, w.asks(retain))
}
