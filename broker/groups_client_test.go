package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	stdsync "sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// groupMember is a real consumer in a group, which can be killed: its connections
// break and it cannot make new ones.
type groupMember struct {
	*kgo.Client
	mu    stdsync.Mutex
	conns []net.Conn
	dead  bool

	owned map[string]map[int32]bool // what it thinks it may read
	lost  int                       // partitions taken away from it so far
}

func (m *groupMember) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, addr)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil && m.dead {
		return nil, errors.Join(errors.New("killed"), nc.Close())
	}
	m.conns = append(m.conns, nc)
	return nc, err
}

func (m *groupMember) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	for _, nc := range m.conns {
		_ = nc.Close()
	}
}

func (m *groupMember) owns() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, ps := range m.owned {
		n += len(ps)
	}
	return n
}

func (m *groupMember) assigned(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for t, ps := range topics {
		if m.owned[t] == nil {
			m.owned[t] = map[int32]bool{}
		}
		for _, p := range ps {
			m.owned[t][p] = true
		}
	}
}

func (m *groupMember) revoked(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for t, ps := range topics {
		for _, p := range ps {
			delete(m.owned[t], p)
			m.lost++
		}
	}
}

// consumer starts a member of group "g" on topic "t".
func (b *groupBroker) consumer(t *testing.T, opts ...kgo.Opt) *groupMember {
	m := &groupMember{owned: map[string]map[int32]bool{}}
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(b.addr), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.Dialer(m.dial),
		kgo.SessionTimeout(1500 * time.Millisecond), kgo.HeartbeatInterval(100 * time.Millisecond), kgo.RebalanceTimeout(5 * time.Second),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.AutoCommitInterval(100 * time.Millisecond), kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.OnPartitionsAssigned(m.assigned), kgo.OnPartitionsRevoked(m.revoked), kgo.OnPartitionsLost(m.revoked),
	}, opts...)...)
	require.NoError(t, err)
	m.Client = cl
	t.Cleanup(cl.Close)
	return m
}

func (b *groupBroker) admin(t *testing.T) *kadm.Client {
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.addr))
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

// produce writes records from..to-1 to topic "t", spread over its partitions.
func (b *groupBroker) produce(t *testing.T, from, to int) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.DefaultProduceTopic("t"))
	require.NoError(t, err)
	defer cl.Close()
	for i := from; i < to; i++ {
		r := &kgo.Record{Key: []byte(strconv.Itoa(i)), Value: []byte(strconv.Itoa(i))}
		cl.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	require.NoError(t, cl.Flush(t.Context()))
}

// gatherer collects what consumers read.
type gatherer struct {
	mu   stdsync.Mutex
	seen map[string]int
	wg   stdsync.WaitGroup
}

// read polls until ctx ends.
func (g *gatherer) read(ctx context.Context, m *groupMember) {
	g.wg.Go(func() {
		for ctx.Err() == nil {
			fetches := m.PollFetches(ctx)
			g.mu.Lock()
			fetches.EachRecord(func(r *kgo.Record) { g.seen[string(r.Value)]++ })
			g.mu.Unlock()
		}
	})
}

func (g *gatherer) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.seen)
}

// eventually waits for f. It only ends what hangs: a client with default settings may take several rounds of
// 5 s each until it has asked a broker for metadata that is not cut off.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(time.Minute); !f(); <-poll.C {
		require.True(t, time.Now().Before(deadline), "waited too long for %s", what)
	}
}

// TestGroupOfThreeOneKilled: three share six partitions; one dies without a word, the
// others take over from its last commit, and no record is missed.
func TestGroupOfThreeOneKilled(t *testing.T) {
	for _, balancer := range []kgo.GroupBalancer{kgo.RangeBalancer(), kgo.CooperativeStickyBalancer()} {
		t.Run(balancer.ProtocolName(), func(t *testing.T) {
			b := openGroupBroker(t, newGroupStores())
			b.topic(t, "t", 6)
			ctx, cancel := context.WithCancel(t.Context())
			g := &gatherer{seen: map[string]int{}}
			defer func() { cancel(); g.wg.Wait() }()
			var members []*groupMember
			for range 3 {
				m := b.consumer(t, kgo.Balancers(balancer))
				members = append(members, m)
				g.read(ctx, m)
			}
			share := func(want ...int) func() bool {
				return func() bool {
					for i, n := range want {
						if members[i].owns() != n {
							return false
						}
					}
					return true
				}
			}
			eventually(t, "two partitions each", share(2, 2, 2))
			b.produce(t, 0, 600)
			eventually(t, "all read by three", func() bool { return g.count() == 600 })
			members[2].kill()
			b.produce(t, 600, 1200)
			eventually(t, "three partitions each", share(3, 3))
			eventually(t, "all read by two", func() bool { return g.count() == 1200 })

			described, err := b.admin(t).DescribeGroups(t.Context(), "g")
			require.NoError(t, err)
			require.Equal(t, "Stable", described["g"].State)
			require.Equal(t, balancer.ProtocolName(), described["g"].Protocol)
			require.Len(t, described["g"].Members, 2)
			eventually(t, "all committed", func() bool {
				lags, err := b.admin(t).Lag(t.Context(), "g")
				return err == nil && lags.Error() == nil && lags["g"].Lag.Total() == 0
			})
		})
	}
}

// TestCooperativeMembersKeepPartitions: a third member joins; the others give up only what it gets.
func TestCooperativeMembersKeepPartitions(t *testing.T) {
	b := openGroupBroker(t, newGroupStores())
	b.topic(t, "t", 6)
	ctx, cancel := context.WithCancel(t.Context())
	g := &gatherer{seen: map[string]int{}}
	defer func() { cancel(); g.wg.Wait() }()
	join := func() *groupMember {
		m := b.consumer(t, kgo.Balancers(kgo.CooperativeStickyBalancer()))
		g.read(ctx, m)
		return m
	}
	m1, m2 := join(), join()
	eventually(t, "three each", func() bool { return m1.owns() == 3 && m2.owns() == 3 })
	m1.mu.Lock()
	m1.lost = 0
	m1.mu.Unlock()
	m3 := join()
	eventually(t, "two each", func() bool { return m1.owns() == 2 && m2.owns() == 2 && m3.owns() == 2 })
	m1.mu.Lock()
	defer m1.mu.Unlock()
	require.Equal(t, 1, m1.lost)
}

// TestStaticMemberRestarts: a member with an instance id stops without leaving and
// comes back under the same: nobody rebalances and it gets its partitions again.
func TestStaticMemberRestarts(t *testing.T) {
	b := openGroupBroker(t, newGroupStores())
	b.topic(t, "t", 4)
	ctx, cancel := context.WithCancel(t.Context())
	g := &gatherer{seen: map[string]int{}}
	defer func() { cancel(); g.wg.Wait() }()
	start := func(instance string) *groupMember {
		m := b.consumer(t, kgo.InstanceID(instance), kgo.Balancers(kgo.RangeBalancer()), kgo.SessionTimeout(20*time.Second))
		g.read(ctx, m)
		return m
	}
	first, second := start("one"), start("two")
	eventually(t, "two each", func() bool { return first.owns() == 2 && second.owns() == 2 })
	rebalances := metricValues(t, b.reg, "forebay_group_rebalances_total")
	for _, instance := range []string{"one", "two"} { // the leader and a follower
		old := map[string]*groupMember{"one": first, "two": second}[instance]
		old.kill()
		again := start(instance)
		eventually(t, "its two partitions again", func() bool { return again.owns() == 2 })
	}
	require.Equal(t, rebalances, metricValues(t, b.reg, "forebay_group_rebalances_total"))
	adm := b.admin(t)
	described, err := adm.DescribeGroups(t.Context(), "g")
	require.NoError(t, err)
	require.Len(t, described["g"].Members, 2)
	b.produce(t, 0, 100)
	eventually(t, "all read", func() bool { return g.count() == 100 })

	left, err := adm.LeaveGroup(t.Context(), kadm.LeaveGroup("g").InstanceIDs("one"))
	require.NoError(t, err)
	require.NoError(t, left.Error())
}

// TestAdminResetsOffsets: what the tools do to a group's offsets while it is empty.
func TestAdminResetsOffsets(t *testing.T) {
	b := openGroupBroker(t, newGroupStores())
	b.topic(t, "t", 2)
	b.produce(t, 0, 100)
	adm := b.admin(t)
	ends, err := adm.ListEndOffsets(t.Context(), "t")
	require.NoError(t, err)
	require.NoError(t, adm.CommitAllOffsets(t.Context(), "g", ends.Offsets()))
	lags, err := adm.Lag(t.Context(), "g")
	require.NoError(t, err)
	require.Zero(t, lags["g"].Lag.Total())

	starts, err := adm.ListStartOffsets(t.Context(), "t")
	require.NoError(t, err)
	require.NoError(t, adm.CommitAllOffsets(t.Context(), "g", starts.Offsets()))
	m := b.consumer(t, kgo.DisableAutoCommit())
	seen := 0
	for seen < 100 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		fetches := m.PollFetches(ctx)
		cancel()
		require.NoError(t, fetches.Err())
		seen += fetches.NumRecords()
	}
	require.NoError(t, m.CommitUncommittedOffsets(t.Context()))
	require.Error(t, adm.CommitAllOffsets(t.Context(), "g", starts.Offsets()), "a group with members takes no commit of others")
	_, err = adm.DeleteGroup(t.Context(), "g")
	require.Error(t, err)
	m.Close()
	eventually(t, "the group is empty", func() bool {
		d, err := adm.DescribeGroups(t.Context(), "g")
		return err == nil && d["g"].State == "Empty"
	})
	fetched, err := adm.FetchOffsets(t.Context(), "g")
	require.NoError(t, err)
	total := int64(0)
	fetched.Each(func(o kadm.OffsetResponse) { total += o.At })
	require.EqualValues(t, 100, total, fmt.Sprint(fetched))

	deleted, err := adm.DeleteOffsets(t.Context(), "g", kadm.TopicsSet{"t": {0: {}}})
	require.NoError(t, err)
	require.NoError(t, deleted.Error())
	fetched, err = adm.FetchOffsets(t.Context(), "g")
	require.NoError(t, err)
	require.Len(t, fetched["t"], 1)
	_, err = adm.DeleteGroup(t.Context(), "g")
	require.NoError(t, err)
	listed, err := adm.ListGroups(t.Context())
	require.NoError(t, err)
	require.Empty(t, listed)
}
