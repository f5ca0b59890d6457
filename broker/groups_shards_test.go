package broker

import (
	"crypto/rand"
	"fmt"
	"strings"
	"sync/atomic"
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
		require.Equal(t, hash, group.Shard(groupID, many), groupID)
		require.Equal(t, hash%50, group.Shard(groupID, 50), groupID)
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
// group goes on with the members and the generation that were stored.
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
		require.Equal(t, group.Stable, h.state("stable"))
		require.Equal(t, id.Offset(10), h.committed("stable", topicT, 0))
		require.NoError(t, h.beat("stable", lead.MemberID, lead.Generation))
		require.NoError(t, <-h.commitAs("stable", lead.MemberID, lead.Generation, 12))
		require.ErrorIs(t, <-h.commitAs("stable", lead.MemberID, lead.Generation-1, 9), group.ErrIllegalGeneration)
		require.ErrorIs(t, h.beat("stable", "b-1", lead.Generation), group.ErrUnknownMember, "it was not in the generation that is stored")
		require.Equal(t, group.Dead, h.state("syncing"), "it was never stored")
		time.Sleep(11 * time.Second)
		synctest.Wait()
		require.Equal(t, group.Empty, h.state("stable"), "the session began with the new coordinator")
		emptied := time.Now().Add(-time.Second)
		h.setLeaders(2, 1, 2, 1)
		require.NoError(t, h.m.with(t.Context(), "stable", func(e *groupEntry, now time.Time) {
			require.Equal(t, lead.Generation+1, e.state.Generation())
			require.Equal(t, "consumer", e.state.ProtocolType())
			require.False(t, e.state.Expired(emptied.Add(7*24*time.Hour-time.Millisecond), "u", now, time.Time{}))
			require.True(t, e.state.Expired(emptied.Add(7*24*time.Hour), "u", now, time.Time{}))
		}))
	})
}

// TestGroupsLoseShardUnseen: the shard goes and comes back before anybody has looked.
func TestGroupsLoseShardUnseen(t *testing.T) {
	h := newGroupBench(t, group.Config{})
	defer h.close()
	a := <-h.joinAs("g", "a")
	require.NoError(t, (<-h.syncAs("g", a.MemberID, a.Generation)).Err)
	h.setLeaders(2, 1)
	require.NoError(t, h.beat("g", a.MemberID, a.Generation))
}

// TestGroupsStoreFails: an assignment that cannot be stored is not told to anybody.
func TestGroupsStoreFails(t *testing.T) {
	h := newGroupBench(t, group.Config{})
	defer h.close()
	var broken atomic.Bool
	h.fault = func(op kv.Op) kv.Fault {
		if broken.Load() && op.Kind == kv.OpWrite {
			return kv.FaultFail
		}
		return kv.FaultNone
	}
	a := <-h.joinAs("g", "a")
	broken.Store(true)
	require.ErrorIs(t, (<-h.syncAs("g", a.MemberID, a.Generation)).Err, kerr.CoordinatorNotAvailable)
	require.ErrorIs(t, h.beat("g", a.MemberID, a.Generation), group.ErrRebalanceInProgress)
}

// TestGroupsDeleted: the state of a group goes with it.
func TestGroupsDeleted(t *testing.T) {
	h := newGroupBench(t, group.Config{})
	defer h.close()
	a := <-h.joinAs("g", "a")
	require.NoError(t, (<-h.syncAs("g", a.MemberID, a.Generation)).Err)
	names, err := h.m.names(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"g"}, names)
	h.setLeaders(2, 1)
	names, err = h.m.names(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"g"}, names, "it is listed before anybody uses it")
	left := make(chan group.LeaveAnswer, 1)
	step(t.Context(), h.m, "g", func(tk group.Ticket) group.Event {
		return group.Leave{Ticket: tk, Members: []group.LeaveMember{{MemberID: a.MemberID}}}
	}, func(a group.LeaveAnswer, _ error) { left <- a })
	require.NoError(t, (<-left).Results[0].Err)
	require.NoError(t, h.remove("g"))
	h.setLeaders(2, 1, 2, 1)
	require.Equal(t, group.Dead, h.state("g"))
	items, err := h.store.Query(t.Context(), "offsets/g", kv.Range{})
	require.NoError(t, err)
	require.Empty(t, items)
}

// TestGroupsTooLarge: a group whose state is too large for an item goes on here, and begins
// again, under later generations, at the next coordinator.
func TestGroupsTooLarge(t *testing.T) {
	h := newGroupBench(t, group.Config{})
	defer h.close()
	a := <-h.joinAs("g", "a")
	noise := make([]byte, offsets.MaxState+1)
	_, _ = rand.Read(noise)
	got := make(chan group.SyncAnswer, 1)
	step(t.Context(), h.m, "g", func(tk group.Ticket) group.Event {
		return group.Sync{Ticket: tk, MemberID: a.MemberID, Generation: a.Generation, Assignments: []group.Assignment{{MemberID: a.MemberID, Data: noise}}}
	}, func(a group.SyncAnswer, err error) { got <- a })
	require.Equal(t, noise, (<-got).Assignment)
	require.NoError(t, h.beat("g", a.MemberID, a.Generation))
	h.setLeaders(2, 1)
	require.ErrorIs(t, h.beat("g", a.MemberID, a.Generation), group.ErrUnknownMember)
	require.Equal(t, a.Generation+1, (<-h.joinAs("g", "b")).Generation)
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
				require.Equal(t, kerr.NotCoordinator, translate(<-writing))
				require.Equal(t, kerr.NotCoordinator, translate(<-removal))
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
			if queriesGroup(op) {
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

// queriesGroup tells the reads of groups from those of shards: what is forgotten of a shard waits for the
// latter by a mutex, and the bubble's time stands still meanwhile.
func queriesGroup(op kv.Op) bool {
	return op.Kind == kv.OpQuery && strings.HasPrefix(op.Key.Part, "offsets/")
}

// TestGroupsPeekAtOnce: groups that nobody has used since the shard was taken over are read
// several at a time.
func TestGroupsPeekAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newGroupBench(t, group.Config{})
		defer h.close()
		const count = 4 * peekConcurrency
		var names []string
		for i := range count {
			names = append(names, fmt.Sprint("g", i))
			h.commit(names[i], entry(topicT, 0, 1))
		}
		h.setLeaders(1)
		h.fault = func(op kv.Op) kv.Fault {
			if queriesGroup(op) {
				time.Sleep(100 * time.Millisecond) // of the bubble's time
			}
			return kv.FaultNone
		}
		start := time.Now()
		described, err := h.m.peek(t.Context(), names)
		require.NoError(t, err)
		for _, d := range described {
			require.Equal(t, group.Empty, d.State)
		}
		require.Less(t, time.Since(start), time.Second)
		h.setLeaders(2)
		described, err = h.m.peek(t.Context(), names[:1])
		require.NoError(t, err)
		require.Equal(t, group.Dead, described[0].State)
	})
}

// TestGroupsStoreHoldsUpNobody: while the state of a group is stored, its commits wait, and are not
// gathered with those of other groups.
func TestGroupsStoreHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newGroupBench(t, group.Config{})
		defer h.close()
		h.commit("g", entry(topicT, 0, 1))
		h.commit("other", entry(topicT, 0, 1))
		release := make(chan struct{})
		h.fault = func(op kv.Op) kv.Fault {
			if op.Kind == kv.OpWrite && op.Key.Sort == "state" {
				<-release
			}
			return kv.FaultNone
		}
		require.NoError(t, h.m.with(t.Context(), "g", func(e *groupEntry, _ time.Time) {
			h.m.enqueue(e, &offsetOp{state: &group.Snapshot{Generation: 1}})
		}))
		held := h.start("g", entry(topicT, 0, 2))
		require.NoError(t, <-h.start("other", entry(topicT, 0, 2)))
		synctest.Wait()
		require.Empty(t, held)
		close(release)
		require.NoError(t, <-held)
		require.Equal(t, id.Offset(2), h.committed("g", topicT, 0))
	})
}
