package broker

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
)

// beats counts the heartbeats of a client that were answered, by any broker but one.
type beats struct {
	without atomic.Int32
	count   atomic.Int32
}

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (b *beats) OnBrokerE2E(meta kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if key == kmsg.Heartbeat.Int16() && e2e.Err() == nil && meta.NodeID != b.without.Load() {
		b.count.Add(1)
	}
}

// TestDefaultConsumersKeepAssignment: real consumers with no settings of their own but the topic and
// the group do not notice that their coordinator dies: nobody joins again, nothing is revoked.
//
// The machine of a killed one does not answer any more, so that connecting to it times out. Were
// connections refused, kgo (1.22) would sometimes end its session by itself: it does not try again when two
// lookups of the coordinator in a row went to the dead broker, however many retries it is given.
func TestDefaultConsumersKeepAssignment(t *testing.T) {
	deaths := map[string]func(*testCluster, *member){
		"killed":        func(c *testCluster, m *member) { m.cut.Store(true); c.stop(m) },
		"from the rest": func(_ *testCluster, m *member) { m.cut.Store(true) },
	}
	for name, die := range deaths {
		t.Run(name, func(t *testing.T) {
			c := newTestCluster(t)
			for node := id.Broker(1); node <= 3; node++ {
				c.start(node)
			}
			c.createTopic("t", 6, 3)
			require.NoError(t, c.members[1].createShards(t.Context()))
			ctx, cancel := context.WithCancel(t.Context())
			g := &gatherer{seen: map[string]int{}}
			defer func() { cancel(); g.wg.Wait() }()
			dead, _ := c.coordinatorOf("g")
			hooks := []*beats{{}, {}}
			members := []*groupMember{c.defaultConsumer(hooks[0], dead), c.defaultConsumer(hooks[1], dead)}
			for _, m := range members {
				g.read(ctx, m)
			}
			shared := func() bool { return members[0].owns() == 3 && members[1].owns() == 3 }
			eventually(t, "three partitions each", shared)
			lost := members[0].lossCount() + members[1].lossCount()

			for _, h := range hooks {
				h.without.Store(int32(dead.cfg.NodeID))
				h.count.Store(0)
			}
			die(c, dead)
			eventually(t, "heartbeats of both at another coordinator", func() bool { return hooks[0].count.Load() > 1 && hooks[1].count.Load() > 1 })
			require.True(t, shared())
			require.Equal(t, lost, members[0].lossCount()+members[1].lossCount(), "partitions were taken away")

			producer := c.client(kgo.DefaultProduceTopic("t"), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
			for i := range 60 {
				require.NoError(t, producer.ProduceSync(t.Context(), kgo.StringRecord(strconv.Itoa(i))).FirstErr())
			}
			eventually(t, "all read", func() bool { return g.count() == 60 })
			eventually(t, "all committed", func() bool {
				lags, err := kadm.NewClient(producer).Lag(t.Context(), "g")
				return err == nil && lags.Error() == nil && lags["g"].Lag.Total() == 0
			})
		})
	}
}

// defaultConsumer is a member of group "g" on topic "t" with kgo's defaults, which cannot tell whether a
// broker was killed or the way to it is long.
func (c *testCluster) defaultConsumer(h *beats, killed *member) *groupMember {
	m := &groupMember{owned: map[string]map[int32]bool{}}
	c.mu.Lock()
	var seeds []string
	for _, port := range c.ports {
		seeds = append(seeds, c.addr(port))
	}
	c.mu.Unlock()
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(seeds...), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.WithHooks(h),
		kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			if errors.Is(err, syscall.ECONNREFUSED) && killed.cut.Load() {
				return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ETIMEDOUT)}
			}
			return nc, err
		}),
		kgo.OnPartitionsAssigned(m.assigned), kgo.OnPartitionsRevoked(m.revoked), kgo.OnPartitionsLost(m.revoked),
	)
	require.NoError(c.t, err)
	m.Client = cl
	c.t.Cleanup(cl.Close)
	return m
}

func (m *groupMember) lossCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lost
}
