package rewrite_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

const hour = int64(time.Hour / time.Millisecond)

// later is long after all the segments of the tests were sealed.
var later = time.UnixMilli(1000 * hour)

// sealed is a canonical chain of one segment for each length, of ten offsets each.
func sealed(lengths ...int64) []chain.Item {
	items := make([]chain.Item, len(lengths))
	for i, n := range lengths {
		items[i].Segment = chain.Segment{Base: id.Offset(10 * i), Next: id.Offset(10 * (i + 1)), Object: "packs/x", Length: n}
	}
	return items
}

// spansOf tells a plan as pairs of the first item and the one behind the last.
func spansOf(groups [][]chain.Item) (spans [][2]int) {
	for _, g := range groups {
		spans = append(spans, [2]int{int(g[0].Base / 10), int(g[len(g)-1].Next / 10)})
	}
	return spans
}

func repeat(n int, length int64) (lengths []int64) {
	for range n {
		lengths = append(lengths, length)
	}
	return lengths
}

func TestMergePlan(t *testing.T) {
	const small, large, half = 1000, 100_000, 512 << 10
	type items = []chain.Item
	timed := func(lengths []int64, times ...int64) items {
		all := sealed(lengths...)
		for i := range all {
			all[i].MaxTimestamp = times[i]
		}
		return all
	}
	fresh := func(all items, age int64) items {
		all[len(all)-1].Sealed = later.UnixMilli() - age
		return all
	}
	compacted := func(all items, from, to int) items {
		for i := from; i < to; i++ {
			all[i].CleanedTo = 5
		}
		return all
	}
	for name, c := range map[string]struct {
		items  items
		policy rewrite.MergePolicy
		want   [][2]int
	}{
		"nothing":                          {items: nil},
		"seven of a size":                  {items: sealed(repeat(7, small)...)},
		"eight of a size":                  {items: sealed(repeat(8, small)...), want: [][2]int{{0, 8}}},
		"smaller ones between go along":    {items: sealed(small, 100, small, small, 100, 100, small, small, small, small, small), want: [][2]int{{0, 11}}},
		"eight behind a larger one":        {items: sealed(append([]int64{large}, repeat(8, small)...)...), want: [][2]int{{1, 9}}},
		"eight parted by a larger one":     {items: sealed(small, small, small, small, large, small, small, small, small)},
		"a full one closes what is before": {items: sealed(small, 100, half, small), want: [][2]int{{0, 2}}},
		"a full one stays":                 {items: sealed(half, half, half)},
		"no more than a segment":           {items: sealed(repeat(12, 200_000)...), want: [][2]int{{0, 5}, {5, 10}}},
		"a new span closes the one before": {
			items: timed(repeat(4, small), 0, hour-1, hour, hour), policy: rewrite.MergePolicy{Span: time.Hour}, want: [][2]int{{0, 2}, {2, 4}},
		},
		"the last span is open": {
			items: fresh(timed(repeat(5, small), 0, hour-1, hour, hour, hour), 24*hour-1), policy: rewrite.MergePolicy{Span: time.Hour}, want: [][2]int{{0, 2}},
		},
		"until nothing comes for a day": {
			items: fresh(timed(repeat(5, small), 0, hour-1, hour, hour, hour), 24*hour), policy: rewrite.MergePolicy{Span: time.Hour}, want: [][2]int{{0, 2}, {2, 5}},
		},
		"an old record behind newer ones": {
			items: timed(repeat(3, small), 5*hour, 0, -1), policy: rewrite.MergePolicy{Span: time.Hour}, want: [][2]int{{0, 3}},
		},
		"compacted and not": {
			items: compacted(sealed(repeat(12, small)...), 0, 6), policy: rewrite.MergePolicy{Compacted: true},
		},
		"compacted among themselves": {
			items: compacted(sealed(repeat(12, small)...), 0, 9), policy: rewrite.MergePolicy{Compacted: true}, want: [][2]int{{0, 9}},
		},
		"compacted once": {
			items: compacted(sealed(repeat(12, small)...), 0, 6), want: [][2]int{{0, 12}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.policy.SegmentBytes = 1 << 20
			require.Equal(t, c.want, spansOf(c.policy.Plan(c.items, later)))
		})
	}
}

func TestMergeLeavesTheFreshEndAlone(t *testing.T) {
	items := sealed(repeat(8, 1000)...)
	items[7].Sealed = later.UnixMilli()
	var p rewrite.MergePolicy
	require.Empty(t, p.Plan(items, later.Add(10*time.Minute-1)))
	require.Len(t, p.Plan(items, later.Add(10*time.Minute)), 1)
}

// merged is a segment and how often any byte of it was rewritten.
type merged struct {
	chain.Item
	times int
}

// mergeUp does what the policy plans until it plans nothing, and returns the bytes rewritten.
func mergeUp(t *rapid.T, p rewrite.MergePolicy, segs []merged) (out []merged, rewritten int64) {
	for {
		items := make([]chain.Item, len(segs))
		for i := range segs {
			items[i] = segs[i].Item
		}
		groups := p.Plan(items, later)
		if len(groups) == 0 {
			return segs, rewritten
		}
		out = nil
		for _, s := range segs {
			if len(groups) == 0 || s.Base < groups[0][0].Base {
				out = append(out, s)
				continue
			}
			g := groups[0]
			if s.Base == g[0].Base {
				require.Greater(t, len(g), 1)
				out = append(out, merged{Item: chain.Item{Segment: chain.Segment{Base: s.Base, Next: s.Base, MaxTimestamp: -1, Object: "packs/y", Sealed: later.UnixMilli() - hour}}})
			}
			m := &out[len(out)-1]
			require.Equal(t, m.Next, s.Base, "a gap in a group")
			m.Next, m.Length, m.times = s.Next, m.Length+s.Length, max(m.times, s.times+1)
			m.MaxTimestamp = max(m.MaxTimestamp, s.MaxTimestamp)
			rewritten += s.Length
			if s.Next == g[len(g)-1].Next {
				require.LessOrEqual(t, m.Length, p.SegmentBytes)
				groups = groups[1:]
			}
		}
		require.Empty(t, groups)
		segs = out
	}
}

// TestMergeProperties grows a chain of arbitrary segments and merges after each: no byte is
// rewritten more often than a size can be multiplied by FanIn, and once more.
func TestMergeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rewrite.MergePolicy{SegmentBytes: 1 << 20, FanIn: rapid.IntRange(2, 8).Draw(t, "fan-in")}
		if rapid.Bool().Draw(t, "spans") {
			p.Span = 24 * time.Hour
		}
		levels := int(math.Log(float64(p.SegmentBytes)/64) / math.Log(float64(p.FanIn)))
		var segs []merged
		var at id.Offset
		ms := int64(0)
		for range rapid.IntRange(1, 120).Draw(t, "segments") {
			size := int64(1) << rapid.IntRange(6, 20).Draw(t, "size")
			ms += rapid.Int64Range(-hour, 3*hour).Draw(t, "time")
			seg := chain.Segment{Base: at, Next: at + 10, Length: size, Object: "packs/x", MaxTimestamp: max(ms, 0), Sealed: later.UnixMilli() - hour}
			at += 10
			segs = append(segs, merged{Item: chain.Item{Segment: seg}})
			segs, _ = mergeUp(t, p, segs)
			for _, s := range segs {
				require.LessOrEqual(t, s.times, levels+1)
			}
		}
		require.Equal(t, at, segs[len(segs)-1].Next)
	})
}

// TestMergeOfASlowPartition: hundreds of runs of about the same size become a few of each level, for a
// few times their bytes.
func TestMergeOfASlowPartition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rewrite.MergePolicy{SegmentBytes: 64 << 20}
		size := rapid.Int64Range(100, 10_000).Draw(t, "size")
		var segs []merged
		var total, rewritten int64
		const runs = 500
		for i := range runs {
			seg := chain.Segment{Base: id.Offset(i), Next: id.Offset(i + 1), Length: size + int64(i%7)*size/20, Object: "packs/x"}
			segs = append(segs, merged{Item: chain.Item{Segment: seg}})
			var n int64
			segs, n = mergeUp(t, p, segs)
			total, rewritten = total+seg.Length, rewritten+n
		}
		levels := math.Log(runs) / math.Log(8)
		require.LessOrEqual(t, float64(len(segs)), 8*(levels+2)+float64(2*total)/float64(p.SegmentBytes))
		require.LessOrEqual(t, float64(rewritten), float64(total)*(levels+1))
	})
}
