package javasuites

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/forebaylog/forebay/localstack/compat/suite"
	"github.com/forebaylog/forebay/localstack/rig"
)

// toolsSuite is the tools of Apache Kafka's own system tests.
func toolsSuite(name string, v version) suite.Suite {
	return suite.Suite{
		Name: name,
		About: "Apache Kafka " + v.name + ": kafka-producer-perf-test, kafka-consumer-perf-test, VerifiableProducer, " +
			"VerifiableConsumer, TransactionalMessageCopier, while brokers are killed",
		Nodes: []int{1, 3}, Settings: settings, Limit: 10 * time.Minute,
		Prepare: prepareJars(v),
		Run: run(func(ctx context.Context, s *session) {
			s.try(ctx, "performance tools", s.performance)
			s.try(ctx, "verifiable producer, verifiable consumers in a group", s.verifiable)
			s.try(ctx, "transactional message copier", s.copier)
		}),
	}
}

// What the performance tools do while brokers are killed.
const (
	perfRecords = 20_000
	perfRate    = 1_500 // records a second
)

// performance produces and consumes with the performance tools at the same time. What the
// producer sent is in the topic, each record once.
func (s *session) performance(ctx context.Context) error {
	const topic = "perf"
	if err := s.topic(ctx, topic, 4); err != nil {
		return err
	}
	n := strconv.Itoa(perfRecords)
	var sent, fetched string
	err := s.whileKilling(ctx, func(ctx context.Context) error {
		producer, err := s.start("perf-producer", func(line string) {
			if strings.HasPrefix(line, n+" records sent") {
				sent = line
			}
		}, s.java.Tool(ctx, rig.ProducerPerformance, "--topic", topic, "--num-records", n, "--throughput", strconv.Itoa(perfRate),
			"--payload-monotonic", "--producer-props", "bootstrap.servers="+s.bootstrap(), "acks=all"))
		if err != nil {
			return err
		}
		consumer, err := s.start("perf-consumer", func(line string) { fetched = line }, s.java.Tool(ctx, rig.ConsumerPerformance,
			"--bootstrap-server", s.bootstrap(), "--topic", topic, "--messages", n, "--timeout", "60000", "--hide-header"))
		if err != nil {
			return err
		}
		return errors.Join(producer.Wait(ctx), consumer.Wait(ctx))
	})
	if err != nil {
		return err
	}
	if sent == "" {
		return fmt.Errorf("kafka-producer-perf-test does not say that it sent %s records", n)
	}
	columns := strings.Split(fetched, ",") // start, end, MB, MB/s, records, ...
	if len(columns) < 5 {
		return fmt.Errorf("kafka-consumer-perf-test ends with %q instead of a row of figures", fetched)
	}
	if got, err := strconv.Atoi(strings.TrimSpace(columns[4])); err != nil || got < perfRecords {
		return fmt.Errorf("kafka-consumer-perf-test consumed %s of %s records", columns[4], n)
	}
	return s.requireNumbers(ctx, topic, perfRecords, false)
}

// requireNumbers checks that the values in a topic are the numbers below n.
func (s *session) requireNumbers(ctx context.Context, topic string, n int, atLeast bool) error {
	records, err := s.read(ctx, s.Brokers, topic)
	if err != nil {
		return err
	}
	have, want := counted{}, counted{}
	for _, r := range records {
		have[string(r.Value)]++
	}
	for i := range n {
		want[strconv.Itoa(i)] = 1
	}
	if err := have.compare(want, atLeast); err != nil {
		return fmt.Errorf("topic %s: %w", topic, err)
	}
	return nil
}

// What the verifiable producer does while brokers are killed.
const (
	verifiableRecords = 20_000
	verifiableRate    = 1_500
)

// verifiable produces with VerifiableProducer and consumes with a group of two
// VerifiableConsumers. Each acknowledged record is in the topic where the producer was told,
// once, and was consumed; at the end the group has committed all.
func (s *session) verifiable(ctx context.Context) error {
	const topic, group = "verifiable", "verifiers"
	if err := s.topic(ctx, topic, 4); err != nil {
		return err
	}
	config, err := s.properties("verifiable-producer.properties", "retries=2147483647", "enable.idempotence=true", "linger.ms=5")
	if err != nil {
		return err
	}
	acked, consumed := newEvents(), newEvents()
	var consumers []*rig.Process
	life := ctx // of the consumers, which go on when no more brokers are killed
	err = s.whileKilling(ctx, func(ctx context.Context) error {
		for i := range 2 {
			c, err := s.start(fmt.Sprintf("verifiable-consumer-%d", i+1), consumed.listen(i, "record_data"), s.java.Tool(life, rig.VerifiableConsumer,
				"--bootstrap-server", s.bootstrap(), "--topic", topic, "--group-id", group, "--session-timeout", "10000", "--verbose"))
			if err != nil {
				return err
			}
			consumers = append(consumers, c)
		}
		producer, err := s.start("verifiable-producer", acked.listen(0, "producer_send_success"), s.java.Tool(ctx, rig.VerifiableProducer,
			"--bootstrap-server", s.bootstrap(), "--topic", topic, "--max-messages", strconv.Itoa(verifiableRecords),
			"--throughput", strconv.Itoa(verifiableRate), "--producer.config", config))
		if err != nil {
			return err
		}
		return producer.Wait(ctx)
	})
	if err != nil {
		return err
	}
	if acked.len() != verifiableRecords {
		return fmt.Errorf("VerifiableProducer says that %d of %d records were acknowledged, and retries without end", acked.len(), verifiableRecords)
	}
	err = await(ctx, func(context.Context) error {
		err := consumed.requireAll(acked)
		for _, c := range consumers {
			if err != nil && !c.Running() {
				return fmt.Errorf("%s has ended by itself: %w: %w", c.Name(), errHopeless, err)
			}
		}
		return err
	})
	if err == nil {
		err = await(ctx, func(ctx context.Context) error { return s.requireCommitted(ctx, group, topic) })
	}
	for _, c := range consumers {
		_, stopErr := c.Stop(20 * time.Second)
		err = errors.Join(err, stopErr)
	}
	if err != nil {
		return err
	}
	return errors.Join(consumed.requireShared(2), s.requireAcked(ctx, topic, acked), s.requireNumbers(ctx, topic, verifiableRecords, false))
}

// requireCommitted checks that a group has committed the ends of a topic's partitions.
func (s *session) requireCommitted(ctx context.Context, group, topic string) error {
	lags, err := s.admin.Lag(ctx, group)
	if err == nil {
		err = lags.Error()
	}
	if err != nil {
		return fmt.Errorf("look at group %s: %w", group, err)
	}
	for _, lag := range lags[group].Lag[topic] {
		if lag.End.Offset > 0 && lag.Commit.At != lag.End.Offset { // of a partition that got no records there is nothing to commit
			return fmt.Errorf("group %s has committed offset %d of partition %d of %s, which ends at %d", group, lag.Commit.At, lag.Partition, topic, lag.End.Offset)
		}
	}
	return nil
}

// requireAcked checks that the records are where the producer was told.
func (s *session) requireAcked(ctx context.Context, topic string, acked *events) error {
	records, err := s.read(ctx, s.Brokers, topic)
	if err != nil {
		return err
	}
	have := map[position]string{}
	for _, r := range records {
		have[position{r.Partition, r.Offset}] = string(r.Value)
	}
	var wrong examples
	for value, at := range acked.at {
		if have[at] != value {
			wrong.add(fmt.Sprintf("%s at offset %d of partition %d, where %q is", value, at.offset, at.partition, have[at]))
		}
	}
	if wrong.n > 0 {
		return fmt.Errorf("%d acknowledged records are not where the producer was told%s", wrong.n, wrong)
	}
	return nil
}
