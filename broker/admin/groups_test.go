package admin_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/offsets"
)

// groupRig is a rig with a topic, one shard, which broker 1 leads, and the table of the offsets.
type groupRig struct {
	*rig
	table kv.Store
	admin.Groups
}

func newGroupRig(t *testing.T) *groupRig {
	r := &groupRig{rig: newRig(t), table: kv.NewMem()}
	r.Groups = admin.Groups{Log: r.log, Offsets: r.table}
	r.apply(
		admin.Settings{}.CreateTopic(admin.NewTopic{Name: "t", Partitions: 3, Replicas: 1}),
		admin.Settings{}.CreateTopic(admin.NewTopic{Name: admin.OffsetsTopic, Partitions: -1, Replicas: -1, Assignments: [][]int32{{1, 2}}}),
	)
	return r
}

func (r *groupRig) shard() (id.Partition, metalog.PartitionState) {
	at, p, ok := admin.ShardOf(r.log.Image(), admin.OffsetsTopic, "g")
	require.True(r.t, ok)
	return at, p
}

// lead gives the shard to a broker, as brokers do.
func (r *groupRig) lead(node id.Broker) id.Epoch {
	var epoch id.Epoch
	_, err := r.log.Update(ctx, func(img *metalog.Image) ([]metalog.Record, error) {
		at, p, _ := admin.ShardOf(img, admin.OffsetsTopic, "g")
		epoch = p.Epoch + 1
		return []metalog.Record{metalog.LeadersChanged{Changes: []metalog.LeaderChange{{Partition: at, Leader: node, Epoch: epoch}}}}, nil
	})
	require.NoError(r.t, err)
	return epoch
}

// authority is that of a broker which leads the shard.
type authority struct {
	log  *metalog.Log
	node id.Broker
}

func (a authority) Refresh(ctx context.Context) error { return a.log.Refresh(ctx) }
func (a authority) Holds(_ string, epoch id.Epoch) bool {
	_, p, _ := admin.ShardOf(a.log.Image(), admin.OffsetsTopic, "g")
	return p.Leader == a.node && p.Epoch == epoch
}

// coordinator is the table as a broker uses it that leads the shard.
func (r *groupRig) coordinator(node id.Broker) *offsets.Table {
	return offsets.Open(r.table, authority{r.log, node})
}

// stored returns the offsets of the group by partition of t.
func (r *groupRig) stored() map[int32]id.Offset {
	entries, err := offsets.Open(r.table, offsets.Sole).Read(ctx, "g")
	require.NoError(r.t, err)
	found := map[int32]id.Offset{}
	for _, e := range entries {
		found[e.Partition] = e.Offset
	}
	return found
}

func (r *groupRig) actions(from uint64) (actions []string) {
	for _, s := range r.slots(from) {
		for _, e := range s.Audit() {
			actions = append(actions, e.Audited.Action)
		}
	}
	return actions
}

func (r *groupRig) entry(partition int32, offset id.Offset) offsets.Entry {
	t, _ := r.log.Image().Topic("t")
	return offsets.Entry{Topic: t.ID, TopicName: "t", Partition: partition, Offset: offset, LeaderEpoch: -1, CommitTime: alice.At}
}

var request = admin.GroupRequest{Who: alice, Group: "g"}

func to(partition int32, offset id.Offset) []admin.OffsetReset {
	return []admin.OffsetReset{{Topic: "t", Partition: partition, Offset: offset, LeaderEpoch: -1}}
}

// TestResetOffsets: the offsets are set, the shard is back with a higher epoch, and both is in the audit.
func TestResetOffsets(t *testing.T) {
	r := newGroupRig(t)
	require.NoError(t, r.coordinator(1).Commit(ctx, "g", 0, []offsets.Entry{r.entry(0, 5), r.entry(1, 6)}))
	before := r.log.Image().Version()
	ch, err := r.ResetOffsets(ctx, request, to(0, 2))
	require.NoError(t, err)
	require.Equal(t, map[int32]id.Offset{0: 2, 1: 6}, r.stored())
	require.Equal(t, []string{"group.coordinate", "group.offsets.reset"}, r.actions(before+1))
	require.Equal(t, r.log.Image().Version(), ch.Version)
	_, p := r.shard()
	require.Equal(t, id.Broker(1), p.Leader)
	require.Equal(t, id.Epoch(2), p.Epoch)

	entries, err := r.coordinator(1).Load(ctx, "g", 2)
	require.NoError(t, err)
	require.True(t, entries[0].CommitTime.After(alice.At), "later than what was committed")

	_, err = r.DeleteOffsets(ctx, request, []admin.TopicPartition{{Topic: "t", Partition: 1}, {Topic: "t", Partition: 2}})
	require.NoError(t, err)
	require.Equal(t, map[int32]id.Offset{0: 2}, r.stored())
	_, err = r.DeleteGroup(ctx, request)
	require.NoError(t, err)
	require.Empty(t, r.stored())
	_, err = r.DeleteGroup(ctx, request)
	require.Equal(t, kerr.GroupIDNotFound, admin.KafkaError(err))
	_, p = r.shard()
	require.Equal(t, id.Broker(1), p.Leader, "given back also after a failure")
}

func TestResetOffsetsIsRefused(t *testing.T) {
	r := newGroupRig(t)
	for want, reset := range map[*kerr.Error][]admin.OffsetReset{
		kerr.UnknownTopicOrPartition: to(3, 1),
		kerr.OffsetOutOfRange:        to(0, -1),
		kerr.OffsetMetadataTooLarge:  {{Topic: "t", Metadata: string(make([]byte, 5000))}},
	} {
		_, err := r.ResetOffsets(ctx, request, reset)
		require.Equal(t, want, admin.KafkaError(err))
		_, p := r.shard()
		require.Equal(t, id.Broker(1), p.Leader)
		require.Empty(t, r.stored())
	}
	bare := newRig(t)
	_, err := admin.Groups{Log: bare.log, Offsets: r.table}.ResetOffsets(ctx, request, to(0, 1))
	require.Equal(t, kerr.CoordinatorNotAvailable, admin.KafkaError(err))
}

// TestResetOffsetsOfMembers: as long as there are members nothing changes, not even who leads; if they are
// expelled, what they commit is refused.
func TestResetOffsetsOfMembers(t *testing.T) {
	r := newGroupRig(t)
	at := r.coordinator(1)
	require.NoError(t, at.Commit(ctx, "g", 0, []offsets.Entry{r.entry(0, 5)}))
	state := group.Snapshot{Generation: 7, Since: alice.At, ProtocolType: "consumer", Protocol: "range", Leader: "m", Members: []group.MemberSnapshot{{
		ID: "m", ClientID: "c", ClientHost: "h", Session: time.Minute, Protocols: []group.Protocol{{Name: "range", Metadata: []byte("x")}}, Assignment: []byte("x"),
	}}}
	require.NoError(t, at.StoreState(ctx, "g", 0, state.AppendTo(nil)))
	before := r.log.Image().Version()
	for _, err := range []error{
		func() error { _, err := r.ResetOffsets(ctx, request, to(0, 1)); return err }(),
		func() error { _, err := r.DeleteGroup(ctx, request); return err }(),
		func() error {
			_, err := r.DeleteOffsets(ctx, request, []admin.TopicPartition{{Topic: "t"}})
			return err
		}(),
	} {
		require.Equal(t, kerr.NonEmptyGroup, admin.KafkaError(err), "%v", err)
	}
	require.Equal(t, before, r.log.Image().Version())
	require.Equal(t, map[int32]id.Offset{0: 5}, r.stored())

	expel := request
	expel.Expel = true
	_, err := r.ResetOffsets(ctx, expel, to(0, 1))
	require.NoError(t, err)
	require.Equal(t, map[int32]id.Offset{0: 1}, r.stored())
	require.ErrorIs(t, at.Commit(ctx, "g", 0, []offsets.Entry{r.entry(0, 9)}), offsets.ErrFenced)
	_, stored, err := r.coordinator(1).LoadAll(ctx, "g", 2)
	require.NoError(t, err)
	now, err := group.DecodeSnapshot(stored)
	require.NoError(t, err)
	require.Equal(t, int32(8), now.Generation)
	require.Empty(t, now.Members)
}

func TestResetOffsetsOnce(t *testing.T) {
	r := newGroupRig(t)
	keyed := request
	keyed.Key, keyed.Digest = "k", "d"
	first, err := r.ResetOffsets(ctx, keyed, to(0, 1))
	require.NoError(t, err)
	_, err = r.ResetOffsets(ctx, request, to(0, 2))
	require.NoError(t, err)
	version := r.log.Image().Version()
	again, err := r.ResetOffsets(ctx, keyed, to(0, 1))
	require.NoError(t, err)
	require.Equal(t, first.Version, again.Repeated.Slot)
	require.Equal(t, version, r.log.Image().Version())
	require.Equal(t, map[int32]id.Offset{0: 2}, r.stored())
	keyed.Digest = "e"
	_, err = r.ResetOffsets(ctx, keyed, to(0, 1))
	require.ErrorIs(t, err, admin.ErrKeyUsed)
}

// TestResetOffsetsOnceAtOnce: of two requests with one key that run at once the second changes nothing, even if it began
// before the first was done, and the shard has a leader after it.
func TestResetOffsetsOnceAtOnce(t *testing.T) {
	r := newGroupRig(t)
	keyed := request
	keyed.Key, keyed.Digest = "k", "d"
	ops, first := 0, r.Groups
	r.Offsets = kv.Inject(r.table, func(kv.Op) kv.Fault {
		if ops++; ops == 1 {
			_, err := first.ResetOffsets(ctx, keyed, to(0, 1))
			require.NoError(t, err)
			_, p := r.shard()
			require.NoError(t, r.coordinator(1).Commit(ctx, "g", p.Epoch, []offsets.Entry{r.entry(0, 7)}))
		}
		return kv.FaultNone
	})
	again, err := r.ResetOffsets(ctx, keyed, to(0, 1))
	require.NoError(t, err)
	require.NotNil(t, again.Repeated)
	require.Equal(t, map[int32]id.Offset{0: 7}, r.stored(), "what was committed since stays")
	_, p := r.shard()
	require.Equal(t, id.Broker(1), p.Leader)
}

// TestKeyUsedMeanwhile: a request whose key another takes while it has the shard fails, and gives the shard back.
func TestKeyUsedMeanwhile(t *testing.T) {
	r := newGroupRig(t)
	keyed := request
	keyed.Key, keyed.Digest = "k", "d"
	used := false
	r.Offsets = kv.Inject(r.table, func(kv.Op) kv.Fault {
		if _, p := r.shard(); p.Leader == metalog.NoBroker && !used {
			used = true
			ch := admin.Settings{}.CreateTopic(newTopic("other"))
			require.NoError(t, ch.Idempotent("k", "other"))
			r.apply(ch)
			require.NoError(t, ch.Err)
		}
		return kv.FaultNone
	})
	_, err := r.ResetOffsets(ctx, keyed, to(0, 1))
	require.ErrorIs(t, err, admin.ErrKeyUsed)
	require.True(t, used)
	_, p := r.shard()
	require.Equal(t, id.Broker(1), p.Leader)
}

// TestShardTakenMeanwhile: brokers may take the shard at any moment. Then nothing of the attempt
// counts, and the next one makes the change.
func TestShardTakenMeanwhile(t *testing.T) {
	for stop := 1; ; stop++ {
		r := newGroupRig(t)
		require.NoError(t, r.coordinator(1).Commit(ctx, "g", 0, []offsets.Entry{r.entry(0, 5)}))
		ops := 0
		r.Offsets = kv.Inject(r.table, func(kv.Op) kv.Fault {
			if ops++; ops == stop {
				epoch := r.lead(2)
				require.NoError(t, r.coordinator(2).Commit(ctx, "g", epoch, []offsets.Entry{r.entry(1, 8)}))
			}
			return kv.FaultNone
		})
		_, err := r.ResetOffsets(ctx, request, to(0, 1))
		require.NoError(t, err)
		if ops < stop {
			require.Greater(t, stop, 4)
			return
		}
		require.Equal(t, map[int32]id.Offset{0: 1, 1: 8}, r.stored(), "operation %d", stop)
		_, p := r.shard()
		require.Equal(t, id.Broker(2), p.Leader)
		entries, err := r.coordinator(2).Load(ctx, "g", p.Epoch)
		require.NoError(t, err)
		require.Len(t, entries, 2)
	}
}

// TestFunctionDies: wherever it stops, the shard is one that brokers lead, or give a leader to; no
// offset that a coordinator acknowledged later is lost to it.
func TestFunctionDies(t *testing.T) {
	for stop, done := 1, false; !done; stop++ {
		synctest.Test(t, func(t *testing.T) { done = !functionDies(t, stop) }) // its last attempts take their time
	}
}

// functionDies stops a function at its operation on the tables of that number, and reports whether it had so many.
func functionDies(t *testing.T, stop int) bool {
	r := newGroupRig(t)
	require.NoError(t, r.coordinator(1).Commit(ctx, "g", 0, []offsets.Entry{r.entry(0, 5)}))
	ops, dead := 0, false
	die := func(kv.Op) kv.Fault {
		if ops++; ops >= stop {
			dead = true
			return kv.FaultFail
		}
		return kv.FaultNone
	}
	log, err := metalog.Open(ctx, metalog.Options{Store: kv.Inject(r.store, die), Objects: r.objects})
	if err == nil {
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		_, err = admin.Groups{Log: log, Offsets: kv.Inject(r.table, die)}.ResetOffsets(short, request, to(0, 1))
		cancel()
		require.NoError(t, log.Close(ctx))
	}
	if !dead {
		require.NoError(t, err)
		return false
	}
	require.NoError(t, r.log.Refresh(ctx))
	_, p := r.shard()
	if p.Leader == metalog.NoBroker {
		r.apply(admin.Elect([]*admin.Election{{Topic: admin.OffsetsTopic}}, true)...) // as brokers do
		_, p = r.shard()
	}
	require.NotEqual(t, metalog.NoBroker, p.Leader)
	at := r.coordinator(p.Leader)
	entries, err := at.Load(ctx, "g", p.Epoch)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Contains(t, []id.Offset{5, 1}, entries[0].Offset)
	require.NoError(t, at.Commit(ctx, "g", p.Epoch, []offsets.Entry{r.entry(0, 7)}))
	require.Equal(t, map[int32]id.Offset{0: 7}, r.stored())
	return true
}

// TestFunctionsAtOnce: functions wait for each other, and each change is made.
func TestFunctionsAtOnce(t *testing.T) {
	r := newGroupRig(t)
	var group sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs {
		group.Go(func() {
			log, err := metalog.Open(ctx, metalog.Options{Store: r.store, Objects: r.objects})
			if err == nil {
				_, err = admin.Groups{Log: log, Offsets: r.table}.ResetOffsets(ctx, request, to(int32(i), 1))
				err = errors.Join(err, log.Close(ctx))
			}
			errs[i] = err
		})
	}
	group.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Equal(t, map[int32]id.Offset{0: 1, 1: 1, 2: 1}, r.stored())
	require.NoError(t, r.log.Refresh(ctx))
	_, p := r.shard()
	require.Contains(t, []id.Broker{1, 2}, p.Leader, fmt.Sprint(r.actions(0)))
}

// TestNobodyLives: without a live broker the shard stays for the first that comes.
func TestNobodyLives(t *testing.T) {
	r := newGroupRig(t)
	r.append(metalog.BrokerFenced{ID: 1, Session: "a"}, metalog.BrokerFenced{ID: 2, Session: "b"})
	_, err := r.ResetOffsets(ctx, request, to(0, 1))
	require.NoError(t, err)
	require.Equal(t, map[int32]id.Offset{0: 1}, r.stored())
	_, p := r.shard()
	require.Equal(t, metalog.NoBroker, p.Leader)
	require.Equal(t, "group.offsets.reset", r.actions(0)[len(r.actions(0))-1])
}
