package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/rig"
)

// firstProduce measures the time from the start of the process until it has accepted a record.
func (b *bench) firstProduce(ctx context.Context, node *rig.Node) error {
	if err := acceptOne(ctx, node, "first", 0); err != nil {
		return err
	}
	b.note("start: first produce accepted, s", time.Since(node.Started()).Seconds())
	if err := node.AwaitReady(ctx); err != nil {
		return err
	}
	usage, err := rig.ReadUsage(node.PID())
	b.note("start: memory, MiB", mib(usage.RSS))
	return err
}

// acceptOne produces one record and tries until that works.
func acceptOne(ctx context.Context, node *rig.Node, topic string, partition int32) error {
	return node.Await(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
		client, err := kgo.NewClient(kgo.SeedBrokers(node.Addr), kgo.AllowAutoTopicCreation(),
			kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.RequestRetries(0),
			kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }),
			kgo.MetadataMinAge(10*time.Millisecond))
		if err != nil {
			return err
		}
		defer client.Close()
		if err := client.Ping(ctx); err != nil {
			return err
		}
		return client.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: partition, Value: []byte("x")}).FirstErr()
	})
}

// throughput produces and consumes with two clients each and measures what the broker uses.
func (b *bench) throughput(ctx context.Context, node *rig.Node) error {
	if err := node.AwaitReady(ctx); err != nil {
		return err
	}
	for _, topic := range []string{"warmup", "java", "franz"} {
		if err := createTopic(ctx, node.Addr, topic, 6); err != nil {
			return err
		}
	}
	if _, err := b.javaProduce(ctx, node.Addr, "warmup", b.warmup); err != nil {
		return err
	}
	loads := []struct {
		name, topic string
		run         func(ctx context.Context, addr, topic string, records int) (perSecond float64, err error)
	}{
		{"produce, java", "java", b.javaProduce},
		{"produce, franz-go", "franz", b.franzProduce},
		{"consume, java", "java", b.javaConsume},
		{"consume, franz-go", "franz", b.franzConsume},
	}
	gigabytes := float64(b.records) * float64(b.size) / 1e9
	for _, load := range loads {
		before, err := rig.ReadUsage(node.PID())
		if err != nil {
			return err
		}
		perSecond, err := load.run(ctx, node.Addr, load.topic, b.records)
		if err != nil {
			return err
		}
		after, err := rig.ReadUsage(node.PID())
		if err != nil {
			return err
		}
		b.note(load.name+": MB/s", perSecond*float64(b.size)/1e6)
		b.note(load.name+": broker CPU, s/GB", (after.CPU-before.CPU).Seconds()/gigabytes)
	}
	usage, err := rig.ReadUsage(node.PID())
	b.note("throughput: peak memory, MiB", mib(usage.PeakRSS))
	return err
}

// manyPartitions makes topics with many partitions, puts a batch into each, and starts the broker again.
func (b *bench) manyPartitions(ctx context.Context, node *rig.Node) error {
	if err := node.AwaitReady(ctx); err != nil {
		return err
	}
	const topics = 10
	each := b.partitions / topics
	began := time.Now()
	for i := range topics {
		if err := createTopic(ctx, node.Addr, fmt.Sprintf("many-%d", i), each); err != nil {
			return err
		}
	}
	if err := batchEach(ctx, node.Addr, topics, each); err != nil {
		return err
	}
	b.note("partitions: created, a batch in each, s", time.Since(began).Seconds())
	usage, err := rig.ReadUsage(node.PID())
	if err != nil {
		return err
	}
	b.note("partitions: memory, MiB", mib(usage.RSS))
	took, err := node.Stop(3 * time.Minute)
	if err != nil {
		return err
	}
	b.note("partitions: stop, s", took.Seconds())

	again, err := b.launch(ctx, node.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = again.Kill() }()
	if err := again.AwaitReady(ctx); err != nil {
		return err
	}
	if err := acceptOne(ctx, again, fmt.Sprintf("many-%d", topics-1), int32(each-1)); err != nil {
		return err
	}
	b.note("partitions: start again until produce accepted, s", time.Since(again.Started()).Seconds())
	if err := checkEach(ctx, again.Addr, topics, each); err != nil {
		return err
	}
	usage, err = rig.ReadUsage(again.PID())
	b.note("partitions: memory after restart, MiB", mib(usage.RSS))
	return err
}

func batchEach(ctx context.Context, addr string, topics, partitions int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.UnknownTopicRetries(-1)) // leaders may take a while
	if err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	defer client.Close()
	value := make([]byte, 1024)
	var results firstError
	for i := range topics {
		for p := range partitions {
			client.Produce(ctx, &kgo.Record{Topic: fmt.Sprintf("many-%d", i), Partition: int32(p), Value: value}, results.record)
		}
	}
	if err := client.Flush(ctx); err != nil {
		return fmt.Errorf("produce a batch to each partition: %w", err)
	}
	return results.err()
}

// checkEach asks for the end of every partition and wants a record in each.
func checkEach(ctx context.Context, addr string, topics, partitions int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	defer client.Close()
	for i := range topics {
		topic := fmt.Sprintf("many-%d", i)
		ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
		if err != nil {
			return fmt.Errorf("list the ends of %s: %w", topic, err)
		}
		for p := range partitions {
			if end, ok := ends.Lookup(topic, int32(p)); !ok || end.Err != nil || end.Offset < 1 {
				return fmt.Errorf("the batch in %s-%d is gone: %+v", topic, p, end)
			}
		}
	}
	return nil
}

func createTopic(ctx context.Context, addr, topic string, partitions int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	adm.SetTimeoutMillis(120_000)
	if _, err := adm.CreateTopic(ctx, int32(partitions), 1, nil, topic); err != nil {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	return nil
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
