package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

type topicCreateFlags struct {
	partitions  int32
	replication int16
	configs     []string
	ifNotExists bool
	output      output
}

func newTopicCreate(client *clientFlags) *cobra.Command {
	var f topicCreateFlags
	cmd := &cobra.Command{
		Use:     "create NAME...",
		Short:   "Create topics",
		Example: "  forebay topic create events --partitions 6\n  forebay topic create orders returns --config cleanup.policy=compact --if-not-exists",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(cmd *cobra.Command, names []string) error { return runTopicCreate(cmd, client, f, names) },
	}
	flags := cmd.Flags()
	flags.Int32Var(&f.partitions, "partitions", -1, "number of partitions; -1 for the broker's num.partitions")
	flags.Int16Var(&f.replication, "replication-factor", -1, "number of replicas; -1 for the broker's default.replication.factor")
	flags.StringArrayVar(&f.configs, "config", nil, "topic config as name=value; may be repeated")
	flags.BoolVar(&f.ifNotExists, "if-not-exists", false, "a topic that exists is no error")
	f.output.register(flags)
	return cmd
}

// createdTopic is a topic in the output of topic create.
type createdTopic struct {
	Name              string `json:"name"`
	Created           bool   `json:"created"` // false: it was there
	ID                string `json:"id,omitempty"`
	Partitions        int32  `json:"partitions,omitempty"`
	ReplicationFactor int16  `json:"replication_factor,omitempty"`
}

func runTopicCreate(cmd *cobra.Command, client *clientFlags, f topicCreateFlags, names []string) error {
	configs, err := parseConfigs("--config", f.configs)
	if err != nil {
		return err
	}
	if f.partitions == 0 || f.partitions < -1 {
		return usageErrorf("--partitions %d: want at least 1", f.partitions)
	}
	if f.replication == 0 || f.replication < -1 {
		return usageErrorf("--replication-factor %d: want at least 1", f.replication)
	}
	return client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
		responses, err := adm.CreateTopics(ctx, f.partitions, f.replication, configs, names...)
		if err != nil {
			return fmt.Errorf("create topics: %w", err)
		}
		created := []createdTopic{}
		t := newTable("TOPIC", "PARTITIONS", "REPLICAS", "RESULT")
		var errs []error
		for _, name := range sortedKeys(responses) {
			r := responses[name]
			switch {
			case r.Err == nil:
				created = append(created, createdTopic{r.Topic, true, topicID(r.ID), r.NumPartitions, r.ReplicationFactor})
				t.add(r.Topic, r.NumPartitions, r.ReplicationFactor, "created")
			case f.ifNotExists && errors.Is(r.Err, kerr.TopicAlreadyExists):
				created = append(created, createdTopic{Name: r.Topic})
				t.add(r.Topic, "-", "-", "exists")
			default:
				errs = append(errs, fmt.Errorf("create topic %s: %w", r.Topic, kafkaError(r.Err, r.ErrMessage)))
			}
		}
		if len(created) > 0 {
			errs = append(errs, f.output.print(cmd, created, t))
		}
		return errors.Join(errs...)
	})
}
