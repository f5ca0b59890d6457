package javasuites

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// topicConfigs checks that a config of the topic was mirrored with it, and that a change follows.
func (m *mirror) topicConfigs(ctx context.Context, w *way) error {
	has := func(value string) func(context.Context) error {
		return func(ctx context.Context) error {
			return requireConfig(ctx, w.to.admin, w.mirrored(), "retention.ms", value)
		}
	}
	if err := await(ctx, has("86400123")); err != nil {
		return err
	}
	changed := "86400456"
	answers, err := w.from.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "retention.ms", Value: &changed}}, w.topic)
	if err != nil {
		return fmt.Errorf("change a config of %s: %w", w.topic, err)
	}
	for _, answer := range answers {
		if answer.Err != nil {
			return fmt.Errorf("change a config of %s: %w", w.topic, answer.Err)
		}
	}
	return await(ctx, has(changed))
}

// newPartitions checks that the mirrored topic gets as many partitions as the topic is given.
func (m *mirror) newPartitions(ctx context.Context, w *way) error {
	answers, err := w.from.admin.UpdatePartitions(ctx, mirrorPartitions+1, w.topic)
	if err == nil {
		err = answers.Error()
	}
	if err != nil {
		return fmt.Errorf("give %s a partition: %w", w.topic, err)
	}
	return await(ctx, func(ctx context.Context) error {
		details, err := w.to.admin.ListTopics(ctx, w.mirrored())
		if err != nil {
			return fmt.Errorf("look at %s of %s: %w", w.mirrored(), w.to.alias, err)
		}
		if n := len(details[w.mirrored()].Partitions); n != mirrorPartitions+1 {
			return fmt.Errorf("%s of %s has %d partitions and should have %d", w.mirrored(), w.to.alias, n, mirrorPartitions+1)
		}
		return nil
	})
}

// groupOffsets commits the ends of the topic for a group and checks that the group gets
// offsets of the mirrored topic that stand behind the same records.
func (m *mirror) groupOffsets(ctx context.Context, w *way) error {
	source, err := m.read(ctx, w.from.brokers, w.topic)
	if err != nil {
		return err
	}
	last := map[int32]*kgo.Record{}
	offsets := kadm.Offsets{}
	for _, r := range source {
		last[r.Partition] = r
		offsets.AddOffset(w.topic, r.Partition, r.Offset+1, -1)
	}
	if err := w.from.admin.CommitAllOffsets(ctx, w.group, offsets); err != nil {
		return fmt.Errorf("commit offsets of group %s: %w", w.group, err)
	}
	mirrored, err := m.read(ctx, w.to.brokers, w.mirrored())
	if err != nil {
		return err
	}
	values := map[position]string{}
	for _, r := range mirrored {
		values[position{r.Partition, r.Offset}] = string(r.Value)
	}
	return await(ctx, func(ctx context.Context) error {
		translated, err := w.to.admin.FetchOffsets(ctx, w.group)
		if err != nil {
			return fmt.Errorf("look at group %s of %s: %w", w.group, w.to.alias, err)
		}
		for partition, r := range last {
			at, ok := translated.Lookup(w.mirrored(), partition)
			if !ok {
				return fmt.Errorf("group %s of %s has no offset for partition %d of %s", w.group, w.to.alias, partition, w.mirrored())
			}
			if value := values[position{partition, at.At - 1}]; value != string(r.Value) {
				return fmt.Errorf("group %s of %s has offset %d for partition %d of %s, behind record %q; in %s it is behind %q",
					w.group, w.to.alias, at.At, partition, w.mirrored(), value, w.from.alias, r.Value)
			}
		}
		return nil
	})
}

// moveOver consumes the mirrored topic as a member of the group whose offsets were
// mirrored: it gets what was produced since they were committed, and nothing before.
func (m *mirror) moveOver(ctx context.Context, w *way) error {
	const records = 10
	before := w.sent
	if err := w.produce(ctx, records); err != nil {
		return err
	}
	want := counted{}
	for i := before; i < w.sent; i++ {
		want[strconv.Itoa(i)] = 1
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(w.to.brokers...), kgo.ConsumerGroup(w.group), kgo.ConsumeTopics(w.mirrored()))
	if err != nil {
		return fmt.Errorf("consume %s of %s: %w", w.mirrored(), w.to.alias, err)
	}
	defer client.Close()
	have := counted{}
	for len(have) < records {
		fetches := client.PollFetches(ctx)
		if err := errors.Join(ctx.Err(), fetches.Err()); err != nil {
			return errors.Join(fmt.Errorf("consume %s of %s: %w", w.mirrored(), w.to.alias, err), have.compare(want, true))
		}
		fetches.EachRecord(func(r *kgo.Record) { have[string(r.Value)]++ })
	}
	return have.compare(want, true)
}

// heartbeats checks that MirrorMaker's heartbeats arrive, and its checkpoints.
func (m *mirror) heartbeats(ctx context.Context, w *way) error {
	for _, topic := range []string{w.from.alias + ".heartbeats", w.from.alias + ".checkpoints.internal"} {
		err := await(ctx, func(ctx context.Context) error {
			records, err := m.read(ctx, w.to.brokers, topic)
			if err == nil && len(records) == 0 {
				err = fmt.Errorf("%s of %s is empty", topic, w.to.alias)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
