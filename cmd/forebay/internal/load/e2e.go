package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// EndToEnd produces at a rate and consumes in the same process. A record's latency
// counts from the moment it was due until a consumer has it.
type EndToEnd struct {
	Topic      string
	Records    int64
	Warmup     int64 // the first records, that are not measured
	Size       int   // at least MinSize
	Rate       float64
	Partitions map[int32]int64 // where each ends now
	// Connect makes one client.
	Connect func(...kgo.Opt) (*kgo.Client, error)

	got atomic.Int64
}

// MinSize is the smallest record that has room for its number and its time.
const MinSize = 16

// Got is how many records came through so far. It is safe for concurrent use.
func (e *EndToEnd) Got() int64 { return e.got.Load() }

// Run sends all the records and waits until all have come through.
func (e *EndToEnd) Run(ctx context.Context) (Result, error) {
	if e.Size < MinSize || e.Rate <= 0 {
		return Result{}, fmt.Errorf("measure end to end: %d bytes at a rate of %v, want at least %d and a rate", e.Size, e.Rate, MinSize)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from := make(map[int32]kgo.Offset)
	for p, end := range e.Partitions {
		from[p] = kgo.NewOffset().At(end)
	}
	consumer, err := e.Connect(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{e.Topic: from}))
	if err != nil {
		return Result{}, err
	}
	defer consumer.Close()
	producer, err := e.Connect(kgo.DefaultProduceTopic(e.Topic), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		return Result{}, err
	}
	defer producer.Close()

	began := time.Now()
	produced := make(chan error, 1)
	go func() {
		err := e.produce(ctx, producer)
		if err != nil {
			cancel() // what failed never comes
		}
		produced <- err
	}()
	result, err := e.consume(ctx, consumer, began)
	cancel()
	if perr := <-produced; perr != nil && !errors.Is(perr, context.Canceled) {
		err = perr
	}
	return result, err
}

func (e *EndToEnd) produce(ctx context.Context, client *kgo.Client) error {
	var failures firstError
	pace, source := newPace(e.Rate), newPayloads(e.Size, 1)
	for n := range e.Records {
		due, err := pace.await(ctx, n)
		if err != nil {
			return err
		}
		value := append([]byte(nil), source.next()...)
		binary.BigEndian.PutUint64(value, uint64(n))
		binary.BigEndian.PutUint64(value[8:], uint64(due.UnixNano()))
		client.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failures.note(err)
			}
		})
	}
	if err := client.Flush(ctx); err != nil {
		return fmt.Errorf("wait for the acknowledgements: %w", err)
	}
	_, err := failures.result()
	return err
}

func (e *EndToEnd) consume(ctx context.Context, client *kgo.Client, began time.Time) (Result, error) {
	latency := histogram()
	var bytes int64
	for e.got.Load() < e.Records {
		fetches := client.PollFetches(ctx)
		now := time.Now().UnixNano()
		if err := fetches.Err(); err != nil {
			return Result{}, fmt.Errorf("consume, %d of %d records: %w", e.got.Load(), e.Records, err)
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			if len(r.Value) != e.Size {
				return Result{}, fmt.Errorf("consume: %s-%d has a record of %d bytes at offset %d that is not of this run", r.Topic, r.Partition, len(r.Value), r.Offset)
			}
			if binary.BigEndian.Uint64(r.Value) >= uint64(e.Warmup) {
				note(latency, time.Duration(now-int64(binary.BigEndian.Uint64(r.Value[8:]))))
			}
			bytes += int64(len(r.Value))
			e.got.Add(1)
		}
	}
	result := newResult(e.got.Load(), bytes, 0, time.Since(began))
	result.Latency = summarize(latency)
	return result, nil
}
