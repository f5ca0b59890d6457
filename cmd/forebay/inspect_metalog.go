package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
)

func newInspectMetalog() *cobra.Command {
	var out output
	var from source
	cmd := &cobra.Command{
		Use:   "metalog",
		Short: "Show the records of the metadata log",
		Long: `Show the records of the metadata log, from the oldest slot that there still is; what
was before is in a snapshot.`,
		Example: "  forebay inspect metalog --dir forebay-data -o json | jq '.slots[].records[]'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return from.with(cmd, func(ctx context.Context, d *dataDir) error { return inspectMetalog(ctx, cmd, out, d) })
		},
	}
	from.register(cmd)
	out.register(cmd.Flags())
	return cmd
}

// shownMetalog is the document of inspect metalog.
type shownMetalog struct {
	Cluster    string      `json:"cluster"`
	Version    uint64      `json:"version"`
	Topics     int         `json:"topics"`
	Partitions int         `json:"partitions"`
	Brokers    int         `json:"brokers"`
	Ignored    uint64      `json:"ignored"` // records that did not apply
	Slots      []shownSlot `json:"slots"`
}

type shownSlot struct {
	Slot    uint64       `json:"slot"`
	Records []shownEvent `json:"records"`
}

type shownEvent struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

func inspectMetalog(ctx context.Context, cmd *cobra.Command, out output, d *dataDir) error {
	image, err := metalog.Load(ctx, d.control, d.objects)
	if err != nil {
		return metalogError(err)
	}
	slots, readErr := metalog.Slots(ctx, d.control, 0, 0)
	doc := shownMetalog{Cluster: image.ClusterID(), Version: image.Version(), Topics: len(image.Topics()), Brokers: len(image.Brokers()), Ignored: image.Ignored(), Slots: []shownSlot{}}
	for _, t := range image.Topics() {
		doc.Partitions += len(t.Partitions)
	}
	t := newTable("SLOT", "TYPE", "DATA")
	t.title = fmt.Sprintf("Cluster %s, version %d, %d topics, %d partitions, %d brokers", doc.Cluster, doc.Version, doc.Topics, doc.Partitions, doc.Brokers)
	for _, s := range slots {
		slot := shownSlot{Slot: s.Seq}
		for _, r := range s.Records {
			event, err := showEvent(s.Seq, r)
			if err != nil {
				return err
			}
			slot.Records = append(slot.Records, event)
			t.add(s.Seq, event.Type, string(event.Data))
		}
		doc.Slots = append(doc.Slots, slot)
	}
	return errors.Join(out.print(cmd, doc, t), metalogError(readErr))
}

// metalogError tells damage from a failure to read.
func metalogError(err error) error {
	if errors.Is(err, metalog.ErrCorrupt) || errors.Is(err, kv.ErrCorrupt) {
		return damaged(err)
	}
	return err
}
