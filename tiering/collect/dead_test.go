package collect_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/collect"
)

// TestMostlyDeadPacks: how much lives in a pack is told from the chains of all partitions, and not of young or
// small ones.
func TestMostlyDeadPacks(t *testing.T) {
	const size = 1 << 20
	inTime(t, func(t *testing.T, w *world) {
		ps := []id.Partition{w.topic("a"), w.topic("b")}
		next := map[id.Partition]id.Offset{}
		name := func(object string, size int64, lengths ...int64) {
			for i, length := range lengths {
				p := ps[i]
				seg := chain.Segment{Base: next[p], Next: next[p] + 10, Object: object, ObjectSize: size, Length: length, Records: 1}
				require.NoError(t, w.chains.Append(t.Context(), []chain.Link{{Partition: p, Segment: seg}})[0])
				next[p] += 10
			}
		}
		put := func(object string, size int) {
			require.NoError(t, w.objects.Put(t.Context(), object, strings.NewReader(strings.Repeat("x", size))))
		}
		put("packs/dead", size)
		put("packs/live", size)
		put("packs/small", size-1)
		name("packs/dead", size, 100_000, 200_000)
		name("packs/live", size, 100_000, 250_000)
		name("packs/small", size-1, 1)
		dead := func() map[string]bool {
			w.run(w.config())
			found, err := collect.Dead(t.Context(), w.objects)
			require.NoError(t, err)
			return found
		}
		require.Empty(t, dead(), "they are young")
		time.Sleep(24 * time.Hour)
		put("packs/young", size)
		name("packs/young", size, 1)
		require.Equal(t, map[string]bool{"packs/dead": true}, dead())
		require.Equal(t, map[string]bool{"packs/dead": true}, dead())

		for i, p := range ps { // its runs are moved
			require.NoError(t, w.chains.Replace(t.Context(), p, w.items(p)[:1], w.segment(0, 10)), i)
		}
		require.Empty(t, dead(), "it is superfluous")
		time.Sleep(time.Hour)
		w.run(w.config())
		require.NotContains(t, w.stored("packs/"), "packs/dead")
		w.run(w.config())
		require.Len(t, w.stored("collector/"), 1, "the report")
	})
}

func TestDeadThatIsDamaged(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		name := "collector/0000000000001-abcdefghijklmnop.dead"
		w.put(name)
		_, err := collect.Dead(t.Context(), w.objects)
		require.ErrorIs(t, err, collect.ErrCorrupt)
		w.run(w.config())
		require.NotContains(t, w.stored("collector/"), name, "a look leaves none but its own")
	})
}
