package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/offsets"
)

// groupLoad is a read of a group's offsets under way.
type groupLoad struct {
	done chan struct{} // closed at the end
	err  error         // set before
}

// enter is what with and withOffsets do. It fails with group.ErrNotCoordinator if another
// broker leads the group's shard, and with COORDINATOR_LOAD_IN_PROGRESS if reading takes long.
func (m *groups) enter(ctx context.Context, groupID string, fresh bool, f func(e *groupEntry, now time.Time)) error {
	m.mu.Lock()
	for {
		e, err := m.entry(groupID)
		if err != nil {
			m.unlock()
			return err
		}
		if e.loading == nil && e.stale && (e.state == nil || fresh && !e.busy()) {
			m.load(e)
		}
		loading := e.loading
		if loading == nil {
			now := m.cfg.Now()
			f(e, now)
			m.settle(e, now)
			m.unlock()
			return nil
		}
		m.unlock()
		if err := loading.wait(ctx); err != nil {
			return fmt.Errorf("wait for the offsets of group %q: %w", groupID, err)
		}
		m.mu.Lock()
	}
}

// wait waits for the end of the load, but not for long.
func (l *groupLoad) wait(ctx context.Context) error {
	timer := time.NewTimer(groupLoadPatience)
	defer timer.Stop()
	select {
	case <-l.done:
		return l.err
	case <-timer.C:
		return kerr.CoordinatorLoadInProgress
	case <-ctx.Done():
		return ctx.Err()
	}
}

// entry returns the entry of a group that this broker coordinates now.
func (m *groups) entry(groupID string) (*groupEntry, error) {
	if m.closed {
		return nil, group.ErrNotAvailable
	}
	epoch, err := m.cfg.Shards.lead(groupID)
	if err != nil {
		return nil, err
	}
	e := m.byID[groupID]
	if e != nil && e.epoch != epoch {
		m.lose(e)
		e = nil
	}
	if e == nil {
		e = &groupEntry{id: groupID, epoch: epoch, shard: m.shard(m.shardPartition(groupID).Index, epoch), index: -1, stale: true}
		m.byID[groupID] = e
	}
	return e, nil
}

// load begins to read the offsets of a group; whoever wants the group waits for it.
func (m *groups) load(e *groupEntry) {
	e.loading = &groupLoad{done: make(chan struct{})}
	shard := m.loadShard(e.shard)
	m.writes.Go(func() {
		ctx, cancel := context.WithTimeout(m.ctx, groupLoadTimeout)
		defer cancel()
		var err error
		if shard != nil {
			<-shard.done
			err = shard.err
		}
		var entries []offsets.Entry
		var state *group.Snapshot
		if err == nil {
			entries, state, err = m.read(ctx, e)
		}
		m.mu.Lock()
		defer m.unlock()
		m.loaded(e, entries, state, err)
	})
}

// read returns the offsets of a group and its state, nil if none is stored.
func (m *groups) read(ctx context.Context, e *groupEntry) ([]offsets.Entry, *group.Snapshot, error) {
	entries, stored, err := m.cfg.Table.LoadAll(ctx, group.StoredName(e.id), e.epoch)
	if err != nil || stored == nil {
		return entries, nil, err
	}
	state, err := group.DecodeSnapshot(stored)
	return entries, &state, err
}

// loaded takes in what was read.
func (m *groups) loaded(e *groupEntry, entries []offsets.Entry, state *group.Snapshot, err error) {
	loading := e.loading
	defer close(loading.done)
	e.loading = nil
	if err != nil {
		loading.err = m.tableFailed("load", e.id, err)
		if e.state == nil && m.byID[e.id] == e {
			delete(m.byID, e.id)
		}
		return
	}
	e.stale = false
	e.offsets = make(map[id.Partition]offsets.Entry, len(entries))
	for _, o := range entries {
		e.offsets[id.Partition{Topic: o.Topic, Index: o.Partition}] = o
		e.remember(o)
	}
	for _, t := range e.shard.pending[e.id] {
		for _, o := range t.offsets {
			e.remember(o)
		}
	}
	switch now := m.cfg.Now(); {
	case e.state != nil:
	case state != nil:
		e.state = group.Resume(e.id, m.cfg.Group, now, *state)
		m.log.Info("group is taken over", "group", e.id, "state", e.state.State().String(), "generation", state.Generation, "members", len(state.Members))
	case len(entries) > 0 || e.hasPending():
		e.state = group.Restore(e.id, m.cfg.Group, now)
	default:
		e.state = group.New(e.id, m.cfg.Group, now)
	}
}

// follow takes in the newest metadata: groups are lost whose shard has another leader or
// epoch, and offsets of deleted topics removed.
func (m *groups) follow() {
	img := m.cfg.Image()
	if img == m.seen || m.closed {
		return
	}
	if m.cfg.Shards.moved(m.seen, img) {
		m.loseMoved(img)
	}
	m.dropDeletedTopics(m.seen, img)
	m.seen = img
}

// loseMoved loses what has another leader or epoch. What this broker leads without a lease it keeps:
// it would read it again under the same epoch, beside writes of its own that are still under way.
func (m *groups) loseMoved(img *metalog.Image) {
	led := m.cfg.Shards
	t, _ := img.Topic(led.topic)
	for _, s := range m.shards {
		if t == nil || int(s.index) >= len(t.Partitions) || !led.keeps(img, t.Partitions[s.index], s.epoch) {
			m.loseShard(s)
		}
	}
	before := len(m.byID)
	for _, e := range m.byID {
		if shard, ok := shardOf(img, e.id); !ok || !led.keeps(img, shard, e.epoch) {
			m.lose(e)
		}
	}
	if lost := before - len(m.byID); lost > 0 {
		m.log.Info("groups have another coordinator now", "groups", lost)
	}
}

// lose ends a group on this broker: what is parked, and changes of offsets that have not
// begun, are answered NOT_COORDINATOR. What has begun is answered as it turns out.
func (m *groups) lose(e *groupEntry) {
	delete(m.byID, e.id)
	for _, op := range e.queue {
		m.changes--
		if op.done != nil {
			m.after = append(m.after, func() { op.done(group.ErrNotCoordinator) })
		}
	}
	e.queue = nil
	if e.state != nil {
		now := m.cfg.Now()
		m.dispatch(e, e.state.Step(now, group.Close{}))
		m.settle(e, now)
	}
	m.forget(e)
}

// forget frees what the table knows of a group.
func (m *groups) forget(e *groupEntry) { m.cfg.Table.Forget(group.StoredName(e.id), e.epoch) }
