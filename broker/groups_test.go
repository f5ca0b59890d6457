package broker

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	stdsync "sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/offsets"
)

// groupBench is a coordinator on a table that can fail and block, without a broker.
type groupBench struct {
	t     *testing.T
	m     *groups
	store *kv.Mem
	table *offsets.Table
	image atomic.Pointer[metalog.Image]
	lapse atomic.Bool // the broker's lease has ended
	reg   *prometheus.Registry
	fault func(kv.Op) kv.Fault // set before use; nil: none
	// verify answers for the coordinator of transactions; nil: all of them are open. Set before use.
	verify func(context.Context, txnVerification) map[id.Partition]error
}

var topicT, topicU, topicShards = id.NewTopic(), id.NewTopic(), id.NewTopic()

func topicCreated(name string, topic id.Topic) metalog.Record {
	return metalog.TopicCreated{Name: name, ID: topic, Partitions: make([]metalog.Assignment, 4), ReplicationFactor: 1}
}

func newGroupBench(t *testing.T, cfg group.Config) *groupBench {
	h := &groupBench{t: t, store: kv.NewMem(), reg: prometheus.NewRegistry()}
	h.setImage(topicCreated("t", topicT), topicCreated("u", topicU))
	h.open(cfg)
	return h
}

// setImage makes the metadata that of records, behind those by which broker 1 leads the one shard.
func (h *groupBench) setImage(records ...metalog.Record) {
	shard := metalog.TopicCreated{Name: admin.OffsetsTopic, ID: topicShards, Partitions: []metalog.Assignment{{Leader: 1}}, ReplicationFactor: 1}
	all := append([]metalog.Record{metalog.BrokerRegistered{ID: 1}, metalog.BrokerRegistered{ID: 2}, shard}, records...)
	h.image.Store(metalog.NewImage("c", all...))
	if h.m != nil {
		h.m.imageChanged(nil, nil)
	}
}

// setLeaders makes these brokers lead the shard, one after the other.
func (h *groupBench) setLeaders(leaders ...id.Broker) {
	records := []metalog.Record{topicCreated("t", topicT), topicCreated("u", topicU)}
	for i, leader := range leaders {
		change := metalog.LeaderChange{Partition: id.Partition{Topic: topicShards}, Leader: leader, Epoch: id.Epoch(i + 1)}
		records = append(records, metalog.LeadersChanged{Changes: []metalog.LeaderChange{change}})
	}
	h.setImage(records...)
}

// open starts a coordinator on what the last one left.
func (h *groupBench) open(cfg group.Config) {
	self, _ := h.image.Load().Broker(1)
	led := &shards{
		topic: admin.OffsetsTopic, stored: group.NameOfStored, self: self, image: h.image.Load, refresh: func(context.Context) error { return nil },
		lease: func() bool { return !h.lapse.Load() },
	}
	h.table = offsets.Open(kv.Inject(h.store, func(op kv.Op) kv.Fault {
		if h.fault != nil {
			return h.fault(op)
		}
		return kv.FaultNone
	}), led)
	h.reg = prometheus.NewRegistry()
	metrics, err := newGroupMetrics(h.reg)
	require.NoError(h.t, err)
	h.m = newGroups(groupsConfig{
		Group: cfg, MetadataMax: 4096, Table: h.table, Shards: led, Image: h.image.Load,
		Verify: func(ctx context.Context, v txnVerification) map[id.Partition]error {
			if h.verify == nil {
				return nil
			}
			return h.verify(ctx, v)
		},
		Refresh: func(context.Context) error { return nil }, ProducerExpiry: time.Hour, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Metrics: metrics,
	})
	require.NoError(h.t, metrics.watch(h.reg, h.m))
}

func (h *groupBench) close() { require.NoError(h.t, h.m.close(context.Background())) }

func entry(topic id.Topic, partition int32, offset id.Offset) offsets.Entry {
	return offsets.Entry{Topic: topic, TopicName: "t", Partition: partition, Offset: offset, LeaderEpoch: -1, CommitTime: time.Now()}
}

// start commits for a consumer without a group; the channel yields the outcome.
func (h *groupBench) start(groupID string, entries ...offsets.Entry) <-chan error {
	done := make(chan error, 1)
	err := h.m.commit(h.t.Context(), groupID, group.Commit{Generation: -1}, entries, func(err error) { done <- err })
	if err != nil {
		done <- err
	}
	return done
}

func (h *groupBench) commit(groupID string, entries ...offsets.Entry) {
	require.NoError(h.t, <-h.start(groupID, entries...))
}

// committed returns the offset as OffsetFetch sees it, -1 for none.
func (h *groupBench) committed(groupID string, topic id.Topic, partition int32) id.Offset {
	at := id.Offset(-1)
	require.NoError(h.t, h.m.withOffsets(h.t.Context(), groupID, func(e *groupEntry, _ time.Time) {
		if o, ok := e.offsets[id.Partition{Topic: topic, Index: partition}]; ok {
			at = o.Offset
		}
	}))
	return at
}

func (h *groupBench) state(groupID string) group.State {
	var s group.State
	require.NoError(h.t, h.m.with(h.t.Context(), groupID, func(e *groupEntry, _ time.Time) { s = e.state.Describe().State }))
	return s
}

func (h *groupBench) remove(groupID string) error {
	done := make(chan error, 1)
	h.m.delete(h.t.Context(), groupID, func(err error) { done <- err })
	return <-done
}

// joinAs parks a JoinGroup; the channel yields its answer.
func (h *groupBench) joinAs(groupID, client string) <-chan group.JoinAnswer {
	got := make(chan group.JoinAnswer, 1)
	step(h.t.Context(), h.m, groupID, func(t group.Ticket) group.Event {
		return group.Join{
			Ticket: t, NewMemberID: client + "-1", ClientID: client, Session: 10 * time.Second, Rebalance: time.Minute,
			ProtocolType: "consumer", Protocols: []group.Protocol{{Name: "range", Metadata: []byte("\x00\x00\x00\x00\x00\x01\x00\x01t\xff\xff\xff\xff")}},
		}
	}, func(a group.JoinAnswer, err error) {
		if err != nil {
			a.Err = err
		}
		got <- a
	})
	return got
}

func (h *groupBench) syncAs(groupID, member string, generation int32) <-chan group.SyncAnswer {
	got := make(chan group.SyncAnswer, 1)
	step(h.t.Context(), h.m, groupID, func(t group.Ticket) group.Event {
		return group.Sync{Ticket: t, MemberID: member, Generation: generation}
	}, func(a group.SyncAnswer, err error) {
		if err != nil {
			a.Err = err
		}
		got <- a
	})
	return got
}

// metricValues returns the values of a counter or gauge by its label, "" for none.
func metricValues(t *testing.T, reg *prometheus.Registry, name string) map[string]float64 {
	families, err := reg.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			label := ""
			for _, l := range m.GetLabel() {
				label = l.GetValue()
			}
			values[label] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return values
}

func TestGroupsAnswerWhenDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newGroupBench(t, group.Config{})
		defer h.close()
		release := make(chan struct{})
		h.fault = func(op kv.Op) kv.Fault {
			if op.Kind == kv.OpWrite {
				<-release
			}
			return kv.FaultNone
		}
		first, second := h.start("g", entry(topicT, 0, 10)), h.start("g", entry(topicT, 0, 20))
		synctest.Wait()
		require.Empty(t, first)
		require.Equal(t, id.Offset(-1), h.committed("g", topicT, 0), "visible before it is durable")
		close(release)
		require.NoError(t, <-first)
		require.NoError(t, <-second)
		require.Equal(t, id.Offset(20), h.committed("g", topicT, 0))
		require.Equal(t, map[string]float64{"": 2}, metricValues(t, h.reg, "forebay_group_offset_commits_total"))
	})
}

// TestGroupsKeepOrder: commits and removals of one group take effect in the order in
// which they were accepted, however long each takes.
func TestGroupsKeepOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newGroupBench(t, group.Config{})
		defer h.close()
		h.fault = func(op kv.Op) kv.Fault {
			if op.Kind == kv.OpWrite {
				time.Sleep(time.Millisecond)
			}
			return kv.FaultNone
		}
		last := h.start("g", entry(topicT, 0, 1))
		removed := make(chan error, 1)
		h.m.delete(t.Context(), "g", func(err error) { removed <- err })
		for o := range id.Offset(50) {
			last = h.start("g", entry(topicT, 0, 100+o), entry(topicU, 1, o))
		}
		require.NoError(t, <-removed)
		require.NoError(t, <-last)
		require.Equal(t, id.Offset(149), h.committed("g", topicT, 0))
		stored, err := h.table.Read(t.Context(), "g")
		require.NoError(t, err)
		require.Len(t, stored, 2)
		for _, o := range stored {
			require.Equal(t, h.committed("g", o.Topic, o.Partition), o.Offset, "memory and table differ")
		}
	})
}

func TestGroupsSurviveRestart(t *testing.T) {
	h := newGroupBench(t, group.Config{})
	h.commit("g", entry(topicT, 0, 10), entry(topicT, 3, 13))
	for i, odd := range []string{"", "\x00", "\x00\x00x", "a/b%c\xff", "group/../x"} {
		h.commit(odd, entry(topicT, 0, id.Offset(i)))
	}
	h.close()
	h.open(group.Config{})
	defer h.close()
	names, err := h.m.names(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"g", "", "\x00", "\x00\x00x", "a/b%c\xff", "group/../x"}, names)
	for i, odd := range []string{"", "\x00", "\x00\x00x", "a/b%c\xff", "group/../x"} {
		require.Equal(t, id.Offset(i), h.committed(odd, topicT, 0))
		require.NoError(t, h.remove(odd))
	}
	require.Equal(t, id.Offset(13), h.committed("g", topicT, 3))
	require.Equal(t, group.Empty, h.state("g"))
	require.NoError(t, h.remove("g"))
	require.Equal(t, group.Dead, h.state("g"))
	require.ErrorIs(t, h.remove("g"), group.ErrNotFound)
	names, err = h.m.names(t.Context())
	require.NoError(t, err)
	require.Empty(t, names)
}

// TestGroupsFailures: what the table refuses is an error that clients retry, and changes nothing.
func TestGroupsFailures(t *testing.T) {
	h := newGroupBench(t, group.Config{})
	defer func() { h.close() }()
	h.commit("g", entry(topicT, 0, 10))
	var broken atomic.Bool
	h.fault = func(kv.Op) kv.Fault {
		if broken.Load() {
			return kv.FaultFail
		}
		return kv.FaultNone
	}
	broken.Store(true)
	require.ErrorIs(t, <-h.start("g", entry(topicT, 0, 20)), kerr.CoordinatorNotAvailable)
	require.ErrorIs(t, h.m.withOffsets(t.Context(), "g", nil), kerr.CoordinatorNotAvailable, "what is committed is not known")
	require.ErrorIs(t, h.remove("g"), kerr.CoordinatorNotAvailable)
	require.Equal(t, group.Empty, h.state("g"), "a group that could not be deleted is still there")
	require.ErrorIs(t, <-h.start("other", entry(topicT, 0, 1)), kerr.CoordinatorNotAvailable, "the group cannot be loaded")
	_, err := h.m.names(t.Context())
	require.ErrorIs(t, err, kerr.CoordinatorNotAvailable)

	broken.Store(false)
	require.Equal(t, id.Offset(10), h.committed("g", topicT, 0))
	h.commit("g", entry(topicT, 0, 30))
	h.commit("other", entry(topicT, 0, 1))
	require.Equal(t, id.Offset(30), h.committed("g", topicT, 0))
	require.NoError(t, h.remove("g"))
}

// TestGroupsReplaced: a coordinator that another one has replaced does not take an offset
// back; it says so, and answers nothing any more.
func TestGroupsReplaced(t *testing.T) {
	h := newGroupBench(t, group.Config{})
	defer h.close()
	h.commit("g", entry(topicT, 0, 10))
	other := offsets.Open(h.store, offsets.Sole)
	require.NoError(t, other.Commit(t.Context(), "g", 1, []offsets.Entry{entry(topicT, 0, 99)}))
	require.ErrorIs(t, <-h.start("g", entry(topicT, 0, 11)), kerr.NotCoordinator)
	require.ErrorIs(t, h.m.withOffsets(t.Context(), "g", nil), kerr.NotCoordinator)
	stored, err := other.Read(t.Context(), "g")
	require.NoError(t, err)
	require.Equal(t, id.Offset(99), stored[0].Offset)
}

func TestGroupsForgetWhatDoesNotExist(t *testing.T) {
	h := newGroupBench(t, group.Config{})
	defer h.close()
	for i := range 100 {
		require.Equal(t, id.Offset(-1), h.committed(fmt.Sprint("unknown-", i), topicT, 0))
	}
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	require.Empty(t, h.m.byID)
}

// TestGroupsTimers: rebalance delays and session timeouts happen without a request.
func TestGroupsTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newGroupBench(t, group.Config{InitialDelay: 3 * time.Second})
		defer h.close()
		start := time.Now()
		a := <-h.joinAs("g", "a")
		require.NoError(t, a.Err)
		require.Equal(t, 3*time.Second, time.Since(start))
		s := <-h.syncAs("g", a.MemberID, a.Generation)
		require.NoError(t, s.Err)
		require.Equal(t, group.Stable, h.state("g"))
		require.Equal(t, map[string]float64{"": 1}, metricValues(t, h.reg, "forebay_group_members"))
		require.Equal(t, map[string]float64{"": 1}, metricValues(t, h.reg, "forebay_group_rebalances_total"))
		require.Equal(t, map[string]float64{"Empty": 0, "PreparingRebalance": 0, "CompletingRebalance": 0, "Stable": 1, "Dead": 0},
			metricValues(t, h.reg, "forebay_groups"))
		time.Sleep(10*time.Second - time.Millisecond)
		synctest.Wait()
		require.Equal(t, group.Stable, h.state("g"))
		time.Sleep(time.Millisecond)
		synctest.Wait()
		require.Equal(t, group.Empty, h.state("g"))
	})
}

// TestGroupsShutDown: what is parked is answered, what comes later is refused, what was
// accepted becomes durable, and no goroutine stays (the bubble would not end).
func TestGroupsShutDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newGroupBench(t, group.Config{InitialDelay: 3 * time.Second})
		h.fault = func(op kv.Op) kv.Fault {
			if op.Kind == kv.OpWrite {
				time.Sleep(100 * time.Millisecond)
			}
			return kv.FaultNone
		}
		h.commit("other", entry(topicT, 0, 1))
		parked := h.joinAs("g", "a")
		erased := make(chan error, 1)
		h.m.delete(t.Context(), "other", func(err error) { erased <- err })
		after := h.start("other", entry(topicT, 0, 2))
		h.m.drain()
		require.ErrorIs(t, (<-parked).Err, group.ErrNotCoordinator)
		require.ErrorIs(t, (<-h.joinAs("g", "a")).Err, group.ErrNotAvailable)
		require.ErrorIs(t, <-h.start("other", entry(topicT, 0, 3)), group.ErrNotAvailable)
		h.close()
		require.NoError(t, <-erased)
		require.NoError(t, <-after)
		stored, err := h.table.Read(t.Context(), "other")
		require.NoError(t, err)
		require.Len(t, stored, 1)
		require.Equal(t, id.Offset(2), stored[0].Offset)
	})
}

// TestGroupsShutDownInTime: a table that does not answer does not hold up the end.
func TestGroupsShutDownInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newGroupBench(t, group.Config{})
		release := make(chan struct{})
		h.fault = func(op kv.Op) kv.Fault {
			if op.Kind == kv.OpWrite {
				<-release
			}
			return kv.FaultFail
		}
		h.m.byID["g"] = &groupEntry{id: "g", state: group.New("g", group.Config{}, time.Now()), index: -1, shard: h.m.shard(0, 0)}
		pending := h.start("g", entry(topicT, 0, 1))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		time.AfterFunc(2*time.Second, func() { close(release) })
		_ = h.m.close(ctx) // says that it was not in time, or that the write failed
		require.LessOrEqual(t, len(pending), 1)
	})
}

func TestGroupsExpireOffsets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newGroupBench(t, group.Config{})
		defer h.close()
		h.commit("simple", entry(topicT, 0, 1), entry(topicT, 1, 1))
		a := <-h.joinAs("live", "a")
		require.NoError(t, (<-h.syncAs("live", a.MemberID, a.Generation)).Err)
		done := make(chan error, 1)
		require.NoError(t, h.m.commit(t.Context(), "live", group.Commit{MemberID: a.MemberID, Generation: a.Generation},
			[]offsets.Entry{entry(topicT, 0, 5), entry(topicU, 0, 5)}, func(err error) { done <- err }))
		require.NoError(t, <-done)
		for day := range 10 {
			if day == 5 {
				h.commit("simple", entry(topicT, 1, 2))
			}
			for range 24 * 60 * 60 / 5 {
				time.Sleep(5 * time.Second)
				step(t.Context(), h.m, "live", func(t group.Ticket) group.Event {
					return group.Heartbeat{Ticket: t, MemberID: a.MemberID, Generation: a.Generation}
				}, func(group.HeartbeatAnswer, error) {})
			}
		}
		synctest.Wait()
		require.Equal(t, id.Offset(-1), h.committed("simple", topicT, 0), "a simple group's offset lives 7 days")
		require.Equal(t, id.Offset(2), h.committed("simple", topicT, 1), "counted from its last commit")
		require.Equal(t, id.Offset(5), h.committed("live", topicT, 0), "a subscribed topic's offset stays")
		require.Equal(t, id.Offset(-1), h.committed("live", topicU, 0), "one of a topic that is not subscribed goes")
		time.Sleep(8 * 24 * time.Hour)
		synctest.Wait()
		require.Equal(t, group.Dead, h.state("simple"), "a group without members and offsets goes")
		require.Equal(t, group.Dead, h.state("live"))
		require.Equal(t, map[string]float64{"": 4}, metricValues(t, h.reg, "forebay_group_offsets_expired_total"))
	})
}

func TestGroupsDropOffsetsOfDeletedTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newGroupBench(t, group.Config{})
		h.commit("stored", entry(topicU, 0, 1), entry(topicT, 0, 1))
		h.close()
		h.open(group.Config{})
		defer h.close()
		h.commit("g", entry(topicT, 0, 1), entry(topicU, 0, 1))
		again := id.NewTopic()
		h.setImage(topicCreated("t", again), topicCreated("u", topicU))
		synctest.Wait()
		require.Equal(t, id.Offset(-1), h.committed("g", topicT, 0))
		require.Equal(t, id.Offset(1), h.committed("g", topicU, 0))
		stored, err := h.table.Read(t.Context(), "g")
		require.NoError(t, err)
		require.Len(t, stored, 1)

		time.Sleep(groupSweepInterval)
		synctest.Wait()
		stored, err = h.table.Read(t.Context(), "stored")
		require.NoError(t, err)
		require.Len(t, stored, 1, "the sweep finds those of groups that were not in memory")
	})
}

// TestGroupsMany: members cost no goroutines.
func TestGroupsMany(t *testing.T) {
	const count, size = 1000, 10
	h := newGroupBench(t, group.Config{InitialDelay: 50 * time.Millisecond})
	defer h.close()
	before := runtime.NumGoroutine()
	joined := make([][]<-chan group.JoinAnswer, count)
	for i := range joined {
		for j := range size {
			joined[i] = append(joined[i], h.joinAs(fmt.Sprint("g", i), fmt.Sprint("c", j)))
		}
	}
	require.Less(t, runtime.NumGoroutine(), before+count/10) // timers have some for a moment
	for i := range joined {
		generation, leader := int32(0), ""
		for _, ch := range joined[i] {
			a := <-ch
			require.NoError(t, a.Err)
			generation = max(generation, a.Generation)
			leader = a.Leader
		}
		require.NoError(t, (<-h.syncAs(fmt.Sprint("g", i), leader, generation)).Err)
		require.Equal(t, group.Stable, h.state(fmt.Sprint("g", i)))
	}
	require.Less(t, runtime.NumGoroutine(), before+count/10) // timers have some for a moment
}

// TestGroupsHammered: requests of all kinds from many connections on few groups, on a
// table that fails now and then. Each is answered once, and in the end the table and a
// fresh coordinator agree with the last one.
func TestGroupsHammered(t *testing.T) {
	const workers, rounds = 16, 150
	h := newGroupBench(t, group.Config{InitialDelay: time.Millisecond})
	var ops atomic.Uint64
	var calm atomic.Bool
	h.fault = func(kv.Op) kv.Fault {
		if calm.Load() {
			return kv.FaultNone
		}
		switch ops.Add(1) % 31 {
		case 7:
			return kv.FaultFail
		case 19:
			return kv.FaultLanded
		}
		return kv.FaultNone
	}
	var wg stdsync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for r := range rounds {
				name := fmt.Sprint("g", (w+r)%4)
				switch (w*7 + r) % 5 {
				case 0, 1:
					if err := <-h.start(name, entry(topicT, int32(w%4), id.Offset(r))); err != nil {
						continue // as the store did
					}
				case 2:
					a := <-h.joinAs(name, fmt.Sprint("c", w, "-", r))
					if a.Err != nil {
						continue
					}
					left := make(chan struct{})
					step(t.Context(), h.m, name, func(tk group.Ticket) group.Event {
						return group.Leave{Ticket: tk, Members: []group.LeaveMember{{MemberID: a.MemberID}}}
					}, func(group.LeaveAnswer, error) { close(left) })
					<-left
				case 3:
					_ = h.m.withOffsets(t.Context(), name, func(*groupEntry, time.Time) {})
				case 4:
					_ = h.remove(name)
				}
			}
		})
	}
	wg.Wait()
	calm.Store(true) // writes of what is stored by the way may be under way still
	read := func() map[string]map[id.Partition]id.Offset {
		all := map[string]map[id.Partition]id.Offset{}
		for g := range 4 {
			name := fmt.Sprint("g", g)
			all[name] = map[id.Partition]id.Offset{}
			require.NoError(t, h.m.withOffsets(t.Context(), name, func(e *groupEntry, _ time.Time) {
				for p, o := range e.offsets {
					all[name][p] = o.Offset
				}
			}))
		}
		return all
	}
	want := read()
	require.Empty(t, h.m.waiting)
	h.close()
	h.open(group.Config{})
	defer h.close()
	require.Equal(t, want, read())
}
