package broker

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/infra/metalog"
)

// TestChangesAreAudited: each change that a client asks for is in the metadata log with who asked, and what
// the broker does of itself, or refuses, is not.
func TestChangesAreAudited(t *testing.T) {
	cfg := testConfig()
	n := startNode(t, func(c *Config) { *c = cfg })
	cl := kadm.NewClient(n.kgo(kgo.ClientID("auditor")))
	ctx := t.Context()

	created, err := cl.CreateTopics(ctx, 2, 1, nil, "orders", "bills")
	require.NoError(t, err)
	require.NoError(t, created.Error())
	_, err = cl.CreateTopic(ctx, 1, 1, nil, "orders")
	require.Error(t, err)
	_, err = cl.ValidateCreateTopics(ctx, 1, 1, nil, "only")
	require.NoError(t, err)
	grown, err := cl.UpdatePartitions(ctx, 3, "orders")
	require.NoError(t, err)
	require.NoError(t, grown.Error())
	value := "1000"
	_, err = cl.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "retention.ms", Value: &value}}, "orders")
	require.NoError(t, err)
	deleted, err := cl.DeleteTopics(ctx, "bills")
	require.NoError(t, err)
	require.NoError(t, deleted.Error())

	slots, err := metalog.Slots(ctx, cfg.Metadata, 0, 0)
	require.NoError(t, err)
	var got []string
	for _, slot := range slots {
		for i, r := range slot.Records {
			a, ok := r.(metalog.Audited)
			if !ok {
				continue
			}
			require.Equal(t, "User:ANONYMOUS", a.By)
			require.Equal(t, "auditor", a.Via.Client)
			require.Equal(t, "127.0.0.1", a.Via.Address)
			require.Equal(t, 1, a.Records)
			require.NotZero(t, a.At)
			got = append(got, fmt.Sprintf("%s %s %s %T", a.Via.API, a.Action, a.Resource.Name, slot.Records[i+1]))
		}
	}
	require.ElementsMatch(t, []string{
		"CreateTopics topic.create orders metalog.TopicCreated", "CreateTopics topic.create bills metalog.TopicCreated",
		"CreatePartitions topic.grow orders metalog.PartitionsAdded",
		"IncrementalAlterConfigs config.alter orders metalog.ConfigChanged",
		"DeleteTopics topic.delete bills metalog.TopicDeleted",
	}, got)
}
