package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/pause"
	"github.com/forebaylog/forebay/localstack/rig"
)

// openStore opens a prefix of the brokers' bucket for raw requests.
func (b *bench) openStore(ctx context.Context, prefix string) (objstore.Store, error) {
	return objstore.OpenURL(ctx, b.minio.URL(prefix), objstore.URLOptions{
		Remote: objstore.RemoteConfig{AccessKey: b.minio.AccessKey, SecretKey: b.minio.SecretKey},
	})
}

// openTable opens a table of the brokers' kind for raw requests. The credentials are in the environment.
func (b *bench) openTable(ctx context.Context) (kv.Store, error) {
	return kv.OpenDynamoDB(ctx, kv.DynamoConfig{Table: "bench-raw", Region: "us-east-1", Endpoint: b.tables.Endpoint, Create: true})
}

// latency produces single records at fixed rates, and before each times raw PUTs of
// objects as large as a chunk of one record, and raw writes of a slot, at the same rate as far
// as one after the other can be: a server that has just been asked answers faster.
func latency(ctx context.Context, b *bench) error {
	const topic = "latency"
	if err := b.createTopic(ctx, topic, 6); err != nil {
		return err
	}
	store, err := b.openStore(ctx, "raw")
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
		err = pause.For(ctx, time.Duration(b.seconds)*time.Second)
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

// rawCommits does what a commit of one record takes, n times, at most rate times a second.
func rawCommits(ctx context.Context, store objstore.Store, table kv.Store, rate, n int) (puts, slots []time.Duration, err error) {
	body := make([]byte, 1536)
	_, _ = rand.Read(body)
	due := time.Now()
	for i := range n {
		due = due.Add(time.Second / time.Duration(rate))
		if wait := time.Until(due); wait > 0 && pause.For(ctx, wait) != nil {
			return nil, nil, ctx.Err()
		}
		start := time.Now()
		if err := store.Put(ctx, fmt.Sprintf("latency/%d/%d", rate, i), bytes.NewReader(body)); err != nil {
			return nil, nil, err
		}
		puts = append(puts, time.Since(start))
		start = time.Now()
		if _, err := kv.PutIfAbsent(ctx, table, kv.Key{Part: fmt.Sprintf("rate%d", rate), Sort: fmt.Sprintf("%020d", i)}, body[:150]); err != nil {
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
	store, err := b.openStore(ctx, "raw")
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	objects := b.records * 1024 / rawObject
	var before, rate, after float64
	gb := float64(b.records) * 1024 / 1e9
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"raw PUT before", func() (err error) { before, err = rawPuts(ctx, store, "before", objects); return err }},
		{"produce", func() (err error) { rate, err = b.flood(ctx, topic); return err }},
		{"raw PUT after", func() (err error) { after, err = rawPuts(ctx, store, "after", objects); return err }},
	} {
		if err := b.cpu(step.name, gb, step.run); err != nil {
			return err
		}
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
	}
	return nil
}

// cpu tells the processor time of the store, the brokers, the tables and this process while
// f runs, in seconds for each of gb gigabytes.
func (b *bench) cpu(what string, gb float64, f func() error) error {
	before, err := b.usage()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := f(); err != nil {
		return err
	}
	took := time.Since(start)
	after, err := b.usage()
	if err != nil {
		return err
	}
	for i, name := range []string{"store", "tables", "brokers", "client"} {
		b.note(what+", CPU of the "+name, (after[i]-before[i]).Seconds()/gb, "s/GB")
	}
	b.note(what+", time", took.Seconds(), "s")
	return nil
}

// usage is the processor time so far of the store, the tables, all brokers and this process.
func (b *bench) usage() (used [4]time.Duration, err error) {
	pids := map[int][]int{0: {b.minio.PID()}, 1: {b.tables.PID()}, 3: {os.Getpid()}}
	for _, n := range b.cluster.Brokers() {
		pids[2] = append(pids[2], n.Node().PID())
	}
	for i, list := range pids {
		for _, pid := range list {
			u, err := rig.ReadUsage(pid)
			if err != nil {
				return used, err
			}
			used[i] += u.CPU
		}
	}
	return used, nil
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
