package placement

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

func TestFailover(t *testing.T) {
	for _, tc := range []struct{ name, brokers, before, after string }{
		{"the preferred of equals", "1! 2 3", "1:1,3,2", "3:1,3,2"},
		{"who leads the fewest", "1! 2 3", "1:1,2,3 2:2", "3:1,2,3 2:2"},
		{"in turn", "1! 2 3", "1:1,2,3 1:1,2,3 1:1,2,3", "2:1,2,3 3:1,2,3 2:1,2,3"},
		{"what others lead stays", "1! 2 3", "2:1,2 3:1,3 -:1,2", "2:1,2 3:1,3 -:1,2"},
		{"replicas that are fenced or gone do not count", "1! 2! 4", "1:1,2,3,4", "4:1,2,3,4"},
		{"it is dead, whatever the image says", "1 2", "1:1,2", "2:1,2"},
		{"a stranger takes its place", "1! 2 3", "1:1 1:1 2:2", "3:3 2:2 2:2"},
		{"a stranger for the first where it is none", "1! 2 3!", "1:3", "2:2"},
		{"a stranger of another rack", "1a! 2b! 3b 4c", "1:1,2", "4:4,2"},
		{"the rack of its own is as good", "1a! 2b! 3a 4b", "1:1,2", "3:3,2"},
		{"nobody lives", "1! 2!", "1:1,2", "-:1,2"},
		{"one that is on its way arrives", "1! 2 3", "1>3:1,2,3 1:1,2,3", "3:1,2,3 2:1,2,3"},
		{"what is on its way to others counts there", "1! 2 3", "3>2:2,3 1:1,2,3", "3>2:2,3 3:1,2,3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			img := cluster(t, tc.brokers, tc.before)
			require.Equal(t, tc.after, show(with(t, img, metalog.LeadersChanged{Changes: Failover(img, 1)})))
		})
	}
}

func TestFailoverRaisesTheEpoch(t *testing.T) {
	img := with(t, cluster(t, "1 2", "1:1,2"), metalog.LeadershipTaken{From: 1, To: 1}, metalog.LeadershipTaken{From: 1, To: 1})
	require.Equal(t, []metalog.LeaderChange{{Partition: at(0), Leader: 2, Epoch: 3}}, Failover(img, 1))
}

func TestLeaderless(t *testing.T) {
	img := cluster(t, "1 2 3!", "-:1,2 -:1,2 3:3,1 2:2 -:3")
	require.Equal(t, "1:1,2 1:1,2 3:3,1 2:2 2:2", show(with(t, img, metalog.LeadersChanged{Changes: Leaderless(img)})))
	require.Empty(t, Leaderless(cluster(t, "1!", "-:1 -:1")))
}

func TestDrain(t *testing.T) {
	for _, tc := range []struct{ name, brokers, before, after string }{
		{"in turn", "1 2 3", "1:1,2,3 1:1,2,3 2:2,1", "1>3:1,2,3 1>2:1,2,3 2:2,1"},
		{"a stranger", "1 2", "1:1", "1>2:2"},
		{"who is on the way stays on it", "1 2 3", "1>3:1,2,3", "1>3:1,2,3"},
		{"who was to come stays away", "1 2 3", "2>1:1,2", "2:1,2"},
		{"nobody else lives", "1 2!", "1:1,2", "1:1,2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			img := cluster(t, tc.brokers, tc.before)
			require.Equal(t, tc.after, show(with(t, img, Records(img, Drain(img, 1))...)))
		})
	}
}

// TestFailoverProperties: whoever dies, all it led has a live leader if anyone lives, a
// replica where a replica lives; and with replicas on all brokers the load is even.
func TestFailoverProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		img := drawCluster(rt, 12)
		dead := id.Broker(rapid.IntRange(1, 5).Draw(rt, "dead"))
		changes := Failover(img, dead)
		require.Equal(rt, changes, Failover(img, dead))
		live := func(n id.Broker) bool { return n != dead && IsLive(img, n) }
		anyone := slices.ContainsFunc(Live(img), func(b *metalog.Broker) bool { return b.ID != dead })
		for _, p := range partitions(with(rt, img, metalog.LeadersChanged{Changes: changes})) {
			require.NotEqual(rt, dead, p.Leader)
		}
		for _, c := range changes {
			before, _ := img.Partition(c.Partition)
			require.Equal(rt, dead, before.Leader)
			require.Equal(rt, before.Epoch+1, c.Epoch)
			require.Equal(rt, anyone, live(c.Leader))
			if before.Target == metalog.NoBroker && slices.ContainsFunc(before.Replicas, live) {
				require.Contains(rt, before.Replicas, c.Leader)
			}
			if c.Replicas != nil {
				require.Contains(rt, c.Replicas, c.Leader)
				require.Len(rt, c.Replicas, len(before.Replicas))
			}
		}
		drained := moved(rt, with(rt, img, Records(img, Drain(img, dead))...))
		for _, p := range partitions(drained) {
			require.True(rt, p.Leader != dead || !anyone)
		}
	})
}

func TestFailoverIsEven(t *testing.T) {
	img := big(t, 3, 10, 25, 3)
	require.LessOrEqual(t, spread(loadsOf(img)), 10)
	img = with(t, img, metalog.LeadersChanged{Changes: Failover(img, 2)})
	loads := loadsOf(img)
	require.Zero(t, loads[2])
	delete(loads, 2)
	require.LessOrEqual(t, spread(loads), 10)
	img = moved(t, with(t, img, Records(img, Rebalance(img, 1000))...))
	require.LessOrEqual(t, spread(loadsOf(img)), 1)
}

func BenchmarkFailover(b *testing.B) {
	img := big(b, 3, 100, 100, 3)
	for b.Loop() {
		if len(Failover(img, 1)) < 3000 {
			b.Fatal("too few")
		}
	}
}

func BenchmarkDrain(b *testing.B) {
	img := big(b, 9, 100, 100, 1)
	for b.Loop() {
		if len(Drain(img, 1)) < 1000 {
			b.Fatal("too few")
		}
	}
}
