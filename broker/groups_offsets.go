package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/offsets"
)

// offsetOp is one change of a group's offsets: a commit, or a removal. The changes of a group take
// effect in the order in which the group accepted them, so that a commit of an old
// generation never overwrites that of a newer one. Commits follow each other without waiting and
// are gathered by the Committer; a removal waits for what is before it, and holds up what is after.
// What comes after a state waits for it, too: in the table the two would exclude each other, and
// the other groups whose commits are gathered with it would wait as well.
type offsetOp struct {
	commit []offsets.Entry
	remove []id.Partition
	all    bool // remove the group
	// pending: what a transaction had pending. It waits for what is before it like a removal, to
	// leave out what was committed later outside of the transaction.
	pending bool
	state   *group.Snapshot // the state to store
	done    func(error)     // called without the lock, once it is durable or has failed; may be nil
}

type finishedOp struct {
	entry *groupEntry
	op    *offsetOp
	err   error
}

// enqueue accepts a change. Called with the lock held.
func (m *groups) enqueue(e *groupEntry, op *offsetOp) {
	m.changes++
	e.queue = append(e.queue, op)
	m.pump(e)
}

// removal reports whether the change removes offsets.
func (op *offsetOp) removal() bool { return op.commit == nil && op.state == nil }

// pump begins the changes that may begin.
func (m *groups) pump(e *groupEntry) {
	for len(e.queue) > 0 && !e.erasing {
		op := e.queue[0]
		removal := op.removal()
		if e.storing || (removal || op.pending) && e.writing > 0 {
			return
		}
		e.queue[0] = nil
		e.queue = e.queue[1:]
		if op.state != nil {
			e.storing = true
			e.writing++
			m.writes.Go(func() { m.finish(e, op, m.storeState(e, op.state)) })
			continue
		}
		if !removal {
			e.writing++
			if op.pending {
				if op.commit = e.newer(op.commit); len(op.commit) == 0 {
					m.finish(e, op, nil)
					continue
				}
			}
			m.commits.Submit(offsets.Batch{Group: group.StoredName(e.id), Epoch: e.epoch, Entries: op.commit}, func(err error) { m.finish(e, op, err) })
			continue
		}
		e.erasing = true
		m.writes.Go(func() { m.finish(e, op, m.erase(e, op)) })
	}
}

// erase carries out a removal.
func (m *groups) erase(e *groupEntry, op *offsetOp) error {
	ctx, cancel := context.WithTimeout(m.ctx, groupLoadTimeout)
	defer cancel()
	if op.all {
		return m.cfg.Table.DeleteGroup(ctx, group.StoredName(e.id), e.epoch)
	}
	return m.cfg.Table.Delete(ctx, group.StoredName(e.id), e.epoch, op.remove...)
}

// storeState stores the state of a group. One that is too large is stored without members, so that
// they join again at the next coordinator, under later generations.
func (m *groups) storeState(e *groupEntry, s *group.Snapshot) error {
	ctx, cancel := context.WithTimeout(m.ctx, groupLoadTimeout)
	defer cancel()
	state := s.AppendTo(nil)
	if len(state) > offsets.MaxState {
		m.log.Warn("group is too large to be handed on: its members will have to join again", "group", e.id, "bytes", len(state), "members", len(s.Members))
		empty := group.Snapshot{Generation: s.Generation, ProtocolType: s.ProtocolType, Since: s.Since}
		state = empty.AppendTo(nil)
	}
	return m.cfg.Table.StoreState(ctx, group.StoredName(e.id), e.epoch, state)
}

// store queues a state; the group hears of the outcome.
func (m *groups) store(e *groupEntry, a group.Store) {
	state := e.state
	m.enqueue(e, &offsetOp{state: &a.Snapshot, done: func(err error) {
		m.mu.Lock()
		defer m.unlock()
		if e.state != state {
			return // deleted
		}
		now := m.cfg.Now()
		m.dispatch(e, state.Step(now, group.Stored{Seq: a.Seq, Err: err}))
		m.settle(e, now)
	}})
}

// finish leaves the outcome of a change to the loop. It may be called with the lock held or not.
func (m *groups) finish(e *groupEntry, op *offsetOp, err error) {
	m.doneMu.Lock()
	m.finished = append(m.finished, finishedOp{e, op, err})
	m.doneMu.Unlock()
	signal(m.wake)
}

// takeFinished makes the outcomes visible, begins what waited for them, and answers.
func (m *groups) takeFinished() {
	m.doneMu.Lock()
	finished := m.finished
	m.finished = nil
	m.doneMu.Unlock()
	now := m.cfg.Now()
	for _, f := range finished {
		m.apply(f.entry, f.op, f.err)
		m.pump(f.entry)
		m.settle(f.entry, now)
	}
}

func (m *groups) apply(e *groupEntry, op *offsetOp, err error) {
	removal := op.removal()
	if removal {
		e.erasing = false
	} else {
		e.writing--
	}
	if op.state != nil {
		e.storing = false
	}
	switch {
	case err != nil:
		err = m.writeFailed(e, op, err)
	case op.state != nil:
	case op.all:
		clear(e.offsets)
	case removal:
		for _, p := range op.remove {
			delete(e.offsets, p)
		}
	default:
		m.cfg.Metrics.commits.Add(float64(len(op.commit)))
		for _, o := range op.commit {
			e.offsets[id.Partition{Topic: o.Topic, Index: o.Partition}] = o
		}
	}
	if op.done != nil {
		m.after = append(m.after, func() { op.done(err) })
	}
	m.changes--
	m.quieten()
}

// writeFailed says what a client hears of a change that is not known to be durable. It
// may try again: committing and removing twice is the same as once.
func (m *groups) writeFailed(e *groupEntry, op *offsetOp, err error) error {
	e.stale = true
	if op.all && !e.state.Created() {
		e.state = group.Restore(e.id, m.cfg.Group, m.cfg.Now())
	}
	return m.tableFailed("write", e.id, err)
}

// tableFailed wraps a failure of the table in the Kafka error for it, and logs it.
func (m *groups) tableFailed(verb, groupID string, err error) error {
	ke := kerr.CoordinatorNotAvailable
	switch {
	case errors.Is(err, offsets.ErrFenced):
		ke = kerr.NotCoordinator
	case errors.Is(err, offsets.ErrInvalidGroup):
		ke = kerr.InvalidGroupID
	}
	err = fmt.Errorf("%s offsets of group %q: %w: %w", verb, groupID, ke, err)
	if ke != kerr.InvalidGroupID {
		m.log.Warn("answer with "+ke.Message, "err", err)
	}
	return err
}

// commit accepts the offsets if the group lets the member commit; see group.Commit.
// done is called once they are durable. Otherwise it returns why they are refused.
func (m *groups) commit(ctx context.Context, groupID string, ev group.Commit, entries []offsets.Entry, done func(error)) error {
	var refused error
	err := m.with(ctx, groupID, func(e *groupEntry, now time.Time) {
		for _, a := range e.state.Step(now, ev) {
			if a, ok := a.(group.CommitAnswer); ok {
				refused = a.Err
			}
		}
		if refused == nil && len(entries) > 0 {
			at := e.commitTime(now, true)
			for i := range entries {
				entries[i].CommitTime = at
			}
			m.enqueue(e, &offsetOp{commit: entries, done: done})
		}
	})
	switch {
	case err != nil:
		return err
	case refused != nil:
		return refused
	case len(entries) == 0:
		done(nil)
	}
	return nil
}

// delete removes an empty group with its offsets.
func (m *groups) delete(ctx context.Context, groupID string, done func(error)) {
	var refused error
	err := m.with(ctx, groupID, func(e *groupEntry, now time.Time) {
		if refused = e.state.CanDelete(); refused == nil {
			m.remove(e, now, m.withPending(e, nil, done))
		}
	})
	switch {
	case err != nil:
		done(err)
	case refused != nil:
		done(refused)
	}
}

// withPending returns a done for a removal of offsets which removes also what transactions
// have pending of the partitions, nil for all, before it calls done.
func (m *groups) withPending(e *groupEntry, partitions []id.Partition, done func(error)) func(error) {
	if !e.hasPending() {
		return done
	}
	return func(err error) {
		if err != nil {
			done(err)
			return
		}
		m.dropPending(e.id, e.shard, partitions, done)
	}
}

// remove ends an empty group; the entry stays for what comes under the same name.
func (m *groups) remove(e *groupEntry, now time.Time, done func(error)) {
	m.dispatch(e, e.state.Step(now, group.Delete{}))
	e.state = group.New(e.id, m.cfg.Group, now)
	m.enqueue(e, &offsetOp{all: true, done: done})
}

// dropDeletedTopics removes the offsets of topics that have gone since the last look,
// of the groups in memory. The sweep finds those of the others.
func (m *groups) dropDeletedTopics(before, img *metalog.Image) {
	gone := map[id.Topic]bool{}
	for _, t := range before.Topics() {
		if _, ok := img.TopicByID(t.ID); !ok {
			gone[t.ID] = true
		}
	}
	if len(gone) == 0 {
		return
	}
	for _, e := range m.byID {
		if e.loading != nil {
			continue // the sweep sees to it
		}
		var ps []id.Partition
		for p := range e.offsets {
			if gone[p.Topic] {
				ps = append(ps, p)
			}
		}
		if len(ps) > 0 {
			m.enqueue(e, &offsetOp{remove: ps})
		}
	}
}

// sweepEvery removes at each interval the offsets that have expired or whose topic has gone, and
// the empty groups that have none left.
func (m *groups) sweepEvery(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		m.forgetMarkers()
		if err := m.sweepAll(ctx); err != nil && ctx.Err() == nil {
			m.log.Warn("look for expired offsets", "err", err)
		}
	}
}

func (m *groups) sweepAll(ctx context.Context) error {
	names, err := m.names(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := m.with(ctx, name, func(*groupEntry, time.Time) {}); err != nil && !passing(err) { // loads it
			return err
		}
	}
	// A topic named by an offset that was read before is in an image of now, or deleted.
	if err := m.cfg.Refresh(ctx); err != nil {
		return fmt.Errorf("refresh the metadata: %w", err)
	}
	img := m.cfg.Image()
	for _, name := range names {
		if err := m.withOffsets(ctx, name, func(e *groupEntry, now time.Time) { m.sweepGroup(e, now, img) }); err != nil && !passing(err) {
			return err
		}
	}
	return nil
}

// passing reports whether a group is left to another broker, or to the next sweep.
func passing(err error) bool {
	return translate(err) == kerr.NotCoordinator || errors.Is(err, kerr.CoordinatorLoadInProgress)
}

func (m *groups) sweepGroup(e *groupEntry, now time.Time, img *metalog.Image) {
	if e.busy() {
		return
	}
	var ps []id.Partition
	for p, o := range e.offsets {
		t, ok := img.TopicByID(p.Topic)
		if !ok || e.state.Expired(now, t.Name, o.CommitTime, o.ExpireTime) && !e.unstable(p) {
			ps = append(ps, p)
		}
	}
	switch {
	case !e.state.Created(): // its offsets were removed one by one, but its name is still listed
		m.enqueue(e, &offsetOp{all: true})
	case len(ps) == len(e.offsets) && e.state.Idle() && e.state.CanDelete() == nil && !e.hasPending():
		m.log.Info("remove group without members and offsets", "group", e.id, "expired", len(ps))
		m.remove(e, now, nil)
	case len(ps) > 0:
		m.log.Info("remove expired offsets", "group", e.id, "expired", len(ps))
		m.enqueue(e, &offsetOp{remove: ps})
	}
	m.cfg.Metrics.expired.Add(float64(len(ps)))
}

// names lists every group that this broker coordinates, in memory or only in the table, in no order.
func (m *groups) names(ctx context.Context) ([]string, error) {
	stored, err := m.cfg.Table.Groups(ctx)
	if err != nil {
		return nil, fmt.Errorf("list groups: %w: %w", kerr.CoordinatorNotAvailable, err)
	}
	return m.namesWith(stored), nil
}

// namesWith is names for one who has read which groups are in the table.
func (m *groups) namesWith(stored []string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make([]string, 0, len(stored)+len(m.byID))
	for _, name := range stored {
		// Of a group in memory, memory knows better: it may be on its way out.
		name = group.NameOfStored(name)
		if e := m.byID[name]; e == nil || e.state == nil {
			names = append(names, name)
		}
	}
	for name, e := range m.byID {
		if e.state != nil && e.state.Created() {
			names = append(names, name)
		}
	}
	for _, s := range m.shards {
		for name := range s.pending {
			if e := m.byID[name]; e == nil || e.state == nil {
				names = append(names, name)
			}
		}
	}
	return slices.DeleteFunc(names, func(name string) bool {
		_, err := m.cfg.Shards.lead(name)
		return err != nil
	})
}
