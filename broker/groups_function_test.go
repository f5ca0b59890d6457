package broker

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
)

// function is what a function has of the cluster: its tables and its bucket.
func (c *testCluster) function(table kv.Store) admin.Groups {
	log, err := metalog.Open(context.Background(), metalog.Options{Store: table, Objects: c.objects})
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, log.Close(context.Background())) })
	return admin.Groups{Log: log, Offsets: c.offsets}
}

func askedOf(name string) admin.GroupRequest {
	return admin.GroupRequest{Group: name, Who: admin.Actor{Principal: "arn:aws:iam::1:user/ops", At: time.Now()}}
}

func resetTo(topic string, offset id.Offset) []admin.OffsetReset {
	return []admin.OffsetReset{{Topic: topic, Offset: offset, LeaderEpoch: -1}}
}

// threeWithGroup starts three brokers with a topic of a hundred records and a group that has
// committed offset 10 in it and is empty.
func threeWithGroup(t *testing.T) *testCluster {
	c := newTestCluster(t)
	for node := id.Broker(1); node <= 3; node++ {
		c.start(node)
	}
	c.createTopic("events", 1, 3)
	cl := c.client(kgo.DefaultProduceTopic("events"))
	for i := range 100 {
		require.NoError(t, cl.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprint(i))).FirstErr())
	}
	c.commit(t, "g", 10)
	return c
}

// commit commits an offset as tools do, that are no members.
func (c *testCluster) commit(t *testing.T, group string, offset int64) {
	offsets := kadm.Offsets{}
	offsets.AddOffset("events", 0, offset, -1)
	cl := kadm.NewClient(c.client())
	eventually(t, "it is committed", func() bool { return cl.CommitAllOffsets(t.Context(), group, offsets) == nil })
}

func (c *testCluster) committed(t *testing.T, group string) int64 {
	cl := kadm.NewClient(c.client())
	var found kadm.OffsetResponses
	eventually(t, "the offsets are told", func() (told bool) {
		var err error
		found, err = cl.FetchOffsets(t.Context(), group)
		return err == nil
	})
	o, ok := found.Lookup("events", 0)
	require.True(t, ok)
	require.NoError(t, o.Err)
	return o.At
}

// consume joins the group and returns the first offset that it reads, still a member.
func (c *testCluster) consume(t *testing.T, group string) (*kgo.Client, int64) {
	cl := c.client(kgo.ConsumerGroup(group), kgo.ConsumeTopics("events"), kgo.DisableAutoCommit())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		fetches := cl.PollRecords(ctx, 1)
		require.NoError(t, ctx.Err())
		if records := fetches.Records(); len(records) > 0 {
			return cl, records[0].Offset
		}
	}
}

// TestFunctionResetsOffsets: while three brokers run, consumers go on from where the function has set the
// group, brokers coordinate the group as before, and as long as it has members it is refused.
func TestFunctionResetsOffsets(t *testing.T) {
	c := threeWithGroup(t)
	f := c.function(c.table)
	before, _ := c.coordinatorOf("g")
	_, err := f.ResetOffsets(t.Context(), askedOf("g"), resetTo("events", 42))
	require.NoError(t, err)
	after, _ := c.coordinatorOf("g")
	require.Equal(t, before, after)
	eventually(t, "the broker that had the shard knows", func() bool { return c.committed(t, "g") == 42 })
	c.commit(t, "g", 43)
	require.Equal(t, int64(43), c.committed(t, "g"), "brokers go on")

	member, first := c.consume(t, "g")
	require.Equal(t, int64(43), first)
	_, err = f.ResetOffsets(t.Context(), askedOf("g"), resetTo("events", 7))
	require.Equal(t, kerr.NonEmptyGroup, admin.KafkaError(err))
	require.Equal(t, int64(43), c.committed(t, "g"))
	member.Close()
	eventually(t, "the group is empty", func() bool {
		_, err = f.ResetOffsets(t.Context(), askedOf("g"), resetTo("events", 7))
		return err == nil
	})
	_, first = c.consume(t, "g")
	require.Equal(t, int64(7), first)
}

// TestFunctionLeavesOtherGroupsAlone: the members of other groups of the shard stay members, under
// their generations.
func TestFunctionLeavesOtherGroupsAlone(t *testing.T) {
	c := threeWithGroup(t)
	_, shard := c.coordinatorOf("g")
	other := ""
	for i := 0; other == ""; i++ {
		if _, s := c.coordinatorOf(fmt.Sprint("other", i)); s == shard {
			other = fmt.Sprint("other", i)
		}
	}
	cl, _ := c.consume(t, other)
	memberID, generation := cl.GroupMetadata()
	_, err := c.function(c.table).ResetOffsets(t.Context(), askedOf("g"), resetTo("events", 42))
	require.NoError(t, err)
	eventually(t, "it commits", func() bool { return cl.CommitUncommittedOffsets(t.Context()) == nil })
	require.Equal(t, int64(1), c.committed(t, other))
	nowID, now := cl.GroupMetadata()
	require.Equal(t, memberID, nowID)
	require.Equal(t, generation, now)
}

// TestFunctionWithoutBrokers: offsets are reset while no broker runs, and count when they are back.
func TestFunctionWithoutBrokers(t *testing.T) {
	c := threeWithGroup(t)
	for _, m := range c.members {
		m.cut.Store(true) // as good as killed
		c.stop(m)
	}
	_, err := c.function(c.table).ResetOffsets(t.Context(), askedOf("g"), resetTo("events", 42))
	require.NoError(t, err)
	for node := id.Broker(1); node <= 3; node++ {
		c.start(node)
	}
	eventually(t, "a coordinator", func() bool { m, _ := c.coordinatorOf("g"); return m != nil })
	require.Equal(t, int64(42), c.committed(t, "g"))
}

// TestFunctionDies: a shard that a function has taken and not given back gets a leader from the brokers.
func TestFunctionDies(t *testing.T) {
	c := threeWithGroup(t)
	dead := false
	f := c.function(kv.Inject(c.table, func(kv.Op) kv.Fault {
		if dead {
			return kv.FaultFail
		}
		return kv.FaultNone
	}))
	f.Offsets = kv.Inject(c.offsets, func(kv.Op) kv.Fault {
		if m, _ := c.coordinatorOf("g"); m == nil {
			dead = true
			return kv.FaultFail
		}
		return kv.FaultNone
	})
	_, err := f.ResetOffsets(t.Context(), askedOf("g"), resetTo("events", 42))
	require.Error(t, err)
	require.True(t, dead)
	eventually(t, "the shard is led", func() bool { m, _ := c.coordinatorOf("g"); return m != nil })
	require.Equal(t, int64(10), c.committed(t, "g"))
	c.commit(t, "g", 11)
	require.Equal(t, int64(11), c.committed(t, "g"))
}

// TestFunctionAgainstCommits: commits of tools race with resets. Each that was acknowledged last, of either
// kind, is what is there: none is lost without anybody knowing.
func TestFunctionAgainstCommits(t *testing.T) {
	c := threeWithGroup(t)
	f := c.function(c.table)
	ctx, stop := context.WithCancel(t.Context())
	var committing sync.WaitGroup
	admins := kadm.NewClient(c.client())
	var acked int64
	committing.Go(func() {
		for at := int64(1000); ctx.Err() == nil; at++ {
			offsets := kadm.Offsets{}
			offsets.AddOffset("events", 0, at, -1)
			if admins.CommitAllOffsets(ctx, "g", offsets) == nil {
				acked = at
			}
		}
	})
	resets := 0
	tick := time.NewTicker(100 * time.Millisecond) // a load, not a wait: in between brokers coordinate
	defer tick.Stop()
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); <-tick.C {
		if _, err := f.ResetOffsets(t.Context(), askedOf("g"), resetTo("events", id.Offset(resets))); err == nil {
			resets++
		}
	}
	stop()
	committing.Wait()
	require.Greater(t, resets, 3)
	require.Greater(t, acked, int64(1000))
	eventually(t, "the last of either is there, or the commit that was under way", func() bool {
		return slices.Contains([]int64{int64(resets - 1), acked, acked + 1}, c.committed(t, "g"))
	})
	_, err := f.ResetOffsets(t.Context(), askedOf("g"), resetTo("events", 5))
	require.NoError(t, err)
	eventually(t, "an acknowledged reset is what is there", func() bool { return c.committed(t, "g") == 5 })
}
