package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/infra/pause"
)

// failover kills brokers with -9, each while it leads cfg.partitions partitions that have
// records which are not sealed, and times from the kill to the first acknowledged produce on
// each of them.
func failover(ctx context.Context, b *bench) error {
	const topic = "failover"
	if err := b.createTopic(ctx, topic, int32(brokers*b.partitions)); err != nil {
		return err
	}
	var all []time.Duration
	for kill := range b.kills {
		if err := b.awaitBalance(ctx, topic, b.partitions); err != nil {
			return err
		}
		led, err := b.leaders(ctx, topic)
		if err != nil {
			return err
		}
		victim := b.cluster.Brokers()[kill%brokers]
		var ps []int32
		for p, leader := range led {
			if leader == victim.ID {
				ps = append(ps, p)
			}
		}
		times, err := b.killAndProduce(ctx, topic, ps, victim.Kill)
		if err != nil {
			return err
		}
		all = append(all, times...)
		if err := victim.Start(ctx); err != nil {
			return err
		}
	}
	b.noteTimes(fmt.Sprintf("kill -9 to the first acknowledged produce, %d partitions, %d kills", b.partitions, b.kills), all)
	return nil
}

// killAndProduce returns for each partition the time from the kill to the first
// acknowledgement of a record that is sent right after it.
func (b *bench) killAndProduce(ctx context.Context, topic string, ps []int32, kill func() error) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cl, err := b.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic(topic))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	if _, err := produceEach(ctx, cl, ps, time.Now()); err != nil { // records to recover
		return nil, fmt.Errorf("produce before the kill: %w", err)
	}
	at := time.Now()
	if err := kill(); err != nil {
		return nil, err
	}
	return produceEach(ctx, cl, ps, at)
}

// produceEach produces a record to each partition and returns how long after start each was acknowledged.
func produceEach(ctx context.Context, cl *kgo.Client, ps []int32, start time.Time) ([]time.Duration, error) {
	var mu sync.Mutex
	var failed error
	times := make([]time.Duration, 0, len(ps))
	for _, p := range ps {
		cl.Produce(ctx, &kgo.Record{Partition: p, Value: []byte("a record that somebody waits for")}, func(_ *kgo.Record, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
				return
			}
			times = append(times, time.Since(start))
		})
	}
	err := cl.Flush(ctx)
	mu.Lock()
	defer mu.Unlock()
	if failed != nil {
		return nil, failed
	}
	return times, err
}

// move has a partition that is produced to moved to another broker and tells how long an
// acknowledgement took at the most meanwhile.
func move(ctx context.Context, b *bench) error {
	const topic = "move"
	if err := b.createTopic(ctx, topic, 1); err != nil {
		return err
	}
	cl, err := b.client(kgo.DefaultProduceTopic(topic))
	if err != nil {
		return err
	}
	defer cl.Close()
	s := startSteady(ctx, cl, 200)
	admin := kadm.NewClient(cl)
	var worst, normal []time.Duration
	for i := range b.moves {
		led, err := b.leaders(ctx, topic)
		if err != nil {
			return err
		}
		target := led[0]%brokers + 1
		s.reset()
		if err := pause.For(ctx, time.Second); err != nil {
			return err
		}
		normal = append(normal, s.reset())
		var req kadm.AlterPartitionAssignmentsReq
		req.Assign(topic, 0, []int32{target, target%brokers + 1, (target+1)%brokers + 1})
		if _, err := admin.AlterPartitionAssignments(ctx, req); err != nil {
			return fmt.Errorf("move %d: %w", i, err)
		}
		for led[0] != target {
			if led, err = b.leaders(ctx, topic); err != nil {
				return err
			}
		}
		if err := pause.For(ctx, time.Second); err != nil {
			return err
		}
		worst = append(worst, s.reset())
	}
	_, err = s.end(ctx)
	b.noteTimes("longest wait for an acknowledgement in the second of a planned move", worst)
	b.noteTimes("longest wait for an acknowledgement in a second without", normal)
	return err
}

// rolling restarts each broker in turn while records are produced.
func rolling(ctx context.Context, b *bench) error {
	const topic = "rolling"
	if err := b.createTopic(ctx, topic, 12); err != nil {
		return err
	}
	cl, err := b.client(kgo.DefaultProduceTopic(topic))
	if err != nil {
		return err
	}
	defer cl.Close()
	s := startSteady(ctx, cl, 1000)
	if err := pause.For(ctx, time.Duration(b.seconds)*time.Second); err != nil {
		return err
	}
	b.noteTimes("produce at 1,000/s, nothing else going on", s.take())
	for _, n := range b.cluster.Brokers() {
		if _, err := n.Stop(time.Minute); err != nil {
			return err
		}
		if err := n.Start(ctx); err != nil {
			return err
		}
		if err := b.awaitBalance(ctx, topic, 4); err != nil {
			return err
		}
	}
	times, err := s.end(ctx)
	b.noteTimes("produce at 1,000/s during a rolling restart of three brokers", times)
	b.note("client errors during the rolling restart", float64(s.failures()), "")
	return err
}
