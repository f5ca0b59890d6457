package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/journal"
)

func newInspectSegment() *cobra.Command {
	var records bool
	var out output
	cmd := &cobra.Command{
		Use:     "segment FILE",
		Short:   "Show the frames of a hot segment, checked to the last byte",
		Example: "  forebay inspect segment forebay-data/hot/0000000000000001.hot\n  forebay inspect segment forebay-data/hot/0000000000000001.hot --records -o json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return besideFile(cmd, args[0], func(names topicNames) error {
				return inspectSegment(cmd, out, args[0], names, records)
			})
		},
	}
	cmd.Flags().BoolVar(&records, "records", false, "also show the records")
	out.register(cmd.Flags())
	return cmd
}

// shownSegment is the document of inspect segment.
type shownSegment struct {
	File    string        `json:"file"`
	Segment string        `json:"segment"`
	Cluster string        `json:"cluster"`
	Created int64         `json:"created"` // ms since 1970
	Size    int64         `json:"size"`
	Rolled  bool          `json:"rolled"` // it has a footer
	Frames  []shownFrame  `json:"frames"`
	Extents []shownExtent `json:"extents,omitempty"` // of the footer
	Damage  []shownDamage `json:"damage,omitempty"`
}

type shownFrame struct {
	Position     int64         `json:"position"`
	Length       int64         `json:"length"`
	Kind         string        `json:"kind"` // batch or footer
	Synced       int64         `json:"synced"`
	TopicID      string        `json:"topic_id,omitempty"`
	Topic        string        `json:"topic,omitempty"`
	Partition    *int32        `json:"partition,omitempty"`
	Base         *int64        `json:"base,omitempty"`
	Next         *int64        `json:"next,omitempty"`
	Epoch        *int32        `json:"epoch,omitempty"`
	MaxTimestamp *int64        `json:"max_timestamp,omitempty"`
	Codec        string        `json:"codec,omitempty"`
	Producer     *int64        `json:"producer,omitempty"`
	Records      []shownRecord `json:"records,omitempty"`
}

type shownExtent struct {
	TopicID   string `json:"topic_id"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	First     int64  `json:"first"`
	Next      int64  `json:"next"`
	Batches   int64  `json:"batches"`
	Bytes     int64  `json:"bytes"`
}

type shownDamage struct {
	Position int64  `json:"position"`
	Length   int64  `json:"length"`
	What     string `json:"what"`
}

func inspectSegment(cmd *cobra.Command, out output, file string, names topicNames, records bool) (err error) {
	r, err := journal.OpenSegment(vfs.OS(), file)
	if errors.Is(err, journal.ErrCorrupt) {
		return damaged(err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	doc := shownSegment{File: file, Segment: r.ID.String(), Cluster: r.Cluster, Created: r.Created.UnixMilli(), Size: r.Size, Frames: []shownFrame{}}
	frames := newTable("POSITION", "LENGTH", "PARTITION", "BASE", "NEXT", "EPOCH", "MAX TIME", "CODEC")
	tables := []*table{frames}
	for f, err := range r.Frames() {
		var corrupt *journal.CorruptError
		switch {
		case errors.As(err, &corrupt):
			doc.Damage = append(doc.Damage, shownDamage{f.Position, f.Length, corrupt.What})
			frames.add(f.Position, f.Length, "DAMAGED: "+corrupt.What, "-", "-", "-", "-", "-")
			continue
		case err != nil:
			return err
		case f.Footer:
			doc.Rolled, doc.Extents = true, showExtents(f, names)
			doc.Frames = append(doc.Frames, shownFrame{Position: f.Position, Length: f.Length, Kind: "footer", Synced: f.Synced})
			frames.add(f.Position, f.Length, "footer", "-", "-", "-", "-", "-")
			continue
		}
		shown := showFrame(f, names)
		if records {
			if shown.Records, err = showRecords(f.Batch); err != nil {
				doc.Damage = append(doc.Damage, shownDamage{f.Position, f.Length, err.Error()})
			}
			tables = append(tables, recordTable(fmt.Sprintf("%s at %d", names.partition(f.Partition), f.Position), shown.Records))
		}
		doc.Frames = append(doc.Frames, shown)
		frames.add(f.Position, f.Length, names.partition(f.Partition), f.Entry.Base, f.Entry.Next, f.Entry.Epoch, showMillis(f.Entry.MaxTimestamp), shown.Codec)
	}
	frames.title = fmt.Sprintf("Hot segment %s of cluster %s, created %s, %d bytes, rolled: %t", doc.Segment, doc.Cluster, showMillis(doc.Created), doc.Size, doc.Rolled)
	if err := out.print(cmd, doc, tables...); err != nil || len(doc.Damage) == 0 {
		return err
	}
	return damaged(fmt.Errorf("%s is damaged in %d places, the first at %d: %s", file, len(doc.Damage), doc.Damage[0].Position, doc.Damage[0].What))
}

func showFrame(f journal.Frame, names topicNames) shownFrame {
	base, next, epoch := int64(f.Entry.Base), int64(f.Entry.Next), int32(f.Entry.Epoch)
	shown := shownFrame{
		Position: f.Position, Length: f.Length, Kind: "batch", Synced: f.Synced,
		TopicID: f.Partition.Topic.String(), Topic: names.topic(f.Partition.Topic), Partition: &f.Partition.Index,
		Base: &base, Next: &next, Epoch: &epoch, MaxTimestamp: &f.Entry.MaxTimestamp, Codec: f.Batch.Codec().String(),
	}
	if producer := int64(f.Batch.ProducerID()); producer >= 0 {
		shown.Producer = &producer
	}
	return shown
}

func showExtents(f journal.Frame, names topicNames) []shownExtent {
	extents := []shownExtent{}
	for p, e := range f.Extents {
		extents = append(extents, shownExtent{p.Topic.String(), names.topic(p.Topic), p.Index, int64(e.First), int64(e.Next), e.Batches, e.Bytes})
	}
	return extents
}
