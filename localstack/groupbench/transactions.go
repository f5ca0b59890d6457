package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/rig"
)

const txnPartitions = 6 // of the topic that the part transactions writes to

// transactions produces the same records without transactions and with them, one
// transaction after the other.
func transactions(ctx context.Context, b *bench, node *rig.Node) error {
	const topic = "transactions"
	if err := createTopic(ctx, node.Addr, topic, txnPartitions); err != nil {
		return err
	}
	if _, err := b.produce(ctx, node.Addr, topic, b.records/10, false); err != nil { // a warm-up
		return err
	}
	if _, err := b.produce(ctx, node.Addr, topic, b.records/10, true); err != nil {
		return err
	}
	plain, err := b.produce(ctx, node.Addr, topic, b.records, false)
	if err != nil {
		return err
	}
	txn, err := b.produce(ctx, node.Addr, topic, b.records, true)
	if err != nil {
		return err
	}
	b.note("plain, MB/s", plain)
	b.note(fmt.Sprintf("transactions of %d records, MB/s", b.txnRecords), txn)
	b.note(fmt.Sprintf("transactions of %d records to plain", b.txnRecords), txn/plain)
	return nil
}

// produce produces records and returns MB/s. Without transactions it waits for the answers
// to each as many, so that only the transactions are what differs.
func (b *bench) produce(ctx context.Context, addr, topic string, records int, transactional bool) (float64, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.MaxBufferedRecords(2 * b.txnRecords), kgo.ProducerLinger(5 * time.Millisecond),
	}
	if transactional {
		opts = append(opts, kgo.TransactionalID("groupbench"), kgo.TransactionTimeout(time.Minute))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return 0, fmt.Errorf("connect to %s: %w", addr, err)
	}
	defer client.Close()
	if transactional {
		if _, _, err := client.ProducerID(ctx); err != nil {
			return 0, fmt.Errorf("get a transactional id: %w", err)
		}
	}
	value := make([]byte, 1024)
	var failed atomic.Pointer[error]
	began := time.Now()
	for left := records; left > 0; left -= b.txnRecords {
		if transactional {
			if err := client.BeginTransaction(); err != nil {
				return 0, fmt.Errorf("begin a transaction: %w", err)
			}
		}
		for range min(left, b.txnRecords) {
			client.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			})
		}
		err := client.Flush(ctx)
		if transactional {
			err = errors.Join(err, client.EndTransaction(ctx, kgo.TryCommit))
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return 0, fmt.Errorf("produce: %w", err)
		}
		if err := failed.Load(); err != nil {
			return 0, fmt.Errorf("produce: %w", *err)
		}
	}
	return float64(records) * float64(len(value)) / 1e6 / time.Since(began).Seconds(), nil
}
