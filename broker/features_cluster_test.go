package broker

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
)

// upTo stands for a release that supports levels of the metadata up to most.
func upTo(most int16) func(*Config) { return func(cfg *Config) { cfg.MaxLevel = most } }

// raiseLevel asks a broker to raise the metadata to level 2.
func (c *testCluster) raiseLevel(m *member) *kmsg.UpdateFeaturesResponse {
	update := kmsg.UpdateFeaturesRequestFeatureUpdate{Feature: metalog.LevelFeature, MaxVersionLevel: 2, UpgradeType: int8(admin.UpgradeOnly)}
	return c.asNode(m).updateFeature(2, update, false)
}

func (c *testCluster) audits() int {
	slots, err := metalog.History(c.t.Context(), c.table, c.objects, 1, 0)
	require.NoError(c.t, err)
	n := 0
	for _, s := range slots {
		n += len(s.Audit())
	}
	return n
}

// TestUpgrade: brokers are replaced one after the other, and then the level is raised; not before.
func TestUpgrade(t *testing.T) {
	c := newTestCluster(t)
	one, two := c.start(1, upTo(1)), c.start(2)
	require.EqualValues(t, 1, c.image().Level())
	c.createTopic("before", 2, 1)
	require.Zero(t, c.audits())

	resp := c.raiseLevel(two)
	require.Equal(t, kerr.InvalidUpdateVersion, errorOf(resp.ErrorCode))
	require.Contains(t, *resp.ErrorMessage, "broker 1")
	require.Contains(t, *resp.ErrorMessage, "supports levels 1 to 1")
	require.Equal(t, kerr.InvalidUpdateVersion, errorOf(c.raiseLevel(one).ErrorCode), "nor does it raise the level itself")

	c.stop(one)
	one = c.start(1)
	require.Zero(t, c.raiseLevel(one).ErrorCode)
	require.EqualValues(t, 2, c.image().Level())
	eventually(t, "all know the level", func() bool { return two.meta.Image().Level() == 2 && one.meta.Image().Level() == 2 })
	require.Equal(t, 1, c.audits())
	c.createTopic("after", 1, 1)
	require.Equal(t, 2, c.audits())

	err := c.open(&member{}, 3, upTo(1))
	require.ErrorIs(t, err, metalog.ErrNewer)
	require.ErrorContains(t, err, "this one supports levels up to 1")
}

// TestRaiseWhileABrokerStarts: of a broker and of a change of the level that it does not support one
// comes first, and the other is refused.
func TestRaiseWhileABrokerStarts(t *testing.T) {
	for name, race := range map[string]struct {
		part    string // of the table: at the first write there the level is raised
		refused bool   // the change, and not the broker
	}{
		"before its session":          {part: "sessions"},
		"between session and its log": {part: "slot/metalog", refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newTestCluster(t)
			founder := c.start(1, upTo(1))
			c.stop(founder)
			one := c.start(1)
			late := &member{}
			var raised *kmsg.UpdateFeaturesResponse
			var once sync.Once
			faults := func(op kv.Op) kv.Fault {
				if op.Kind == kv.OpWrite && strings.HasPrefix(op.Key.Part, race.part) {
					once.Do(func() { raised = c.raiseLevel(one) })
				}
				return kv.FaultNone
			}
			late.table.Store(&faults)
			err := c.open(late, 2, upTo(1))
			require.NotNil(t, raised)
			if race.refused {
				require.NoError(t, err)
				require.Equal(t, kerr.InvalidUpdateVersion, errorOf(raised.ErrorCode))
				require.EqualValues(t, 1, c.image().Level())
				return
			}
			require.Zero(t, raised.ErrorCode)
			require.ErrorIs(t, err, metalog.ErrNewer)
			eventually(t, "its session has ended", func() bool {
				items, err := c.table.Query(t.Context(), "sessions", kv.Range{})
				return err == nil && len(items) == 1
			})
		})
	}
}

// TestBrokerBelowTheLevelEndsItself: a broker that meets a level which it does not support cannot follow any more, so it
// ends, and others take over what it led.
func TestBrokerBelowTheLevelEndsItself(t *testing.T) {
	c := newTestCluster(t)
	old := c.start(1, upTo(1))
	c.createTopic("t", 1, 1)
	c.awaitServing("t", 0, 1)
	c.start(2)
	forced, err := metalog.Open(t.Context(), metalog.Options{Store: c.table, Objects: c.objects})
	require.NoError(t, err)
	_, err = forced.Update(t.Context(), func(*metalog.Image) ([]metalog.Record, error) {
		return []metalog.Record{metalog.FinalizeLevel(2)}, nil
	})
	require.NoError(t, err)
	require.NoError(t, forced.Close(t.Context()))
	select {
	case err := <-old.Failed():
		require.ErrorIs(t, err, metalog.ErrNewer)
		require.ErrorContains(t, err, "which takes Forebay")
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.Error(t, old.Close(ctx), "it cannot leave in order")
	require.NoError(t, ctx.Err())
	c.awaitServing("t", 0, 2)
}
