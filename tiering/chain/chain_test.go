package chain

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

var ctx = context.Background()

func partition(n int) id.Partition {
	return id.Partition{Topic: id.Topic{6: 0x40, 15: byte(n)}, Index: int32(n)}
}

func segment(base, next id.Offset, object string) Segment {
	return Segment{
		Base: base, Next: next, Object: object, ObjectSize: 1000, Pos: 10, Length: 100,
		MaxTimestamp: -1, Records: int64(next - base),
	}
}

func link(p id.Partition, base, next id.Offset, object string) Link {
	return Link{Partition: p, Segment: segment(base, next, object)}
}

func appendAll(t *testing.T, s *Store, links ...Link) {
	t.Helper()
	for _, err := range s.Append(ctx, links) {
		require.NoError(t, err)
	}
}

func TestAppendAndRead(t *testing.T) {
	s, p := Open(kv.NewMem()), partition(1)
	end, _, ok, err := s.End(ctx, p)
	require.NoError(t, err)
	require.False(t, ok)
	require.Zero(t, end)
	_, err = s.Find(ctx, p, 0)
	require.ErrorIs(t, err, ErrNotSealed)

	var want []Segment
	for i := range id.Offset(30) { // past 9, 99: the keys are ordered as numbers
		want = append(want, segment(i*7, i*7+7, fmt.Sprint("packs/", i)))
		appendAll(t, s, Link{Partition: p, Segment: want[i]})
	}
	end, last, ok, err := s.End(ctx, p)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, want[29], last)
	require.Equal(t, id.Offset(210), end)

	for off := range id.Offset(210) {
		seg, err := s.Find(ctx, p, off)
		require.NoError(t, err)
		require.Equal(t, want[off/7], seg)
		segs, err := s.Segments(ctx, p, off, 0)
		require.NoError(t, err)
		require.Equal(t, want[off/7:], segs)
	}
	for _, off := range []id.Offset{-1, 210, 1 << 62} {
		_, err := s.Find(ctx, p, off)
		require.ErrorIs(t, err, ErrNotSealed, "offset %d", off)
	}
	segs, err := s.Segments(ctx, p, -5, 2)
	require.NoError(t, err)
	require.Equal(t, want[:2], segs)
	segs, err = s.Segments(ctx, p, 210, 0)
	require.NoError(t, err)
	require.Empty(t, segs)
}

func TestAppendRefuses(t *testing.T) {
	s, p := Open(kv.NewMem()), partition(1)
	require.ErrorIs(t, s.Append(ctx, []Link{link(p, 5, 10, "a")})[0], ErrGap, "an empty chain ends at 0")
	appendAll(t, s, link(p, 0, 10, "a"), link(p, 10, 20, "b"))

	for _, test := range []struct {
		name string
		link Link
		want error
	}{
		{"same place", link(p, 10, 20, "c"), ErrTaken},
		{"same place, shorter", link(p, 10, 15, "c"), ErrTaken},
		{"within a segment", link(p, 15, 25, "c"), ErrTaken},
		{"beyond the end", link(p, 21, 25, "c"), ErrGap},
		{"no offsets", link(p, 20, 20, "c"), ErrInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			require.ErrorIs(t, s.Append(ctx, []Link{test.link})[0], test.want)
		})
	}
	appendAll(t, s, link(p, 0, 10, "a"), link(p, 10, 20, "b")) // what is there already, succeeds
	segs, err := s.Segments(ctx, p, 0, 0)
	require.NoError(t, err)
	require.Len(t, segs, 2)
}

func TestAppendOfManySharesWrites(t *testing.T) {
	table := &faultyTable{Store: kv.NewMem()}
	s := Open(table)
	var links []Link
	for i := range 50 {
		links = append(links, link(partition(i), 0, 5, "a"))
	}
	links = append(links, link(partition(3), 5, 6, "a"), link(partition(4), 9, 12, "a"))
	errs := s.Append(ctx, links)
	for i, err := range errs[:51] {
		require.NoError(t, err, i)
	}
	require.ErrorIs(t, errs[51], ErrGap)
	require.Equal(t, 3, table.calls, "index items, first links, second link of partition 3")

	ps, err := s.Partitions(ctx)
	require.NoError(t, err)
	require.Len(t, ps, 50)
	for i, p := range ps {
		require.Equal(t, partition(i), p)
	}
}

// TestAppendAtEndReadsNothing: neither for the first link of a chain nor for what follows.
func TestAppendAtEndReadsNothing(t *testing.T) {
	var reads atomic.Int64
	mem := kv.NewMem()
	s := Open(kv.Inject(mem, func(op kv.Op) kv.Fault {
		if op.Kind == kv.OpGet || op.Kind == kv.OpQuery {
			reads.Add(1)
		}
		return kv.FaultNone
	}))
	var links []Link
	for i := range 50 {
		l := link(partition(i), 0, 5, "a")
		l.AtEnd = true
		links = append(links, l, link(partition(i), 5, 6, "a"))
	}
	appendAll(t, s, links...)
	require.Zero(t, reads.Load())

	// What was the end is none any more: one read tells whose item is there.
	stale := link(partition(7), 0, 5, "b")
	stale.AtEnd = true
	next := link(partition(7), 5, 8, "b")
	next.AtEnd = true // it was not when the call began
	errs := s.Append(ctx, []Link{stale, next})
	require.ErrorIs(t, errs[0], ErrTaken)
	require.ErrorIs(t, errs[1], ErrTaken)
	repeated := links[14]
	repeated.AtEnd = true
	appendAll(t, s, repeated)
	segs, err := Open(mem).Segments(ctx, partition(7), 0, 0)
	require.NoError(t, err)
	require.Equal(t, []Segment{segment(0, 5, "a"), segment(5, 6, "a")}, segs)
}

// TestAtEndCountsForTheFirstLinkOnly: one that follows a link that failed would leave a gap.
func TestAtEndCountsForTheFirstLinkOnly(t *testing.T) {
	table := &faultyTable{Store: kv.NewMem()}
	s, p := Open(table), partition(1)
	table.before = func(w kv.Write) error {
		if w.Key == segmentKey(p, 0) {
			return errors.New("injected")
		}
		return nil
	}
	a, b := link(p, 0, 10, "a"), link(p, 10, 20, "a")
	a.AtEnd, b.AtEnd = true, true
	errs := s.Append(ctx, []Link{a, b})
	require.ErrorContains(t, errs[0], "injected")
	require.ErrorIs(t, errs[1], ErrGap)
}

func TestEndsAreReadManyAtATime(t *testing.T) {
	var under, most atomic.Int64
	together := make(chan struct{})
	s := Open(&slowTable{kv.NewMem(), func() {
		n := under.Add(1)
		defer under.Add(-1)
		if n == maxRequests && most.Swap(n) != n {
			close(together)
		}
		<-together // never ends if they come one after the other
		require.LessOrEqual(t, n, int64(maxRequests))
	}})
	ps := make([]id.Partition, 100)
	for i := range ps {
		ps[i] = partition(i)
		l := link(ps[i], 0, id.Offset(i)+1, "a")
		l.AtEnd = true
		appendAll(t, s, l)
	}
	for i, tail := range s.Ends(ctx, ps) {
		require.NoError(t, tail.Err)
		require.Equal(t, id.Offset(i)+1, tail.End)
		require.Equal(t, segment(0, id.Offset(i)+1, "a"), tail.Last)
	}
	require.Empty(t, s.Ends(ctx, nil))
}

// slowTable calls a function in each query.
type slowTable struct {
	kv.Store
	query func()
}

func (s *slowTable) Query(ctx context.Context, part string, r kv.Range) ([]kv.Item, error) {
	s.query()
	return s.Store.Query(ctx, part, r)
}

// TestFailedLinkHoldsBackTheNext: links of one partition must not overlap or leave
// a gap when the first of them fails.
func TestFailedLinkHoldsBackTheNext(t *testing.T) {
	table := &faultyTable{Store: kv.NewMem()}
	s, p := Open(table), partition(1)
	table.before = func(w kv.Write) error {
		if w.Key == segmentKey(p, 0) {
			return errors.New("injected")
		}
		return nil
	}
	errs := s.Append(ctx, []Link{link(p, 0, 10, "a"), link(p, 10, 20, "a")})
	require.ErrorContains(t, errs[0], "injected")
	require.ErrorIs(t, errs[1], ErrGap)
}

func TestUnknownOutcomes(t *testing.T) {
	boom := fmt.Errorf("%w: no reply", kv.ErrUnknown)
	for _, test := range []struct {
		name  string
		fault func(*faultyTable)
		want  error
	}{
		{"applied, reply lost", func(f *faultyTable) { f.after = func(int) error { return boom } }, nil},
		{"lost once", func(f *faultyTable) {
			f.before = func(kv.Write) error {
				if f.calls < 4 {
					return boom
				}
				return nil
			}
		}, nil},
		{"always lost", func(f *faultyTable) { f.before = func(kv.Write) error { return boom } }, kv.ErrUnknown},
		{"lost and taken by another", func(f *faultyTable) {
			f.before = func(w kv.Write) error {
				f.Store.Write(ctx, kv.Write{Key: w.Key, Value: segment(10, 12, "other").AppendTo(nil)})
				return boom
			}
		}, ErrTaken},
	} {
		t.Run(test.name, func(t *testing.T) {
			table := &faultyTable{Store: kv.NewMem()}
			s, p := Open(table), partition(1)
			appendAll(t, s, link(p, 0, 10, "a"))
			test.fault(table)
			err := s.Append(ctx, []Link{link(p, 10, 20, "b")})[0]
			require.ErrorIs(t, err, test.want)
			if test.want == nil {
				_, last, _, err := s.End(ctx, p)
				require.NoError(t, err)
				require.Equal(t, segment(10, 20, "b"), last)
			}
		})
	}
}

func TestUnknownOutcomeOfTheIndexItem(t *testing.T) {
	table := &faultyTable{Store: kv.NewMem()}
	s, p := Open(table), partition(1)
	table.after = func(call int) error {
		if call == 1 {
			return kv.ErrUnknown
		}
		return nil
	}
	appendAll(t, s, link(p, 0, 10, "a"))
	ps, err := s.Partitions(ctx)
	require.NoError(t, err)
	require.Equal(t, []id.Partition{p}, ps)
}

// TestSealersRace: sealers that know nothing of each other, on a table that fails,
// loses replies and applies writes late, make one chain without gap or overlap,
// and each link whose append succeeded is in it.
func TestSealersRace(t *testing.T) {
	const sealers, upTo = 4, 400
	mem, p := kv.NewMem(), partition(1)
	var mu sync.Mutex
	tried, won := map[string]Segment{}, map[string]bool{}
	try := func(s *Store, links ...Link) {
		mu.Lock()
		for _, l := range links {
			tried[l.Segment.Object] = l.Segment
		}
		mu.Unlock()
		errs := s.Append(ctx, links)
		mu.Lock()
		for i, l := range links {
			won[l.Segment.Object] = errs[i] == nil
		}
		mu.Unlock()
	}
	var wg sync.WaitGroup
	for n := range sealers {
		wg.Go(func() {
			rates := kv.FlakyRates{Fail: 0.05, Lost: 0.1, Landed: 0.1, Late: 0.1, Read: 0.05}
			s := Open(kv.NewFlaky(mem, uint64(n), rates))
			rng := rand.New(rand.NewPCG(7, uint64(n)))
			for i := 0; ; i++ {
				end, _, _, err := s.End(ctx, p)
				if err != nil {
					continue
				}
				if end >= upTo {
					return
				}
				a := link(p, end, end+1+id.Offset(rng.IntN(9)), fmt.Sprintf("packs/%d-%d-a", n, i))
				a.AtEnd = rng.IntN(2) == 0
				b := link(p, a.Segment.Next, a.Segment.Next+3, fmt.Sprintf("packs/%d-%d-b", n, i))
				try(s, a, b)
			}
		})
	}
	wg.Wait()
	segs, err := Open(mem).Segments(ctx, p, 0, 0)
	require.NoError(t, err)
	var end id.Offset
	for _, seg := range segs {
		require.Equal(t, end, seg.Base)
		require.Equal(t, tried[seg.Object], seg)
		delete(won, seg.Object)
		end = seg.Next
	}
	require.GreaterOrEqual(t, end, id.Offset(upTo))
	for object, ok := range won {
		require.False(t, ok, "%s was appended but is not in the chain", object)
	}
}

func TestDamagedItems(t *testing.T) {
	mem, p := kv.NewMem(), partition(1)
	s := Open(mem)
	good := segment(0, 10, "a").AppendTo(nil)
	for name, write := range map[string]kv.Write{
		"flipped bit": {Key: segmentKey(p, 0), Value: append([]byte{1, 0x80}, good[2:]...), Any: true},
		"other place": {Key: segmentKey(p, 3), Value: good, Any: true},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, mem.Write(ctx, write)[0].Err)
			_, _, _, err := s.End(ctx, p)
			require.ErrorIs(t, err, ErrCorrupt)
			_, err = s.Find(ctx, p, 5)
			require.ErrorIs(t, err, ErrCorrupt)
			require.ErrorIs(t, s.Append(ctx, []Link{link(p, 10, 20, "b")})[0], ErrCorrupt)
		})
	}
	mem.Write(ctx, kv.Write{Key: kv.Key{Part: indexPart, Sort: "x/1"}, Value: []byte{1}})
	_, err := s.Partitions(ctx)
	require.ErrorIs(t, err, ErrCorrupt)
}

// faultyTable fails writes: before means not applied, after applied all the same.
type faultyTable struct {
	kv.Store
	calls  int
	before func(kv.Write) error
	after  func(call int) error
}

func (f *faultyTable) Write(ctx context.Context, ws ...kv.Write) []kv.Result {
	f.calls++
	results := make([]kv.Result, len(ws))
	for i, w := range ws {
		if f.before != nil {
			if results[i].Err = f.before(w); results[i].Err != nil {
				continue
			}
		}
		results[i] = f.Store.Write(ctx, w)[0]
		if f.after != nil && results[i].Err == nil {
			results[i].Err = f.after(f.calls)
		}
	}
	return results
}
