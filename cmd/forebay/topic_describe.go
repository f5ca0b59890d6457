package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func newTopicDescribe(client *clientFlags) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "describe NAME...",
		Short: "Show the partitions, offsets and configs of topics",
		Long: `Show the partitions, offsets and configs of topics.

Of the configs, those that differ from the default are shown, with where the
value comes from.

Of each partition, HOT is what it takes of its leader's disk in bytes, SEALED what of it is in the object
store, and WAL, in a cluster, what is committed and not sealed yet. LAG is the number of records
that are not sealed yet, and AGE how old the oldest of them is.`,
		Example: "  forebay topic describe events\n  forebay topic describe events -o json | jq '.[0].partitions'",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			return client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				return runTopicDescribe(ctx, cmd, client, adm, out, names)
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
	SealedBytes *int64  `json:"sealed_bytes"`
	WALBytes    *int64  `json:"wal_bytes"`   // null on a node alone
	SealLag     *int64  `json:"seal_lag"`    // records that are not sealed yet
	SealLagAge  *int64  `json:"seal_lag_ms"` // age of the oldest of them; null if there is none
	Error       string  `json:"error,omitempty"`
}

type describedConfig struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"` // Kafka's name, such as DYNAMIC_TOPIC_CONFIG
}

func runTopicDescribe(ctx context.Context, cmd *cobra.Command, client *clientFlags, adm *kadm.Client, out output, names []string) error {
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
	var set kadm.TopicsSet
	for _, d := range details {
		set.Add(d.Topic, d.Partitions.Numbers()...)
	}
	sizes, err := logSizes(ctx, adm, set)
	if err != nil {
		return err
	}
	var topics []describedTopic
	var tables []*table
	for _, d := range details {
		topic := describedTopic{Name: d.Topic, ID: topicID(d.ID), Internal: d.IsInternal, Configs: changedConfigs(configs, d.Topic)}
		for _, p := range d.Partitions.Sorted() {
			topic.Partitions = append(topic.Partitions, describePartition(p, starts, ends, sizes))
		}
		topics = append(topics, topic)
	}
	if err := addAges(ctx, client, topics); err != nil {
		return fmt.Errorf("look at the age of what is not sealed: %w", err)
	}
	for _, topic := range topics {
		tables = append(tables, topic.tables()...)
	}
	return errors.Join(missing, out.print(cmd, topics, tables...))
}

func describePartition(p kadm.PartitionDetail, starts, ends kadm.ListedOffsets, sizes map[kadm.Partition]logSize) describedPartition {
	d := describedPartition{
		Partition: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: p.Replicas, ISR: p.ISR,
		Start: offsetOf(starts, p), End: offsetOf(ends, p),
	}
	size := sizes[kadm.Partition{Topic: p.Topic, Partition: p.Partition}]
	d.HotBytes, d.SealedBytes, d.WALBytes, d.SealLag = size.hot, size.sealed, size.wal, size.lag
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

// addAges looks at the oldest record of each partition that is not sealed.
func addAges(ctx context.Context, client *clientFlags, topics []describedTopic) error {
	at := map[string]map[int32]kgo.Offset{}
	for _, t := range topics {
		for _, p := range t.Partitions {
			if p.SealLag == nil || *p.SealLag == 0 || p.End == nil || p.Start == nil {
				continue
			}
			if at[t.Name] == nil {
				at[t.Name] = map[int32]kgo.Offset{}
			}
			at[t.Name][p.Partition] = kgo.NewOffset().At(max(*p.Start, *p.End-*p.SealLag))
		}
	}
	times, err := recordTimes(ctx, client, at)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, t := range topics {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			if oldest, ok := times[kadm.Partition{Topic: t.Name, Partition: p.Partition}]; ok {
				ms := max(0, now.Sub(oldest).Milliseconds())
				p.SealLagAge = &ms
			}
		}
	}
	return nil
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
	partitions := newTable("PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "START", "END", "HOT", "SEALED", "WAL", "LAG", "AGE")
	partitions.title = fmt.Sprintf("Topic %s, id %s, %d partitions", t.Name, t.ID, len(t.Partitions))
	for _, p := range t.Partitions {
		leader := any(p.Leader)
		if p.Error != "" {
			leader = p.Error
		}
		partitions.add(p.Partition, leader, p.LeaderEpoch, joinInts(p.Replicas), joinInts(p.ISR), orDash(p.Start), orDash(p.End),
			orDash(p.HotBytes), orDash(p.SealedBytes), orDash(p.WALBytes), orDash(p.SealLag), age(p.SealLagAge))
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

// age is a number of milliseconds in whole seconds.
func age(ms *int64) string {
	if ms == nil {
		return "-"
	}
	return (time.Duration(*ms) * time.Millisecond).Round(time.Second).String()
}
