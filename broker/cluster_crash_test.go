package broker

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// brief has sessions that end soon.
func brief(cfg *Config) { cfg.Cluster.SessionTTL = 300 * time.Millisecond }

// cutAfter cuts a member off after so many writes to the control table, but for those to
// an item, such as that of its session.
func (m *member) cutAfter(writes int64, but kv.Key) {
	var done atomic.Int64
	faults := func(op kv.Op) kv.Fault {
		switch {
		case m.cut.Load():
			return kv.FaultFail
		case op.Kind != kv.OpWrite || op.Key == but:
			return kv.FaultNone
		case done.Add(1) > writes:
			m.cut.Store(true)
			return kv.FaultFail
		}
		return kv.FaultNone
	}
	m.table.Store(&faults)
}

// A broker that is killed between any two writes of its start, again and again, and comes
// back with nothing, has all that was acknowledged, once; and what it acknowledges between.
func TestClusterKilledWhileItStarts(t *testing.T) {
	c := newTestCluster(t)
	m := c.start(1, brief, unbalanced)
	c.createTopic("t", 2, 1)
	acked := int64(0)
	produce := func() {
		n := c.asNode(m)
		for p := range int32(2) {
			got := n.produce(9, -1, put{"t", p, batchOfProducer(7, 0, int32(acked), 1)})[0]
			require.Zero(t, got.ErrorCode, "after %d", acked)
			require.Equal(t, acked, got.BaseOffset)
			if acked > 0 { // sent again, it is recognised
				got = n.produce(9, -1, put{"t", p, batchOfProducer(7, 0, int32(acked)-1, 1)})[0]
				require.Zero(t, got.ErrorCode)
				require.Equal(t, acked-1, got.BaseOffset)
			}
		}
		acked++
	}
	produce()
	for writes := range int64(4) { // session, fence, registration, and the adopted into the chains
		m.cut.Store(true)
		c.stop(m)
		killed := &member{}
		killed.cutAfter(writes, kv.Key{})
		if c.open(killed, 1, brief, unbalanced) == nil {
			killed.cut.Store(true)
			c.stop(killed)
		}
		m = c.start(1, brief, unbalanced)
		produce()
	}
	log, ok := m.storage.logs.Get(partitionOf(c.asNode(m), "t", 1))
	require.True(t, ok)
	require.Equal(t, id.Offset(acked), log.Watermarks().High)
}

// A broker that is killed between any two writes of a takeover leaves the rest to another.
func TestClusterKilledWhileItTakesOver(t *testing.T) {
	for writes := range int64(4) { // the kill of the session, the fence, the leaders, and the adopted
		t.Run(fmt.Sprint(writes), func(t *testing.T) {
			t.Parallel()
			c := newTestCluster(t)
			one, dead := c.start(1), c.start(2)
			c.stop(c.start(3)) // clients know where it will be
			c.createTopic("events", 6, 2)
			l := c.produceTo("events")
			eventually(t, "records", func() bool { return l.count() > 100 && c.leaders("events")[2] > 0 })
			one.cutAfter(writes, kv.Key{Part: "sessions", Sort: fmt.Sprintf("%010d", 1)})
			dead.cut.Store(true)
			eventually(t, "the second death", one.cut.Load)
			c.stop(dead)
			c.stop(one)
			c.start(3)
			eventually(t, "a takeover", func() bool { return c.leaders("events")[3] == 6 })
			at := l.count()
			eventually(t, "records after it", func() bool { return l.count() > at+100 })
			c.verify(l)
		})
	}
}
