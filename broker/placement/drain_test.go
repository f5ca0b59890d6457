package placement

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// draining is an Image in which brokers were asked to lead nothing.
func draining(t *testing.T, img *metalog.Image, nodes ...string) *metalog.Image {
	var records []metalog.Record
	for _, node := range nodes {
		records = append(records, metalog.ConfigChanged{Resource: metalog.Resource{Type: metalog.ResourceBroker, Name: node}, Set: map[string]*string{"forebay.drain": new("true")}})
	}
	return with(t, img, records...)
}

func TestDrained(t *testing.T) {
	for _, tc := range []struct {
		name, brokers string
		drain         []string
		before, after string
	}{
		{"it hands over", "1 2 3", []string{"1"}, "1:1,2 1:1,3 2:2,1", "1>2:1,2 1>3:1,3 2:2,1"},
		{"two of three", "1 2 3", []string{"1", "2"}, "1:1,2 2:2,1 3:3", "1>3:3,2 2>3:3,1 3:3"},
		{"what was to come stays away", "1 2 3", []string{"1"}, "2>1:1,2", "2:1,2"},
		{"nobody is left", "1 2", []string{"1", "2"}, "1:1,2 2:2,1", "1:1,2 2:2,1"},
		{"the other is dead", "1 2!", []string{"1"}, "1:1,2", "1:1,2"},
		{"a dead one", "1! 2", []string{"1"}, "1:1,2", "1:1,2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			img := draining(t, cluster(t, tc.brokers, tc.before), tc.drain...)
			require.Equal(t, tc.after, show(with(t, img, Records(img, Drained(img, 100))...)))
		})
	}
	require.Len(t, Drained(draining(t, cluster(t, "1 2", "1:1 1:1 1:1"), "1"), 2), 2)
}

// TestDrainLasts: nothing comes back to a broker that drains, by whatever way, until it drains no more.
func TestDrainLasts(t *testing.T) {
	img := draining(t, cluster(t, "1 2 3", "2:1,2 3:1,3 2:2,1 3:3,1"), "1")
	require.Empty(t, Rebalance(img, 100))
	require.Equal(t, "3:1,3", show(with(t, draining(t, cluster(t, "1 2! 3", "2:1,3"), "1"), metalog.LeadersChanged{Changes: Failover(draining(t, cluster(t, "1 2! 3", "2:1,3"), "1"), 2)})))
	placed, err := Place(img, 0, 0, 4, 2)
	require.NoError(t, err)
	for _, a := range placed {
		require.NotContains(t, a.Replicas, id.Broker(1))
	}
	placed, err = Place(img, 0, 0, 1, 3)
	require.NoError(t, err)
	require.Equal(t, id.Broker(1), placed[0].Replicas[2], "the last choice")
	require.NotEmpty(t, Rebalance(with(t, img), 100), "which forgets the configs")
}
