package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/tiering/pack"
)

func newInspectPack() *cobra.Command {
	var records bool
	var out output
	cmd := &cobra.Command{
		Use:     "pack FILE",
		Short:   "Show the runs of a pack",
		Long:    "Show the runs of a pack, from its footer. With --records every batch is read and checked.",
		Example: "  forebay inspect pack forebay-data/objects/packs.d/2026.d/01.d/31.d/1-1769860800000-abcdefghijklmnop.pack",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return besideFile(cmd, args[0], func(names topicNames) error {
				return inspectPack(cmd, out, args[0], names, records)
			})
		},
	}
	cmd.Flags().BoolVar(&records, "records", false, "also show the records")
	out.register(cmd.Flags())
	return cmd
}

// shownPack is the document of inspect pack.
type shownPack struct {
	File    string     `json:"file"`
	Cluster string     `json:"cluster"`
	Session string     `json:"session,omitempty"`
	Node    int32      `json:"node"`
	Created int64      `json:"created"` // ms since 1970
	Size    int64      `json:"size"`
	Runs    []shownRun `json:"runs"`
}

type shownRun struct {
	TopicID      string        `json:"topic_id"`
	Topic        string        `json:"topic"`
	Partition    int32         `json:"partition"`
	Base         int64         `json:"base"`
	Next         int64         `json:"next"`
	Position     int64         `json:"position"`
	Length       int64         `json:"length"`
	Count        int64         `json:"record_count"`
	MaxTimestamp int64         `json:"max_timestamp"`
	Epochs       []shownEpoch  `json:"epochs"`
	CRC          string        `json:"crc32c"`
	IndexEntries int           `json:"index_entries"`
	Producers    int           `json:"producers"`
	Aborted      int           `json:"aborted_transactions"`
	Records      []shownRecord `json:"records,omitempty"`
}

type shownEpoch struct {
	Epoch int32 `json:"epoch"`
	Start int64 `json:"start"`
}

// fileRange is an open file as a pack.RangeReader.
type fileRange struct{ *os.File }

func (f fileRange) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	return f.File.ReadAt(p, off)
}

func inspectPack(cmd *cobra.Command, out output, file string, names topicNames, records bool) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	footer, err := pack.ReadFooter(cmd.Context(), fileRange{f}, info.Size())
	if errors.Is(err, pack.ErrCorrupt) {
		return damaged(fmt.Errorf("%s: %w", file, err))
	}
	if err != nil {
		return err
	}
	doc := shownPack{file, footer.Cluster, footer.Session, int32(footer.Node), footer.Created.UnixMilli(), info.Size(), []shownRun{}}
	runs := newRunTable(fmt.Sprintf("Pack of cluster %s, node %d, created %s, %d bytes, %d runs", doc.Cluster, doc.Node, showMillis(doc.Created), doc.Size, len(footer.Runs)))
	tables := []*table{runs}
	var found []error
	for i := range footer.Runs {
		r := &footer.Runs[i]
		shown := showRun(r, names)
		if records {
			if shown.Records, err = runRecords(f, r); err != nil {
				found = append(found, fmt.Errorf("%s: run of %s at %d: %w", file, names.partition(r.Partition), r.Pos, err))
			}
			tables = append(tables, recordTable(names.partition(r.Partition), shown.Records))
		}
		doc.Runs = append(doc.Runs, shown)
		addRun(runs, names, r)
	}
	return errors.Join(out.print(cmd, doc, tables...), damaged(errors.Join(found...)))
}

func newRunTable(title string) *table {
	t := newTable("PARTITION", "BASE", "NEXT", "RECORDS", "POSITION", "LENGTH", "EPOCHS", "MAX TIME")
	t.title = title
	return t
}

func addRun(t *table, names topicNames, r *pack.Run) {
	t.add(names.partition(r.Partition), r.Base, r.Next, r.Records, r.Pos, r.Length, len(r.Epochs), showMillis(r.MaxTimestamp))
}

func showRun(r *pack.Run, names topicNames) shownRun {
	shown := shownRun{
		TopicID: r.Partition.Topic.String(), Topic: names.topic(r.Partition.Topic), Partition: r.Partition.Index,
		Base: int64(r.Base), Next: int64(r.Next), Position: r.Pos, Length: r.Length, Count: r.Records, MaxTimestamp: r.MaxTimestamp,
		CRC: fmt.Sprintf("%08x", r.CRC), IndexEntries: len(r.Index), Producers: len(r.Producers), Aborted: len(r.Aborted),
	}
	for _, e := range r.Epochs {
		shown.Epochs = append(shown.Epochs, shownEpoch{int32(e.Epoch), int64(e.Start)})
	}
	return shown
}

// runRecords reads a run whole.
func runRecords(f *os.File, r *pack.Run) ([]shownRecord, error) {
	b := make([]byte, r.Length)
	if _, err := f.ReadAt(b, r.Pos); err != nil {
		return nil, err
	}
	var all []shownRecord
	for v, err := range batches(b) {
		if err != nil {
			return all, err
		}
		records, err := showRecords(v)
		all = append(all, records...)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}
