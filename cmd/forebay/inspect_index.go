package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/broker"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/journal"
)

func newInspectIndex() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "index DIR",
		Short: "Show the entries of the index of the hot segments",
		Long: `Show the entries of the index of the hot segments. DIR is the index or the data
directory that it is in. The index is derived: without it, or if it is damaged, the
broker makes it anew from the hot segments.`,
		Example: "  forebay inspect index forebay-data",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := args[0]
			if inside := filepath.Join(dir, broker.IndexDir); isDir(inside) {
				dir = inside
			}
			return besideFile(cmd, dir, func(names topicNames) error { return inspectIndex(cmd, out, dir, names) })
		},
	}
	out.register(cmd.Flags())
	return cmd
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// shownEntry is an entry in the output of inspect index.
type shownEntry struct {
	TopicID      string `json:"topic_id"`
	Topic        string `json:"topic"`
	Partition    int32  `json:"partition"`
	Base         int64  `json:"base"`
	Next         int64  `json:"next"`
	Segment      string `json:"segment"`
	Position     int64  `json:"position"`
	Length       int32  `json:"length"`
	Epoch        int32  `json:"epoch"`
	MaxTimestamp int64  `json:"max_timestamp"`
}

func inspectIndex(cmd *cobra.Command, out output, dir string, names topicNames) error {
	entries := []shownEntry{}
	t := newTable("PARTITION", "BASE", "NEXT", "SEGMENT", "POSITION", "LENGTH", "EPOCH", "MAX TIME")
	err := journal.InspectIndex(dir, func(p id.Partition, e journal.Entry) error {
		entries = append(entries, shownEntry{
			p.Topic.String(), names.topic(p.Topic), p.Index, int64(e.Base), int64(e.Next), e.Segment.String(), e.Pos, e.Length, int32(e.Epoch), e.MaxTimestamp,
		})
		t.add(names.partition(p), e.Base, e.Next, e.Segment, e.Pos, e.Length, e.Epoch, showMillis(e.MaxTimestamp))
		return nil
	})
	if err != nil {
		return damaged(fmt.Errorf("%w; the broker makes the index anew when it starts", err))
	}
	return out.print(cmd, entries, t)
}
