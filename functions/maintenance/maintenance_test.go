package maintenance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/functions/internal/function"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
)

var topic = id.Topic{1, 2, 3}

// newStores returns the stores of a cluster with a topic of count partitions, each with two segments, the first
// of which is old.
func newStores(t *testing.T, count int) Config {
	t.Helper()
	cfg := Config{Metadata: kv.NewMem(), Objects: objstore.NewMem()}
	meta, err := metalog.Open(t.Context(), metalog.Options{Store: cfg.Metadata, Objects: cfg.Objects})
	require.NoError(t, err)
	states := make([]metalog.Assignment, count)
	for i := range states {
		states[i] = metalog.Assignment{Leader: 1, Replicas: []id.Broker{1}}
	}
	_, err = meta.Update(t.Context(), func(*metalog.Image) ([]metalog.Record, error) {
		return []metalog.Record{
			metalog.BrokerRegistered{ID: 1, Incarnation: "s"},
			metalog.TopicCreated{Name: "t", ID: topic, ReplicationFactor: 1, Partitions: states, Configs: map[string]string{"retention.ms": "3600000"}},
		}, nil
	})
	require.NoError(t, err)
	require.NoError(t, cfg.Objects.Put(t.Context(), "cluster-id", strings.NewReader(meta.Image().ClusterID())))
	require.NoError(t, meta.Close(t.Context()))
	chains := chain.Open(cfg.Metadata)
	for i := range count {
		segment := func(base int64, at time.Time) chain.Link {
			return chain.Link{Partition: id.Partition{Topic: topic, Index: int32(i)}, Segment: chain.Segment{
				Base: id.Offset(base), Next: id.Offset(base + 10), Object: "packs/x", ObjectSize: 100, Length: 50, Records: 10,
				MaxTimestamp: at.UnixMilli(), Sealed: at.UnixMilli(),
			}}
		}
		for _, err := range chains.Append(t.Context(), []chain.Link{segment(0, time.Now().Add(-2*time.Hour)), segment(10, time.Now())}) {
			require.NoError(t, err)
		}
	}
	return cfg
}

// starts are the log starts of the partitions.
func starts(t *testing.T, cfg Config) (all []id.Offset) {
	t.Helper()
	img, err := metalog.Load(t.Context(), cfg.Metadata, cfg.Objects)
	require.NoError(t, err)
	to, _ := img.TopicByID(topic)
	for _, p := range to.Partitions {
		all = append(all, p.Start)
	}
	return all
}

func TestRetention(t *testing.T) {
	cfg := newStores(t, 5)
	cfg.Group = 2
	for range 2 { // the second finds it done
		r, err := New(cfg, Retention).Handle(t.Context(), Request{})
		require.NoError(t, err)
		require.True(t, r.Complete)
		require.Equal(t, []int{5, 5}, []int{r.Partitions, r.Done})
		require.Equal(t, slices.Repeat([]id.Offset{10}, 5), starts(t, cfg))
	}
}

// TestSeveralAtOnce: nobody fails, and the work is done.
func TestSeveralAtOnce(t *testing.T) {
	cfg := newStores(t, 20)
	cfg.Group = 3
	errs := make([]error, 4)
	var calls sync.WaitGroup
	for i := range errs {
		calls.Go(func() { _, errs[i] = New(cfg, Retention).Handle(t.Context(), Request{}) })
	}
	calls.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Equal(t, slices.Repeat([]id.Offset{10}, 20), starts(t, cfg))
}

// TestDeadline: an invocation ends a safe time before its deadline, says how far it got, and the next goes on from there.
func TestDeadline(t *testing.T) {
	cfg := newStores(t, 10)
	cfg.Group = 1
	synctest.Test(t, func(t *testing.T) {
		seen := map[id.Partition]int{}
		slow := Task{name: "slow", result: counts, group: func(ctx context.Context, _ *work, ps []id.Partition) error {
			select {
			case <-time.After(20 * time.Second):
				seen[ps[0]]++
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		h := New(cfg, slow)
		var r Report
		for range 5 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			began := time.Now()
			var err error
			r, err = h.Handle(ctx, Request{From: r.Next})
			require.NoError(t, err)
			require.LessOrEqual(t, time.Since(began), 54*time.Second, "a tenth is left")
			require.Equal(t, 2, r.Done)
			require.False(t, r.Complete)
			require.NotEmpty(t, r.Next)
			cancel()
		}
		require.Len(t, seen, 10, "each was worked on once")
	})
}

// TestOneGroupFails: the others are worked on, and the invocation fails.
func TestOneGroupFails(t *testing.T) {
	cfg := newStores(t, 5)
	cfg.Group = 1
	boom := errors.New("boom")
	failing := Task{name: "failing", result: counts, group: func(_ context.Context, _ *work, ps []id.Partition) error {
		if ps[0].Index == 2 {
			return boom
		}
		return nil
	}}
	r, err := New(cfg, failing).Handle(t.Context(), Request{})
	require.ErrorIs(t, err, boom)
	require.Equal(t, 5, r.Done)
}

func TestRefused(t *testing.T) {
	_, err := New(Config{Metadata: kv.NewMem(), Objects: objstore.NewMem()}, Retention).Handle(t.Context(), Request{})
	require.ErrorIs(t, err, ErrNoCluster)
	_, err = New(newStores(t, 1), Retention).Handle(t.Context(), Request{From: "nonsense"})
	require.ErrorContains(t, err, "nonsense")
	p := id.Partition{Topic: id.NewTopic(), Index: 12}
	parsed, err := parsePartition(p.String())
	require.NoError(t, err)
	require.Equal(t, p, parsed)
}

// TestCollector: two looks, and what both found superfluous is gone.
func TestCollector(t *testing.T) {
	cfg := newStores(t, 2)
	cfg.Grace = 41 * time.Minute
	r, err := New(cfg, Collector).Handle(t.Context(), Request{})
	require.NoError(t, err)
	require.True(t, r.Complete)
	cfg.Grace = time.Minute
	_, err = New(cfg, Collector).Handle(t.Context(), Request{})
	require.ErrorContains(t, err, "grace", "too short for a cluster that lives")
}

func TestOpen(t *testing.T) {
	for want, env := range map[string]map[string]string{
		EnvObjects:            {},
		EnvMemory:             {EnvMemory: "-1"},
		EnvGrace:              {EnvGrace: "soon"},
		"open " + EnvMetadata: {EnvObjects: "mem://", EnvMetadata: "bolt:///x"},
	} {
		_, err := Retention.Open(t.Context(), function.NewEnv(func(name string) string { return env[name] }), slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, want)
	}
	for want, env := range map[int64]map[string]string{0: {}, 1 << 30: {envLambda: "2048"}, 77: {EnvMemory: "77", envLambda: "2048"}} {
		require.Equal(t, want, memory(function.NewEnv(func(name string) string { return env[name] })), fmt.Sprint(env))
	}
}
