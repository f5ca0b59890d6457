package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Consumer reads Records records of Topic from its beginning, with clients that
// share the partitions.
type Consumer struct {
	Topic      string
	Records    int64
	Partitions map[int32]int64 // where each begins
	Clients    int
	// Connect makes one client.
	Connect func(...kgo.Opt) (*kgo.Client, error)

	got   atomic.Int64
	bytes atomic.Int64
}

// Got is how many records were read so far. It is safe for concurrent use.
func (c *Consumer) Got() int64 { return c.got.Load() }

// Run reads until so many records were read. The Result counts those of the last
// fetches too.
func (c *Consumer) Run(ctx context.Context) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var clients []*kgo.Client
	defer func() { closeAll(clients) }()
	for i := range c.Clients {
		client, err := c.Connect(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.Topic: c.share(i)}))
		if err != nil {
			return Result{}, err
		}
		clients = append(clients, client)
	}
	began := time.Now()
	errs := make([]error, len(clients))
	var wg sync.WaitGroup
	for i, client := range clients {
		wg.Go(func() {
			errs[i] = c.read(ctx, client)
			cancel() // all is read, or will not be
		})
	}
	wg.Wait()
	return newResult(c.got.Load(), c.bytes.Load(), 0, time.Since(began)), errors.Join(errs...)
}

// share are the partitions of the ith client.
func (c *Consumer) share(i int) map[int32]kgo.Offset {
	share := make(map[int32]kgo.Offset)
	for p, start := range c.Partitions {
		if int(p)%c.Clients == i {
			share[p] = kgo.NewOffset().At(start)
		}
	}
	return share
}

func (c *Consumer) read(ctx context.Context, client *kgo.Client) error {
	for c.got.Load() < c.Records {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return c.unfinished(ctx)
		}
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("consume %s: %w", c.Topic, err)
		}
		var n, bytes int64
		for it := fetches.RecordIter(); !it.Done(); n++ {
			r := it.Next()
			bytes += int64(len(r.Key) + len(r.Value))
		}
		c.bytes.Add(bytes)
		c.got.Add(n)
	}
	return nil
}

// unfinished is the error of an end that came from outside.
func (c *Consumer) unfinished(ctx context.Context) error {
	if c.got.Load() >= c.Records {
		return nil
	}
	return fmt.Errorf("consume %s: got %d of %d records: %w", c.Topic, c.got.Load(), c.Records, ctx.Err())
}
