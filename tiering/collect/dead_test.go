package collect_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/collect"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
)

// packOf is a pack with a run of some bytes of batches, and with producers, of some 40 bytes each.
func packOf(t *testing.T, bytes, ofProducers int) string {
	t.Helper()
	var b strings.Builder
	w := pack.NewWriter(&b, pack.Header{})
	require.NoError(t, w.BeginRun(id.Partition{Topic: id.Topic{1}}))
	require.NoError(t, w.Append(batch.New(batch.None).Add(batch.Record{Value: make([]byte, bytes)}).Build()))
	states := make([]producers.State, ofProducers)
	for i := range states {
		states[i] = producers.State{Producer: id.Producer(i), TxnStart: -1, LastSeen: 1 << 40, Batches: make([]producers.Batch, producers.Window)}
	}
	require.NoError(t, w.EndRun(states, nil))
	_, err := w.Close()
	require.NoError(t, err)
	return b.String()
}

// TestMostlyDeadPacks: how much lives in a pack is told from the chains of all partitions, and not of young or
// small ones, nor of those that are mostly footer.
func TestMostlyDeadPacks(t *testing.T) {
	large, small, footer := packOf(t, 1<<20, 0), packOf(t, 1<<20-1000, 0), packOf(t, 300_000, 40_000)
	require.Greater(t, len(footer), 1_100_000)
	inTime(t, func(t *testing.T, w *world) {
		ps := []id.Partition{w.topic("a"), w.topic("b")}
		next := map[id.Partition]id.Offset{}
		put := func(object, body string, lengths ...int64) {
			require.NoError(t, w.objects.Put(t.Context(), object, strings.NewReader(body)))
			for i, length := range lengths {
				p := ps[i]
				seg := chain.Segment{Base: next[p], Next: next[p] + 10, Object: object, ObjectSize: int64(len(body)), Length: length, Records: 1}
				require.NoError(t, w.chains.Append(t.Context(), []chain.Link{{Partition: p, Segment: seg}})[0])
				next[p] += 10
			}
		}
		put("packs/dead", large, 100_000, 200_000)
		put("packs/footer", footer, 50_000, 100_000)
		put("packs/live", large, 100_000, 250_000)
		put("packs/small", small, 1)
		put("packs/unreadable", strings.Repeat("x", len(large)), 1)
		dead := func() map[string]bool {
			w.run(w.config())
			found, err := collect.Dead(t.Context(), w.objects)
			require.NoError(t, err)
			return found
		}
		require.Empty(t, dead(), "they are young")
		time.Sleep(24 * time.Hour)
		put("packs/young", large, 1)
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
