package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

type topicAlterFlags struct {
	partitions int
	set        []string
	remove     []string
	dryRun     bool
}

func newTopicAlter(client *clientFlags) *cobra.Command {
	var f topicAlterFlags
	cmd := &cobra.Command{
		Use:     "alter NAME",
		Short:   "Change configs, or add partitions",
		Example: "  forebay topic alter events --partitions 12\n  forebay topic alter events --config retention.ms=86400000 --delete-config max.message.bytes",
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return runTopicAlter(cmd, client, f, args[0]) },
	}
	flags := cmd.Flags()
	flags.IntVar(&f.partitions, "partitions", 0, "new number of partitions, more than there are")
	flags.StringArrayVar(&f.set, "config", nil, "set a topic config, as name=value; may be repeated")
	flags.StringArrayVar(&f.remove, "delete-config", nil, "set a topic config back to its default; may be repeated")
	flags.BoolVar(&f.dryRun, "dry-run", false, "let the broker check the changes and change nothing")
	return cmd
}

func runTopicAlter(cmd *cobra.Command, client *clientFlags, f topicAlterFlags, name string) error {
	changes, err := configChanges(f.set, f.remove)
	if err != nil {
		return err
	}
	grow := cmd.Flags().Changed("partitions")
	if grow && f.partitions < 1 {
		return usageErrorf("--partitions %d: want at least 1", f.partitions)
	}
	if !grow && len(changes) == 0 {
		return usageErrorf("nothing to change: give --partitions, --config or --delete-config")
	}
	return client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
		if _, err := topicDetails(ctx, adm, name); err != nil {
			return err
		}
		if grow {
			if err := f.addPartitions(ctx, adm, name); err != nil {
				return fmt.Errorf("add partitions to topic %s: %w", name, err)
			}
		}
		if len(changes) > 0 {
			if err := f.alterConfigs(ctx, adm, name, changes); err != nil {
				return fmt.Errorf("alter configs of topic %s: %w", name, err)
			}
		}
		done := "Altered topic"
		if f.dryRun {
			done = "The broker would alter topic"
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s.\n", done, name)
		return err
	})
}

func (f topicAlterFlags) addPartitions(ctx context.Context, adm *kadm.Client, name string) error {
	update := adm.UpdatePartitions
	if f.dryRun {
		update = adm.ValidateUpdatePartitions
	}
	responses, err := update(ctx, f.partitions, name)
	if err != nil {
		return err
	}
	r, err := responses.On(name, nil)
	if err != nil {
		return err
	}
	return kafkaError(r.Err, r.ErrMessage)
}

func (f topicAlterFlags) alterConfigs(ctx context.Context, adm *kadm.Client, name string, changes []kadm.AlterConfig) error {
	alter := adm.AlterTopicConfigs
	if f.dryRun {
		alter = adm.ValidateAlterTopicConfigs
	}
	responses, err := alter(ctx, changes, name)
	if err != nil {
		return err
	}
	r, err := responses.On(name, nil)
	if err != nil {
		return err
	}
	return kafkaError(r.Err, r.ErrMessage)
}
