package placement

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

func TestPlace(t *testing.T) {
	for _, tc := range []struct {
		name, brokers string
		n             int
		rf            int16
		want          string
	}{
		{"in turn", "1 2 3", 6, 1, "1:1 2:2 3:3 1:1 2:2 3:3"},
		{"followers shift with each round", "1 2 3", 6, 2, "1:1,2 2:2,3 3:3,1 1:1,3 2:2,1 3:3,2"},
		{"only live ones", "1! 2 3 4!", 3, 2, "2:2,3 3:3,2 2:2,3"},
		{"fenced ones last", "1! 2 3 4!", 3, 3, "2:2,3,1 3:3,2,4 2:2,3,1"},
		{"all but one are away", "1! 2 3! 4!", 2, 3, "2:2,1,3 2:2,3,4"},
		{"another rack first", "1a 2a 3b 4b", 4, 2, "1:1,3 3:3,2 2:2,4 4:4,1"},
		{"every rack once", "1a 2a 3b 4c", 2, 3, "1:1,3,4 3:3,4,2"},
		{"then again", "1a 2a 3a 4b", 2, 3, "1:1,4,2 4:4,2,3"},
		{"all of them", "1a 2b 3a", 1, 3, "1:1,2,3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			placed, err := Place(cluster(t, tc.brokers, "1:1"), 0, 0, tc.n, tc.rf)
			require.NoError(t, err)
			created := metalog.TopicCreated{Name: "t", ID: topicID(1), Partitions: placed}
			require.Equal(t, tc.want, show(metalog.NewImage("c", created)))
		})
	}
	for _, brokers := range []string{"", "1", "1! 2!"} {
		_, err := Place(cluster(t, brokers, "1:1"), 0, 0, 1, 2)
		require.ErrorIs(t, err, ErrTooFewBrokers, brokers)
	}
}

// Leaders are even, replicas differ and live, racks are used alike, and partitions that are
// added later go where they would have gone.
func TestPlaceSpreads(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		img := drawCluster(rt, 1)
		live := Live(img)
		n, start := rapid.IntRange(1, 40).Draw(rt, "n"), rapid.IntRange(0, 1<<31-1).Draw(rt, "start")
		rf := rapid.IntRange(1, 5).Draw(rt, "rf")
		placed, err := Place(img, start, 0, n, int16(rf))
		if rf > len(img.Brokers()) || len(live) == 0 {
			require.ErrorIs(rt, err, ErrTooFewBrokers)
			return
		}
		require.NoError(rt, err)
		racks := map[string]int{}
		for _, b := range live {
			racks[b.Rack]++
		}
		for _, a := range placed {
			require.Equal(rt, a.Leader, a.Replicas[0])
			require.Len(rt, a.Replicas, rf)
			seen, used := map[id.Broker]bool{}, map[string]int{}
			for i, r := range a.Replicas {
				require.Equal(rt, i < len(live), IsLive(img, r), "fenced ones only when there are no others")
				require.False(rt, seen[r])
				b, _ := img.Broker(r)
				seen[r] = true
				if IsLive(img, r) {
					used[b.Rack]++
				}
			}
			require.Len(rt, used, min(rf, len(racks)))
		}
		created := metalog.TopicCreated{Name: "t", ID: topicID(1), Partitions: placed}
		require.LessOrEqual(rt, spread(loadsOf(metalog.NewImage("c", append(onlyBrokers(img), created)...))), 1)
		more, err := Place(img, start, n, 3, int16(rf))
		require.NoError(rt, err)
		all, err := Place(img, start, 0, n+3, int16(rf))
		require.NoError(rt, err)
		require.Equal(rt, all[n:], more)
	})
}

func onlyBrokers(img *metalog.Image) []metalog.Record {
	var records []metalog.Record
	for _, r := range history(img) {
		switch r.(type) {
		case metalog.BrokerRegistered, metalog.BrokerFenced:
			records = append(records, r)
		}
	}
	return records
}

func TestRecords(t *testing.T) {
	img := cluster(t, "1 2 3", "1:1 1:1,2 1:2,1 2:3 -:1")
	require.Empty(t, Records(img, nil))
	var targets []metalog.PartitionTarget
	for i, to := range []id.Broker{2, 2, 3, 1, metalog.NoBroker} {
		targets = append(targets, metalog.PartitionTarget{Partition: at(i), Target: to})
	}
	require.Equal(t, "1>2:2 1>2:1,2 1>3:2,3 2>1:1 -:1", show(with(t, img, Records(img, targets)...)))
	require.Len(t, Records(img, targets[1:2]), 1, "replicas that stay need no record")
}

// big is a cluster of many partitions, all led by the preferred replica.
func big(t require.TestingT, brokers, topics, partitions int, rf int16, records ...metalog.Record) *metalog.Image {
	var names []string
	for i := range brokers {
		names = append(names, fmt.Sprint(i+1)+string(rune('a'+i%3)))
	}
	all := registered(t, strings.Join(names, " "))
	img := metalog.NewImage("c", all...)
	for i := range topics {
		placed, err := Place(img, i*7, 0, partitions, rf)
		require.NoError(t, err)
		all = append(all, metalog.TopicCreated{Name: fmt.Sprintf("t%05d", i), ID: topicID(i), Partitions: placed, ReplicationFactor: rf})
	}
	return metalog.NewImage("c", append(all, records...)...)
}

func BenchmarkPlace(b *testing.B) {
	img := big(b, 9, 1, 1, 1)
	for b.Loop() {
		if _, err := Place(img, 0, 0, 10_000, 3); err != nil {
			b.Fatal(err)
		}
	}
}
