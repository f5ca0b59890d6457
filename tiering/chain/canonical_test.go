package chain

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// itemsOf makes items of pairs of offsets; rewritten ones are marked by a negative next.
func itemsOf(offsets ...id.Offset) (items []Item) {
	for i := 0; i < len(offsets); i += 2 {
		seg := segment(offsets[i], max(offsets[i+1], -offsets[i+1]), fmt.Sprint("packs/", i))
		seg.Rewritten = offsets[i+1] < 0
		items = append(items, Item{Segment: seg, Version: kv.Version(fmt.Sprint(i))})
	}
	return items
}

func bases(items []Item) (list []id.Offset) {
	for _, i := range items {
		list = append(list, i.Base)
	}
	return list
}

func TestCanonical(t *testing.T) {
	for name, test := range map[string]struct {
		items            []Item
		start            id.Offset
		canonical, spare []id.Offset
	}{
		"nothing":                        {},
		"a chain":                        {itemsOf(0, 10, 10, 20, 20, 30), 0, []id.Offset{0, 10, 20}, nil},
		"below the start":                {itemsOf(0, 10, 10, 20, 20, 30), 15, []id.Offset{10, 20}, []id.Offset{0}},
		"at a start":                     {itemsOf(0, 10, 10, 20, 20, 30), 20, []id.Offset{20}, []id.Offset{0, 10}},
		"a start at the end":             {itemsOf(0, 10, 10, 20), 20, []id.Offset{10}, []id.Offset{0}},
		"a start beyond the end":         {itemsOf(0, 10, 10, 20), 99, []id.Offset{10}, []id.Offset{0}},
		"removed below the start":        {itemsOf(10, 20, 20, 30), 12, []id.Offset{10, 20}, nil},
		"replaced":                       {itemsOf(0, -20, 10, 20, 20, 30), 0, []id.Offset{0, 20}, []id.Offset{10}},
		"replaced and removed":           {itemsOf(0, -20, 20, 30), 0, []id.Offset{0, 20}, nil},
		"a start within what is spare":   {itemsOf(0, -20, 10, 20, 20, 30), 15, []id.Offset{0, 20}, []id.Offset{10}},
		"twice replaced":                 {itemsOf(0, -30, 10, -20, 20, 30, 30, 40), 0, []id.Offset{0, 30}, []id.Offset{10, 20}},
		"overlapping, the first counts":  {itemsOf(0, -20, 10, -30, 20, 30, 30, 40), 0, []id.Offset{0, 20, 30}, []id.Offset{10}},
		"overlapping, start in both":     {itemsOf(0, -20, 10, -30, 20, 30, 30, 40), 15, []id.Offset{0, 20, 30}, []id.Offset{10}},
		"overlapping, start in the last": {itemsOf(0, -20, 10, -30, 20, 30, 30, 40), 25, []id.Offset{10, 30}, []id.Offset{0, 20}},
		"overlapping, one has a gap":     {itemsOf(0, -20, 10, -30, 20, -40, 40, 50), 25, []id.Offset{20, 40}, []id.Offset{0, 10}},
		"overlapping, in the last of 3":  {itemsOf(0, -20, 10, -30, 20, -40, 30, 40, 40, 50), 25, []id.Offset{10, 30, 40}, []id.Offset{0, 20}},
		"stale below the start":          {itemsOf(0, -10, 5, 10, 10, 20, 20, 30), 10, []id.Offset{10, 20}, []id.Offset{0, 5}},
		"all replaced":                   {itemsOf(0, -30, 10, 20, 20, 30), 0, []id.Offset{0}, []id.Offset{10, 20}},
	} {
		t.Run(name, func(t *testing.T) {
			canonical, spare, err := Canonical(test.items, test.start)
			require.NoError(t, err)
			require.Equal(t, test.canonical, bases(canonical))
			require.Equal(t, test.spare, bases(spare))
		})
	}
}

// Of a chain with a gap nothing is spare.
func TestCanonicalOfDamage(t *testing.T) {
	for name, test := range map[string]struct {
		items []Item
		start id.Offset
	}{
		"a gap":                   {itemsOf(0, 10, 20, 30), 0},
		"a gap behind what holds": {itemsOf(0, -20, 10, 20, 25, 30), 0},
		"nothing at the start":    {itemsOf(0, 10, 20, 30), 15},
		"it begins above":         {itemsOf(10, 20), 5},
	} {
		t.Run(name, func(t *testing.T) {
			canonical, spare, err := Canonical(test.items, test.start)
			require.ErrorIs(t, err, ErrGap)
			require.Equal(t, test.items, canonical)
			require.Empty(t, spare)
		})
	}
}

// life is a chain that is sealed, rewritten by several, and collected, while its log start moves.
type life struct {
	t      *rapid.T
	s      *Store
	p      id.Partition
	start  id.Offset
	end    id.Offset
	object int
	held   [][]Item // what rewriters have looked at
	born   []int    // when
	step   int      // the time
	marked []Item   // what the first look of the collector found spare
	looked int      // when
}

func (l *life) items() []Item {
	items, err := l.s.Items(ctx, l.p)
	require.NoError(l.t, err)
	return items
}

func (l *life) spare() []Item {
	_, spare, err := Canonical(l.items(), l.start)
	require.NoError(l.t, err)
	return spare
}

func (l *life) name() string {
	l.object++
	return fmt.Sprint("packs/", l.object)
}

func (l *life) seal(t *rapid.T) {
	next := l.end + id.Offset(rapid.IntRange(1, 10).Draw(t, "offsets"))
	require.NoError(t, l.s.Append(ctx, []Link{{Partition: l.p, Segment: segment(l.end, next, l.name()), AtEnd: rapid.Bool().Draw(t, "at end")}})[0])
	l.end = next
}

func (l *life) moveStart(t *rapid.T) {
	l.start = id.Offset(rapid.Int64Range(int64(l.start), int64(l.end)).Draw(t, "start"))
}

func (l *life) look(t *rapid.T) {
	canonical, _, err := Canonical(l.items(), l.start)
	require.NoError(t, err)
	if len(canonical) == 0 {
		t.Skip("nothing to rewrite")
	}
	from := rapid.IntRange(0, len(canonical)-1).Draw(t, "from")
	to := rapid.IntRange(from+1, len(canonical)).Draw(t, "to")
	l.held, l.born = append(l.held, canonical[from:to]), append(l.born, l.step)
}

func (l *life) commit(t *rapid.T) {
	if len(l.held) == 0 {
		t.Skip("no rewriter")
	}
	i := rapid.IntRange(0, len(l.held)-1).Draw(t, "rewriter")
	old := l.held[i]
	l.held, l.born = append(l.held[:i:i], l.held[i+1:]...), append(l.born[:i:i], l.born[i+1:]...)
	seg := segment(old[0].Base, old[len(old)-1].Next, l.name())
	if rapid.Bool().Draw(t, "empty") {
		seg = Segment{Base: seg.Base, Next: seg.Next, MaxTimestamp: -1}
	}
	if err := l.s.Replace(ctx, l.p, old, seg); err != nil {
		require.ErrorIs(t, err, ErrChanged)
	}
}

// collect looks, and removes what this look and the one before found, or a part of it: but not while
// a rewriter is under way who has looked before the first of them.
func (l *life) collect(t *rapid.T) {
	found := map[kv.Version]bool{}
	for _, item := range l.spare() {
		found[item.Version] = true
	}
	var due []Item
	for _, item := range l.marked {
		if found[item.Version] {
			due = append(due, item)
		}
	}
	for _, born := range l.born {
		if born <= l.looked {
			t.Skip("the grace is not over")
		}
	}
	n := rapid.IntRange(0, len(due)).Draw(t, "before a crash")
	require.NoError(t, l.s.Remove(ctx, l.p, due[:n]))
	l.marked, l.looked = l.spare(), l.step
}

// check requires that all offsets from the start to the end are found, whoever looks.
func (l *life) check(t *rapid.T) {
	l.step++
	end, _, _, err := l.s.End(ctx, l.p)
	require.NoError(t, err)
	require.Equal(t, l.end, end)
	canonical, _, err := Canonical(l.items(), l.start)
	require.NoError(t, err)
	if l.start < l.end {
		require.LessOrEqual(t, canonical[0].Base, l.start)
		require.Equal(t, l.end, canonical[len(canonical)-1].Next)
	}
	for off := l.start; off < l.end; off++ {
		seg, err := l.s.Find(ctx, l.p, off)
		require.NoError(t, err)
		require.True(t, seg.Base <= off && off < seg.Next, "offset %d in %d to %d", off, seg.Base, seg.Next)
		at := off
		for at < l.end {
			segs, err := l.s.Segments(ctx, l.p, at, 2)
			require.NoError(t, err)
			require.NotEmpty(t, segs)
			for _, seg := range segs {
				require.True(t, seg.Base <= at && at < seg.Next, "offset %d, segment %d to %d", at, seg.Base, seg.Next)
				at = seg.Next
			}
		}
	}
}

func TestChainsThatAreRewrittenAndCollected(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &life{t: t, s: Open(kv.NewMem()), p: partition(1), looked: -1}
		t.Repeat(map[string]func(*rapid.T){
			"seal": l.seal, "start": l.moveStart, "look": l.look, "commit": l.commit, "collect": l.collect, "": l.check,
		})
	})
}
