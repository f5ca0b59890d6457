package broker

import (
	"context"
	stdsync "sync"
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

// startTxn makes an offset of partition 0 pending; the channel yields the outcome.
func (h *groupBench) startTxn(groupID string, producer id.Producer, epoch int16, entries ...offsets.Entry) <-chan error {
	done := make(chan error, 1)
	h.m.commitTxn(&txnCommit{
		group: groupID, verification: txnVerification{TransactionalID: "tx", Producer: producer, Epoch: epoch},
		member: group.Commit{Generation: -1, Transactional: true}, entries: entries, done: func(err error) { done <- err },
	})
	return done
}

func (h *groupBench) endTxn(marker txnMarker) error {
	done := make(chan error, 1)
	h.m.endTxn(0, marker, func(err error) { done <- err })
	return <-done
}

// unstable reports whether partition 0 of t is.
func (h *groupBench) unstable(groupID string) bool {
	unstable := false
	require.NoError(h.t, h.m.withOffsets(h.t.Context(), groupID, func(e *groupEntry, _ time.Time) {
		unstable = e.unstable(id.Partition{Topic: topicT})
	}))
	return unstable
}

func TestTxnOffsets(t *testing.T) {
	for name, commit := range map[string]bool{"commit": true, "abort": false} {
		t.Run(name, func(t *testing.T) {
			h := newGroupBench(t, group.Config{})
			defer func() { h.close() }()
			h.commit("g", entry(topicT, 0, 10))
			require.NoError(t, <-h.startTxn("g", 7, 0, entry(topicT, 0, 20)))
			require.NoError(t, <-h.startTxn("g", 7, 0, entry(topicU, 1, 21)), "of the same transaction")
			require.NoError(t, <-h.startTxn("fresh", 7, 0, entry(topicT, 0, 30)))
			require.True(t, h.unstable("g"))
			require.Equal(t, id.Offset(10), h.committed("g", topicT, 0))

			h.setLeaders(2, 1) // a new coordinator
			require.True(t, h.unstable("g"), "it finds what is pending")
			require.Equal(t, group.Empty, h.state("fresh"))
			h.close()
			h.open(group.Config{})
			require.NoError(t, h.endTxn(txnMarker{Producer: 8, Commit: true}), "nothing is pending")
			require.True(t, h.unstable("g"))
			for range 2 {
				require.NoError(t, h.endTxn(txnMarker{Producer: 7, Commit: commit}))
				require.False(t, h.unstable("g"))
			}
			if commit {
				require.Equal(t, id.Offset(20), h.committed("g", topicT, 0))
				require.Equal(t, id.Offset(21), h.committed("g", topicU, 1))
				require.Equal(t, id.Offset(30), h.committed("fresh", topicT, 0))
			} else {
				require.Equal(t, id.Offset(10), h.committed("g", topicT, 0))
				require.Equal(t, id.Offset(-1), h.committed("fresh", topicT, 0))
			}
			h.setLeaders(2, 1, 2, 1)
			require.False(t, h.unstable("g"))
		})
	}
}

// TestTxnOffsetsOrder: what is committed outside of the transaction after the offsets became
// pending stands, and what came before does not.
func TestTxnOffsetsOrder(t *testing.T) {
	h := newGroupBench(t, group.Config{})
	defer h.close()
	h.commit("g", entry(topicT, 0, 10), entry(topicU, 0, 10))
	require.NoError(t, <-h.startTxn("g", 7, 0, entry(topicT, 0, 20), entry(topicU, 0, 20)))
	last := h.start("g", entry(topicU, 0, 30))
	require.NoError(t, h.endTxn(txnMarker{Producer: 7, Commit: true}))
	require.NoError(t, <-last)
	require.Equal(t, id.Offset(20), h.committed("g", topicT, 0))
	require.Equal(t, id.Offset(30), h.committed("g", topicU, 0))
}

// TestTxnOffsetsEpochs: a marker of an older transaction ends nothing, nor does a commit of one count.
func TestTxnOffsetsEpochs(t *testing.T) {
	h := newGroupBench(t, group.Config{})
	defer h.close()
	require.NoError(t, <-h.startTxn("g", 7, 5, entry(topicT, 0, 20)))
	require.ErrorIs(t, <-h.startTxn("g", 7, 4, entry(topicT, 0, 19)), kerr.InvalidProducerEpoch)
	require.ErrorIs(t, h.endTxn(txnMarker{Producer: 7, Epoch: 4}), kerr.InvalidProducerEpoch)
	require.ErrorIs(t, h.endTxn(txnMarker{Producer: 7, Epoch: 5, Version: 2}), kerr.InvalidProducerEpoch, "that of the transaction before")
	require.True(t, h.unstable("g"))
	require.NoError(t, h.endTxn(txnMarker{Producer: 7, Epoch: 6, Version: 2, Commit: true}))
	require.Equal(t, id.Offset(20), h.committed("g", topicT, 0))
}

// TestTxnOffsetsVerified: the transaction's coordinator decides, once for each transaction, and a
// marker that comes while it is asked invalidates its answer.
func TestTxnOffsetsVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newGroupBench(t, group.Config{})
		defer h.close()
		var mu stdsync.Mutex
		asked, answer := 0, error(kerr.InvalidTxnState)
		hold := make(chan struct{}, 10)
		h.verify = func(_ context.Context, v txnVerification) map[id.Partition]error {
			require.Equal(t, []id.Partition{{Topic: topicShards}}, v.Partitions)
			<-hold
			mu.Lock()
			defer mu.Unlock()
			asked++
			return map[id.Partition]error{v.Partitions[0]: answer}
		}
		hold <- struct{}{}
		require.ErrorIs(t, <-h.startTxn("g", 7, 0, entry(topicT, 0, 20)), kerr.InvalidTxnState)
		answer = kerr.NotCoordinator
		hold <- struct{}{}
		require.ErrorIs(t, <-h.startTxn("g", 7, 0, entry(topicT, 0, 20)), kerr.NotCoordinator)
		require.False(t, h.unstable("g"))

		answer = nil
		invalid := h.startTxn("g", 7, 0, entry(topicT, 0, 20))
		behind := h.startTxn("g", 7, 0, entry(topicT, 0, 21))
		synctest.Wait()
		require.NoError(t, h.endTxn(txnMarker{Producer: 7}))
		hold <- struct{}{} // the answer is of before the marker, so that the question is repeated
		synctest.Wait()
		answer = kerr.InvalidTxnState
		hold <- struct{}{}
		require.ErrorIs(t, <-invalid, kerr.InvalidTxnState, "its transaction has ended")
		answer = nil
		hold <- struct{}{}
		require.NoError(t, <-behind)
		require.NoError(t, <-h.startTxn("g", 7, 0, entry(topicT, 0, 22)), "known to be open")
		require.Equal(t, 5, asked)
		require.NoError(t, h.endTxn(txnMarker{Producer: 7, Commit: true}))
		require.Equal(t, id.Offset(22), h.committed("g", topicT, 0))
		h.m.mu.Lock()
		require.Empty(t, h.m.shards[0].guards)
		require.Empty(t, h.m.shards[0].pending)
		require.Empty(t, h.m.txnCommits)
		h.m.mu.Unlock()
	})
}

// TestTxnOffsetsMember: a member that is named must be one; see group.Commit.
func TestTxnOffsetsMember(t *testing.T) {
	h := newGroupBench(t, group.Config{})
	defer h.close()
	lead := <-h.joinAs("g", "a") // CompletingRebalance
	for name, c := range map[string]struct {
		groupID string
		member  group.Commit
		want    error
	}{
		"member":          {"g", group.Commit{MemberID: lead.MemberID, Generation: lead.Generation}, nil},
		"nobody":          {"g", group.Commit{Generation: -1}, nil},
		"unknown":         {"g", group.Commit{MemberID: "x", Generation: lead.Generation}, group.ErrUnknownMember},
		"generation":      {"g", group.Commit{MemberID: lead.MemberID, Generation: lead.Generation + 1}, group.ErrIllegalGeneration},
		"generation only": {"g", group.Commit{Generation: lead.Generation}, group.ErrUnknownMember},
		"no generation":   {"g", group.Commit{MemberID: lead.MemberID, Generation: -1}, group.ErrIllegalGeneration},
		"instance":        {"g", group.Commit{MemberID: lead.MemberID, Generation: lead.Generation, Instance: new("i")}, group.ErrUnknownMember},
		"no group":        {"none", group.Commit{MemberID: "x", Generation: 1}, group.ErrNotFound},
	} {
		done := make(chan error, 1)
		c.member.Transactional = true
		h.m.commitTxn(&txnCommit{
			group: c.groupID, verification: txnVerification{Producer: 7}, member: c.member,
			entries: []offsets.Entry{entry(topicT, 0, 20)}, done: func(err error) { done <- err },
		})
		require.ErrorIs(t, <-done, c.want, name)
	}
}

// TestTxnOffsetsRemoved: who deletes offsets or the group deletes what is pending too; expiry does not.
func TestTxnOffsetsRemoved(t *testing.T) {
	h := newGroupBench(t, group.Config{OffsetRetention: time.Nanosecond})
	defer h.close()
	h.commit("g", entry(topicT, 0, 10))
	require.NoError(t, <-h.startTxn("g", 7, 0, entry(topicT, 0, 20)))
	require.NoError(t, h.m.sweepAll(t.Context()))
	require.Equal(t, id.Offset(10), h.committed("g", topicT, 0), "not while it is unstable")
	require.NoError(t, h.remove("g"))
	require.NoError(t, h.endTxn(txnMarker{Producer: 7, Commit: true}))
	require.Equal(t, id.Offset(-1), h.committed("g", topicT, 0))
	require.Equal(t, group.Dead, h.state("g"))
}

// TestTxnOffsetsFailures: at whichever write the end of a transaction fails, to repeat it succeeds.
func TestTxnOffsetsFailures(t *testing.T) {
	for fail := range 4 {
		h := newGroupBench(t, group.Config{})
		require.NoError(t, <-h.startTxn("g", 7, 0, entry(topicT, 0, 20)))
		h.commit("other", entry(topicT, 0, 1))
		writes := 0
		h.fault = func(op kv.Op) kv.Fault {
			if op.Kind == kv.OpWrite {
				if writes++; writes == fail+1 {
					return kv.FaultFail
				}
			}
			return kv.FaultNone
		}
		err := h.endTxn(txnMarker{Producer: 7, Commit: true})
		if writes > fail {
			require.Error(t, err, "write %d", fail)
		}
		h.fault = nil
		h.setLeaders(2, 1)
		require.NoError(t, h.endTxn(txnMarker{Producer: 7, Commit: true}), "write %d", fail)
		require.Equal(t, id.Offset(20), h.committed("g", topicT, 0))
		require.False(t, h.unstable("g"))
		h.close()
	}
}

func TestEndTxnElsewhere(t *testing.T) {
	h := newGroupBench(t, group.Config{})
	defer h.close()
	require.NoError(t, <-h.startTxn("g", 7, 0, entry(topicT, 0, 20)))
	h.setLeaders(2)
	require.ErrorIs(t, h.endTxn(txnMarker{Producer: 7, Commit: true}), kerr.NotLeaderForPartition)
	require.ErrorIs(t, <-h.startTxn("g", 7, 0, entry(topicT, 0, 21)), group.ErrNotCoordinator)
}

// TestTxnOffsetsWithoutLease: a shard that the broker keeps leading, but for a while without a lease, is
// not read again beside a write under way, which would leave behind what that removes.
func TestTxnOffsetsWithoutLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newGroupBench(t, group.Config{})
		defer h.close()
		require.NoError(t, <-h.startTxn("g", 7, 0, entry(topicT, 0, 20)))
		hold := make(chan struct{})
		release := stdsync.OnceFunc(func() { close(hold) })
		defer release()
		var writes atomic.Int32
		h.fault = func(op kv.Op) kv.Fault {
			if op.Kind == kv.OpWrite && writes.Add(1) == 1 {
				<-hold // of the offsets
			}
			return kv.FaultNone
		}
		ended := make(chan error, 1)
		go func() { ended <- h.endTxn(txnMarker{Producer: 7, Commit: true}) }()
		synctest.Wait()
		known := func() *groupsShard {
			h.m.mu.Lock()
			defer h.m.mu.Unlock()
			return h.m.shards[0]
		}
		before := known()
		h.lapse.Store(true)
		h.setImage(topicCreated("t", topicT), topicCreated("u", topicU))
		synctest.Wait()
		h.lapse.Store(false)
		require.Same(t, before, known())
		release()
		require.NoError(t, <-ended)
		require.False(t, h.unstable("g"))
		require.Equal(t, id.Offset(20), h.committed("g", topicT, 0))
	})
}

// TestTxnOffsetsCoordinators: the marker of a coordinator that was replaced, which comes late, does not
// end the producer's next transaction, whose epoch is the same in version 1.
func TestTxnOffsetsCoordinators(t *testing.T) {
	h := newGroupBench(t, group.Config{})
	defer h.close()
	require.NoError(t, <-h.startTxn("g", 7, 0, entry(topicT, 0, 20)))
	require.NoError(t, h.endTxn(txnMarker{Producer: 7, CoordinatorEpoch: 3}))
	require.NoError(t, <-h.startTxn("g", 7, 0, entry(topicT, 0, 30)))
	require.ErrorIs(t, h.endTxn(txnMarker{Producer: 7, CoordinatorEpoch: 2}), kerr.TransactionCoordinatorFenced)
	require.True(t, h.unstable("g"))
	require.NoError(t, h.endTxn(txnMarker{Producer: 7, CoordinatorEpoch: 3, Commit: true}))
	require.Equal(t, id.Offset(30), h.committed("g", topicT, 0))
}

// TestTxnOffsetsMarkersAreForgotten: what is kept of producers does not grow for ever.
func TestTxnOffsetsMarkersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newGroupBench(t, group.Config{})
		defer h.close()
		remembered := func() int {
			h.m.mu.Lock()
			defer h.m.mu.Unlock()
			return len(h.m.shards[0].coordinators)
		}
		require.NoError(t, h.endTxn(txnMarker{Producer: 7}))
		time.Sleep(time.Hour - groupSweepInterval)
		require.NoError(t, h.endTxn(txnMarker{Producer: 8}))
		require.Equal(t, 2, remembered())
		time.Sleep(2*groupSweepInterval + time.Second)
		require.Equal(t, 1, remembered(), "the one that is silent for more than an hour is forgotten")
		time.Sleep(time.Hour)
		require.Zero(t, remembered())
	})
}
