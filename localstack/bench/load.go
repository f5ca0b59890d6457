package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/rig"
)

// firstError keeps the first error of many produced records. It is safe for concurrent use.
type firstError struct {
	mu    sync.Mutex
	first error
}

func (f *firstError) record(_ *kgo.Record, err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.first == nil {
		f.first = fmt.Errorf("produce: %w", err)
	}
}

func (f *firstError) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.first
}

// franzProduce produces with franz-go's defaults but for compression, and returns records a second.
func (b *bench) franzProduce(ctx context.Context, addr, topic string, records int) (float64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RequiredAcks(kgo.AllISRAcks()))
	if err != nil {
		return 0, fmt.Errorf("connect to %s: %w", addr, err)
	}
	defer client.Close()
	value := randomBytes(b.size)
	var results firstError
	began := time.Now()
	for range records {
		client.Produce(ctx, &kgo.Record{Value: value}, results.record)
	}
	if err := client.Flush(ctx); err != nil {
		return 0, fmt.Errorf("produce: %w", err)
	}
	return float64(records) / time.Since(began).Seconds(), results.err()
}

// franzConsume reads so many records from the start of the topic, and returns records a second.
func (b *bench) franzConsume(ctx context.Context, addr, topic string, records int) (float64, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return 0, fmt.Errorf("connect to %s: %w", addr, err)
	}
	defer client.Close()
	began := time.Now()
	for got := 0; got < records; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return 0, fmt.Errorf("consume: %w", err)
		}
		got += fetches.NumRecords()
	}
	return float64(records) / time.Since(began).Seconds(), nil
}

// javaProduce runs Apache Kafka's kafka-producer-perf-test.
func (b *bench) javaProduce(ctx context.Context, addr, topic string, records int) (float64, error) {
	out, err := output(b.java.Perf(ctx, rig.ProducerPerformance, "--topic", topic, "--num-records", strconv.Itoa(records),
		"--record-size", strconv.Itoa(b.size), "--throughput", "-1", "--bootstrap-server", addr, "--command-property", "acks=all"))
	if err != nil {
		return 0, err
	}
	total := regexp.MustCompile(strconv.Itoa(records) + ` records sent, ([0-9.]+) records/sec`).FindStringSubmatch(out)
	if total == nil {
		return 0, fmt.Errorf("the producer did not send all %d records:\n%s", records, out)
	}
	return strconv.ParseFloat(total[1], 64)
}

// javaConsume runs Apache Kafka's kafka-consumer-perf-test. Its time to join a group is left out.
func (b *bench) javaConsume(ctx context.Context, addr, topic string, records int) (float64, error) {
	out, err := output(b.java.Perf(ctx, rig.ConsumerPerformance, "--topic", topic, "--num-records", strconv.Itoa(records),
		"--bootstrap-server", addr, "--hide-header", "--timeout", "60000"))
	if err != nil {
		return 0, err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	fields := strings.Split(lines[len(lines)-1], ", ")
	if len(fields) != 10 {
		return 0, fmt.Errorf("the consumer printed %d fields, not 10:\n%s", len(fields), out)
	}
	got, err := strconv.Atoi(fields[4])
	if err != nil || got < records {
		return 0, fmt.Errorf("the consumer got %s records, not %d:\n%s", fields[4], records, out)
	}
	return strconv.ParseFloat(fields[9], 64)
}

func output(cmd *exec.Cmd) (string, error) {
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("run %s: %w\n%s%s", cmd.Args[len(cmd.Args)-1], err, out, stderr.String())
	}
	return string(out), nil
}

// latencyRate is in records a second.
const latencyRate = 5000

// latency produces at a steady rate, consumes in the same process, and measures each record
// from just before it is produced until it is consumed. The first quarter warms up.
func (b *bench) latency(ctx context.Context, node *rig.Node) error {
	if err := node.AwaitReady(ctx); err != nil {
		return err
	}
	if err := createTopic(ctx, node.Addr, "latency", 6); err != nil {
		return err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(node.Addr), kgo.DefaultProduceTopic("latency"), kgo.ConsumeTopics("latency"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.ProducerLinger(0), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", node.Addr, err)
	}
	defer client.Close()

	ctx, cancel := context.WithTimeout(ctx, time.Duration(2*b.seconds+30)*time.Second)
	defer cancel()
	total := latencyRate * b.seconds
	produced := make(chan error, 1)
	go func() { produced <- producePaced(ctx, client, b.size, total) }()

	before, err := rig.ReadUsage(node.PID())
	if err != nil {
		return err
	}
	began := time.Now()
	latencies := make([]time.Duration, 0, total)
	for len(latencies) < total {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("consume, %d of %d: %w", len(latencies), total, err)
		}
		now := time.Now().UnixNano()
		fetches.EachRecord(func(r *kgo.Record) {
			latencies = append(latencies, time.Duration(now-int64(binary.BigEndian.Uint64(r.Value))))
		})
	}
	after, err := rig.ReadUsage(node.PID())
	if err != nil {
		return err
	}
	b.note("latency: broker CPU, cores", (after.CPU-before.CPU).Seconds()/time.Since(began).Seconds())
	measured := latencies[total/4:]
	slices.Sort(measured)
	for _, p := range []float64{50, 99, 99.9} {
		b.note(fmt.Sprintf("latency: p%g, ms", p), measured[int(float64(len(measured)-1)*p/100)].Seconds()*1000)
	}
	return <-produced
}

// producePaced produces total records, a few at each millisecond, each with its time in front.
func producePaced(ctx context.Context, client *kgo.Client, size, total int) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var results firstError
	began := time.Now()
	for sent := 0; sent < total; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		due := min(total, int(time.Since(began).Seconds()*latencyRate))
		for ; sent < due; sent++ {
			value := randomBytes(size)
			binary.BigEndian.PutUint64(value, uint64(time.Now().UnixNano()))
			client.Produce(ctx, &kgo.Record{Value: value}, results.record)
		}
	}
	if err := client.Flush(ctx); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	return results.err()
}

// randomBytes is a value that does not compress.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}
