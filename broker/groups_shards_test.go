package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/offsets"
)

// TestGroupShard: the hashes are those of Java's String.hashCode.
func TestGroupShard(t *testing.T) {
	const many = 1<<31 - 1
	for groupID, hash := range map[string]int{
		"": 0, "a": 97, "test": 3556498, "console-consumer-12345": 158455506, "\U0001f600": 1772899,
		"polygenelubricants": 0,          // MIN_VALUE
		"my-group":           1906497762, // negative
	} {
		require.Equal(t, hash, groupShard(groupID, many), groupID)
		require.Equal(t, hash%50, groupShard(groupID, 50), groupID)
	}
}

func (h *groupBench) beat(groupID, member string, generation int32) error {
	got := make(chan error, 1)
	step(h.t.Context(), h.m, groupID, func(t group.Ticket) group.Event {
		return group.Heartbeat{Ticket: t, MemberID: member, Generation: generation}
	}, func(a group.HeartbeatAnswer, err error) {
		if err == nil {
			err = a.Err
		}
		got <- err
	})
	return <-got
}

// commitAs commits as a member; the channel yields the outcome.
func (h *groupBench) commitAs(groupID, member string, generation int32, offset id.Offset) <-chan error {
	done := make(chan error, 1)
	err := h.m.commit(h.t.Context(), groupID, group.Commit{MemberID: member, Generation: generation},
		[]offsets.Entry{entry(topicT, 0, offset)}, func(err error) { done <- err })
	if err != nil {
		done <- err
	}
	return done
}

// TestGroupsLoseShard: what is parked is answered; after the shard has come back the
// group is as if it had only offsets, and knows nobody of before.
func TestGroupsLoseShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newGroupBench(t, group.Config{InitialDelay: time.Second})
		defer h.close()
		lead := <-h.joinAs("stable", "a")
		require.NoError(t, (<-h.syncAs("stable", lead.MemberID, lead.Generation)).Err)
		require.NoError(t, <-h.commitAs("stable", lead.MemberID, lead.Generation, 10))
		h.joinAs("syncing", "a")
		synctest.Wait()
		f := <-h.joinAs("syncing", "b")
		require.NoError(t, f.Err)
		parkedSync := h.syncAs("syncing", f.MemberID, f.Generation)
		parkedJoin := h.joinAs("stable", "b")
		synctest.Wait()
		require.Empty(t, parkedSync)
		require.Empty(t, parkedJoin)

		h.setLeaders(2)
		require.ErrorIs(t, (<-parkedSync).Err, group.ErrNotCoordinator)
		require.ErrorIs(t, (<-parkedJoin).Err, group.ErrNotCoordinator)
		require.ErrorIs(t, h.beat("stable", lead.MemberID, lead.Generation), group.ErrNotCoordinator)
		require.ErrorIs(t, <-h.commitAs("stable", lead.MemberID, lead.Generation, 11), group.ErrNotCoordinator)
		require.ErrorIs(t, h.m.withOffsets(t.Context(), "stable", nil), group.ErrNotCoordinator)
		require.ErrorIs(t, h.remove("stable"), group.ErrNotCoordinator)
		names, err := h.m.names(t.Context())
		require.NoError(t, err)
		require.Empty(t, names)
		synctest.Wait()
		h.m.mu.Lock()
		require.Empty(t, h.m.byID)
		require.Empty(t, h.m.timers)
		h.m.mu.Unlock()

		h.setLeaders(2, 1)
		require.Equal(t, group.Empty, h.state("stable"))
		require.Equal(t, id.Offset(10), h.committed("stable", topicT, 0))
		require.ErrorIs(t, h.beat("stable", lead.MemberID, lead.Generation), group.ErrUnknownMember)
		require.ErrorIs(t, <-h.commitAs("stable", lead.MemberID, lead.Generation, 9), group.ErrUnknownMember)
		again := <-h.joinAs("stable", "c")
		require.NoError(t, again.Err)
		require.Equal(t, lead.Generation, again.Generation, "generations repeat")
		require.NoError(t, (<-h.syncAs("stable", again.MemberID, again.Generation)).Err)
		require.ErrorIs(t, <-h.commitAs("stable", lead.MemberID, lead.Generation, 9), group.ErrUnknownMember, "members do not")
		require.NoError(t, <-h.commitAs("stable", again.MemberID, again.Generation, 12))
	})
}

// TestGroupsLoseShardUnseen: the shard goes and comes back before anybody has looked.
func TestGroupsLoseShardUnseen(t *testing.T) {
	h := newGroupBench(t, group.Config{})
	defer h.close()
	a := <-h.joinAs("g", "a")
	require.NoError(t, (<-h.syncAs("g", a.MemberID, a.Generation)).Err)
	h.setLeaders(2, 1)
	require.ErrorIs(t, h.beat("g", a.MemberID, a.Generation), group.ErrUnknownMember)
}

// TestGroupsLoseShardWhileWriting: commits under way when the shard or the lease is lost
// are not acknowledged, nor are changes that wait for them.
func TestGroupsLoseShardWhileWriting(t *testing.T) {
	for name, lose := range map[string]func(*groupBench){
		"another leader": func(h *groupBench) { h.setLeaders(2) },
		"a new epoch":    func(h *groupBench) { h.setLeaders(1) },
		"no lease":       func(h *groupBench) { h.lapse.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newGroupBench(t, group.Config{})
				defer h.close()
				h.commit("g", entry(topicT, 0, 10))
				release := make(chan struct{})
				h.fault = func(op kv.Op) kv.Fault {
					if op.Kind == kv.OpWrite {
						<-release
					}
					return kv.FaultNone
				}
				writing := h.start("g", entry(topicT, 0, 20))
				synctest.Wait()
				removal := make(chan error, 1)
				h.m.delete(t.Context(), "g", func(err error) { removal <- err })
				lose(h)
				synctest.Wait()
				require.Empty(t, writing)
				close(release)
				require.ErrorIs(t, groupError(<-writing), kerr.NotCoordinator)
				require.ErrorIs(t, groupError(<-removal), kerr.NotCoordinator)
				stored, err := h.table.Read(t.Context(), "g")
				require.NoError(t, err)
				require.Len(t, stored, 1, "nothing is removed")
			})
		})
	}
}

func TestGroupsWithoutLease(t *testing.T) {
	h := newGroupBench(t, group.Config{})
	defer h.close()
	h.commit("g", entry(topicT, 0, 10))
	h.lapse.Store(true)
	require.ErrorIs(t, <-h.start("g", entry(topicT, 0, 11)), group.ErrNotCoordinator)
	require.ErrorIs(t, h.m.withOffsets(t.Context(), "g", nil), group.ErrNotCoordinator)
	require.ErrorIs(t, (<-h.joinAs("g", "a")).Err, group.ErrNotCoordinator)
}

// TestGroupsLoadInProgress: a read that takes long does not hold up those who ask, and
// what it finds serves those who ask again.
func TestGroupsLoadInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newGroupBench(t, group.Config{})
		defer h.close()
		h.commit("g", entry(topicT, 0, 10))
		h.setLeaders(1)
		release := make(chan struct{})
		h.fault = func(op kv.Op) kv.Fault {
			if op.Kind == kv.OpQuery {
				<-release
			}
			return kv.FaultNone
		}
		for range 3 {
			start := time.Now()
			require.ErrorIs(t, h.m.withOffsets(t.Context(), "g", nil), kerr.CoordinatorLoadInProgress)
			require.Equal(t, groupLoadPatience, time.Since(start))
		}
		close(release)
		require.Equal(t, id.Offset(10), h.committed("g", topicT, 0))
	})
}

// TestGroupsForgetInTable: groups that are not there cost no memory in the table either.
func TestGroupsForgetInTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newGroupBench(t, group.Config{})
		defer h.close()
		for i := range 100 {
			require.Equal(t, id.Offset(-1), h.committed(fmt.Sprint("unknown-", i), topicT, 0))
		}
		synctest.Wait()
		require.Zero(t, h.table.Len())
	})
}
