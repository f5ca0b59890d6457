package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func newTopicDescribe(client *clientFlags) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "describe NAME...",
		Short: "Show the partitions, offsets and configs of topics",
		Long: `Show the partitions, offsets and configs of topics.

Of the configs, those that differ from the default are shown, with where the
value comes from. HOT BYTES is what a partition takes of its brokers' local logs.`,
		Example: "  forebay topic describe events\n  forebay topic describe events -o json | jq '.[0].partitions'",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				return runTopicDescribe(ctx, cmd, adm, out, names)
			})
		},
	}
	out.register(cmd.Flags())
	return cmd
}

// describedTopic is a topic in the output of topic describe.
type describedTopic struct {
	Name       string               `json:"name"`
	ID         string               `json:"id"`
	Internal   bool                 `json:"internal"`
	Partitions []describedPartition `json:"partitions"`
	Configs    []describedConfig    `json:"configs"`
}

type describedPartition struct {
	Partition   int32   `json:"partition"`
	Leader      int32   `json:"leader"` // -1: none
	LeaderEpoch int32   `json:"leader_epoch"`
	Replicas    []int32 `json:"replicas"`
	ISR         []int32 `json:"isr"`
	Start       *int64  `json:"start"` // null when it could not be asked for
	End         *int64  `json:"end"`
	HotBytes    *int64  `json:"hot_bytes"`
	Error       string  `json:"error,omitempty"`
}

type describedConfig struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"` // Kafka's name, such as DYNAMIC_TOPIC_CONFIG
}

func runTopicDescribe(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, out output, names []string) error {
	details, missing := topicDetails(ctx, adm, names...)
	if len(details) == 0 {
		return missing
	}
	names = names[:0]
	for _, d := range details {
		names = append(names, d.Topic)
	}
	starts, err := adm.ListStartOffsets(ctx, names...)
	if err != nil && len(starts) == 0 {
		return fmt.Errorf("list start offsets: %w", err)
	}
	ends, err := adm.ListEndOffsets(ctx, names...)
	if err != nil && len(ends) == 0 {
		return fmt.Errorf("list end offsets: %w", err)
	}
	configs, err := adm.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return fmt.Errorf("describe configs: %w", err)
	}
	sizes, err := hotBytes(ctx, adm, details)
	if err != nil {
		return fmt.Errorf("describe log directories: %w", err)
	}
	var topics []describedTopic
	var tables []*table
	for _, d := range details {
		topic := describedTopic{Name: d.Topic, ID: topicID(d.ID), Internal: d.IsInternal, Configs: changedConfigs(configs, d.Topic)}
		for _, p := range d.Partitions.Sorted() {
			topic.Partitions = append(topic.Partitions, describePartition(p, starts, ends, sizes))
		}
		topics = append(topics, topic)
		tables = append(tables, topic.tables()...)
	}
	return errors.Join(missing, out.print(cmd, topics, tables...))
}

func describePartition(p kadm.PartitionDetail, starts, ends kadm.ListedOffsets, sizes map[kadm.Partition]int64) describedPartition {
	d := describedPartition{
		Partition: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: p.Replicas, ISR: p.ISR,
		Start: offsetOf(starts, p), End: offsetOf(ends, p),
	}
	if size, ok := sizes[kadm.Partition{Topic: p.Topic, Partition: p.Partition}]; ok {
		d.HotBytes = &size
	}
	if p.Err != nil {
		d.Error = p.Err.Error()
	}
	return d
}

func offsetOf(offsets kadm.ListedOffsets, p kadm.PartitionDetail) *int64 {
	if o, ok := offsets.Lookup(p.Topic, p.Partition); ok && o.Err == nil {
		return &o.Offset
	}
	return nil
}

// hotBytes asks the brokers for the size of each partition's local log. One that
// does not tell is left out.
func hotBytes(ctx context.Context, adm *kadm.Client, details []kadm.TopicDetail) (map[kadm.Partition]int64, error) {
	var set kadm.TopicsSet
	for _, d := range details {
		set.Add(d.Topic, d.Partitions.Numbers()...)
	}
	dirs, err := adm.DescribeAllLogDirs(ctx, set)
	if err != nil && len(dirs) == 0 {
		return nil, err
	}
	sizes := make(map[kadm.Partition]int64)
	dirs.Each(func(d kadm.DescribedLogDir) {
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			if !p.IsFuture {
				key := kadm.Partition{Topic: p.Topic, Partition: p.Partition}
				sizes[key] = max(sizes[key], p.Size)
			}
		})
	})
	return sizes, nil
}

// changedConfigs are the configs that differ from the default.
func changedConfigs(all kadm.ResourceConfigs, topic string) []describedConfig {
	changed := []describedConfig{}
	for _, resource := range all {
		if resource.Name != topic || resource.Err != nil {
			continue
		}
		for _, c := range resource.Configs {
			if c.Source != kmsg.ConfigSourceDefaultConfig && c.Source != 0 {
				changed = append(changed, describedConfig{c.Key, c.MaybeValue(), c.Source.String()})
			}
		}
	}
	return changed
}

// tables are the partitions and, if there are any, the configs.
func (t describedTopic) tables() []*table {
	partitions := newTable("PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "START", "END", "HOT BYTES")
	partitions.title = fmt.Sprintf("Topic %s, id %s, %d partitions", t.Name, t.ID, len(t.Partitions))
	for _, p := range t.Partitions {
		leader := any(p.Leader)
		if p.Error != "" {
			leader = p.Error
		}
		partitions.add(p.Partition, leader, p.LeaderEpoch, joinInts(p.Replicas), joinInts(p.ISR), orDash(p.Start), orDash(p.End), orDash(p.HotBytes))
	}
	if len(t.Configs) == 0 {
		return []*table{partitions}
	}
	configs := newTable("CONFIG", "VALUE", "SOURCE")
	for _, c := range t.Configs {
		configs.add(c.Name, c.Value, strings.ToLower(strings.ReplaceAll(c.Source, "_", " ")))
	}
	return []*table{partitions, configs}
}

func joinInts(ns []int32) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(ns), " ", ","), "[]")
}

func orDash[T any](p *T) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprint(*p)
}
