//go:build e2e

package e2e

import (
	"fmt"
	"testing"
)

// Every client produces all flights with every codec into topics of every size. Each topic is
// consumed by one client, chosen so that every consumer meets every producer with every codec,
// and every consumer every number of partitions.
func TestEveryClientReadsWhatEveryClientWrote(t *testing.T) {
	events := flights(t)
	shared.roll(t)
	for i, p := range producers {
		for j, codec := range codecs {
			for k, partitions := range pick(i+2*j, 1, 6, 100) {
				c := consumers[(i+j+k)%len(consumers)]
				t.Run(fmt.Sprintf("%s-%s-%d-%s", p.name(), codec, partitions, c.name()), func(t *testing.T) {
					t.Parallel()
					topic := newTopic(t, shared.Addr, partitions)
					produce(t, p, shared.Addr, topic, codec, events)
					consumeAlone(t, c, shared.Addr, topic, events)
				})
			}
		}
	}
}

// The earthquakes keyed by their ids, with every codec, by clients that are chosen so that
// every consumer meets every producer.
func TestEarthquakes(t *testing.T) {
	events := quakes(t)
	shared.roll(t)
	for j, codec := range codecs {
		for i, p := range producers {
			c := consumers[(i+j)%len(consumers)]
			t.Run(fmt.Sprintf("%s-%s-%s", p.name(), codec, c.name()), func(t *testing.T) {
				t.Parallel()
				topic := newTopic(t, shared.Addr, 6)
				produce(t, p, shared.Addr, topic, codec, events)
				consumeAlone(t, c, shared.Addr, topic, events)
			})
		}
	}
}
