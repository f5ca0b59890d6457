package compact_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/compact"
)

var noon = time.UnixMilli(1_700_000_000_000)

// ten is the segment [10i, 10i+10) of 100 bytes, i seconds after noon, cleaned up to an offset.
func ten(i int, cleaned id.Offset) chain.Item {
	return chain.Item{Segment: chain.Segment{
		Base: id.Offset(10 * i), Next: id.Offset(10*i + 10), Object: "o", ObjectSize: 1000, Length: 100,
		MaxTimestamp: noon.Add(time.Duration(i) * time.Second).UnixMilli(), CleanedTo: cleaned,
	}}
}

func chainOf(cleaned ...id.Offset) (segs []chain.Item) {
	for i, c := range cleaned {
		segs = append(segs, ten(i, c))
	}
	return segs
}

func TestPlan(t *testing.T) {
	const stable = id.Offset(math.MaxInt64)
	later := noon.Add(time.Hour)
	for name, c := range map[string]struct {
		state compact.State
		set   compact.Settings
		now   time.Time
		want  compact.Decision
	}{
		"nothing": {state: compact.State{Unstable: stable}},
		"all dirty": {
			state: compact.State{Segments: chainOf(0, 0), Unstable: stable}, set: compact.Settings{MinCleanableRatio: 0.99},
			want: compact.Decision{Clean: true, End: 20, CleanableBytes: 200, Ratio: 1},
		},
		"a ratio of 1 is never exceeded": {
			state: compact.State{Segments: chainOf(0, 0), Unstable: stable}, set: compact.Settings{MinCleanableRatio: 1},
			want: compact.Decision{End: 20, CleanableBytes: 200, Ratio: 1},
		},
		"all clean": {
			state: compact.State{Segments: chainOf(20, 20), Unstable: stable},
			want:  compact.Decision{Dirty: 20, End: 20, CleanBytes: 200},
		},
		"half clean, ratio not above": {
			state: compact.State{Segments: chainOf(10, 0), Unstable: stable}, set: compact.Settings{MinCleanableRatio: 0.5},
			want: compact.Decision{Dirty: 10, End: 20, CleanBytes: 100, CleanableBytes: 100, Ratio: 0.5},
		},
		"half clean, overdue": {
			state: compact.State{Segments: chainOf(10, 0), Unstable: stable, FirstDirty: noon.UnixMilli()},
			set:   compact.Settings{MinCleanableRatio: 0.5, MaxLag: 59 * time.Minute},
			want:  compact.Decision{Clean: true, Dirty: 10, End: 20, CleanBytes: 100, CleanableBytes: 100, Ratio: 0.5, Overdue: true},
		},
		"not yet overdue": {
			state: compact.State{Segments: chainOf(10, 0), Unstable: stable, FirstDirty: noon.UnixMilli()},
			set:   compact.Settings{MinCleanableRatio: 0.5, MaxLag: time.Hour},
			want:  compact.Decision{Dirty: 10, End: 20, CleanBytes: 100, CleanableBytes: 100, Ratio: 0.5},
		},
		"an open transaction": {
			state: compact.State{Segments: chainOf(0, 0, 0), Unstable: 19},
			want:  compact.Decision{Clean: true, End: 10, CleanableBytes: 100, UncleanableBytes: 200, Ratio: 1},
		},
		"only an open transaction": {
			state: compact.State{Segments: chainOf(0), Unstable: 3}, set: compact.Settings{MaxLag: 1},
			want: compact.Decision{UncleanableBytes: 100},
		},
		"too young": {
			state: compact.State{Segments: chainOf(0, 0, 0), Unstable: stable}, now: noon.Add(time.Minute),
			set:  compact.Settings{MinLag: 59 * time.Second},
			want: compact.Decision{Clean: true, End: 20, CleanableBytes: 200, UncleanableBytes: 100, Ratio: 1},
		},
		"a clean segment is never too young": {
			state: compact.State{Segments: chainOf(10, 0), Unstable: stable}, now: noon, set: compact.Settings{MinLag: time.Hour},
			want: compact.Decision{Dirty: 10, End: 10, CleanBytes: 100, UncleanableBytes: 100},
		},
		"a compaction that stopped between groups": {
			state: compact.State{Segments: chainOf(40, 20, 20, 0), Unstable: stable},
			want:  compact.Decision{Clean: true, Dirty: 20, End: 40, CleanBytes: 200, CleanableBytes: 200, Ratio: 0.5},
		},
		"a compaction that stopped in the dirty part": {
			state: compact.State{Segments: chainOf(40, 40, 0, 0), Unstable: stable},
			want:  compact.Decision{Clean: true, Dirty: 20, End: 40, CleanBytes: 200, CleanableBytes: 200, Ratio: 0.5},
		},
		"a map that was full within a segment": {
			state: compact.State{Segments: chainOf(15, 15), Unstable: stable},
			want:  compact.Decision{Clean: true, Dirty: 15, End: 20, CleanBytes: 100, CleanableBytes: 100, Ratio: 0.5},
		},
		"the log start is above the clean part": {
			state: compact.State{Segments: chainOf(10, 0, 0)[1:], Start: 14, Unstable: stable},
			want:  compact.Decision{Clean: true, Dirty: 14, End: 30, CleanableBytes: 200, Ratio: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.now.IsZero() {
				c.now = later
			}
			require.Equal(t, c.want, compact.Plan(c.state, c.set, c.now))
		})
	}
}
