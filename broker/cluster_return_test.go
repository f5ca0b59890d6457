package broker

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
)

// A partition that comes back in one session of its leader is served whole, from what
// the leader has hot of its first time and from what the other has committed meanwhile.
func TestLeaderReturns(t *testing.T) {
	for name, away := range map[string]bool{"adopted is sealed": false, "adopted cannot be sealed yet": true} {
		t.Run(name, func(t *testing.T) {
			c := newTestCluster(t)
			one, two := c.start(1, unbalanced), c.start(2, unbalanced)
			c.createTopic("t", 1, 1)
			serve := func(m *member) {
				if c.leader("t", 0) != m.cfg.NodeID {
					c.move("t", 0, m.cfg.NodeID)
				}
				c.awaitServing("t", 0, m.cfg.NodeID)
			}
			produce := func(m *member) {
				for range 3 {
					c.asNode(m).mustProduce("t", 0, batchOfNow(batch.None, 1))
				}
			}
			whole := func(m *member, end id.Offset) {
				log, ok := m.storage.logs.Get(partitionOf(c.asNode(m), "t", 0))
				require.True(t, ok)
				require.Equal(t, end, log.Watermarks().High)
				for from := range end {
					for at := from; at < end; {
						f, err := log.Read(t.Context(), at, 1, false)
						require.NoError(t, err)
						require.Len(t, f.Batches, 1, "offset %d of %d", at, end)
						v, _, err := batch.Parse(f.Batches[0])
						require.NoError(t, err)
						require.Equal(t, at, v.BaseOffset())
						at = v.NextOffset()
					}
				}
			}
			serve(one)
			produce(one)
			serve(two)
			produce(two)
			two.away.Store(away)
			one.away.Store(away)
			serve(one)
			whole(one, 6)
			one.away.Store(false)
			produce(one)
			whole(one, 9)
			one.away.Store(away)
			require.NoError(t, one.storage.journal.Roll())
			whole(one, 9)
			one.away.Store(false)
			eventually(t, "a chain of all", func() bool {
				log, ok := one.storage.logs.Get(partitionOf(c.asNode(one), "t", 0))
				require.True(t, ok)
				end, err := log.SealedEnd(t.Context())
				require.NoError(t, err)
				return end == 9
			})
			whole(one, 9)
			serve(two)
			two.away.Store(false)
			produce(two)
			whole(two, 12)
			serve(one)
			whole(one, 12)
		})
	}
}

// A process that was paused before it registered, and has lost its session to another
// one meanwhile, does not make the others forget what that one has acknowledged: neither when
// it knows of the loss, nor when it takes its session for valid.
func TestRegisterAfterAnotherRun(t *testing.T) {
	for name, ttl := range map[string]time.Duration{"knows": time.Second, "does not know": time.Hour} {
		t.Run(name, func(t *testing.T) {
			c := newTestCluster(t)
			first := c.start(1, unbalanced)
			c.createTopic("t", 1, 1)
			c.asNode(first).mustProduce("t", 0, batchOfNow(batch.None, 1))
			require.NoError(t, first.Close(t.Context()))

			reached, goOn := make(chan struct{}), make(chan struct{})
			var once sync.Once
			var cut atomic.Bool
			wake := sync.OnceFunc(func() { close(goOn) })
			defer wake()
			type result struct {
				*Broker
				err error
			}
			opened := make(chan result, 1)
			go func() {
				b, err := Open(context.Background(), Config{
					NodeID: 1, Listeners: []Listener{{BindAddr: "127.0.0.1:0"}}, Objects: c.objects, Offsets: c.offsets, FS: vfs.NewMem(),
					Cluster: &Cluster{SessionTTL: ttl, PutRate: -1, Rebalance: time.Hour},
					Metadata: kv.Inject(c.table, func(op kv.Op) kv.Fault {
						if op.Kind == kv.OpWrite && op.Key.Part == "slot/metalog" {
							once.Do(func() { cut.Store(true); close(reached); <-goOn })
						}
						if cut.Load() && strings.HasPrefix(op.Key.Part, "sessions") {
							return kv.FaultFail
						}
						return kv.FaultNone
					}),
				})
				opened <- result{b, err}
			}()
			<-reached
			if ttl == time.Hour { // others would wait for it: its item goes, and it does not hear of that
				c.removeSession(1)
			}
			leader := c.start(1, unbalanced)
			for range 3 {
				c.asNode(leader).mustProduce("t", 0, batchOfNow(batch.None, 1))
			}
			wake()
			late := <-opened
			if ttl == time.Second {
				require.ErrorIs(t, late.err, ErrSessionLost)
			} else {
				require.NoError(t, late.err)
				defer func() { _ = late.Close(context.Background()) }() // of a session that is not there
				eventually(t, "the end of the other", func() bool {
					c.asNode(leader).produce(9, 1, put{"t", 0, batchOfNow(batch.None, 1)})
					return leader.storage.wal.Err() != nil
				})
				require.ErrorIs(t, <-leader.Failed(), ErrSessionLost)
				leader = &member{Broker: late.Broker}
			}
			n := c.asNode(leader)
			self, ok := c.image().Broker(1)
			require.True(t, ok)
			require.Equal(t, leader.cluster.session.ID(), self.Incarnation)
			log, ok := leader.storage.logs.Get(partitionOf(n, "t", 0))
			require.True(t, ok)
			require.Equal(t, id.Offset(4), log.Watermarks().High)
		})
	}
}

// A broker that has lost its session closes at once, though the store is away.
func TestCloseOfTheDeadWhileTheStoreIsAway(t *testing.T) {
	c := newTestCluster(t)
	m := c.start(1, unbalanced)
	c.start(2, unbalanced)
	c.createTopic("t", 2, 1)
	n := c.asNode(m)
	m.away.Store(true)
	index := int32(0)
	if c.leader("t", 0) != 1 {
		index = 1
	}
	conn := n.dial()
	conn.send(n.produceRequest(9, -1, put{"t", index, batchOfNow(batch.None, 1)}))
	eventually(t, "an append", func() bool { return n.logOf("t", index).Watermarks().End == 1 })
	faults := func(op kv.Op) kv.Fault {
		if strings.HasPrefix(op.Key.Part, "sessions") {
			return kv.FaultFail
		}
		return kv.FaultNone
	}
	m.table.Store(&faults)
	eventually(t, "a takeover", func() bool { return c.leader("t", index) == 2 })
	m.table.Store(nil)
	require.ErrorIs(t, <-m.Failed(), ErrSessionLost)
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_ = m.Close(ctx)
	require.NoError(t, ctx.Err(), "it waited for a store that is away")
	require.Less(t, time.Since(began), 10*time.Second)
	_, err := net.Dial("tcp", fmt.Sprint(m.Addrs()[0]))
	require.Error(t, err)
}

// removeSession removes the session item of a node, as its end would.
func (c *testCluster) removeSession(node id.Broker) {
	c.t.Helper()
	items, err := c.table.Query(c.t.Context(), "sessions", kv.Range{})
	require.NoError(c.t, err)
	require.Len(c.t, items, 1, "of node %d alone", node)
	require.NoError(c.t, c.table.Write(c.t.Context(), kv.Write{Key: items[0].Key, Delete: true, If: items[0].Version})[0].Err)
}
