package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/infra/metalog"
)

// auditFlags tell which changes are shown.
type auditFlags struct {
	since    string
	resource string
	by       string
}

func newAudit() *cobra.Command {
	var out output
	var from source
	var f auditFlags
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Show who changed what",
		Long: `Show the changes of topics, configs, brokers, features and group offsets that somebody asked for, in the
order in which they were made: by a Kafka client, by the admin API or by a function. They are read from the
metadata log and its archive, which is kept for forebay.audit.retention.ms (90 days).`,
		Example: `  forebay audit --object-store s3://bucket --metadata dynamodb://forebay --since 24h
  forebay audit --dir forebay-data --resource topic/orders -o json | jq '.changes[].by'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			since, err := parseSince(f.since, time.Now())
			if err != nil {
				return err
			}
			return from.with(cmd, func(ctx context.Context, d *dataDir) error { return showAudit(ctx, cmd, out, d, f, since) })
		},
	}
	from.register(cmd)
	cmd.Flags().StringVar(&f.since, "since", "", "only changes from then on: a duration such as 24h, or a time such as 2026-01-31T12:00:00Z")
	cmd.Flags().StringVar(&f.resource, "resource", "", "only changes of this resource, such as topic/orders, or of this type, such as topic")
	cmd.Flags().StringVar(&f.by, "by", "", "only changes that this principal asked for, such as User:alice")
	out.register(cmd.Flags())
	return cmd
}

// parseSince reads a time, or how long before now; the zero time if it is empty.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usageErrorf("--since %q: want a duration such as 24h, or a time such as 2026-01-31T12:00:00Z", text)
	}
	return t, nil
}

// shownAudit is the document of audit.
type shownAudit struct {
	Cluster string        `json:"cluster"`
	Changes []shownChange `json:"changes"`
}

type shownChange struct {
	Slot     uint64           `json:"slot"`
	Index    int              `json:"index"`
	At       time.Time        `json:"at"`
	By       string           `json:"by"`
	Via      metalog.Via      `json:"via"`
	Action   string           `json:"action"`
	Resource metalog.Resource `json:"resource"`
	Key      string           `json:"idempotency_key,omitempty"`
	Records  []shownEvent     `json:"records"`
}

// auditPage is how many slots are read at a time.
const auditPage = 1000

func showAudit(ctx context.Context, cmd *cobra.Command, out output, d *dataDir, f auditFlags, since time.Time) error {
	image, err := metalog.Load(ctx, d.control, d.objects)
	if err != nil {
		return metalogError(err)
	}
	doc := shownAudit{Cluster: image.ClusterID(), Changes: []shownChange{}}
	from, err := metalog.ArchivedSince(ctx, d.objects, since)
	if err != nil {
		return err
	}
	for more := true; more; {
		slots, err := metalog.History(ctx, d.control, d.objects, from, auditPage)
		if err != nil {
			return metalogError(err)
		}
		if more = len(slots) == auditPage; len(slots) > 0 {
			from = slots[len(slots)-1].Seq + 1
		}
		if err := doc.add(slots, f, since); err != nil {
			return err
		}
	}
	t := newTable("TIME", "BY", "ACTION", "RESOURCE", "VIA", "SLOT")
	for _, c := range doc.Changes {
		t.add(c.At.Format(time.RFC3339), c.By, c.Action, resourceText(c.Resource), viaText(c.Via), c.Slot)
	}
	return out.print(cmd, doc, t)
}

// add takes in what is asked for of slots.
func (doc *shownAudit) add(slots []metalog.Slot, f auditFlags, since time.Time) error {
	for _, s := range slots {
		for _, e := range s.Audit() {
			a := e.Audited
			if !f.match(a) || time.UnixMilli(a.At).Before(since) {
				continue
			}
			c := shownChange{
				Slot: e.Slot, Index: e.Index, At: time.UnixMilli(a.At).UTC(), By: a.By, Via: a.Via,
				Action: a.Action, Resource: a.Resource, Key: a.Key, Records: []shownEvent{},
			}
			for _, r := range e.Changes {
				event, err := showEvent(s.Seq, r)
				if err != nil {
					return err
				}
				c.Records = append(c.Records, event)
			}
			doc.Changes = append(doc.Changes, c)
		}
	}
	return nil
}

// match reports whether a change is asked for, whenever it was made.
func (f auditFlags) match(a metalog.Audited) bool {
	typ, name, named := strings.Cut(f.resource, "/")
	switch {
	case f.by != "" && a.By != f.by:
		return false
	case f.resource != "" && string(a.Resource.Type) != typ:
		return false
	}
	return !named || a.Resource.Name == name
}

func resourceText(r metalog.Resource) string {
	if r.Name == "" {
		return string(r.Type)
	}
	return string(r.Type) + "/" + r.Name
}

// viaText is how a request came, as far as is known.
func viaText(v metalog.Via) string {
	var parts []string
	for _, part := range []string{v.API, v.Client, v.Address} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, " ")
}

// showEvent is a record as the inspectors print it.
func showEvent(slot uint64, r metalog.Record) (shownEvent, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return shownEvent{}, fmt.Errorf("show slot %d: %w", slot, err)
	}
	return shownEvent{strings.TrimPrefix(fmt.Sprintf("%T", r), "metalog."), data}, nil
}
