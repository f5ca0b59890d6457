package broker

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	stdsync "sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/offsets"
)

const (
	groupLoadTimeout   = 5 * time.Second  // for one read or removal of a group's offsets
	groupLoadPatience  = time.Second      // for a request to wait for the read
	groupSweepInterval = 10 * time.Minute // offsets.retention.check.interval.ms
)

// groupErrors maps the errors of the state machine to Kafka's.
var groupErrors = []translated{
	{err: group.ErrUnknownMember, kafka: kerr.UnknownMemberID},
	{err: group.ErrMemberIDRequired, kafka: kerr.MemberIDRequired},
	{err: group.ErrIllegalGeneration, kafka: kerr.IllegalGeneration},
	{err: group.ErrRebalanceInProgress, kafka: kerr.RebalanceInProgress},
	{err: group.ErrFencedInstance, kafka: kerr.FencedInstanceID},
	{err: group.ErrInconsistentProtocol, kafka: kerr.InconsistentGroupProtocol},
	{err: group.ErrMaxSize, kafka: kerr.GroupMaxSizeReached},
	{err: group.ErrInvalidGroupID, kafka: kerr.InvalidGroupID},
	{err: group.ErrInvalidSession, kafka: kerr.InvalidSessionTimeout},
	{err: group.ErrNotAvailable, kafka: kerr.CoordinatorNotAvailable},
	{err: group.ErrNotCoordinator, kafka: kerr.NotCoordinator},
	{err: group.ErrNotFound, kafka: kerr.GroupIDNotFound},
	{err: group.ErrNotEmpty, kafka: kerr.NonEmptyGroup},
	{err: group.ErrSubscribed, kafka: kerr.GroupSubscribedToTopic},
}

// groupsConfig is what groups needs of a broker.
type groupsConfig struct {
	Group       group.Config
	MetadataMax int            // offset.metadata.max.bytes
	Table       *offsets.Table // with Shards as its Authority
	Window      time.Duration  // for commits to gather
	Shards      *shards
	Image       func() *metalog.Image
	Refresh     func(context.Context) error // makes Image current
	// Verify asks whether partitions belong to an open transaction; see Broker.verifyTxn.
	Verify func(context.Context, txnVerification) map[id.Partition]error
	// ProducerExpiry is how long the markers of a producer that is silent are remembered.
	ProducerExpiry time.Duration

	Now     func() time.Time
	Logger  *slog.Logger
	Metrics *groupMetrics
}

// groups is the group coordinator: every group of the shards that this broker leads behind
// one lock, one goroutine for all their timers, and the queue in which their offsets
// become durable.
//
// A group lives in memory from its first use on. Of a group that is not in memory there
// are only offsets, in the table: it is empty. An offset counts as committed when the
// table has it; until then neither OffsetFetch nor the one who commits hears of it.
//
// Members and generations are handed on. A group is stored, as one item, before its members
// hear of an assignment, when it becomes empty, and before a static member hears of its new
// id; a new leadership of its shard, of another broker or of this one, carries it on from
// there: members go on under their generation, and only their sessions start anew. A rebalance in
// progress is forgotten: those who take part in it are of a generation that is not known,
// or no members, and join again.
//
// No commit of an old generation is accepted. A commit with a generation is accepted from
// a member of the group as it is stored, under the generation that is stored, or later ones that this
// coordinator has begun itself. Should there have been a later one at the old coordinator, it was
// not stored, so nobody has got an assignment of it, nor committed under it: its commits are refused
// while the assignment is awaited. So the members that commit under the stored one own what they
// commit. The number of the forgotten generation comes again, but one who still holds it has
// no assignment, and asks for it with SyncGroup as a member of the new one, or is none. A
// commit without a generation (-1), of tools and of consumers without a group, is accepted
// while there are no members, as in Kafka. And what the old coordinator accepts or stores
// without knowing that it has been replaced is not acknowledged; see package offsets.
type groups struct {
	cfg     groupsConfig
	log     *slog.Logger
	commits *offsets.Committer

	ctx    context.Context // ends when close begins to give up
	cancel context.CancelFunc
	wake   chan struct{}      // for the loop: an earlier timer, a finished write, or a new image
	stop   chan struct{}      // closed when nothing is left to write
	quiet  chan struct{}      // closed when closed is set and every change of offsets is finished
	sweep  context.CancelFunc // ends the sweeper
	swept  stdsync.WaitGroup  // the sweeper
	writes stdsync.WaitGroup  // reads and removals of offsets
	looped stdsync.WaitGroup  // the loop

	mu      stdsync.Mutex
	closed  bool // no request is accepted any more
	changes int  // of offsets, accepted and not finished
	byID    map[string]*groupEntry
	timers  groupTimers
	tickets group.Ticket
	waiting map[group.Ticket]func(group.Action)
	after   []func() // replies to send when the lock is free
	shards  map[int32]*groupsShard
	// Of transactions:
	txnCommits     map[txnCommitKey][]*txnCommit // not yet accepted, with a goroutine for each key
	pendingQueue   []pendingWrite                // not yet begun
	pendingWriting bool                          // there is a goroutine that writes them
	seen           *metalog.Image                // of which deleted topics and lost shards are seen to

	doneMu   stdsync.Mutex
	finished []finishedOp
}

// groupEntry is one group in memory. Guarded by groups.mu.
type groupEntry struct {
	id      string
	epoch   id.Epoch                       // under which this broker coordinates it
	shard   *groupsShard                   // that it belongs to, under the same epoch
	latest  time.Time                      // of the commits that were accepted
	loading *groupLoad                     // nil: the offsets are not being read
	state   *group.Group                   // nil until they are read first
	offsets map[id.Partition]offsets.Entry // durable
	stale   bool                           // a write failed: the table may hold others than offsets
	queue   []*offsetOp                    // not yet begun
	writing int                            // commits begun and not finished
	erasing bool                           // a removal is begun and not finished
	storing bool                           // a write of the state is begun and not finished
	due     time.Time                      // when the timer fires
	index   int                            // in groups.timers; -1: not armed
}

// idle reports whether forgetting the entry loses nothing.
func (e *groupEntry) idle() bool {
	return !e.state.Created() && e.state.Idle() && !e.busy()
}

// busy reports whether changes of the offsets are accepted and not finished.
func (e *groupEntry) busy() bool { return len(e.queue) > 0 || e.writing > 0 || e.erasing }

func newGroups(cfg groupsConfig) *groups {
	ctx, cancel := context.WithCancel(context.Background())
	sweepCtx, sweep := context.WithCancel(ctx)
	m := &groups{
		cfg: cfg, log: cfg.Logger, commits: offsets.NewCommitter(cfg.Table, offsets.CommitterConfig{Window: cfg.Window}),
		ctx: ctx, cancel: cancel, sweep: sweep,
		wake: make(chan struct{}, 1), stop: make(chan struct{}), quiet: make(chan struct{}),
		byID: map[string]*groupEntry{}, waiting: map[group.Ticket]func(group.Action){}, seen: cfg.Image(),
		shards: map[int32]*groupsShard{}, txnCommits: map[txnCommitKey][]*txnCommit{},
	}
	m.looped.Go(m.loop)
	m.swept.Go(func() { m.sweepEvery(sweepCtx, groupSweepInterval) })
	return m
}

// drain answers what is parked and refuses what comes.
func (m *groups) drain() {
	m.mu.Lock()
	defer m.unlock()
	if m.closed {
		return
	}
	m.closed = true
	now := m.cfg.Now()
	for _, e := range m.byID {
		if e.state != nil {
			m.dispatch(e, e.state.Step(now, group.Close{}))
			m.settle(e, now)
		}
	}
	m.quieten()
}

// quieten lets close go on once no change of offsets is left.
func (m *groups) quieten() {
	if m.changes == 0 && m.closed {
		close(m.quiet)
	}
}

// close waits until the offsets that were accepted are written, or until ctx ends.
func (m *groups) close(ctx context.Context) error {
	m.drain()
	m.sweep()
	defer m.cancel()
	release := context.AfterFunc(ctx, m.cancel)
	defer release()
	m.swept.Wait()
	select {
	case <-m.quiet:
	case <-ctx.Done():
	}
	err := m.commits.Close(ctx)
	m.writes.Wait()
	close(m.stop)
	m.looped.Wait()
	if err != nil {
		return fmt.Errorf("close group offsets: %w", err)
	}
	return nil
}

// with runs f with the group of that name under the lock. The group is loaded first
// if need be, which may take a read of the table.
func (m *groups) with(ctx context.Context, groupID string, f func(e *groupEntry, now time.Time)) error {
	return m.enter(ctx, groupID, false, f)
}

// withOffsets is with for those who look at the offsets: after a write that failed
// they are read again.
func (m *groups) withOffsets(ctx context.Context, groupID string, f func(e *groupEntry, now time.Time)) error {
	return m.enter(ctx, groupID, true, f)
}

// step hands an event to a group. answer is called once, without the lock, now or
// later, with the answer to the event's ticket or with why there is none.
func step[A group.Action](ctx context.Context, m *groups, groupID string, ev func(group.Ticket) group.Event, answer func(A, error)) {
	err := m.with(ctx, groupID, func(e *groupEntry, now time.Time) {
		m.tickets++
		t := m.tickets
		m.waiting[t] = func(a group.Action) { answer(a.(A), nil) } //nolint:errcheck // a ticket is answered in the kind of its event
		m.dispatch(e, e.state.Step(now, ev(t)))
	})
	if err != nil {
		var none A
		answer(none, err)
	}
}

// dispatch prepares the replies that follow from actions, and reports transitions.
func (m *groups) dispatch(e *groupEntry, actions []group.Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case group.JoinAnswer:
			m.answer(a.Ticket, a)
		case group.SyncAnswer:
			m.answer(a.Ticket, a)
		case group.HeartbeatAnswer:
			m.answer(a.Ticket, a)
		case group.LeaveAnswer:
			m.answer(a.Ticket, a)
		case group.CommitAnswer:
			m.answer(a.Ticket, a)
		case group.StateChanged:
			m.changed(e, a)
		case group.Store:
			m.store(e, a)
		}
	}
}

func (m *groups) answer(t group.Ticket, a group.Action) {
	f := m.waiting[t]
	delete(m.waiting, t)
	m.after = append(m.after, func() { f(a) })
}

func (m *groups) changed(e *groupEntry, a group.StateChanged) {
	switch a.To {
	case group.Stable:
		m.cfg.Metrics.rebalances.Inc()
		m.log.Info("group is stable", "group", e.id, "generation", a.Generation, "members", a.Members)
	case group.PreparingRebalance:
		m.log.Info("group rebalances", "group", e.id, "generation", a.Generation, "members", a.Members, "reason", a.Reason)
	default:
		m.log.Debug("group changes state", "group", e.id, "state", a.To.String(), "generation", a.Generation, "reason", a.Reason)
	}
}

// settle brings the timer of an entry up to date, and forgets an entry that holds nothing.
func (m *groups) settle(e *groupEntry, now time.Time) {
	if due := e.state.NextDeadline(); !due.IsZero() && !due.After(now) {
		m.dispatch(e, e.state.Step(now, group.Tick{}))
	}
	if e.idle() && m.byID[e.id] == e {
		delete(m.byID, e.id)
		m.forget(e)
	}
	due := e.state.NextDeadline()
	if m.closed {
		due = time.Time{}
	}
	switch {
	case due.IsZero():
		if e.index >= 0 {
			heap.Remove(&m.timers, e.index)
		}
		return
	case e.index < 0:
		e.due = due
		heap.Push(&m.timers, e)
	case !due.Equal(e.due):
		e.due = due
		heap.Fix(&m.timers, e.index)
	default:
		return
	}
	if m.timers[0] == e {
		signal(m.wake)
	}
}

// unlock gives up the lock and sends the replies that were prepared under it.
func (m *groups) unlock() {
	after := m.after
	m.after = nil
	m.mu.Unlock()
	for _, f := range after {
		f()
	}
}

// loop fires timers, takes in finished writes and follows the metadata.
func (m *groups) loop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for stopping := false; ; {
		m.mu.Lock()
		m.takeFinished()
		m.follow()
		wait := m.fire()
		m.unlock()
		if stopping {
			return
		}
		timer.Reset(wait)
		select {
		case <-m.wake:
		case <-timer.C:
		case <-m.stop:
			stopping = true
		}
	}
}

// fire ticks the groups that are due, and returns how long the next one may wait.
func (m *groups) fire() time.Duration {
	for {
		now := m.cfg.Now()
		if len(m.timers) == 0 {
			return time.Hour
		}
		e := m.timers[0]
		if wait := e.due.Sub(now); wait > 0 {
			return wait
		}
		m.dispatch(e, e.state.Step(now, group.Tick{}))
		m.settle(e, now)
	}
}

// imageChanged is told of every change of the metadata.
func (m *groups) imageChanged(_, _ *metalog.Image) { signal(m.wake) }

// groupTimers is a heap of the groups that have a timer armed, the earliest first.
type groupTimers []*groupEntry

func (h groupTimers) Len() int           { return len(h) }
func (h groupTimers) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h groupTimers) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }

func (h *groupTimers) Push(x any) {
	e := x.(*groupEntry) //nolint:errcheck // it is what was given to heap.Push
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *groupTimers) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}

// openGroups starts the coordinator.
func openGroups(_ context.Context, b *Broker) (part, error) {
	cfg := b.cfg.Groups
	metrics, err := newGroupMetrics(b.cfg.Registerer)
	if err != nil {
		return nil, err
	}
	self, ok := b.meta.Image().Broker(b.cfg.NodeID)
	if !ok {
		return nil, fmt.Errorf("open groups: broker %d is not registered", b.cfg.NodeID)
	}
	led := &shards{topic: admin.OffsetsTopic, stored: group.NameOfStored, self: self, image: b.meta.Image, refresh: b.meta.Refresh, lease: b.valid}
	m := newGroups(groupsConfig{
		Group: group.Config{
			InitialDelay: cfg.InitialRebalanceDelay, MinSession: cfg.MinSessionTimeout, MaxSession: cfg.MaxSessionTimeout,
			MaxSize: cfg.MaxSize, OffsetRetention: cfg.OffsetsRetention,
		},
		MetadataMax: cfg.OffsetMetadataMax,
		Table:       offsets.Open(b.cfg.Offsets, led), Window: cfg.OffsetCommitWindow, Shards: led,
		Image: b.meta.Image, Refresh: b.meta.Refresh, Verify: b.verifyTxn, ProducerExpiry: b.cfg.Storage.ProducerExpiry,
		Now: b.cfg.Now, Logger: b.log, Metrics: metrics,
	})
	b.groups = m
	unsubscribe := b.meta.Subscribe(m.imageChanged)
	if err := metrics.watch(b.cfg.Registerer, m); err != nil {
		unsubscribe()
		return nil, errors.Join(err, m.close(context.Background()))
	}
	return &groupsPart{groups: m, unsubscribe: unsubscribe}, nil
}

// groupsPart ties the coordinator to its broker.
type groupsPart struct {
	*groups
	unsubscribe func()
}

func (p *groupsPart) close(ctx context.Context) error {
	p.unsubscribe()
	return p.groups.close(ctx)
}
