//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/localstack/rig"
)

// tinySegments makes hot segments roll after a megabyte or a second, and be dropped once sealed.
var tinySegments = []string{"FOREBAY_SEGMENT_BYTES=1048576", "FOREBAY_SEGMENT_AGE=1s", "FOREBAY_HOT_BYTES=1"}

// stored is a topic that was produced before the broker's files were changed.
type stored struct {
	producer   producer
	codec      string
	partitions int
	topic      string
}

// spread has each producer, each codec and each number of partitions.
func spread() []*stored {
	return []*stored{
		{producer: kcat{}, codec: "none", partitions: 1},
		{producer: franz{}, codec: "gzip", partitions: 6},
		{producer: java{}, codec: "snappy", partitions: 100},
		{producer: kcat{}, codec: "lz4", partitions: 6},
		{producer: franz{}, codec: "zstd", partitions: 100},
	}
}

// fill produces a part of all flights to each topic; the topics are made the first time.
func fill(t *testing.T, s *site, topics []*stored, events []event) {
	t.Helper()
	for _, to := range topics {
		if to.topic == "" {
			to.topic = newTopic(t, s.Addr, to.partitions)
		}
		produce(t, to.producer, s.Addr, to.topic, to.codec, events)
	}
}

// fillTimes makes a topic of the earthquakes with their own times.
func fillTimes(t *testing.T, s *site) string {
	t.Helper()
	topic := newTopic(t, s.Addr, timesPartitions)
	produce(t, franz{}, s.Addr, topic, "zstd", quakes(t))
	return topic
}

const timesPartitions = 6

// requireAll reads every topic with every client alone, looks times up, and reads three of the
// topics with a group of three, of each client, one member killed.
func requireAll(t *testing.T, s *site, topics []*stored, times string) {
	t.Helper()
	t.Run("read", func(t *testing.T) { // ends when all that runs in parallel has ended
		for i, c := range consumers {
			t.Run("group-"+c.name(), func(t *testing.T) {
				t.Parallel()
				readInGroup(t, c, s.Addr, topics[i].topic, flights(t))
			})
		}
		t.Run("times", func(t *testing.T) {
			t.Parallel()
			requireTimes(t, s.Addr, times, timesPartitions)
		})
		for i, in := range topics {
			for _, c := range pick(i, consumers...) {
				t.Run(fmt.Sprintf("%s-%s-%d-%s", in.producer.name(), in.codec, in.partitions, c.name()), func(t *testing.T) {
					t.Parallel()
					consumeAlone(t, c, s.Addr, in.topic, flights(t))
				})
			}
		}
	})
}

// readInGroup has three members read what is there, one of them killed when a quarter was delivered.
func readInGroup(t *testing.T, c consumer, addr, topic string, events []event) {
	t.Helper()
	h, group := newHistory(), "readers-of-"+topic
	members := joinThree(t, c, addr, group, topic, h)
	ctx := timeout(t, stepLimit)
	require.NoError(t, h.await(ctx, len(events)/4))
	survivors := killBusiest(t, members)
	require.NoError(t, h.await(ctx, len(events)))
	requireWorked(ctx, t, survivors, addr, group, topic, h, events)
}

// The index is derived, and in a cluster all of the disk is: after a kill -9 of every broker
// and without it, all is there.
func TestIndexDeleted(t *testing.T) {
	s := ownSite(t)
	topics, times := spread(), fillTimes(t, s)
	fill(t, s, topics, flights(t))
	s.kill(t)
	s.lose(t, "index")
	s.restart(t)
	requireAll(t, s, topics, times)
	s.stopAndVerify(t)
}

// The hot tier is a cache of what is sealed: without any hot segment, all comes out of packs.
func TestAllFromPacks(t *testing.T) {
	s := ownSite(t, tinySegments...)
	topics, times := spread(), fillTimes(t, s)
	fill(t, s, topics, flights(t))
	awaitSealed(t, s)
	s.stop(t)
	s.lose(t, "hot", "index")
	s.restart(t)
	requireAll(t, s, topics, times)
	require.Positive(t, s.metric(t, "forebay_pack_requests_total"))
	s.stopAndVerify(t)
}

// Half of each partition is in packs and the other half hot, so that a read crosses the tiers.
func TestBothTiersMixed(t *testing.T) {
	s := ownSite(t, tinySegments...)
	events := flights(t)
	topics, times := spread(), fillTimes(t, s)
	fill(t, s, topics, events[:len(events)/2])
	awaitSealed(t, s)
	s.stop(t)
	s.env = nil
	s.restart(t) // with large segments, so that what follows stays hot
	fill(t, s, topics, events[len(events)/2:])
	requireAll(t, s, topics, times)
	require.Positive(t, s.metric(t, "forebay_pack_requests_total"))
	require.Zero(t, s.metric(t, "forebay_sealed_bytes_total"))
	s.stopAndVerify(t)
}

// awaitSealed waits until all that the brokers took since their start is in packs.
func awaitSealed(t *testing.T, s *site) {
	t.Helper()
	require.NoError(t, rig.Await(timeout(t, stepLimit), func(context.Context) error {
		produced, sealed := s.metric(t, "forebay_produced_bytes_total"), s.metric(t, "forebay_sealed_bytes_total")
		if sealed < produced {
			return fmt.Errorf("%.0f of %.0f bytes are sealed", sealed, produced)
		}
		return nil
	}))
}

// metric returns a value from a broker's /metrics.
func metric(t *testing.T, node *rig.Node, name string) float64 {
	t.Helper()
	text, err := node.Metrics(timeout(t, stepLimit))
	require.NoError(t, err)
	for line := range strings.Lines(text) {
		var value float64
		if n, _ := fmt.Sscanf(line, name+" %g", &value); n == 1 {
			return value
		}
	}
	t.Fatalf("/metrics does not hold %s", name)
	return 0
}
