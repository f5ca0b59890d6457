package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// newNoun returns a command that only holds others.
func newNoun(use, short, long string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Long: long}
	cmd.AddCommand(verbs...)
	return cmd
}

// finishTree makes mistakes in arguments usage errors, in cmd and all below it. A
// noun without a verb prints its help; one with an unknown verb is a mistake.
func finishTree(cmd *cobra.Command) {
	if args := cmd.Args; args != nil {
		cmd.Args = func(cmd *cobra.Command, given []string) error {
			if err := args(cmd, given); err != nil {
				return usageErrorf("%w", err)
			}
			return nil
		}
	}
	if !cmd.Runnable() {
		cmd.Args = unknownVerb
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	for _, sub := range cmd.Commands() {
		finishTree(sub)
	}
}

func unknownVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	hint := ""
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usageErrorf("unknown command %q for %q%s", args[0], cmd.CommandPath(), hint)
}
