package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func newTopicList(client *clientFlags) *cobra.Command {
	var internal bool
	var out output
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List topics",
		Example: "  forebay topic list\n  forebay topic list -o json | jq -r '.[].name'",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runTopicList(cmd, client, internal, out) },
	}
	cmd.Flags().BoolVar(&internal, "internal", false, "also list internal topics")
	out.register(cmd.Flags())
	return cmd
}

// listedTopic is a topic in the output of topic list.
type listedTopic struct {
	Name              string `json:"name"`
	ID                string `json:"id"`
	Partitions        int    `json:"partitions"`
	ReplicationFactor int    `json:"replication_factor"`
	Internal          bool   `json:"internal"`
}

func runTopicList(cmd *cobra.Command, client *clientFlags, internal bool, out output) error {
	return client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
		topics, err := adm.ListTopicsWithInternal(ctx)
		if err != nil {
			return fmt.Errorf("list topics: %w", err)
		}
		listed := []listedTopic{}
		t := newTable("TOPIC", "PARTITIONS", "REPLICAS")
		for _, d := range topics.Sorted() {
			if d.IsInternal && !internal {
				continue
			}
			replicas := d.Partitions.NumReplicas()
			listed = append(listed, listedTopic{d.Topic, topicID(d.ID), len(d.Partitions), replicas, d.IsInternal})
			t.add(d.Topic, len(d.Partitions), replicas)
		}
		return out.print(cmd, listed, t)
	})
}
