package chain

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// TestSpareItemsGoInAnyOrder: whichever of the spare items are removed already, every offset is found.
func TestSpareItemsGoInAnyOrder(t *testing.T) {
	p := id.Partition{Topic: id.NewTopic()}
	for gone := range 1 << 3 { // which of those at 10, 20 and 30 are
		s := Open(kv.NewMem())
		seg := func(base, next id.Offset) Segment {
			return Segment{Base: base, Next: next, Object: fmt.Sprint("packs/", base, next), ObjectSize: 1, Length: 1, Records: 1}
		}
		for base := id.Offset(0); base < 50; base += 10 {
			require.NoError(t, s.Append(t.Context(), []Link{{Partition: p, Segment: seg(base, base+10)}})[0])
		}
		items, err := s.Items(t.Context(), p)
		require.NoError(t, err)
		require.NoError(t, s.Replace(t.Context(), p, items[:4], seg(0, 40)))
		var remove []Item
		for i := range 3 {
			if gone&(1<<i) != 0 {
				remove = append(remove, items[1+i])
			}
		}
		require.NoError(t, s.Remove(t.Context(), p, remove))
		for off := id.Offset(0); off < 50; off++ {
			found, err := s.Find(t.Context(), p, off)
			require.NoError(t, err, "offset %d without %b", off, gone)
			require.True(t, found.Base <= off && off < found.Next)
			for _, limit := range []int{0, 1, 3} {
				segs, err := s.Segments(t.Context(), p, off, limit)
				require.NoError(t, err)
				require.NotEmpty(t, segs)
				require.True(t, segs[0].Base <= off && off < segs[0].Next, "offset %d without %b: %v", off, gone, segs)
			}
		}
		_, err = s.Find(t.Context(), p, 50)
		require.ErrorIs(t, err, ErrNotSealed)
	}
}
