package placement

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

func TestRebalance(t *testing.T) {
	for _, tc := range []struct {
		name, brokers string
		limit         int
		before, after string
	}{
		{"nothing to do", "1 2 3", 9, "1:1,2,3 2:2,3,1 3:3,1,2 1:1,2", "1:1,2,3 2:2,3,1 3:3,1,2 1:1,2"},
		{"a broker that is back gets its own", "1 2 3", 9, "1:1,2,3 2:2,3,1 1:3,1,2", "1:1,2,3 2:2,3,1 1>3:3,1,2"},
		{"a broker that is away gets nothing", "1 2 3!", 9, "1:1,2,3 2:2,3,1 1:3,1,2", "1:1,2,3 2:2,3,1 1:3,1,2"},
		{"two change places", "1 2", 9, "2:1,2 1:2,1", "2>1:1,2 1>2:2,1"},
		{"three in a circle", "1 2 3", 9, "2:1,2 3:2,3 1:3,1", "2>1:1,2 3>2:2,3 1>3:3,1"},
		{"no circle beyond the limit", "1 2 3", 2, "2:1,2 3:2,3 1:3,1", "2:1,2 3:2,3 1:3,1"},
		{"preferred ones are not worth an uneven load", "1 2", 9, "2:1,2 1:1,2 2:1,2", "2:1,2 1:1,2 2>1:1,2"},
		{"even before preferred", "1 2", 9, "1:1,2 1:1,2 1:1,2 1:1,2", "1:1,2 1:1,2 1>2:1,2 1>2:1,2"},
		{"as even as the replicas allow", "1 2 3", 9, "1:1,2 1:1,2 1:1,2 1:1,2 3:3", "1:1,2 1:1,2 1>2:1,2 1>2:1,2 3:3"},
		{"one replica moves anywhere", "1 2", 9, "1:1 1:1 1:1", "1:1 1:1 1>2:2"},
		{"over one in between", "1 2 3", 9, "1:1,2 1:1,2 2:2,3 2:2,3", "1:1,2 1:1,2 2:2,3 2>3:2,3"},
		{"over one in between, that leads as many as before", "1 2 3", 9, "1:1,2 1:1,2 1:1,2 2:2,3 2:2,3", "1:1,2 1:1,2 1>2:1,2 2:2,3 2>3:2,3"},
		{"a limit", "1 2", 1, "1:1,2 1:1,2 1:1,2 1:1,2", "1:1,2 1:1,2 1:1,2 1>2:1,2"},
		{"a limit of nothing", "1 2", 0, "1:1 1:1", "1:1 1:1"},
		{"what has a target stays, and counts there", "1 2", 9, "1>2:1,2 1>2:2,1 1:1,2 1:1,2", "1>2:1,2 1>2:2,1 1:1,2 1:1,2"},
		{"a leader that is no replica", "1 2 3", 9, "1:2,3 2:2", "1>3:2,3 2:2"},
		{"leaders that are no replicas, beyond the limit", "1 2 3", 1, "1:2,3 1:2,3", "1>2:2,3 1:2,3"},
		{"a leader that is no replica, and none lives", "1 2 3!", 9, "1:3 2:2", "1:3 2:2"},
		{"a leader that is not the only replica", "1 2", 9, "1:2 2:2,1", "1>2:2 2>1:2,1"},
		{"no live leader", "1 2 3!", 9, "3:3,1 -:1,2", "3:3,1 -:1,2"},
		{"alone", "1 2!", 9, "1:2,1 1:1", "1:2,1 1:1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			img := cluster(t, tc.brokers, tc.before)
			targets := Rebalance(img, tc.limit)
			require.LessOrEqual(t, len(targets), tc.limit)
			require.Equal(t, tc.after, show(with(t, img, Records(img, targets)...)))
		})
	}
}

// TestRebalanceProperties: it is stable once its moves are made, in parts or at once; the
// load is as even as an exhaustive search makes it; and it moves no partition in vain.
func TestRebalanceProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		img := drawCluster(rt, 6)
		limit := rapid.IntRange(1, 6).Draw(rt, "limit")
		targets := Rebalance(img, limit)
		require.Equal(rt, targets, Rebalance(img, limit))
		require.LessOrEqual(rt, len(targets), limit)
		for _, target := range targets {
			before, _ := img.Partition(target.Partition)
			require.Equal(rt, metalog.NoBroker, before.Target)
			require.True(rt, IsLive(img, before.Leader))
			require.True(rt, IsLive(img, target.Target))
			require.NotEqual(rt, before.Leader, target.Target)
			if len(before.Replicas) > 1 {
				require.Contains(rt, before.Replicas, target.Target)
			}
		}
		for range 20 {
			img = moved(rt, with(rt, img, Records(img, Rebalance(img, 3+limit))...))
		}
		require.Empty(rt, Rebalance(img, 100), "it comes to rest: %s", show(img))
		require.Equal(rt, best(img), squares(loadsOf(img)), show(img))
	})
}

func squares(loads map[id.Broker]int) int {
	sum := 0
	for _, n := range loads {
		sum += n * n
	}
	return sum
}

// best tries all leaders that partitions may have and returns the least sum of squared loads.
func best(img *metalog.Image) int {
	var choices [][]id.Broker
	loads := map[id.Broker]int{}
	for _, b := range Live(img) {
		loads[b.ID] = 0
	}
	for _, p := range partitions(img) {
		if !IsLive(img, p.Leader) {
			continue
		}
		may := []id.Broker{}
		for _, b := range Live(img) {
			if len(p.Replicas) == 1 && IsLive(img, p.Replicas[0]) || slices.Contains(p.Replicas, b.ID) {
				may = append(may, b.ID)
			}
		}
		if len(may) == 0 {
			may = append(may, p.Leader)
		}
		choices = append(choices, may)
	}
	return search(choices, loads)
}

func search(choices [][]id.Broker, loads map[id.Broker]int) int {
	if len(choices) == 0 {
		return squares(loads)
	}
	least := 1 << 30
	for _, n := range choices[0] {
		loads[n]++
		least = min(least, search(choices[1:], loads))
		loads[n]--
	}
	return least
}

// TestRebalanceAfterAReturn: after a broker has been away, everything is as it was.
func TestRebalanceAfterAReturn(t *testing.T) {
	for _, partitions := range []int{9, 10, 30} {
		before := big(t, 5, 8, partitions, 3)
		before = moved(t, with(t, before, Records(before, Rebalance(before, 1000))...))
		require.Empty(t, Rebalance(before, 1000))
		img := before
		for _, dead := range []id.Broker{2, 4} {
			img = with(t, img, metalog.LeadersChanged{Changes: Failover(img, dead)})
		}
		rounds := 0
		for targets := Rebalance(img, 20); len(targets) > 0; targets = Rebalance(img, 20) {
			img = moved(t, with(t, img, Records(img, targets)...))
			rounds++
			require.Less(t, rounds, 100)
		}
		require.LessOrEqual(t, spread(loadsOf(img)), 1)
		require.GreaterOrEqual(t, preferred(img), preferred(before)*9/10)
	}
}

func preferred(img *metalog.Image) int {
	n := 0
	for _, p := range partitions(img) {
		if p.Leader == p.Replicas[0] {
			n++
		}
	}
	return n
}

func BenchmarkRebalance(b *testing.B) {
	settled := big(b, 9, 1, 10_000, 3)
	away := with(b, settled, metalog.LeadersChanged{Changes: Failover(settled, 1)})
	shuffled := with(b, settled, rotated(settled))
	for _, c := range []struct {
		name  string
		img   *metalog.Image
		limit int
		want  int
	}{
		{"settled", settled, 10_000, 0},
		{"a broker is back", away, 10_000, 1111},
		{"some of a broker that is back", away, 100, 100},
		{"nothing is preferred", shuffled, 10_000, 9000},
		{"some of what is not preferred", shuffled, 100, 90},
		{"one replica, a new broker", big(b, 9, 1, 10_000, 1, metalog.BrokerRegistered{ID: 100}), 10_000, 1000},
	} {
		b.Run(fmt.Sprint(c.name), func(b *testing.B) {
			for b.Loop() {
				if n := len(Rebalance(c.img, c.limit)); n < c.want {
					b.Fatal(n)
				}
			}
		})
	}
}

// rotated gives every partition to its second replica.
func rotated(img *metalog.Image) metalog.LeadersChanged {
	var changes metalog.LeadersChanged
	for at, p := range partitions(img) {
		changes.Changes = append(changes.Changes, metalog.LeaderChange{Partition: at, Leader: p.Replicas[1], Epoch: p.Epoch + 1})
	}
	return changes
}
