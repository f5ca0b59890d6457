package collect

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
)

// TestClockIsReadBeforeEachRemoval: also where nobody has noticed yet that a context has ended, as
// after a process was stopped.
func TestClockIsReadBeforeEachRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, objects := kv.NewMem(), objstore.NewMem()
		c := New(Config{Metadata: table, Objects: objects, Rate: -1})
		seg := chain.Segment{Next: 10, Object: "packs/a", ObjectSize: 1, Length: 1, Records: 1}
		p, empty := id.Partition{Topic: id.NewTopic()}, id.Partition{Topic: id.NewTopic()}
		for _, p := range []id.Partition{p, empty} {
			require.NoError(t, c.chains.Append(t.Context(), []chain.Link{{Partition: p, Segment: seg}})[0])
		}
		items, err := c.chains.Items(t.Context(), empty)
		require.NoError(t, err)
		require.NoError(t, c.chains.Remove(t.Context(), empty, items))
		items, err = c.chains.Items(t.Context(), p)
		require.NoError(t, err)
		require.NoError(t, objects.Put(t.Context(), seg.Object, strings.NewReader("a")))

		r := &run{c: c, cfg: c.cfg, until: time.Now().Add(chain.CommitWithin)}
		keys := []string{itemKey(p, items[0]), chainKey(empty), kindObject + seg.Object}
		take := func(key string) error {
			var group errgroup.Group
			err := (&removal{r: r, objects: &group}).take(t.Context(), mark{key: key})
			if err == nil {
				err = group.Wait()
			}
			return err
		}
		left := func() int {
			items, err := c.chains.Items(t.Context(), p)
			require.NoError(t, err)
			ps, err := c.chains.Partitions(t.Context())
			require.NoError(t, err)
			n := len(items) + len(ps)
			for _, err := range objects.List(t.Context(), "", "") {
				require.NoError(t, err)
				n++
			}
			return n
		}
		time.Sleep(chain.CommitWithin)
		for _, key := range keys {
			require.ErrorIs(t, take(key), errLate, key)
		}
		require.Equal(t, 4, left())

		r.until = time.Now().Add(time.Nanosecond)
		for _, key := range keys {
			require.NoError(t, take(key))
		}
		require.Equal(t, 1, left(), "but the chain that has lost its item")
	})
}
