package compact_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/compact"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

func TestNewestOfEachKeyStays(t *testing.T) {
	w := newWorld(t)
	w.batch(batch.None, 0, "a=1", "b=1", "=no key", "c=1")
	w.batch(batch.Gzip, 0, "a=2", "d=1")
	w.seal()
	w.batch(batch.Zstd, 7, "a=3", "b=2", "a=4")
	w.batch(batch.None, 0, "e=1")
	w.seal()
	before, _ := w.batches()
	stats := w.run()
	require.Equal(t, []string{"3 c=1", "5 d=1", "7 b=2", "8 a=4", "9 e=1"}, w.log())
	after, _ := w.batches()
	require.Equal(t, []byte(before[3]), []byte(after[3]), "nothing was taken from it")
	require.EqualValues(t, 10, stats.MessagesRead)
	require.EqualValues(t, 5, stats.MessagesRetained)
	require.EqualValues(t, 1, stats.InvalidMessages)
	require.EqualValues(t, 10, stats.MapMessagesRead)
	require.Len(t, w.items(), 1, "small segments become one")
	require.EqualValues(t, 10, w.items()[0].CleanedTo)
	require.Equal(t, w.table2.Snapshot(), w.lastProducers())

	require.False(t, w.run().Clean, "there is nothing dirty")
	w.batch(batch.None, 0, "d=2")
	w.seal()
	stats = w.run()
	require.EqualValues(t, 10, stats.Dirty)
	require.EqualValues(t, 1, stats.MapMessagesRead)
	require.Equal(t, []string{"3 c=1", "7 b=2", "8 a=4", "9 e=1", "10 d=2"}, w.log())
}

func TestTombstonesHaveAHorizon(t *testing.T) {
	for _, retention := range []time.Duration{0, time.Hour} {
		w := newWorld(t)
		w.set.DeleteRetention = retention
		w.batch(batch.LZ4, 0, "a=1", "b=1")
		w.batch(batch.LZ4, 0, "a=", "c=1")
		w.seal()
		w.run()
		require.Equal(t, []string{"1 b=1", "2 a= h", "3 c=1 h"}, w.log())
		vs, _ := w.batches()
		ms, _ := vs[1].DeleteHorizon()
		require.Equal(t, noon.Add(retention).UnixMilli(), ms)

		dirty := func(n int) {
			w.batch(batch.None, 0, fmt.Sprintf("x=%d", n))
			w.seal()
			w.run()
		}
		if retention > 0 {
			w.now = w.now.Add(retention - time.Millisecond)
			dirty(1)
			require.Equal(t, []string{"1 b=1", "2 a= h", "3 c=1 h", "4 x=1"}, w.log())
			w.now = w.now.Add(time.Millisecond)
		}
		dirty(2)
		require.NotContains(t, strings.Join(w.log(), ","), "a=")
		require.Contains(t, w.log(), "3 c=1 h", "the horizon stays")
	}
}

func TestTransactions(t *testing.T) {
	w := newWorld(t)
	w.batch(batch.None, 0, "a=0", "b=0")
	w.batch(batch.None, -5, "a=aborted") // 2
	w.batch(batch.None, -6, "b=1")       // 3
	w.seal()
	w.batch(batch.None, -5, "c=aborted") // 4
	w.marker(5, false)                   // 5
	w.marker(6, true)                    // 6
	w.batch(batch.None, -5, "d=1")       // 7
	w.marker(5, true)                    // 8
	w.seal()
	view := []string{"0 a=0", "3 b=1", "7 d=1"}
	w.run()
	require.Equal(t, []string{"0 a=0", "3 b=1", "5 abort", "6 commit", "7 d=1", "8 commit"}, w.log(), "markers stay for a pass")
	require.Equal(t, view, w.committed())
	_, aborted := w.batches()
	require.Len(t, aborted, 1)

	w.batch(batch.None, 0, "b=2") // 9
	w.seal()
	w.run() // the abort marker has no batches; b=1 goes, but its batch was seen
	require.Equal(t, []string{"0 a=0", "5 abort h", "6 commit", "7 d=1", "8 commit", "9 b=2"}, w.log())

	w.now = w.now.Add(time.Hour)
	w.batch(batch.None, 0, "x=1") // 10
	w.seal()
	w.run()
	require.Equal(t, []string{"0 a=0", "6 commit h", "7 d=1", "8 commit", "9 b=2", "10 x=1"}, w.log())
	_, aborted = w.batches()
	require.Empty(t, aborted, "a consumer would wait for the marker and skip what was committed later")
	require.Equal(t, []string{"0 a=0", "7 d=1", "9 b=2", "10 x=1"}, w.committed())
}

// A producer that aborted before the dirty part and commits in it: its keys are in the map.
func TestCommitAfterAnAbortInTheCleanPart(t *testing.T) {
	w := newWorld(t)
	w.batch(batch.None, 0, "a=0")
	w.batch(batch.None, -5, "a=aborted")
	w.marker(5, false)
	w.seal()
	w.run()
	w.batch(batch.None, -5, "a=1") // 3
	w.marker(5, true)
	w.seal()
	w.run()
	require.Equal(t, []string{"3 a=1"}, w.committed())
}

func TestOpenTransactionsHoldItBack(t *testing.T) {
	w := newWorld(t)
	w.batch(batch.None, 0, "a=0", "a=1")
	w.seal()
	w.batch(batch.None, -5, "a=2")
	w.batch(batch.None, 0, "a=3")
	w.seal()
	stats := w.run()
	require.EqualValues(t, 2, stats.CleanedTo)
	require.Positive(t, stats.UncleanableBytes)
	require.Equal(t, []string{"1 a=1", "2 a=2", "3 a=3"}, w.log())
}

func TestNothingIsLeft(t *testing.T) {
	w := newWorld(t)
	w.set.DeleteRetention, w.set.SegmentBytes = 0, 1
	for range 3 {
		w.batch(batch.None, 9, "a=1", "a=")
		w.seal()
	}
	w.run()
	w.run()
	items := w.items()
	require.True(t, items[0].Empty() && items[1].Empty())
	require.Equal(t, []string{"5 a= h"}, w.log())
	require.Equal(t, w.table2.Snapshot(), w.lastProducers())
}

// What is at the end of the chain may be the end of the log, which clients must be able to come to.
func TestTheLastRecordStaysWhileItIsTheLast(t *testing.T) {
	w := newWorld(t)
	w.set.DeleteRetention = 0
	w.batch(batch.None, 0, "a=1", "=one", "=two")
	w.seal()
	w.run()
	require.Equal(t, []string{"0 a=1", "2 =two"}, w.log())
	w.batch(batch.None, 0, "b=")
	w.batch(batch.None, -5, "c=aborted") // 4
	w.marker(5, false)                   // 5
	w.seal()
	w.run()
	require.Contains(t, w.log(), "5 abort")
	w.batch(batch.None, 0, "d=1")
	w.seal()
	w.now = w.now.Add(time.Hour)
	w.run()
	w.batch(batch.None, 0, "d=2")
	w.seal()
	w.now = w.now.Add(time.Hour)
	w.run()
	require.Equal(t, []string{"0 a=1", "7 d=2"}, w.log())
}

// A map that becomes full cleans up to there, and the next pass the rest.
func TestSmallMapNeedsSeveralPasses(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		w := newWorld(t)
		w.keys = compact.MapConfig{Budget: 24 * 100, Dir: dir}
		var want []string
		for round := range 2 {
			for i := range 400 {
				w.batch(batch.None, 0, fmt.Sprintf("k%d=%d", i, round))
				if round == 1 {
					want = append(want, fmt.Sprintf("%d k%d=1", w.end-1, i))
				}
				if i%30 == 29 {
					w.seal()
				}
			}
			w.seal()
		}
		passes, spilled := 0, int64(0)
		for {
			stats := w.run()
			if !stats.Clean {
				break
			}
			passes, spilled = passes+1, spilled+stats.SpilledBytes
		}
		require.Equal(t, want, w.log())
		require.Equal(t, dir == "", passes > 1)
		require.Equal(t, dir != "", spilled > 0)
	}
}

func TestAMapForLessThanABatchIsAnError(t *testing.T) {
	w := newWorld(t)
	w.keys = compact.MapConfig{Budget: 24 * 72}
	var pairs []string
	for i := range 200 {
		pairs = append(pairs, fmt.Sprintf("k%d=1", i))
	}
	w.batch(batch.None, 0, pairs...)
	w.seal()
	_, err := w.runOn(w.table)
	require.ErrorContains(t, err, "log.cleaner.dedupe.buffer.size")
}

// Segments of the clean part from which nothing is taken are not written again.
func TestUnchangedSegmentsStay(t *testing.T) {
	w := newWorld(t)
	w.set.SegmentBytes = 1
	for i := range 4 {
		w.batch(batch.None, 0, fmt.Sprintf("k%d=1", i), "x=1")
		w.seal()
	}
	w.run()
	w.batch(batch.None, 0, "k2=2")
	w.seal()
	before := w.items()
	stats := w.run()
	require.Equal(t, 4, stats.Kept)
	require.Equal(t, 1, stats.Rewritten)
	after := w.items()
	for i := range before {
		require.EqualValues(t, 9, after[i].CleanedTo)
		require.Equal(t, i == 2, before[i].Object != after[i].Object, i)
	}
}

// TestWhatIsSpareStays: a segment that another has covered since the pass began is not written again.
func TestWhatIsSpareStays(t *testing.T) {
	w := newWorld(t)
	w.set.SegmentBytes = 1
	for i := range 3 {
		w.batch(batch.None, 0, fmt.Sprintf("k%d=1", i))
		w.seal()
	}
	before := w.items()
	_, err := w.runOn(&hooked{w.table, func() { // right when the first segment was kept
		results, err := w.engine(w.chain).Rewrite(ctx, []rewrite.Job{{Partition: p0, Old: w.items()}})
		require.NoError(t, errors.Join(err, results[0].Err))
	}})
	require.ErrorIs(t, err, chain.ErrChanged)
	all, err := w.chain.Items(ctx, p0)
	require.NoError(t, err)
	require.Equal(t, before[1:], all[1:])
	require.Len(t, w.items(), 1)
	require.True(t, w.run().Clean)
}

// hooked is a table after whose first write something happens.
type hooked struct {
	kv.Store
	then func()
}

func (h *hooked) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	results := h.Store.Write(ctx, writes...)
	if then := h.then; then != nil {
		h.then = nil
		then()
	}
	return results
}

// TestLimitCountsWhatIsRead: also what is read for the map and of segments that are kept.
func TestLimitCountsWhatIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.set.SegmentBytes = 1
		for i := range 2 {
			w.batch(batch.None, 0, fmt.Sprintf("k%d=1", i))
			w.seal()
		}
		size := w.items()[0].Length
		began := time.Now()
		r := runOne(ctx, compact.Config{Chain: w.chain, Cold: w.cold, Alone: true, Rewriter: rewrite.New(rewrite.Config{
			Chain: w.chain, Objects: w.objects, Cold: w.cold, Limit: rate.NewLimiter(rate.Limit(size), 1),
		})}, 0, w.set)
		require.NoError(t, r.Err)
		require.Equal(t, 2, r.Kept)
		require.InDelta(t, 4, time.Since(began).Seconds(), 0.1)
	})
}

// Whatever is in the log, and wherever a pass is broken off: afterwards the newest record of
// each key that was not aborted is there, nothing older, and consumers are told nothing wrong.
func TestAnyLog(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		var closers []func()
		w := worldOf(t, func(f func()) { closers = append(closers, f) })
		defer func() {
			for _, f := range closers {
				f()
			}
		}()
		w.set.DeleteRetention = rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "retention")
		w.set.SegmentBytes = int64(rapid.IntRange(1, 2000).Draw(t, "segment"))
		w.keys = compact.MapConfig{Budget: 24 * 72, Dir: rapid.SampledFrom([]string{"", dir}).Draw(t, "dir")}
		newest := map[string]string{} // key to "offset key=value"
		pending := map[int][]string{}
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			for range rapid.IntRange(1, 30).Draw(t, "batches") {
				randomBatch(t, w, newest, pending)
			}
			w.seal()
			for _, producer := range []int{5, 6} { // so that all of it can be cleaned
				if len(pending[producer]) > 0 {
					endTxn(w, newest, pending, producer, producer == 5)
				}
			}
			w.batch(batch.None, 0, "z=1")
			newest["z"] = fmt.Sprintf("%d z=1", w.end-1)
			w.seal()
			w.now = w.now.Add(40 * time.Second)
			crash := rapid.IntRange(0, 6).Draw(t, "crash")
			_, err := w.runOn(&failing{Store: w.table, left: crash})
			if err != nil {
				require.ErrorIs(t, err, errCrash)
			}
			checkNewest(t, w.committed(), newest, false)
			for w.run().Clean {
				continue
			}
			checkNewest(t, w.committed(), newest, true)
		}
	})
}

func randomBatch(t *rapid.T, w *world, newest map[string]string, pending map[int][]string) {
	codec := batch.Codec(rapid.IntRange(0, 4).Draw(t, "codec"))
	producer := rapid.SampledFrom([]int{0, 0, 9, -5, -6}).Draw(t, "producer")
	if txn := -producer; txn > 0 && len(pending[txn]) > 0 && rapid.IntRange(0, 3).Draw(t, "end") == 0 {
		endTxn(w, newest, pending, txn, rapid.Bool().Draw(t, "commit"))
		return
	}
	var pairs []string
	for range rapid.IntRange(1, 5).Draw(t, "records") {
		at := w.end + id.Offset(len(pairs))
		pair := fmt.Sprintf("k%d=", rapid.IntRange(0, 9).Draw(t, "key"))
		if rapid.IntRange(0, 4).Draw(t, "tombstone") > 0 {
			pair += fmt.Sprint(at)
		}
		pairs = append(pairs, pair)
		line := fmt.Sprintf("%d %s", at, pair)
		if producer < 0 {
			pending[-producer] = append(pending[-producer], line)
			continue
		}
		note(newest, line)
	}
	w.batch(codec, producer, pairs...)
}

// endTxn ends a transaction. Of records that count, the one with the larger offset is newer, whenever it was committed.
func endTxn(w *world, newest map[string]string, pending map[int][]string, producer int, commit bool) {
	w.marker(producer, commit)
	if commit {
		for _, line := range pending[producer] {
			note(newest, line)
		}
	}
	delete(pending, producer)
}

func split(line string) (offset int, key, value string) {
	at, pair, _ := strings.Cut(line, " ")
	key, value, _ = strings.Cut(pair, "=")
	_, _ = fmt.Sscan(at, &offset)
	return offset, key, value
}

func note(newest map[string]string, line string) {
	at, key, _ := split(line)
	if old, ok := newest[key]; ok {
		if before, _, _ := split(old); before > at {
			return
		}
	}
	newest[key] = line
}

// checkNewest: lines has the newest of each key, but for tombstones, of which it may be none; and if
// it is done, nothing else.
func checkNewest(t *rapid.T, lines []string, newest map[string]string, done bool) {
	seen := map[string]string{}
	for _, line := range lines {
		_, key, _ := split(line)
		if done {
			require.Empty(t, seen[key], "%s is there twice: %v", key, lines)
		}
		seen[key] = line
	}
	for key, want := range newest {
		if _, _, value := split(want); value == "" && seen[key] == "" {
			continue
		}
		require.Equal(t, want, seen[key], "%v", lines)
	}
	require.True(t, slices.IsSortedFunc(lines, func(a, b string) int {
		x, _, _ := split(a)
		y, _, _ := split(b)
		return x - y
	}))
}

var errCrash = errors.New("crash")

// failing is a table whose writes fail from some time on.
type failing struct {
	kv.Store
	left int
}

func (f *failing) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	if f.left--; f.left < 0 {
		results := make([]kv.Result, len(writes))
		for i := range results {
			results[i].Err = errCrash
		}
		return results
	}
	return f.Store.Write(ctx, writes...)
}
