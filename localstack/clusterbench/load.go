package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/localstack/rig"
)

// openStore opens the brokers' bucket for raw requests.
func (b *bench) openStore(ctx context.Context) (objstore.Store, error) {
	return objstore.OpenURL(ctx, b.minio.URL("raw"), objstore.URLOptions{
		Remote: objstore.RemoteConfig{AccessKey: b.minio.AccessKey, SecretKey: b.minio.SecretKey},
	})
}

// openTable opens a table of the brokers' kind for raw requests. The credentials are in the environment.
func (b *bench) openTable(ctx context.Context) (kv.Store, error) {
	return kv.OpenDynamoDB(ctx, kv.DynamoConfig{Table: "bench-raw", Region: "us-east-1", Endpoint: b.tables.Endpoint, Create: true})
}

// latency produces single records at fixed rates, and between them times raw PUTs of
// objects as large as a chunk of one record, and raw writes of a slot.
func latency(ctx context.Context, b *bench) error {
	const topic = "latency"
	if err := b.createTopic(ctx, topic, 6); err != nil {
		return err
	}
	store, err := b.openStore(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	table, err := b.openTable(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = table.Close() }()
	for _, rate := range []int{10, 100, 1000} {
		puts, slots, err := rawCommits(ctx, store, table, rate, 100)
		if err != nil {
			return err
		}
		cl, err := b.client(kgo.DefaultProduceTopic(topic))
		if err != nil {
			return err
		}
		s := startSteady(ctx, cl, rate)
		err = sleep(ctx, time.Duration(b.seconds)*time.Second)
		times, ferr := s.end(ctx)
		cl.Close()
		if err != nil || ferr != nil {
			return fmt.Errorf("produce at %d/s: %w", rate, errors.Join(err, ferr))
		}
		b.noteTimes(fmt.Sprintf("raw PUT of 1.5 KiB, before %d/s", rate), puts)
		b.noteTimes(fmt.Sprintf("raw write of a slot, before %d/s", rate), slots)
		b.noteTimes(fmt.Sprintf("produce at %d/s", rate), times)
		b.note(fmt.Sprintf("produce at %d/s, p50 to raw PUT and slot, p50", rate),
			float64(median(times))/float64(median(puts)+median(slots)), "times")
	}
	return nil
}

func median(sorted []time.Duration) time.Duration { return sorted[(len(sorted)-1)/2] }

// rawCommits does what a commit of one record takes, one after the other.
func rawCommits(ctx context.Context, store objstore.Store, table kv.Store, run, n int) (puts, slots []time.Duration, err error) {
	body := make([]byte, 1536)
	_, _ = rand.Read(body)
	for i := range n {
		start := time.Now()
		if err := store.Put(ctx, fmt.Sprintf("latency/%d/%d", run, i), bytes.NewReader(body)); err != nil {
			return nil, nil, err
		}
		puts = append(puts, time.Since(start))
		start = time.Now()
		if _, err := kv.PutIfAbsent(ctx, table, kv.Key{Part: fmt.Sprintf("run%d", run), Sort: fmt.Sprintf("%020d", i)}, body[:150]); err != nil {
			return nil, nil, err
		}
		slots = append(slots, time.Since(start))
	}
	return puts, slots, nil
}

// rawObject is the size of a full WAL object.
const rawObject = 8 << 20

// rawPuts uploads n objects of 8 MiB, 4 at a time as a broker does, and returns MB/s.
func rawPuts(ctx context.Context, store objstore.Store, name string, n int) (float64, error) {
	body := make([]byte, rawObject)
	_, _ = rand.Read(body)
	start := time.Now()
	err := inParallel(4, n, func(i int) error {
		return store.Put(ctx, fmt.Sprintf("%s/%d", name, i), bytes.NewReader(body))
	})
	return float64(n) * rawObject / 1e6 / time.Since(start).Seconds(), err
}

// inParallel calls f for 0 to n-1 from several goroutines and returns the first error.
func inParallel(workers, n int, f func(int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && failed.Load() == nil; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// throughput produces as fast as it goes, between two measurements of raw PUTs.
func throughput(ctx context.Context, b *bench) error {
	const topic = "throughput"
	if err := b.createTopic(ctx, topic, 6); err != nil {
		return err
	}
	store, err := b.openStore(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	objects := b.records * 1024 / rawObject
	before, err := rawPuts(ctx, store, "before", objects)
	if err != nil {
		return err
	}
	rate, err := b.flood(ctx, topic)
	if err != nil {
		return err
	}
	after, err := rawPuts(ctx, store, "after", objects)
	if err != nil {
		return err
	}
	b.note("raw PUT of 8 MiB objects, 4 at a time", (before+after)/2, "MB/s")
	b.note("produce, 6 partitions, 1 KiB records", rate, "MB/s")
	b.note("produce to raw PUT", rate/((before+after)/2), "times")
	for _, n := range b.cluster.Brokers() {
		u, err := rig.ReadUsage(n.Node().PID())
		if err != nil {
			return err
		}
		b.note(n.Name+", peak memory", float64(u.PeakRSS)/(1<<20), "MiB")
		b.note(n.Name+", CPU", u.CPU.Seconds()/(float64(b.records)*1024/brokers/1e9), "s/GB")
	}
	return nil
}

// flood produces b.records records of 1 KiB and returns MB/s.
func (b *bench) flood(ctx context.Context, topic string) (float64, error) {
	cl, err := b.client(kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(100_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	value := make([]byte, 1024)
	_, _ = rand.Read(value)
	var failed atomic.Pointer[error]
	start := time.Now()
	for range b.records {
		cl.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return 0, err
	}
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(b.records) * 1024 / 1e6 / time.Since(start).Seconds(), nil
}
