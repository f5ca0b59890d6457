package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/infra/pause"
)

// catchup reads a topic that is sealed, from its beginning, beside raw ranged GETs of the same
// size; and meanwhile a consumer at the tail of another topic, whose p99 is compared with that of a quiet time.
func catchup(ctx context.Context, b *bench) error {
	const topic, tail = "catchup", "tail"
	for _, t := range []string{topic, tail} {
		if err := b.createTopic(ctx, t, 6); err != nil {
			return err
		}
	}
	if _, err := b.flood(ctx, topic); err != nil {
		return err
	}
	if err := b.awaitMetric(ctx, "forebay_hot_bytes", func(v float64) bool { return v < brokers*100<<20 }); err != nil {
		return err
	}
	raw, err := b.rawGets(ctx)
	if err != nil {
		return err
	}
	quiet, err := b.tailWhile(ctx, tail, func() error { return pause.For(ctx, time.Duration(b.seconds)*time.Second) })
	if err != nil {
		return err
	}
	var rate float64
	busy, err := b.tailWhile(ctx, tail, func() (err error) {
		rate, err = b.readAll(ctx, topic)
		return err
	})
	if err != nil {
		return err
	}
	if err := b.counted(ctx, "GiB read from packs", (1<<30)/(float64(b.records)*1024), func() error {
		_, err := b.readAll(ctx, topic)
		return err
	}); err != nil {
		return err
	}
	b.note("raw GETs of 1 MiB ranges, 16 at a time", raw, "MB/s")
	b.note("catch-up read from packs", rate, "MB/s")
	b.note("catch-up read to raw GETs", rate/raw, "times")
	b.noteTimes("tail consumer, quiet", quiet)
	b.noteTimes("tail consumer, during the catch-up read", busy)
	return nil
}

// rawGets reads all packs by ranges and returns MB/s.
func (b *bench) rawGets(ctx context.Context) (float64, error) {
	store, err := b.openStore(ctx, "bench")
	if err != nil {
		return 0, err
	}
	defer func() { _ = store.Close() }()
	const chunk = 1 << 20
	type part struct {
		key string
		off int64
	}
	var parts []part
	for info, err := range store.List(ctx, "", "") {
		if err != nil {
			return 0, err
		}
		for off := int64(0); strings.HasSuffix(info.Key, ".pack") && !strings.HasPrefix(info.Key, "wal/") && off+chunk <= info.Size; off += chunk {
			parts = append(parts, part{info.Key, off})
		}
	}
	if len(parts) == 0 {
		return 0, fmt.Errorf("read raw: there is no pack yet")
	}
	start := time.Now()
	err = inParallel(16, len(parts), func(i int) error {
		_, err := store.ReadAt(ctx, parts[i].key, make([]byte, chunk), parts[i].off)
		return err
	})
	return float64(len(parts)) * chunk / 1e6 / time.Since(start).Seconds(), err
}

// readAll reads b.records records of a topic from its beginning and returns MB/s.
func (b *bench) readAll(ctx context.Context, topic string) (float64, error) {
	cl, err := b.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxPartitionBytes(8<<20))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	start := time.Now()
	for n := 0; n < b.records; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return 0, err
		}
		n += fetches.NumRecords()
	}
	return float64(b.records) * 1024 / 1e6 / time.Since(start).Seconds(), nil
}

// tailWhile produces to a topic at 200/s and consumes its end until f returns, and returns the
// times from producing to consuming.
func (b *bench) tailWhile(ctx context.Context, topic string, f func() error) ([]time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cl, err := b.client(kgo.DefaultProduceTopic(topic), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var mu sync.Mutex
	var times []time.Duration
	began := time.Now()
	var work sync.WaitGroup
	work.Go(func() {
		for ctx.Err() == nil {
			cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				took := time.Since(began) - time.Duration(binary.BigEndian.Uint64(r.Value))
				mu.Lock()
				times = append(times, took)
				mu.Unlock()
			})
		}
	})
	work.Go(func() {
		for pause.For(ctx, 5*time.Millisecond) == nil {
			cl.Produce(ctx, &kgo.Record{Value: binary.BigEndian.AppendUint64(nil, uint64(time.Since(began)))}, nil)
		}
	})
	err = f()
	cancel()
	work.Wait()
	return times, err
}
