package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/infra/id"
)

func newTopic() *cobra.Command {
	client := &clientFlags{}
	cmd := newNoun("topic", "Create, list, describe, alter and delete topics", "",
		newTopicCreate(client), newTopicList(client), newTopicDescribe(client), newTopicAlter(client), newTopicDelete(client))
	client.register(cmd.PersistentFlags())
	return cmd
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// topicID is a topic's id as the rest of Forebay prints it.
func topicID(t kadm.TopicID) string { return id.Topic(t).String() }

// topicDetails returns what is known of the topics, in the order asked for, and an
// error for those that do not exist.
func topicDetails(ctx context.Context, adm *kadm.Client, names ...string) ([]kadm.TopicDetail, error) {
	all, err := adm.ListTopicsWithInternal(ctx, names...)
	if err != nil {
		return nil, err
	}
	var details []kadm.TopicDetail
	var errs []error
	for _, name := range names {
		t := all[name]
		switch {
		case errors.Is(t.Err, kerr.UnknownTopicOrPartition):
			errs = append(errs, fmt.Errorf("topic %s does not exist", name))
		case t.Err != nil:
			errs = append(errs, fmt.Errorf("topic %s: %w", name, t.Err))
		default:
			details = append(details, t)
		}
	}
	return details, errors.Join(errs...)
}
