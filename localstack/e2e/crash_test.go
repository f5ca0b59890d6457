//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/rig"
)

// A broker is killed three times while franz-go produces with many requests in flight. What
// was acknowledged is there, nothing is there twice, and the order of each key has held.
func TestKilledWhileFranzProduces(t *testing.T) {
	events := unique(120_000)
	s := ownSite(t)
	topic := newTopic(t, s.Addr, 6)
	client, err := kgo.NewClient(seeds(s.Addr), kgo.DefaultProduceTopic(topic),
		kgo.ProducerLinger(0), kgo.ProducerBatchMaxBytes(16<<10), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }))
	require.NoError(t, err)
	defer client.Close()

	acked := newHistory()
	ctx := timeout(t, stepLimit)
	var producing sync.WaitGroup
	producing.Go(func() { // Produce blocks when its buffer is full
		for _, e := range events {
			client.Produce(ctx, e.record(topic), func(r *kgo.Record, err error) {
				if err != nil {
					acked.anomaly("%s was not acknowledged: %v", r.Value, err)
					return
				}
				acked.add(at{r.Partition, r.Offset}, content{string(r.Key), string(r.Value)})
			})
		}
	})
	for kill := 1; kill <= 3; kill++ {
		require.NoError(t, acked.await(ctx, kill*len(events)/4))
		s.crash(t)
	}
	producing.Wait()
	require.NoError(t, client.Flush(ctx))
	acked.requireOnce(t)
	acked.requireWhole(t, events) // the acknowledged offsets themselves are without hole or double
	consumeAlone(t, franz{}, s.Addr, topic, events)
	s.stopAndVerify(t)
}

// The same with console clients, whose input stops half-way until the broker was killed and
// has started again. Both are idempotent producers and end well only if all was acknowledged.
func TestKilledWhileConsolesProduce(t *testing.T) {
	for i, c := range []interface {
		console
		consumer
	}{kcat{}, java{}} {
		t.Run(c.name(), func(t *testing.T) {
			s := ownSite(t)
			topic := newTopic(t, s.Addr, 6)
			ctx := timeout(t, stepLimit)
			events := flights(t)
			cmd := c.command(ctx, s.Addr, topic, codecs[3+i])
			feed, err := cmd.StdinPipe() // writing fails when the client has ended
			require.NoError(t, err)
			p, err := rig.StartProcess(c.name(), cmd)
			require.NoError(t, err)
			t.Cleanup(func() { _ = p.Kill() })

			fed := make(chan error, 1)
			go func() {
				_, err := io.Copy(feed, keyed(events[:len(events)/2]))
				fed <- err
			}()
			require.NoError(t, awaitRecords(ctx, s.Addr, topic, int64(len(events)/8)))
			s.crash(t)
			require.NoError(t, <-fed, p.Output())
			_, err = io.Copy(feed, keyed(events[len(events)/2:]))
			require.NoError(t, err, p.Output())
			require.NoError(t, feed.Close())
			require.NoError(t, p.Wait(ctx), p.Output())
			consumeAlone(t, c, s.Addr, topic, events)
		})
	}
}

// awaitRecords waits until a topic holds n records.
func awaitRecords(ctx context.Context, addr, topic string, n int64) error {
	return rig.Await(ctx, func(ctx context.Context) error {
		_, total, err := endOffsets(ctx, addr, topic)
		if err == nil && total < n {
			err = fmt.Errorf("%s holds %d records, not %d", topic, total, n)
		}
		return err
	})
}
