package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func newGroup() *cobra.Command {
	client := &clientFlags{}
	cmd := newNoun("group", "List, describe, reset and delete consumer groups", "",
		newGroupList(client), newGroupDescribe(client), newGroupReset(client), newGroupDelete(client))
	client.register(cmd.PersistentFlags())
	return cmd
}

func newGroupList(client *clientFlags) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List consumer groups",
		Example: "  forebay group list\n  forebay group list -o json | jq -r '.[].group'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				return runGroupList(ctx, cmd, adm, out)
			})
		},
	}
	out.register(cmd.Flags())
	return cmd
}

// listedGroup is a group in the output of group list.
type listedGroup struct {
	Group        string `json:"group"`
	State        string `json:"state"`
	ProtocolType string `json:"protocol_type"`
	Coordinator  int32  `json:"coordinator"`
}

func runGroupList(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, out output) error {
	groups, err := adm.ListGroups(ctx)
	if err != nil {
		return fmt.Errorf("list groups: %w", err)
	}
	listed := []listedGroup{}
	t := newTable("GROUP", "STATE", "TYPE", "COORDINATOR")
	for _, g := range groups.Sorted() {
		listed = append(listed, listedGroup{g.Group, g.State, g.ProtocolType, g.Coordinator})
		t.add(g.Group, g.State, g.ProtocolType, g.Coordinator)
	}
	return out.print(cmd, listed, t)
}

func newGroupDelete(client *clientFlags) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:     "delete NAME...",
		Short:   "Delete groups without members, and their committed offsets",
		Example: "  forebay group delete billing\n  forebay group delete test-1 test-2 --yes",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := confirm(cmd, yes, fmt.Sprintf("Delete the groups %q with all their committed offsets?", names)); err != nil {
				return err
			}
			return client.withAdmin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				return runGroupDelete(ctx, cmd, adm, names)
			})
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func runGroupDelete(ctx context.Context, cmd *cobra.Command, adm *kadm.Client, names []string) error {
	responses, err := adm.DeleteGroups(ctx, names...)
	if err != nil && len(responses) == 0 {
		return fmt.Errorf("delete groups: %w", err)
	}
	var errs []error
	for _, r := range responses.Sorted() {
		if r.Err != nil {
			errs = append(errs, fmt.Errorf("delete group %s: %w", r.Group, r.Err))
			continue
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Deleted group %s.\n", r.Group)
	}
	return errors.Join(errs...)
}
