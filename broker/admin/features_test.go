package admin_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/session"
)

// updateFeatures is a change of what this release has, with the sessions of some brokers.
func updateFeatures(brokers []session.Seen, updates ...admin.FeatureUpdate) *admin.Change {
	return admin.UpdateFeatures(admin.Features(metalog.LatestLevel), func() ([]session.Seen, error) { return brokers, nil }, updates)
}

// brokerUpTo is the session of a broker that supports the metadata's levels up to most.
func brokerUpTo(node id.Broker, most int16) session.Seen {
	return session.Seen{Node: node, Session: id.NewSession(), Info: "host:9092", Features: admin.Supported(admin.Features(most))}
}

var raise = admin.FeatureUpdate{Name: metalog.LevelFeature, Level: 2, Type: admin.UpgradeOnly}

// TestRaiseTheLevel: it takes all brokers that there are. What the level brings is not written before, and the first
// that is written is who raised it.
func TestRaiseTheLevel(t *testing.T) {
	r := newRigAt(t, 1)
	silent := session.Seen{Node: 3, Info: "old:9092"} // of before sessions told
	for name, brokers := range map[string][]session.Seen{
		"older":                           {brokerUpTo(1, 2), brokerUpTo(2, 1)},
		"silent":                          {brokerUpTo(1, 2), silent},
		"a feature that it does not name": {{Node: 4, Features: map[string]session.Levels{}}},
	} {
		ch := updateFeatures(brokers, raise)
		r.apply(ch)
		require.ErrorIs(t, ch.Err, kerr.InvalidUpdateVersion, name)
		require.ErrorContains(t, ch.Err, "upgrade it first", name)
		require.ErrorContains(t, ch.Err, "broker "+brokers[len(brokers)-1].Node.String(), name)
	}
	before := r.log.Image().Version()

	quiet := admin.Settings{}.CreateTopic(admin.NewTopic{Name: "quiet", Partitions: 1, Replicas: 1})
	r.apply(quiet)
	require.NoError(t, quiet.Err)
	slots := r.slots(before + 1)
	require.Len(t, slots, 1)
	require.Empty(t, slots[0].Audit())
	require.Equal(t, quiet.Records, slots[0].Records)

	keyed := admin.Settings{}.CreateTopic(admin.NewTopic{Name: "keyed", Partitions: 1, Replicas: 1})
	require.NoError(t, keyed.Idempotent("k", "keyed"))
	r.apply(keyed)
	require.ErrorIs(t, keyed.Err, metalog.ErrLevel)
	require.Equal(t, kerr.UnsupportedVersion, admin.KafkaError(keyed.Err))
	_, made := r.log.Image().Topic("keyed")
	require.False(t, made, "a key that is not kept is no promise")

	ch := updateFeatures([]session.Seen{brokerUpTo(1, 2), brokerUpTo(2, 2)}, raise)
	require.NoError(t, ch.Idempotent("r", raise))
	r.apply(ch)
	require.NoError(t, ch.Err)
	require.EqualValues(t, 2, r.log.Image().Level())
	slots = r.slots(ch.Version)
	require.Len(t, slots[0].Audit(), 1)
	require.Equal(t, metalog.LevelFeature, slots[0].Audit()[0].Audited.Resource.Name)
	_, known := r.log.Image().Idempotent("r")
	require.True(t, known)
	r.apply(keyed)
	require.NoError(t, keyed.Err)
}

// TestLevelsThatAreRefused: what is written cannot be taken back, in no way.
func TestLevelsThatAreRefused(t *testing.T) {
	r := newRig(t)
	brokers := []session.Seen{brokerUpTo(1, 2)}
	for name, u := range map[string]admin.FeatureUpdate{
		"lower":            {Name: metalog.LevelFeature, Level: 1, Type: admin.UpgradeOnly},
		"lower safely":     {Name: metalog.LevelFeature, Level: 1, Type: admin.SafeDowngrade},
		"lower unsafely":   {Name: metalog.LevelFeature, Level: 1, Type: admin.UnsafeDowngrade},
		"none":             {Name: metalog.LevelFeature, Level: 0, Type: admin.UnsafeDowngrade},
		"unknown level":    {Name: metalog.LevelFeature, Level: 3, Type: admin.UpgradeOnly},
		"unknown upgrade":  {Name: metalog.LevelFeature, Level: 2, Type: 0},
		"of Kafka's":       {Name: "metadata.version", Level: 2, Type: admin.UpgradeOnly},
		"too high, others": {Name: admin.TransactionFeature, Level: 3, Type: admin.UpgradeOnly},
	} {
		_, err := updateFeatures(brokers, u).Decide(r.log.Image())
		require.ErrorIs(t, err, kerr.InvalidUpdateVersion, name)
	}
	both := []admin.FeatureUpdate{{Name: admin.TransactionFeature, Level: 1, Type: admin.SafeDowngrade}, {Name: metalog.LevelFeature, Level: 3, Type: admin.UpgradeOnly}}
	ch := updateFeatures(brokers, both...)
	r.apply(ch)
	require.ErrorIs(t, ch.Err, kerr.InvalidUpdateVersion)
	require.EqualValues(t, 2, admin.TransactionVersion(r.log.Image()), "all or none")

	same := updateFeatures(brokers, raise)
	r.apply(same)
	require.NoError(t, same.Err)

	blind := admin.UpdateFeatures(admin.Features(metalog.LatestLevel), func() ([]session.Seen, error) { return nil, errors.New("no table") }, []admin.FeatureUpdate{raise})
	r.apply(blind)
	require.Equal(t, kerr.FeatureUpdateFailed, admin.KafkaError(blind.Err))
	require.ErrorContains(t, blind.Err, "no table")
}

// TestRaiseAgainstABrokerThatComes: one that registers between the look at the sessions and the append has the
// decision made anew, with its session.
func TestRaiseAgainstABrokerThatComes(t *testing.T) {
	r := newRigAt(t, 1)
	looks := 0
	ch := admin.UpdateFeatures(admin.Features(metalog.LatestLevel), func() ([]session.Seen, error) {
		looks++
		if looks > 1 {
			return []session.Seen{brokerUpTo(7, 1)}, nil
		}
		other, err := metalog.Open(ctx, metalog.Options{Store: r.store, Objects: r.objects, MaxLevel: 1})
		require.NoError(t, err)
		defer func() { require.NoError(t, other.Close(ctx)) }()
		_, err = other.Update(ctx, func(*metalog.Image) ([]metalog.Record, error) {
			return []metalog.Record{metalog.BrokerRegistered{ID: 7, Incarnation: id.NewSession()}}, nil
		})
		return nil, err
	}, []admin.FeatureUpdate{raise})
	r.apply(ch)
	require.ErrorIs(t, ch.Err, kerr.InvalidUpdateVersion)
	require.ErrorContains(t, ch.Err, "broker 7")
	require.Equal(t, 2, looks)
	require.EqualValues(t, 1, r.log.Image().Level())
}
