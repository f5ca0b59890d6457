package javasuites

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/forebaylog/forebay/localstack/rig"
)

// What the copiers copy.
const (
	copyPartitions  = 4
	copyRecords     = 12_000
	copyTransaction = 100 // records
)

// copier copies a topic with a group of two TransactionalMessageCopiers that abort
// transactions at random, while brokers are killed. The copy has what the topic has, each
// record once and in order.
func (s *session) copier(ctx context.Context) error {
	const from, to = "copy-from", "copy-to"
	if err := errors.Join(s.topic(ctx, from, copyPartitions), s.topic(ctx, to, copyPartitions)); err != nil {
		return err
	}
	if err := s.produceNumbers(ctx, from, copyRecords); err != nil {
		return err
	}
	err := s.whileKilling(ctx, func(ctx context.Context) error {
		copiers, ctx := errgroup.WithContext(ctx)
		for i := range 2 {
			copiers.Go(func() error { return s.copyAll(ctx, fmt.Sprintf("copier-%d", i+1), from, to) })
		}
		return copiers.Wait()
	})
	if err != nil {
		return err
	}
	return s.requireCopied(ctx, from, to)
}

// produceNumbers produces the numbers below n.
func (s *session) produceNumbers(ctx context.Context, topic string, n int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers...), kgo.DefaultProduceTopic(topic))
	if err != nil {
		return fmt.Errorf("produce to %s: %w", topic, err)
	}
	defer client.Close()
	var records []*kgo.Record
	for i := range n {
		records = append(records, kgo.KeySliceRecord([]byte(strconv.Itoa(i%997)), []byte(strconv.Itoa(i))))
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("produce to %s: %w", topic, err)
	}
	return nil
}

// copyAll runs a copier until it finds nothing left to copy. One that fails, because a
// transaction could not be ended or it was fenced, is started again, as Kafka's system tests do.
func (s *session) copyAll(ctx context.Context, id, from, to string) error {
	for {
		p, err := s.start(id, nil, s.java.Tool(ctx, rig.TransactionalCopier, "--broker-list", s.bootstrap(),
			"--input-topic", from, "--input-partition", "0", "--output-topic", to, "--consumer-group", "copiers",
			"--transactional-id", id, "--transaction-size", strconv.Itoa(copyTransaction), "--transaction-timeout", "10000",
			"--enable-random-aborts", "--group-mode", "--use-group-metadata"))
		if err != nil {
			return err
		}
		err = p.Wait(ctx)
		var failed *exec.ExitError
		if !errors.As(err, &failed) || ctx.Err() != nil {
			return err
		}
		fmt.Fprintf(s.Log, "%s: %v; once more\n", id, err)
	}
}

// requireCopied checks that what is committed in a topic is another's, in the same order.
func (s *session) requireCopied(ctx context.Context, from, to string) error {
	want, err := s.values(ctx, from)
	if err != nil {
		return err
	}
	have, err := s.values(ctx, to)
	if err != nil {
		return err
	}
	for partition, values := range want {
		if err := bag(have[partition]).compare(bag(values), false); err != nil {
			return fmt.Errorf("partition %d of %s: %w", partition, to, err)
		}
		for i, value := range values {
			if have[partition][i] != value {
				return fmt.Errorf("partition %d of %s: record %d is %s and should be %s", partition, to, i, have[partition][i], value)
			}
		}
	}
	return nil
}

// values returns the values of a topic by partition, in order.
func (s *session) values(ctx context.Context, topic string) (map[int32][]string, error) {
	records, err := s.read(ctx, s.Brokers, topic)
	values := map[int32][]string{}
	for _, r := range records {
		values[r.Partition] = append(values[r.Partition], string(r.Value))
	}
	return values, err
}

func bag(values []string) counted {
	c := counted{}
	for _, v := range values {
		c[v]++
	}
	return c
}
