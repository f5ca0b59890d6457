package partition_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/wal"
)

// A partition that moves away while its log is about to be made gets none: nothing would
// close it before the metadata change again.
func TestGetWhileThePartitionMoves(t *testing.T) {
	p := id.Partition{Topic: topic}
	created := metalog.TopicCreated{Name: "events", ID: topic, Partitions: []metalog.Assignment{{Leader: node, Replicas: []id.Broker{node}}}}
	here := metalog.NewImage("test-cluster", created)
	away := metalog.NewImage("test-cluster", created, metalog.LeadersChanged{Changes: []metalog.LeaderChange{{Partition: p, Leader: node + 1, Epoch: 1}}})
	images := []*metalog.Image{here}
	var set *partition.Set
	set, err := partition.Open(context.Background(), partition.Config{
		Node: node, Logger: slog.New(slog.DiscardHandler),
		Streams: func(context.Context, id.Session, uint64) ([]wal.Object, error) { return nil, nil },
		Image: func() *metalog.Image {
			img := images[0]
			if len(images) > 1 { // the move comes after the first look
				images = images[1:]
				set.Apply(images[0])
			}
			return img
		},
	}, nil)
	require.NoError(t, err)
	defer set.Close()
	images = []*metalog.Image{here, away}
	_, ok := set.Get(p)
	require.False(t, ok)
	require.Zero(t, set.Len())
	images = []*metalog.Image{here}
	_, ok = set.Get(p)
	require.True(t, ok)
}
