package broker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/batch"
)

// within produces one batch with a timeout.
func (n *node) within(timeout time.Duration, acks int16, v batch.View) kmsg.ProduceResponseTopicPartition {
	n.t.Helper()
	req := n.produceRequest(9, acks, put{"t", 0, v})
	req.TimeoutMillis = int32(timeout.Milliseconds())
	return ask(n, req, kmsg.NewPtrProduceResponse()).Topics[0].Partitions[0]
}

// While the object store is away acks=all is answered with REQUEST_TIMED_OUT. The batch is
// committed once the store is back, and a retry is told where it is.
func TestProduceWhileTheStoreIsAway(t *testing.T) {
	c := newTestCluster(t)
	m := c.start(1)
	c.createTopic("t", 1, 1)
	n := c.asNode(m)
	m.away.Store(true)
	for range 3 {
		got := n.within(50*time.Millisecond, -1, batchOfProducer(7, 0, 0, 2))
		require.Equal(t, kerr.RequestTimedOut.Code, got.ErrorCode)
		require.Equal(t, int64(-1), got.BaseOffset)
	}
	require.Zero(t, n.logOf("t", 0).Watermarks().High)
	m.away.Store(false)
	got := n.within(10*time.Second, -1, batchOfProducer(7, 0, 0, 2))
	require.Zero(t, got.ErrorCode)
	require.Zero(t, got.BaseOffset)
	got = n.within(10*time.Second, -1, batchOfProducer(7, 0, 2, 1))
	require.Zero(t, got.ErrorCode)
	require.Equal(t, int64(2), got.BaseOffset)
	require.Equal(t, []int64{0, 2}, n.basesOf(n.fetch(n.fetchRequest(12, want{topic: "t"}))[0].RecordBatches))
}

// Under back-pressure acks=1 is answered with REQUEST_TIMED_OUT in time, and acks=0 ends the
// connection. What was appended is committed later all the same.
func TestProduceUnderBackPressure(t *testing.T) {
	c := newTestCluster(t)
	v := batchOfNow(batch.None, 1)
	m := c.start(1, func(cfg *Config) { cfg.Cluster.Uploads, cfg.Cluster.MaxWaiting = 1, int64(len(v))+1 })
	c.createTopic("t", 1, 1)
	n := c.asNode(m)
	m.away.Store(true)
	require.Zero(t, n.within(10*time.Second, 1, batchOfNow(batch.None, 1)).ErrorCode, "it is in the hot segment")
	require.Equal(t, kerr.RequestTimedOut.Code, n.within(50*time.Millisecond, 1, batchOfNow(batch.None, 1)).ErrorCode, "it is not: the one upload is under way")
	require.Equal(t, kerr.RequestTimedOut.Code, n.within(50*time.Millisecond, 1, batchOfNow(batch.None, 1)).ErrorCode, "there is no room for it")
	conn := n.dial()
	req := n.produceRequest(9, 0, put{"t", 0, batchOfNow(batch.None, 1)})
	req.TimeoutMillis = 50
	conn.send(req)
	conn.closed()

	m.away.Store(false)
	eventually(t, "the commits", func() bool { return n.logOf("t", 0).Watermarks().High == 2 })
	conn = n.dial()
	conn.send(n.produceRequest(9, 0, put{"t", 0, batchOfNow(batch.None, 1)}))
	eventually(t, "the commit without acks", func() bool { return n.logOf("t", 0).Watermarks().High == 3 })
}

// A broker does not start on a bucket or the offsets table of another cluster.
func TestOpenOnAnotherCluster(t *testing.T) {
	one, other := newTestCluster(t), newTestCluster(t)
	oneWAL, otherWAL := objstore.NewMem(), objstore.NewMem()
	one.start(1, func(cfg *Config) { cfg.Cluster.WAL = oneWAL })
	other.start(1, func(cfg *Config) { cfg.Cluster.WAL = otherWAL })
	for _, tc := range []struct {
		what         string
		objects, wal objstore.Store
		offsets      kv.Store
	}{
		{"the object store", other.objects, oneWAL, one.offsets},
		{"the WAL store", one.objects, otherWAL, one.offsets},
		{"the offsets table", one.objects, oneWAL, other.offsets},
	} {
		_, err := Open(t.Context(), Config{
			NodeID: 2, Listeners: []Listener{{BindAddr: "127.0.0.1:0"}},
			Metadata: one.table, Objects: tc.objects, Offsets: tc.offsets, Cluster: &Cluster{WAL: tc.wal},
		})
		require.ErrorIs(t, err, ErrForeign)
		require.ErrorContains(t, err, tc.what)
		_, registered := one.image().Broker(2)
		require.False(t, registered)
	}
	one.start(2, func(cfg *Config) { cfg.Cluster.WAL = oneWAL })
}
