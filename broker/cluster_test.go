package broker

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
)

// testCluster is brokers in one process on one table and one bucket in memory.
type testCluster struct {
	t       *testing.T
	table   kv.Store
	offsets kv.Store
	objects objstore.Store

	host    string // where all of them listen
	mu      sync.Mutex
	members map[id.Broker]*member
	ports   map[id.Broker]int32
}

// member is a broker and the wires by which it reaches what it stands on.
type member struct {
	*Broker
	cut   atomic.Bool                          // it reaches neither table nor bucket any more
	away  atomic.Bool                          // nothing can be stored in the bucket
	table atomic.Pointer[func(kv.Op) kv.Fault] // what becomes of its operations on the control table
}

// ownLoopback is an address of the loopback that nobody else is likely to use: the port of a broker that
// is down stays free for it there, where on 127.0.0.1 any connection that is made meanwhile may be
// given it. Only Linux has all of 127.0.0.0/8.
func ownLoopback() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1"
	}
	return fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
}

// addr is a port of the cluster's host; 0 is any that is free.
func (c *testCluster) addr(port int32) string { return net.JoinHostPort(c.host, decimal(port)) }

func newTestCluster(t *testing.T) *testCluster {
	return &testCluster{
		t: t, host: ownLoopback(), table: kv.NewMem(), offsets: kv.NewMem(), objects: objstore.NewMem(),
		members: map[id.Broker]*member{}, ports: map[id.Broker]int32{},
	}
}

// start opens a broker. One that was started before has its old port.
func (c *testCluster) start(node id.Broker, change ...func(*Config)) *member {
	c.t.Helper()
	m := &member{}
	require.NoError(c.t, c.open(m, node, change...))
	return m
}

// open opens m.
func (c *testCluster) open(m *member, node id.Broker, change ...func(*Config)) error {
	decide := func(kv.Op) kv.Fault {
		if m.cut.Load() {
			return kv.FaultFail
		}
		return kv.FaultNone
	}
	cfg := Config{
		NodeID:    node,
		Listeners: []Listener{{BindAddr: c.addr(c.ports[node])}},
		Metadata: kv.Inject(c.table, func(op kv.Op) kv.Fault {
			if f := m.table.Load(); f != nil {
				return (*f)(op)
			}
			return decide(op)
		}), Offsets: kv.Inject(c.offsets, decide),
		Objects: objstore.Inject(c.objects, func(op objstore.Op) error {
			if m.cut.Load() || m.away.Load() && op.Kind == objstore.OpPut {
				return kv.ErrInjected
			}
			return nil
		}),
		FS: vfs.NewMem(), Groups: Groups{InitialRebalanceDelay: -1},
		Cluster:  &Cluster{SessionTTL: time.Second, PutRate: -1, MetadataPoll: 20 * time.Millisecond, Rebalance: 200 * time.Millisecond},
		Defaults: Defaults{ReplicationFactor: 1},
	}
	if os.Getenv("FOREBAY_TEST_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	for _, f := range change {
		f(&cfg)
	}
	b, err := Open(context.Background(), cfg)
	if err != nil {
		return err
	}
	m.Broker = b
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members[node] = m
	c.ports[node] = b.listeners[0].AdvertisedPort
	c.t.Cleanup(func() { c.stop(m) })
	return nil
}

func (c *testCluster) stop(m *member) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if m.cut.Load() {
		cancel() // there is nothing that it could still do
	}
	_ = m.Close(ctx)
}

// client returns a client of all members.
func (c *testCluster) client(opts ...kgo.Opt) *kgo.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	var seeds []string
	for _, port := range c.ports {
		seeds = append(seeds, c.addr(port))
	}
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(seeds...), kgo.MetadataMinAge(50 * time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
	}, opts...)...)
	require.NoError(c.t, err)
	c.t.Cleanup(cl.Close)
	return cl
}

func (c *testCluster) createTopic(name string, partitions int32, rf int16) {
	_, err := kadm.NewClient(c.client()).CreateTopic(context.Background(), partitions, rf, nil, name)
	require.NoError(c.t, err)
}

// image is the metadata as it is in the table.
func (c *testCluster) image() *metalog.Image {
	img, err := metalog.Load(context.Background(), c.table, c.objects)
	require.NoError(c.t, err)
	return img
}

// leaders counts the partitions of a topic that each broker leads.
func (c *testCluster) leaders(topic string) map[id.Broker]int {
	led := map[id.Broker]int{}
	t, ok := c.image().Topic(topic)
	require.True(c.t, ok)
	for _, p := range t.Partitions {
		led[p.Leader]++
	}
	return led
}

// load produces numbered records until it is stopped and knows which were acknowledged.
type load struct {
	cl     *kgo.Client
	topic  string
	stop   context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex
	acked  map[string]int64 // value -> offset
	failed []error
}

func (c *testCluster) produceTo(topic string) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cl: c.client(kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner())), topic: topic, stop: cancel, acked: map[string]int64{}}
	l.done.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			value := fmt.Sprintf("v%08d", i)
			l.cl.Produce(context.Background(), kgo.StringRecord(value), func(r *kgo.Record, err error) {
				l.mu.Lock()
				defer l.mu.Unlock()
				if err != nil {
					l.failed = append(l.failed, err)
					return
				}
				l.acked[value] = r.Offset
			})
			if i%20 == 19 {
				time.Sleep(time.Millisecond) // a load, not a wait: records go on and on
			}
		}
	})
	return l
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// end stops the load and waits until everything is acknowledged.
func (l *load) end(t *testing.T) {
	l.stop()
	l.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.NoError(t, l.cl.Flush(ctx))
	require.Empty(t, l.failed)
}

// verify reads the topic from the start and holds it to what was acknowledged.
func (c *testCluster) verify(l *load) {
	c.t.Helper()
	l.end(c.t)
	cl := c.client(kgo.ConsumeTopics(l.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	seen := map[string]int64{}
	next := map[int32]int64{}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for len(seen) < len(l.acked) {
		fetches := cl.PollFetches(ctx)
		require.NoError(c.t, ctx.Err(), "read %d of %d", len(seen), len(l.acked))
		fetches.EachRecord(func(r *kgo.Record) {
			require.Equal(c.t, next[r.Partition], r.Offset, "partition %d", r.Partition)
			next[r.Partition]++
			_, twice := seen[string(r.Value)]
			require.False(c.t, twice, "%s twice", r.Value)
			seen[string(r.Value)] = r.Offset
		})
	}
	for v, at := range l.acked {
		require.Equal(c.t, at, seen[v], v)
	}
}

func TestClusterBalancesLeaders(t *testing.T) {
	c := newTestCluster(t)
	c.start(1)
	c.start(2)
	c.createTopic("events", 6, 2)
	require.Equal(t, map[id.Broker]int{1: 3, 2: 3}, c.leaders("events"))
	l := c.produceTo("events")
	eventually(t, "records", func() bool { return l.count() > 200 })
	c.verify(l)
}

func TestClusterTakesOverFromTheDead(t *testing.T) {
	c := newTestCluster(t)
	c.start(1)
	dead := c.start(2)
	c.start(3)
	c.createTopic("events", 6, 3)
	l := c.produceTo("events")
	eventually(t, "records", func() bool { return l.count() > 500 })
	dead.cut.Store(true)
	eventually(t, "a takeover", func() bool { return c.leaders("events")[2] == 0 })
	at := l.count()
	eventually(t, "records after it", func() bool { return l.count() > at+500 })
	c.verify(l)
	dead.cut.Store(false) // it learns only now
	require.ErrorIs(t, <-dead.Failed(), ErrSessionLost)
}

func TestClusterLeavesInOrder(t *testing.T) {
	c := newTestCluster(t)
	for node := range id.Broker(3) {
		c.start(node + 1)
	}
	c.createTopic("events", 6, 3)
	l := c.produceTo("events")
	eventually(t, "records", func() bool { return l.count() > 200 })
	for node := range id.Broker(3) {
		c.mu.Lock()
		m := c.members[node+1]
		c.mu.Unlock()
		require.NoError(t, m.Close(context.Background()))
		require.Zero(t, c.leaders("events")[node+1])
		at := l.count()
		eventually(t, "records without it", func() bool { return l.count() > at+200 })
		c.start(node + 1)
		eventually(t, "its partitions back", func() bool { return c.leaders("events")[node+1] == 2 })
	}
	c.verify(l)
}

func TestClusterRestartsFromNothing(t *testing.T) {
	c := newTestCluster(t)
	m := c.start(1)
	c.createTopic("events", 3, 1)
	l := c.produceTo("events")
	eventually(t, "records", func() bool { return l.count() > 500 })
	m.cut.Store(true) // as good as killed
	c.stop(m)
	c.start(1)
	at := l.count()
	eventually(t, "records after it", func() bool { return l.count() > at+200 })
	c.verify(l)
}
