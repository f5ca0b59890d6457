package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/chain"
)

func newInspectChain() *cobra.Command {
	var out output
	var from source
	var topic string
	cmd := &cobra.Command{
		Use:   "chain",
		Short: "Show the sealed segments of each partition",
		Example: `  forebay inspect chain --dir forebay-data --topic events
  forebay inspect chain --metadata dynamodb://my-log?region=eu-central-1 --object-store s3://my-log/prod?region=eu-central-1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return from.with(cmd, func(ctx context.Context, d *dataDir) error {
				return inspectChain(ctx, cmd, out, d, topic)
			})
		},
	}
	from.register(cmd)
	cmd.Flags().StringVar(&topic, "topic", "", "only this topic, by name or id")
	out.register(cmd.Flags())
	return cmd
}

func registerDir(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "dir", "./forebay-data", "data directory of the stopped broker")
}

// shownLink is a sealed segment in the output of inspect chain.
type shownLink struct {
	TopicID      string `json:"topic_id"`
	Topic        string `json:"topic"`
	Partition    int32  `json:"partition"`
	Base         int64  `json:"base"`
	Next         int64  `json:"next"`
	Records      int64  `json:"records"`
	Object       string `json:"object"`
	ObjectSize   int64  `json:"object_size"`
	Position     int64  `json:"position"`
	Length       int64  `json:"length"`
	FirstEpoch   int32  `json:"first_epoch"`
	LastEpoch    int32  `json:"last_epoch"`
	MaxTimestamp int64  `json:"max_timestamp"`
	Sealed       int64  `json:"sealed"`     // when, ms since 1970, 0 if that is not known
	CleanedTo    int64  `json:"cleaned_to"` // by compaction, 0 if never
	Rewritten    bool   `json:"rewritten"`
	Spare        bool   `json:"spare"` // it does not count any more, and is still to be collected
}

func inspectChain(ctx context.Context, cmd *cobra.Command, out output, d *dataDir, topic string) error {
	image, err := metalog.Load(ctx, d.control, d.objects)
	if err != nil {
		image = metalog.NewImage("")
	}
	names := namesOf(image)
	chains := chain.Open(d.control)
	partitions, err := chains.Partitions(ctx)
	if err != nil {
		return chainError(err)
	}
	links := []shownLink{}
	t := newTable("PARTITION", "BASE", "NEXT", "RECORDS", "OBJECT", "POSITION", "LENGTH", "EPOCHS", "MAX TIME", "STATE")
	var errs []error
	for _, p := range partitions {
		if topic != "" && names.topic(p.Topic) != topic && p.Topic.String() != topic {
			continue
		}
		items, err := chains.Items(ctx, p)
		if err != nil {
			errs = append(errs, chainError(err))
		}
		spare := spareOf(image, p, items)
		for _, s := range items {
			links = append(links, shownLink{
				p.Topic.String(), names.topic(p.Topic), p.Index, int64(s.Base), int64(s.Next), s.Records, s.Object, s.ObjectSize,
				s.Pos, s.Length, int32(s.FirstEpoch), int32(s.LastEpoch), s.MaxTimestamp, s.Sealed, int64(s.CleanedTo), s.Rewritten, spare[s.Base],
			})
			epochs := joinInts([]int32{int32(s.FirstEpoch), int32(s.LastEpoch)})
			t.add(names.partition(p), s.Base, s.Next, s.Records, s.Object, s.Pos, s.Length, epochs, showMillis(s.MaxTimestamp), segmentState(s.Segment, spare[s.Base]))
		}
	}
	return errors.Join(append(errs, out.print(cmd, links, t))...)
}

// spareOf tells which items of a chain do not count any more, by their base offsets. Of a chain
// with a gap all count.
func spareOf(image *metalog.Image, p id.Partition, items []chain.Item) map[id.Offset]bool {
	state, ok := image.Partition(p)
	if !ok && len(items) > 0 {
		state.Start = items[0].Base
	}
	_, spare, err := chain.Canonical(items, state.Start)
	if err != nil {
		return nil
	}
	set := make(map[id.Offset]bool, len(spare))
	for _, item := range spare {
		set[item.Base] = true
	}
	return set
}

// segmentState says in words what a segment has been through.
func segmentState(s chain.Segment, spare bool) string {
	var words []string
	if s.Rewritten {
		words = append(words, "rewritten")
	}
	if s.CleanedTo > 0 {
		words = append(words, fmt.Sprintf("cleaned to %d", s.CleanedTo))
	}
	if s.Empty() {
		words = append(words, "empty")
	}
	if spare {
		words = append(words, "spare")
	}
	return strings.Join(words, ", ")
}

// chainError tells damage from a failure to read.
func chainError(err error) error {
	if errors.Is(err, chain.ErrCorrupt) {
		return damaged(err)
	}
	return err
}
