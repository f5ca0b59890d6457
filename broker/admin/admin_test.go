package admin_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
)

var ctx = context.Background()

// rig is a metadata log with brokers 1 to 3, of which 3 is fenced.
type rig struct {
	t     *testing.T
	store kv.Store

	objects objstore.Store
	log     *metalog.Log
}

func newRig(t *testing.T) *rig { return newRigAt(t, metalog.LatestLevel) }

// newRigAt is a rig whose metadata is at a level.
func newRigAt(t *testing.T, level int16) *rig {
	r := &rig{t: t, store: kv.NewMem(), objects: objstore.NewMem()}
	founder, err := metalog.Open(ctx, metalog.Options{Store: r.store, Objects: r.objects, MaxLevel: level})
	require.NoError(t, err)
	require.NoError(t, founder.Close(ctx))
	r.log, err = metalog.Open(ctx, metalog.Options{Store: r.store, Objects: r.objects})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.log.Close(ctx)) })
	r.append(
		metalog.BrokerRegistered{ID: 1, Incarnation: "a"}, metalog.BrokerRegistered{ID: 2, Incarnation: "b"},
		metalog.BrokerRegistered{ID: 3, Incarnation: "c"}, metalog.BrokerFenced{ID: 3, Session: "c"},
	)
	return r
}

func (r *rig) append(records ...metalog.Record) {
	r.t.Helper()
	_, err := r.log.Update(ctx, func(*metalog.Image) ([]metalog.Record, error) { return records, nil })
	require.NoError(r.t, err)
}

var alice = admin.Actor{Principal: "User:alice", At: time.UnixMilli(1700000000000), Via: metalog.Via{API: "CreateTopics", Client: "cli", Address: "10.0.0.1"}}

func (r *rig) apply(changes ...*admin.Change) {
	r.t.Helper()
	admin.Apply(ctx, r.log, alice, changes...)
}

// slots returns the slots from a version on.
func (r *rig) slots(from uint64) []metalog.Slot {
	r.t.Helper()
	slots, err := metalog.Slots(ctx, r.store, from, 0)
	require.NoError(r.t, err)
	return slots
}

func newTopic(name string) admin.NewTopic {
	return admin.NewTopic{Name: name, Partitions: 2, Replicas: 1}
}

func text(s string) *string { return &s }

// TestApply: what is made and who asked for it are in one slot, and what is refused is in none.
func TestApply(t *testing.T) {
	r := newRig(t)
	before := r.log.Image().Version()
	one, bad, two := admin.Settings{}.CreateTopic(newTopic("one")), admin.Settings{}.CreateTopic(newTopic("b/d")), admin.Settings{}.CreateTopic(newTopic("two"))
	r.apply(one, bad, two)
	require.NoError(t, one.Err)
	require.NoError(t, two.Err)
	require.ErrorIs(t, bad.Err, kerr.InvalidTopicException)
	require.Zero(t, bad.Version)
	require.Equal(t, before+1, one.Version)

	slots := r.slots(before + 1)
	require.Len(t, slots, 1)
	require.Len(t, slots[0].Records, 4)
	require.Equal(t, metalog.Audited{
		At: alice.At.UnixMilli(), By: "User:alice", Via: alice.Via, Action: "topic.create",
		Resource: metalog.Resource{Type: metalog.ResourceTopic, Name: "one"}, Records: 1,
	}, slots[0].Records[0])
	created, ok := admin.Made[metalog.TopicCreated](one)
	require.True(t, ok)
	require.Equal(t, created, slots[0].Records[1])
	_, ok = admin.Made[metalog.TopicDeleted](one)
	require.False(t, ok)

	r.apply(admin.Settings{}.CreateTopic(newTopic("one")))
	require.Len(t, r.slots(before+1), 1, "nothing made, nothing audited")
}

func TestApplyInSeveralSlots(t *testing.T) {
	r := newRig(t)
	var changes []*admin.Change
	for i := range 1200 {
		changes = append(changes, admin.Settings{}.CreateTopic(newTopic(fmt.Sprint("topic", i))))
	}
	before := r.log.Image().Version()
	r.apply(changes...)
	for _, ch := range changes {
		require.NoError(t, ch.Err)
	}
	require.Len(t, r.log.Image().Topics(), 1200)
	require.Greater(t, len(r.slots(before+1)), 2)
	require.Equal(t, r.log.Image().Version(), changes[1199].Version)
	require.Equal(t, before+1, changes[0].Version)
}

func TestApplyFails(t *testing.T) {
	r := newRig(t)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	create := admin.Settings{}.CreateTopic(newTopic("one"))
	elections := []*admin.Election{{Topic: "one"}, {Topic: "one", Partition: 1}}
	admin.Apply(ended, r.log, alice, append(admin.Elect(elections, false), create)...)
	require.ErrorIs(t, create.Err, context.Canceled)
	require.Equal(t, kerr.RequestTimedOut, admin.KafkaError(create.Err))
	require.ErrorIs(t, elections[1].Err, context.Canceled)
	require.Empty(t, r.log.Image().Topics())
	require.Nil(t, admin.KafkaError(errors.New("bug")))
}

func TestIdempotent(t *testing.T) {
	r := newRig(t)
	create := func(key string, topic admin.NewTopic) *admin.Change {
		ch := admin.Settings{}.CreateTopic(topic)
		require.NoError(t, ch.Idempotent(key, topic))
		return ch
	}
	first := create("k", newTopic("one"))
	r.apply(first)
	require.NoError(t, first.Err)
	require.Nil(t, first.Repeated)

	again := create("k", newTopic("one"))
	version := r.log.Image().Version()
	r.apply(again)
	require.NoError(t, again.Err)
	require.Equal(t, first.Version, again.Repeated.Slot)
	require.Empty(t, again.Records)
	require.Equal(t, version, r.log.Image().Version())

	other := create("k", newTopic("two"))
	r.apply(other)
	require.ErrorIs(t, other.Err, admin.ErrKeyUsed)
	others := create("k", newTopic("one"))
	admin.Apply(ctx, r.log, admin.Actor{Principal: "User:bob", At: alice.At}, others)
	require.ErrorIs(t, others.Err, admin.ErrKeyUsed)

	config := func(topic string) *admin.Change {
		ch := admin.Settings{}.AlterConfigs(metalog.Resource{Type: metalog.ResourceTopic, Name: topic}, []admin.ConfigOp{{Name: "retention.ms", Value: text("7")}})
		require.NoError(t, ch.Idempotent("c", "7"))
		return ch
	}
	r.apply(admin.Settings{}.CreateTopic(newTopic("another")))
	here, there := config("one"), config("another")
	r.apply(here)
	require.NoError(t, here.Err)
	r.apply(there)
	require.ErrorIs(t, there.Err, admin.ErrKeyUsed, "the same of another topic")

	x, y := create("l", newTopic("three")), create("l", newTopic("four"))
	r.apply(x, y)
	require.NoError(t, x.Err)
	require.ErrorIs(t, y.Err, admin.ErrKeyUsed)

	refused := create("m", newTopic("one"))
	r.apply(refused)
	require.ErrorIs(t, refused.Err, kerr.TopicAlreadyExists)
	_, known := r.log.Image().Idempotent("m")
	require.False(t, known, "what was refused may be tried again")

	require.Error(t, x.Idempotent("", nil))
	require.Error(t, x.Idempotent(strings.Repeat("k", 256), nil))
}

func TestActorIsBounded(t *testing.T) {
	r := newRig(t)
	who := alice
	who.Via.Client = strings.Repeat("ä", 200)
	admin.Apply(ctx, r.log, who, admin.Settings{}.CreateTopic(newTopic("one")))
	slots := r.slots(r.log.Image().Version())
	audit, ok := slots[0].Records[0].(metalog.Audited)
	require.True(t, ok)
	require.Equal(t, strings.Repeat("ä", 128), audit.Via.Client)
}

func TestValidate(t *testing.T) {
	r := newRig(t)
	good, bad := admin.Settings{Partitions: 3}.CreateTopic(admin.NewTopic{Name: "t", Partitions: -1, Replicas: -1}), admin.RemoveBroker(1)
	admin.Validate(r.log.Image(), alice, good, bad)
	created, ok := admin.Made[metalog.TopicCreated](good)
	require.True(t, ok)
	require.Len(t, created.Partitions, 3)
	require.ErrorIs(t, bad.Err, kerr.PolicyViolation)
	require.Empty(t, r.log.Image().Topics())
}

// TestDecisions: one line for what each change refuses, and one for what it makes.
func TestDecisions(t *testing.T) {
	r := newRig(t)
	s := admin.Settings{}
	r.apply(s.CreateTopic(newTopic("a.b")), s.CreateTopic(admin.NewTopic{Name: admin.OffsetsTopic, Partitions: 1, Replicas: 1}))
	have, _ := r.log.Image().Topic("a.b")
	shards, _ := r.log.Image().Topic(admin.OffsetsTopic)
	onTopic := metalog.Resource{Type: metalog.ResourceTopic, Name: "a.b"}
	set := func(name, value string) []admin.ConfigOp { return []admin.ConfigOp{{Name: name, Value: text(value)}} }
	for name, c := range map[string]struct {
		change *admin.Change
		want   error
	}{
		"exists":               {s.CreateTopic(newTopic("a.b")), kerr.TopicAlreadyExists},
		"collides":             {s.CreateTopic(newTopic("a_b")), kerr.InvalidTopicException},
		"reserved":             {s.CreateTopic(newTopic("__cluster_metadata")), kerr.InvalidRequest},
		"no partition":         {s.CreateTopic(admin.NewTopic{Name: "x", Replicas: 1}), kerr.InvalidPartitions},
		"too many partitions":  {s.CreateTopic(admin.NewTopic{Name: "x", Replicas: 1, Partitions: 10_001}), kerr.PolicyViolation},
		"too many replicas":    {s.CreateTopic(admin.NewTopic{Name: "x", Replicas: 4, Partitions: 1}), kerr.InvalidReplicationFactor},
		"unknown config":       {s.CreateTopic(admin.NewTopic{Name: "x", Replicas: 1, Partitions: 1, Configs: map[string]string{"no": ""}}), kerr.InvalidConfig},
		"value too long":       {s.CreateTopic(admin.NewTopic{Name: "x", Replicas: 1, Partitions: 1, Configs: map[string]string{"leader.replication.throttled.replicas": strings.Repeat("1:1,", 10_000) + "1:1"}}), kerr.InvalidConfig},
		"class not served":     {s.CreateTopic(admin.NewTopic{Name: "x", Replicas: 1, Partitions: 1, Configs: map[string]string{admin.DurabilityConfig: "local"}}), kerr.InvalidConfig},
		"assigned and counted": {s.CreateTopic(admin.NewTopic{Name: "x", Replicas: 1, Partitions: 1, Assignments: [][]int32{{1}}}), kerr.InvalidRequest},
		"dead replicas":        {s.CreateTopic(admin.NewTopic{Name: "x", Replicas: -1, Partitions: -1, Assignments: [][]int32{{3}}}), kerr.InvalidReplicaAssignment},
		"delete unknown":       {admin.DeleteTopic(id.NewTopic(), "x"), kerr.UnknownTopicID},
		"delete shards":        {admin.DeleteTopic(shards.ID, shards.Name), kerr.InvalidTopicException},
		"grow unknown":         {admin.AddPartitions("x", 3, nil), kerr.UnknownTopicOrPartition},
		"grow shards":          {admin.AddPartitions(shards.Name, 3, nil), kerr.InvalidTopicException},
		"shrink":               {admin.AddPartitions("a.b", 1, nil), kerr.InvalidPartitions},
		"grow by too few":      {admin.AddPartitions("a.b", 4, [][]int32{{1}}), kerr.InvalidReplicaAssignment},
		"configs of nothing":   {s.AlterConfigs(metalog.Resource{Type: metalog.ResourceTopic, Name: "x"}, set("retention.ms", "1")), kerr.UnknownTopicOrPartition},
		"configs of a planet":  {s.AlterConfigs(metalog.Resource{Type: "planet", Name: "x"}, set("retention.ms", "1")), kerr.InvalidRequest},
		"unknown broker":       {s.AlterConfigs(metalog.Resource{Type: metalog.ResourceBroker, Name: "7"}, set("log.retention.ms", "1")), kerr.BrokerIDNotRegistered},
		"bad value":            {s.AlterConfigs(onTopic, set("retention.ms", "x")), kerr.InvalidConfig},
		"append to a number":   {s.AlterConfigs(onTopic, []admin.ConfigOp{{Name: "retention.ms", Op: admin.OpAppend, Value: text("1")}}), kerr.InvalidConfig},
		"set nothing":          {s.AlterConfigs(onTopic, []admin.ConfigOp{{Name: "retention.ms"}}), kerr.InvalidRequest},
		"twice":                {s.ReplaceConfigs(onTopic, append(set("retention.ms", "1"), set("retention.ms", "1")...)), kerr.InvalidRequest},
		"remove a live broker": {admin.RemoveBroker(2), kerr.PolicyViolation},
		"remove nobody":        {admin.RemoveBroker(9), kerr.BrokerIDNotRegistered},
		"no feature":           {updateFeatures(nil), kerr.InvalidRequest},
		"unknown feature":      {updateFeatures(nil, admin.FeatureUpdate{Name: "x", Level: 1, Type: admin.UpgradeOnly}), kerr.InvalidUpdateVersion},

		"create":      {s.CreateTopic(admin.NewTopic{Name: "new", Partitions: -1, Replicas: -1, Assignments: [][]int32{{3, 1}, {2, 1}}}), nil},
		"delete":      {admin.DeleteTopic(have.ID, have.Name), nil},
		"grow":        {admin.AddPartitions("a.b", 4, [][]int32{{1}, {2}}), nil},
		"append":      {s.AlterConfigs(onTopic, []admin.ConfigOp{{Name: "cleanup.policy", Op: admin.OpAppend, Value: text("compact")}}), nil},
		"all brokers": {s.AlterConfigs(admin.AllBrokers, set("log.retention.ms", "1000")), nil},
		"remove":      {admin.RemoveBroker(3), nil},
		"feature":     {updateFeatures(nil, admin.FeatureUpdate{Name: admin.TransactionFeature, Level: 1, Type: admin.SafeDowngrade}), nil},
	} {
		records, err := c.change.Decide(r.log.Image())
		if c.want == nil {
			require.NoError(t, err, name)
			require.NotEmpty(t, records, name)
			continue
		}
		require.Equal(t, c.want, error(admin.KafkaError(err)), "%s: %v", name, err)
		require.Empty(t, records, name)
	}
}

// TestReassignAndElect: partitions of one request succeed or fail on their own, and each topic is one
// entry of the audit.
func TestReassignAndElect(t *testing.T) {
	r := newRig(t)
	r.apply(admin.Settings{}.CreateTopic(admin.NewTopic{Name: "t", Partitions: -1, Replicas: -1, Assignments: [][]int32{{1}, {1}}}))
	before := r.log.Image().Version()
	all := []*admin.Reassignment{
		{Topic: "t", Partition: 0, Replicas: []int32{2}},
		{Topic: "t", Partition: 1, Replicas: []int32{9}},
		{Topic: "x", Partition: 1, Replicas: []int32{1}},
		{Topic: "t", Partition: 1},
	}
	r.apply(admin.Reassign(all)...)
	require.NoError(t, all[0].Err)
	require.ErrorIs(t, all[1].Err, kerr.InvalidReplicaAssignment)
	require.ErrorIs(t, all[2].Err, kerr.UnknownTopicOrPartition)
	require.ErrorIs(t, all[3].Err, kerr.NoReassignmentInProgress)
	slots := r.slots(before + 1)
	require.Len(t, slots, 1)
	require.Len(t, slots[0].Records, 3)
	at, p, err := admin.FindPartition(r.log.Image(), "t", 0)
	require.NoError(t, err)
	require.Equal(t, id.Broker(2), p.Target)

	elections := []*admin.Election{{Topic: "t", Partition: 0}, {Topic: "t", Partition: 1}}
	r.apply(admin.Elect(elections, false)...)
	require.NoError(t, elections[0].Err)
	require.True(t, elections[0].Pending(r.log.Image()))
	require.ErrorIs(t, elections[0].Outcome(r.log.Image()), kerr.RequestTimedOut)
	require.ErrorIs(t, elections[1].Err, kerr.ElectionNotNeeded)
	r.append(metalog.LeadersChanged{Changes: []metalog.LeaderChange{{Partition: at, Leader: 2, Epoch: p.Epoch + 1}}})
	require.NoError(t, elections[0].Outcome(r.log.Image()))

	r.append(metalog.LeadersChanged{Changes: []metalog.LeaderChange{{Partition: at, Leader: metalog.NoBroker, Epoch: p.Epoch + 2}}})
	elections = []*admin.Election{{Topic: "t", Partition: 0}, {Topic: "t", Partition: 1}}
	r.apply(admin.Elect(elections, true)...)
	require.NoError(t, elections[0].Err)
	require.ErrorIs(t, elections[1].Err, kerr.ElectionNotNeeded)
	_, p, _ = admin.FindPartition(r.log.Image(), "t", 0)
	require.Equal(t, id.Broker(2), p.Leader)
}
