//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// clock looks up offsets by time with a real client.
type clock interface {
	name() string
	offsetsForTime(ctx context.Context, addr, topic string, partitions int, ms int64) (map[int32]int64, error)
}

// Time look-ups on the earthquakes' own times, which only franz-go can set, land on the first
// record at or after the time, by each client.
func TestTimesOfEarthquakes(t *testing.T) {
	shared.roll(t)
	for i, partitions := range pick(1, 1, 6, 100) {
		codec := codecs[2*i%len(codecs)]
		t.Run(fmt.Sprintf("%d-%s", partitions, codec), func(t *testing.T) {
			topic := newTopic(t, shared.Addr, partitions)
			produce(t, franz{}, shared.Addr, topic, codec, quakes(t))
			requireTimes(t, shared.Addr, topic, partitions)
		})
	}
}

// requireTimes compares look-ups in a topic of the earthquakes with what its records say:
// many by franz-go, some by kcat, and three by the Java tool, which takes a process for each.
func requireTimes(t *testing.T, addr, topic string, partitions int) {
	t.Helper()
	ctx := timeout(t, stepLimit)
	want, err := firstAtOrAfter(ctx, addr, topic, quakes(t))
	require.NoError(t, err)
	times := interestingTimes(quakes(t))
	for _, tool := range []struct {
		clock
		stride int
	}{{franz{}, 1}, {kcat{}, 8}, {java{}, len(times) / 3}} {
		for i := 0; i < len(times); i += tool.stride {
			var got map[int32]int64
			require.NoError(t, settled(ctx, func(ctx context.Context) (err error) {
				got, err = tool.offsetsForTime(ctx, addr, topic, partitions, times[i])
				return err
			}))
			require.Equal(t, want(times[i]), got, "%s at %d", tool.name(), times[i])
		}
	}
}

// interestingTimes are before, at, just after and between events, and after the last one.
func interestingTimes(events []event) []int64 {
	first, last := events[0].millis, events[len(events)-1].millis
	times := []int64{first - 1_000_000, first, first + 1, last - 1, last, last + 1, last + 1_000_000}
	for i := 1; i+1 < len(events); i += 40 {
		times = append(times, events[i].millis, events[i].millis+1, (events[i].millis+events[i+1].millis)/2)
	}
	return times
}

// firstAtOrAfter reads the topic and returns what a look-up must answer for each partition; -1 is none.
func firstAtOrAfter(ctx context.Context, addr, topic string, events []event) (func(ms int64) map[int32]int64, error) {
	h := newHistory()
	p, read, err := stream("kcat", kcat{}.alone(ctx, addr, topic, len(events)), h, func(int) {})
	if err != nil {
		return nil, err
	}
	if err := p.Wait(ctx); err != nil {
		return nil, err
	}
	<-read
	ends, _, err := endOffsets(ctx, addr, topic)
	if err != nil {
		return nil, err
	}
	millisOf := map[string]int64{}
	for _, e := range events {
		millisOf[e.key] = e.millis
	}
	return func(ms int64) map[int32]int64 {
		offsets := map[int32]int64{}
		for partition := range ends {
			offsets[partition] = -1
		}
		for where, what := range h.records {
			best := offsets[where.partition]
			if millisOf[what.key] >= ms && (best == -1 || where.offset < best) {
				offsets[where.partition] = where.offset
			}
		}
		return offsets
	}, nil
}
