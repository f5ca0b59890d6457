package maintenance

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/tiering/wal"
)

// newBrokers returns the stores of a cluster in which both brokers have a session and lead one partition each, with
// the session of each. Nobody renews that of the second, and that of the first only if it lives.
func newBrokers(t *testing.T, lives bool) (cfg Config, sessions map[id.Broker]id.Session, one *session.Session) {
	t.Helper()
	cfg = Config{Metadata: kv.NewMem(), Objects: objstore.NewMem()}
	sessions = map[id.Broker]id.Session{}
	records := []metalog.Record{metalog.TopicCreated{
		Name: "t", ID: topic, ReplicationFactor: 2,
		Partitions: []metalog.Assignment{{Leader: 1, Replicas: []id.Broker{1, 2}}, {Leader: 2, Replicas: []id.Broker{2, 1}}},
	}}
	for node := id.Broker(1); node <= 2; node++ {
		s, err := session.Open(t.Context(), session.Config{Store: cfg.Metadata, Node: node})
		require.NoError(t, err)
		sessions[node] = s.ID()
		records = append(records, metalog.BrokerRegistered{ID: node, Incarnation: s.ID()})
		if node == 1 && lives {
			one = s
			continue
		}
		abandoned, cancel := context.WithCancel(context.Background())
		cancel()
		require.Error(t, s.Close(abandoned), "its item is left behind")
	}
	meta, err := metalog.Open(t.Context(), metalog.Options{Store: cfg.Metadata, Objects: cfg.Objects})
	require.NoError(t, err)
	_, err = meta.Update(t.Context(), func(*metalog.Image) ([]metalog.Record, error) { return records, nil })
	require.NoError(t, err)
	require.NoError(t, meta.Close(t.Context()))
	return cfg, sessions, one
}

func imageOf(t *testing.T, cfg Config) *metalog.Image {
	t.Helper()
	img, err := metalog.Load(t.Context(), cfg.Metadata, cfg.Objects)
	require.NoError(t, err)
	return img
}

func sweepOnce(t *testing.T, cfg Config) Swept {
	t.Helper()
	r, err := New(cfg, Sweep).Handle(t.Context(), Request{})
	require.NoError(t, err)
	require.True(t, r.Complete)
	swept, ok := r.Result.(Swept)
	require.True(t, ok)
	return swept
}

// TestSweepHandsOver: of several sweeps at once one relieves the dead broker, and its stream is fenced before.
func TestSweepHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, sessions, one := newBrokers(t, true)
		var all [3]Swept
		var sweeps sync.WaitGroup
		for i := range all {
			sweeps.Go(func() { all[i] = sweepOnce(t, cfg) })
		}
		sweeps.Wait()
		partitions := 0
		for _, s := range all {
			require.Equal(t, 1, s.Alive)
			partitions += s.Partitions
		}
		require.Equal(t, 1, partitions)
		img := imageOf(t, cfg)
		to, _ := img.Topic("t")
		require.Equal(t, []id.Broker{1, 1}, []id.Broker{to.Partitions[0].Leader, to.Partitions[1].Leader})
		require.Nil(t, to.Partitions[1].Tails, "released: nothing was in its stream")
		two, _ := img.Broker(2)
		require.True(t, two.Fenced)
		_, open := img.Stream(sessions[2])
		require.False(t, open)
		last, ok, err := wal.Slots(cfg.Metadata, sessions[2]).Last(t.Context())
		require.NoError(t, err)
		require.True(t, ok)
		slot, err := wal.DecodeSlot(last.Payload)
		require.NoError(t, err)
		require.NotNil(t, slot.Fence)
		require.Equal(t, Swept{Alive: 1}, sweepOnce(t, cfg), "the next finds it done")
		require.NoError(t, one.Close(t.Context()))
	})
}

// TestSweepAlone: with no broker alive all are fenced, and what each has led stays its own.
func TestSweepAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg, _, _ := newBrokers(t, false)
		require.Equal(t, Swept{Dead: 2, Released: 2}, sweepOnce(t, cfg))
		img := imageOf(t, cfg)
		to, _ := img.Topic("t")
		require.Equal(t, []id.Broker{1, 2}, []id.Broker{to.Partitions[0].Leader, to.Partitions[1].Leader})
		for _, b := range img.Brokers() {
			require.True(t, b.Fenced)
		}
	})
}
