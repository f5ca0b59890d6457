package broker

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/offsets"
)

// pendingTimeout is how long a write of pending offsets, the question whether they belong to a
// transaction, and the end of one may take.
const pendingTimeout = 30 * time.Second

// groupsShard is a shard that this broker leads, with what transactions have pending in its groups.
// Guarded by groups.mu.
type groupsShard struct {
	index   int32
	epoch   id.Epoch
	loaded  bool
	loading *groupLoad // nil: it is not being read
	pending map[string]map[id.Producer]*pendingTxn
	guards  map[id.Producer][]*txnGuard
	// coordinators has the coordinator of each producer's last marker: one of a coordinator that was
	// replaced may come late, and the next transaction may have the same producer epoch. A producer that is
	// silent for long is forgotten, as in the logs of partitions.
	coordinators map[id.Producer]lastMarker
}

// lastMarker is the coordinator epoch of a producer's last marker, and when it came.
type lastMarker struct {
	coordinator int32
	at          time.Time
}

// pendingTxn is what a producer's open transaction commits in one group: what was
// accepted, durable or not. While it is there, its partitions are unstable.
type pendingTxn struct {
	epoch   int16 // of the producer
	offsets map[id.Partition]offsets.Entry
	writes  int           // begun and not finished
	quiet   chan struct{} // closed when there are none; nil: nobody waits
	ending  *groupLoad    // the end under way
}

// txnGuard notices the end of a transaction while it is asked whether it is open, as Kafka's VerificationGuard.
type txnGuard struct{ broken bool }

// pendingWrite waits to be written.
type pendingWrite struct {
	offsets.PendingWrite
	done func(error) // called without the lock
}

// shardPartition is the partition of the shards' topic that a group hashes to.
func (m *groups) shardPartition(groupID string) id.Partition {
	t, ok := m.cfg.Image().Topic(admin.OffsetsTopic)
	if !ok {
		return id.Partition{Index: -1}
	}
	return id.Partition{Topic: t.ID, Index: int32(group.Shard(groupID, len(t.Partitions)))}
}

// shard returns the state of a shard that this broker leads under the epoch.
func (m *groups) shard(index int32, epoch id.Epoch) *groupsShard {
	s := m.shards[index]
	if s == nil || s.epoch != epoch {
		if s != nil {
			m.loseShard(s)
		}
		s = &groupsShard{index: index, epoch: epoch, pending: map[string]map[id.Producer]*pendingTxn{}, guards: map[id.Producer][]*txnGuard{}, coordinators: map[id.Producer]lastMarker{}}
		m.shards[index] = s
	}
	return s
}

func (m *groups) loseShard(s *groupsShard) {
	if m.shards[s.index] == s {
		delete(m.shards, s.index)
	}
	m.writes.Go(func() { m.cfg.Table.ForgetPending(s.index, s.epoch) })
}

// loadShard begins to read what is pending in a shard, unless it is known: then it returns nil.
func (m *groups) loadShard(s *groupsShard) *groupLoad {
	if s.loaded || s.loading != nil {
		return s.loading
	}
	loading := &groupLoad{done: make(chan struct{})}
	s.loading = loading
	m.writes.Go(func() {
		ctx, cancel := context.WithTimeout(m.ctx, groupLoadTimeout)
		defer cancel()
		found, err := m.cfg.Table.LoadPending(ctx, s.index, s.epoch)
		m.mu.Lock()
		defer m.unlock()
		defer close(loading.done)
		s.loading = nil
		if err != nil {
			loading.err = m.tableFailed("load", "pending of shard "+strconv.Itoa(int(s.index)), err)
			return
		}
		s.loaded = true
		for _, p := range found {
			t := s.txn(group.NameOfStored(p.Group), p.Producer)
			t.epoch = p.Epoch
			for _, o := range p.Entries {
				t.offsets[id.Partition{Topic: o.Topic, Index: o.Partition}] = o
			}
		}
	})
	return loading
}

// txn returns what the producer has pending in a group, made if there is nothing yet.
func (s *groupsShard) txn(groupID string, producer id.Producer) *pendingTxn {
	if s.pending[groupID] == nil {
		s.pending[groupID] = map[id.Producer]*pendingTxn{}
	}
	t := s.pending[groupID][producer]
	if t == nil {
		t = &pendingTxn{offsets: map[id.Partition]offsets.Entry{}}
		s.pending[groupID][producer] = t
	}
	return t
}

// drop forgets what a producer had pending.
func (s *groupsShard) drop(groupID string, producer id.Producer) {
	delete(s.pending[groupID], producer)
	if len(s.pending[groupID]) == 0 {
		delete(s.pending, groupID)
	}
}

// unstable reports whether an open transaction commits an offset of the partition.
func (e *groupEntry) unstable(p id.Partition) bool {
	for _, t := range e.shard.pending[e.id] {
		if _, ok := t.offsets[p]; ok {
			return true
		}
	}
	return false
}

// hasPending reports whether open transactions commit offsets of the group.
func (e *groupEntry) hasPending() bool { return len(e.shard.pending[e.id]) > 0 }

// commitTime returns the time of a commit that is accepted now. Those of a group never go
// back, whatever the clocks of its coordinators; and while transactions are open an ordinary
// commit is later than all before it, so that what is pending does not replace it at the end.
func (e *groupEntry) commitTime(now time.Time, ordinary bool) time.Time {
	if now = now.Truncate(time.Millisecond); now.Before(e.latest) {
		now = e.latest
	}
	if ordinary && e.hasPending() && !now.After(e.latest) {
		now = now.Add(time.Millisecond)
	}
	e.latest = now
	return now
}

// remember takes note of the times of offsets that were read.
func (e *groupEntry) remember(o offsets.Entry) {
	if t := o.CommitTime.Truncate(time.Millisecond); t.After(e.latest) {
		e.latest = t
	}
}

// newer leaves out what was committed later outside of the transaction.
func (e *groupEntry) newer(entries []offsets.Entry) []offsets.Entry {
	return slices.DeleteFunc(entries, func(o offsets.Entry) bool {
		there, ok := e.offsets[id.Partition{Topic: o.Topic, Index: o.Partition}]
		return ok && there.CommitTime.Truncate(time.Millisecond).After(o.CommitTime)
	})
}

// writePending queues a change of a transaction's pending offsets. Called with the lock held;
// done is called with the lock held too, once it is durable or has failed.
func (m *groups) writePending(s *groupsShard, groupID string, producer id.Producer, t *pendingTxn, entries []offsets.Entry, done func(error)) {
	t.writes++
	p := offsets.Pending{Group: group.StoredName(groupID), Producer: producer, Epoch: t.epoch, Entries: entries}
	w := pendingWrite{PendingWrite: offsets.PendingWrite{Shard: s.index, Coordinator: s.epoch, Pending: p}}
	w.done = func(err error) {
		if err != nil {
			err = m.tableFailed("write", groupID, err)
		}
		m.mu.Lock()
		defer m.unlock()
		if t.writes--; t.writes == 0 && t.quiet != nil {
			close(t.quiet)
			t.quiet = nil
		}
		done(err)
	}
	m.pendingQueue = append(m.pendingQueue, w)
	if !m.pendingWriting {
		m.pendingWriting = true
		m.writes.Go(m.writePendings)
	}
}

// writePendings writes until nothing is queued: while one write is under way the next gathers.
func (m *groups) writePendings() {
	for {
		m.mu.Lock()
		queue := m.pendingQueue
		m.pendingQueue = nil
		m.pendingWriting = len(queue) > 0
		m.mu.Unlock()
		if len(queue) == 0 {
			return
		}
		writes := make([]offsets.PendingWrite, len(queue))
		for i, w := range queue {
			writes[i] = w.PendingWrite
		}
		ctx, cancel := context.WithTimeout(m.ctx, pendingTimeout)
		errs := m.cfg.Table.WritePending(ctx, writes)
		cancel()
		for i, w := range queue {
			w.done(errs[i])
		}
	}
}

// dropPending removes partitions, nil for all, from what transactions have pending in a group
// whose offsets were removed. done is called once, without the lock.
func (m *groups) dropPending(groupID string, s *groupsShard, partitions []id.Partition, done func(error)) {
	m.mu.Lock()
	defer m.unlock()
	left, failed := 1, error(nil)
	finished := func(err error) {
		if left--; err != nil {
			failed = err
		}
		if left == 0 {
			m.after = append(m.after, func() { done(failed) })
		}
	}
	for producer, t := range s.pending[groupID] {
		if t.ending != nil {
			continue
		}
		before := len(t.offsets)
		for p := range t.offsets {
			if partitions == nil || slices.Contains(partitions, p) {
				delete(t.offsets, p)
			}
		}
		if len(t.offsets) == before {
			continue
		}
		left++
		m.writePending(s, groupID, producer, t, t.entries(), func(err error) {
			if err == nil && len(t.offsets) == 0 && t.writes == 0 && s.pending[groupID][producer] == t {
				s.drop(groupID, producer)
			}
			finished(err)
		})
	}
	finished(nil)
}

// entries is what the transaction commits.
func (t *pendingTxn) entries() []offsets.Entry {
	entries := make([]offsets.Entry, 0, len(t.offsets))
	for _, o := range t.offsets {
		entries = append(entries, o)
	}
	return entries
}

// endTxn ends a transaction on the offsets that are pending for it in a shard of the groups: they
// are committed, in the order of the group's commits, or dropped. done is called once, from any
// goroutine, when that is durable or has failed; to repeat it does no harm. Another than the
// shard's leader fails with NOT_LEADER_OR_FOLLOWER.
//
// Commit points: that of each group's offsets, then the removal of its item. After a crash
// in between, the next end commits the same offsets under the same commit times.
func (m *groups) endTxn(shard int32, marker txnMarker, done func(error)) {
	m.mu.Lock()
	defer m.unlock()
	if m.closed {
		m.after = append(m.after, func() { done(notShardLeader(shard, group.ErrNotAvailable)) })
		return
	}
	m.writes.Go(func() {
		ctx, cancel := context.WithTimeout(m.ctx, pendingTimeout)
		defer cancel()
		done(m.endPending(ctx, shard, marker))
	})
}

func notShardLeader(shard int32, err error) error {
	return fmt.Errorf("end a transaction in shard %d of the groups: %w: %w", shard, kerr.NotLeaderForPartition, err)
}

func (m *groups) endPending(ctx context.Context, index int32, marker txnMarker) error {
	s, err := m.enterShard(ctx, index)
	if err != nil {
		return notShardLeader(index, err)
	}
	m.mu.Lock()
	if err := s.admit(marker, m.cfg.Now()); err != nil {
		m.mu.Unlock()
		return err
	}
	for _, g := range s.guards[marker.Producer] {
		g.broken = true
	}
	var groupIDs []string
	for groupID, txns := range s.pending {
		t := txns[marker.Producer]
		if t == nil {
			continue
		}
		if marker.Epoch < t.epoch || marker.Version >= 2 && marker.Epoch == t.epoch {
			m.mu.Unlock()
			return fmt.Errorf("end the transaction of producer %d in group %q: marker of epoch %d, offsets of epoch %d: %w",
				marker.Producer, groupID, marker.Epoch, t.epoch, kerr.InvalidProducerEpoch)
		}
		groupIDs = append(groupIDs, groupID)
	}
	m.mu.Unlock()
	slices.Sort(groupIDs)
	for _, groupID := range groupIDs {
		if err := m.endGroup(ctx, s, groupID, marker); err != nil {
			return fmt.Errorf("end the transaction of producer %d in group %q: %w", marker.Producer, groupID, err)
		}
	}
	return nil
}

// admit refuses a marker of a coordinator that was replaced, as the logs of partitions do.
func (s *groupsShard) admit(marker txnMarker, now time.Time) error {
	if last := s.coordinators[marker.Producer].coordinator; max(marker.CoordinatorEpoch, 0) < last {
		return fmt.Errorf("end the transaction of producer %d: coordinator epoch %d, the last one was %d: %w",
			marker.Producer, marker.CoordinatorEpoch, last, kerr.TransactionCoordinatorFenced)
	}
	s.coordinators[marker.Producer] = lastMarker{marker.CoordinatorEpoch, now}
	return nil
}

// forgetMarkers forgets the markers of producers that are silent for long.
func (m *groups) forgetMarkers() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.cfg.Now()
	for _, s := range m.shards {
		maps.DeleteFunc(s.coordinators, func(_ id.Producer, last lastMarker) bool { return now.Sub(last.at) > m.cfg.ProducerExpiry })
	}
}

// enterShard returns a shard that this broker leads, read.
func (m *groups) enterShard(ctx context.Context, index int32) (*groupsShard, error) {
	for {
		m.mu.Lock()
		epoch, err := m.cfg.Shards.leadIndex(index)
		if m.closed {
			err = group.ErrNotAvailable
		}
		if err != nil {
			m.mu.Unlock()
			return nil, err
		}
		s := m.shard(index, epoch)
		loading := m.loadShard(s)
		m.mu.Unlock()
		if loading == nil {
			return s, nil
		}
		if err := loading.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// endGroup ends what the producer has pending in one group.
func (m *groups) endGroup(ctx context.Context, s *groupsShard, groupID string, marker txnMarker) error {
	m.mu.Lock()
	t, err := s.pending[groupID][marker.Producer], s.admit(marker, m.cfg.Now())
	if t == nil || err != nil {
		m.mu.Unlock()
		return err
	}
	if t.ending != nil {
		ending := t.ending
		m.mu.Unlock()
		select {
		case <-ending.done:
			return ending.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ending := &groupLoad{done: make(chan struct{})}
	t.ending = ending
	if t.writes > 0 && t.quiet == nil {
		t.quiet = make(chan struct{})
	}
	quiet := t.quiet
	m.mu.Unlock()

	err = m.endQuiet(ctx, s, groupID, marker, t, quiet)
	m.mu.Lock()
	defer m.unlock()
	if t.ending, ending.err = nil, err; err == nil && s.pending[groupID][marker.Producer] == t {
		s.drop(groupID, marker.Producer)
	}
	close(ending.done)
	return err
}

// endQuiet waits for the writes under way, commits, and removes the item.
func (m *groups) endQuiet(ctx context.Context, s *groupsShard, groupID string, marker txnMarker, t *pendingTxn, quiet <-chan struct{}) error {
	if quiet != nil {
		select {
		case <-quiet:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	result := make(chan error, 1)
	if marker.Commit {
		var refused error
		err := m.with(ctx, groupID, func(e *groupEntry, _ time.Time) {
			if e.shard != s {
				refused = notShardLeader(s.index, group.ErrNotCoordinator)
				return
			}
			m.enqueue(e, &offsetOp{commit: t.entries(), pending: true, done: func(err error) { result <- err }})
		})
		if err == nil && refused == nil {
			err = <-result
		}
		if err != nil || refused != nil {
			return cmp.Or(err, refused)
		}
	}
	m.mu.Lock()
	m.writePending(s, groupID, marker.Producer, t, nil, func(err error) { result <- err })
	m.mu.Unlock()
	return <-result
}
