package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func newTopicDelete(client *clientFlags) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:     "delete NAME...",
		Short:   "Delete topics with all their records",
		Example: "  forebay topic delete events\n  forebay topic delete old-1 old-2 --yes",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := confirm(cmd, yes, "Delete the topics "+strings.Join(names, ", ")+" with all their records?"); err != nil {
				return err
			}
			return client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				return runTopicDelete(ctx, cmd, adm, names)
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func runTopicDelete(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, names []string) error {
	if _, err := topicDetails(ctx, adm, names...); err != nil {
		return fmt.Errorf("nothing was deleted: %w", err)
	}
	responses, err := adm.DeleteTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("delete topics: %w", err)
	}
	var errs []error
	for _, name := range sortedKeys(responses) {
		r := responses[name]
		if r.Err != nil {
			errs = append(errs, fmt.Errorf("delete topic %s: %w", r.Topic, kafkaError(r.Err, r.ErrMessage)))
			continue
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Deleted topic %s.\n", r.Topic)
	}
	return errors.Join(errs...)
}
