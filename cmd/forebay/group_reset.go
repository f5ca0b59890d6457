package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

type groupResetFlags struct {
	topics    []string
	allTopics bool
	execute   bool
	output    output
	target    resetTarget
}

func newGroupReset(client *clientFlags) *cobra.Command {
	var f groupResetFlags
	cmd := &cobra.Command{
		Use:   "reset NAME",
		Short: "Move the committed offsets of a group without members",
		Long: `Move the committed offsets of a group without members.

What would be done is printed; --execute does it. An offset outside of a partition is
moved to the nearest one inside.

The file of --from-file is the CSV of Kafka's kafka-consumer-groups --export: lines of
topic,partition,offset, or of group,topic,partition,offset, of which those of the group count.`,
		Example: `  forebay group reset billing --topic orders --to-earliest
  forebay group reset billing --topic orders:0,2 --shift-by -100 --execute
  forebay group reset billing --all-topics --by-duration PT1H30M
  forebay group reset billing --topic orders --to-datetime 2026-01-31T12:00:00Z --execute
  forebay group reset billing --from-file offsets.csv --execute`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runGroupReset(cmd, client, f, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.topics, "topic", nil, "topic to reset, or topic:0,1,2 for some of its partitions; may be repeated")
	flags.BoolVar(&f.allTopics, "all-topics", false, "reset all topics that the group has committed offsets of")
	flags.BoolVar(&f.execute, "execute", false, "do it; without it, nothing is changed")
	f.target.register(flags)
	f.output.register(flags)
	return cmd
}

// resetRow is a partition in the output of group reset.
type resetRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed *int64 `json:"committed"` // null: nothing was committed
	New       int64  `json:"new"`
}

// resetDocument is the output of group reset.
type resetDocument struct {
	Group      string     `json:"group"`
	Executed   bool       `json:"executed"`
	Partitions []resetRow `json:"partitions"`
}

func runGroupReset(cmd *cobra.Command, client *clientFlags, f groupResetFlags, group string) error {
	if err := f.target.parse(cmd.Flags(), group, time.Now()); err != nil {
		return err
	}
	selection, err := f.selection()
	if err != nil {
		return err
	}
	return client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
		rows, err := planReset(ctx, adm, group, selection, &f.target)
		if err != nil {
			return err
		}
		if f.execute {
			if err := commitReset(ctx, adm, group, rows); err != nil {
				return err
			}
		}
		t := newTable("TOPIC", "PARTITION", "COMMITTED", "NEW")
		for _, r := range rows {
			t.add(r.Topic, r.Partition, orDash(r.Committed), r.New)
		}
		if t.title = "Group " + group + ", reset:"; !f.execute {
			t.title = "Group " + group + ", not changed; --execute would set:"
		}
		return f.output.print(cmd, resetDocument{group, f.execute, rows}, t)
	})
}

// selection is what is to be reset: what the file says, or else the flags.
func (f *groupResetFlags) selection() (map[string][]int32, error) {
	some := f.allTopics || len(f.topics) > 0
	switch {
	case f.target.plan != nil && some:
		return nil, usageErrorf("--from-file says which partitions: give no --topic and no --all-topics")
	case f.target.plan != nil:
		return f.target.plan.selection(), nil
	case !some, f.allTopics && len(f.topics) > 0:
		return nil, usageErrorf("give --topic or --all-topics")
	}
	return parseSelection(f.topics)
}

// parseSelection reads topic and topic:0,1,2. No partitions means all.
func parseSelection(texts []string) (map[string][]int32, error) {
	selection := make(map[string][]int32)
	for _, text := range texts {
		topic, list, some := strings.Cut(text, ":")
		if topic == "" {
			return nil, usageErrorf("--topic %q: no topic", text)
		}
		if _, twice := selection[topic]; twice {
			return nil, usageErrorf("--topic: %s is given twice", topic)
		}
		selection[topic] = nil
		if !some {
			continue
		}
		for part := range strings.SplitSeq(list, ",") {
			n, err := strconv.ParseInt(part, 10, 32)
			if err != nil || n < 0 {
				return nil, usageErrorf("--topic %q: %q is no partition", text, part)
			}
			selection[topic] = append(selection[topic], int32(n))
		}
	}
	return selection, nil
}

// planReset works out the new offsets. An empty selection is all that the group has committed.
func planReset(ctx context.Context, adm *kadm.Client, group string, selection map[string][]int32, target *resetTarget) ([]resetRow, error) {
	if err := checkEmpty(ctx, adm, group); err != nil {
		return nil, err
	}
	committed, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return nil, fmt.Errorf("fetch offsets of group %s: %w", group, err)
	}
	if len(selection) == 0 {
		committed.Each(func(o kadm.OffsetResponse) { selection[o.Topic] = append(selection[o.Topic], o.Partition) })
	}
	if len(selection) == 0 {
		return nil, fmt.Errorf("group %s has committed nothing; name the topics with --topic", group)
	}
	topics := sortedKeys(selection)
	details, err := topicDetails(ctx, adm, topics...)
	if err != nil {
		return nil, err
	}
	offsets, err := target.list(ctx, adm, topics)
	if err != nil {
		return nil, err
	}
	rows := []resetRow{}
	for _, d := range details {
		wanted := slices.Sorted(slices.Values(selection[d.Topic]))
		if wanted == nil {
			wanted = d.Partitions.Numbers()
		}
		for _, index := range slices.Compact(wanted) {
			row := resetRow{Topic: d.Topic, Partition: index}
			if o, ok := committed.Lookup(d.Topic, index); ok && o.At >= 0 {
				row.Committed = &o.At
			}
			if row.New, err = target.place(offsets, partition{d.Topic, index}, row.Committed); err != nil {
				return nil, err
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func commitReset(ctx context.Context, adm *kadm.Client, group string, rows []resetRow) error {
	var offsets kadm.Offsets
	for _, r := range rows {
		offsets.AddOffset(r.Topic, r.Partition, r.New, -1)
	}
	if err := adm.CommitAllOffsets(ctx, group, offsets); err != nil {
		return fmt.Errorf("commit offsets of group %s: %w", group, err)
	}
	return nil
}

// checkEmpty refuses a group with members, for they would not notice.
func checkEmpty(ctx context.Context, adm *kadm.Client, group string) error {
	groups, err := adm.DescribeGroups(ctx, group)
	if err != nil {
		return fmt.Errorf("describe group %s: %w", group, err)
	}
	g := groups[group]
	switch {
	case errors.Is(g.Err, kerr.GroupIDNotFound):
		return nil // it begins with what is committed now
	case g.Err != nil:
		return fmt.Errorf("describe group %s: %w", group, g.Err)
	case len(g.Members) > 0:
		return fmt.Errorf("group %s is %s with %d members; stop them first", group, g.State, len(g.Members))
	}
	return nil
}
