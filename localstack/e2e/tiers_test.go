//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
func fill(t *testing.T, node *rig.Node, topics []*stored, events []event) {
	t.Helper()
	for _, s := range topics {
		if s.topic == "" {
			s.topic = newTopic(t, node.Addr, s.partitions)
		}
		produce(t, s.producer, node.Addr, s.topic, s.codec, events)
	}
}

// fillTimes makes a topic of the earthquakes with their own times.
func fillTimes(t *testing.T, node *rig.Node) string {
	t.Helper()
	topic := newTopic(t, node.Addr, timesPartitions)
	produce(t, franz{}, node.Addr, topic, "zstd", quakes(t))
	return topic
}

const timesPartitions = 6

// requireAll reads every topic with every client alone, looks times up, and reads three of the
// topics with a group of three, of each client, one member killed.
func requireAll(t *testing.T, node *rig.Node, topics []*stored, times string) {
	t.Helper()
	t.Run("read", func(t *testing.T) { // ends when all that runs in parallel has ended
		for i, c := range consumers {
			t.Run("group-"+c.name(), func(t *testing.T) {
				t.Parallel()
				readInGroup(t, c, node.Addr, topics[i].topic, flights(t))
			})
		}
		t.Run("times", func(t *testing.T) {
			t.Parallel()
			requireTimes(t, node.Addr, times, timesPartitions)
		})
		for _, s := range topics {
			for _, c := range consumers {
				t.Run(fmt.Sprintf("%s-%s-%d-%s", s.producer.name(), s.codec, s.partitions, c.name()), func(t *testing.T) {
					t.Parallel()
					consumeAlone(t, c, node.Addr, s.topic, flights(t))
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
	ctx := timeout(t, time.Minute)
	require.NoError(t, h.await(ctx, len(events)/4))
	survivors := killBusiest(t, members)
	require.NoError(t, h.await(ctx, len(events)))
	requireWorked(ctx, t, survivors, addr, group, topic, h, events)
}

// The index is derived: after a kill -9 and without it, all is there.
func TestIndexDeleted(t *testing.T) {
	node := ownBroker(t, t.TempDir())
	topics, times := spread(), fillTimes(t, node)
	fill(t, node, topics, flights(t))
	require.NoError(t, node.Kill())
	require.NoError(t, os.RemoveAll(filepath.Join(node.Dir, "index")))
	node = restart(t, node)
	requireAll(t, node, topics, times)
	stopAndVerify(t, node)
}

// The hot tier is a cache of what is sealed: without any hot segment, all comes out of packs.
func TestAllFromPacks(t *testing.T) {
	node := ownBroker(t, t.TempDir(), tinySegments...)
	topics, times := spread(), fillTimes(t, node)
	fill(t, node, topics, flights(t))
	awaitSealed(t, node)
	stop(t, node)
	require.NoError(t, os.RemoveAll(filepath.Join(node.Dir, "hot")))
	require.NoError(t, os.RemoveAll(filepath.Join(node.Dir, "index")))
	node = restart(t, node)
	requireAll(t, node, topics, times)
	require.Positive(t, metric(t, node, "forebay_pack_requests_total"))
	stopAndVerify(t, node)
}

// Half of each partition is in packs and the other half hot, so that a read crosses the tiers.
func TestBothTiersMixed(t *testing.T) {
	node := ownBroker(t, t.TempDir(), tinySegments...)
	events := flights(t)
	topics, times := spread(), fillTimes(t, node)
	fill(t, node, topics, events[:len(events)/2])
	awaitSealed(t, node)
	stop(t, node)
	node = restart(t, node) // with large segments, so that what follows stays hot
	fill(t, node, topics, events[len(events)/2:])
	requireAll(t, node, topics, times)
	require.Positive(t, metric(t, node, "forebay_pack_requests_total"))
	require.Zero(t, metric(t, node, "forebay_sealed_bytes_total"))
	stopAndVerify(t, node)
}

// awaitSealed waits until all that the broker took since its start is in packs.
func awaitSealed(t *testing.T, node *rig.Node) {
	t.Helper()
	require.NoError(t, node.Await(timeout(t, time.Minute), func(context.Context) error {
		produced, sealed := metric(t, node, "forebay_produced_bytes_total"), metric(t, node, "forebay_sealed_bytes_total")
		if sealed < produced {
			return fmt.Errorf("%.0f of %.0f bytes are sealed", sealed, produced)
		}
		return nil
	}))
}

// stop ends a broker with SIGTERM, which must be quick.
func stop(t *testing.T, node *rig.Node) {
	t.Helper()
	_, err := node.Stop(stopLimit)
	require.NoError(t, err)
}

// metric returns a value from the broker's /metrics.
func metric(t *testing.T, node *rig.Node, name string) float64 {
	t.Helper()
	text, err := node.Metrics(timeout(t, 10*time.Second))
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
