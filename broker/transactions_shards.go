package broker

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/broker/txn"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/transactions"
)

// txnRetry is how often shards are looked for whose load has failed.
const txnRetry = time.Second

// imageChanged is told of every change of the metadata.
func (m *txnCoordinator) imageChanged(_, _ *metalog.Image) {
	m.mu.Lock()
	close(m.changed)
	m.changed = make(chan struct{})
	m.mu.Unlock()
	signal(m.wake)
}

// nextImage returns a channel that is closed when the metadata changes.
func (m *txnCoordinator) nextImage() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// loop takes shards over and gives them up as the metadata says, and looks for transactions
// that are open for too long and for ids that are unused for too long.
func (m *txnCoordinator) loop() {
	retry, abort, expire := time.NewTicker(txnRetry), time.NewTicker(m.cfg.AbortInterval), time.NewTicker(m.cfg.ExpireInterval)
	defer retry.Stop()
	defer abort.Stop()
	defer expire.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.wake:
			m.follow()
		case <-retry.C:
			m.follow()
		case <-abort.C:
			m.abortOld()
		case <-expire.C:
			m.removeUnused()
		}
	}
}

// follow makes the shards those that this broker leads now.
func (m *txnCoordinator) follow() {
	img := m.cfg.Image()
	topic, ok := img.Topic(admin.TxnTopic)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.unlock()
	if m.closed {
		return
	}
	for i, p := range topic.Partitions {
		s := m.shards[int32(i)]
		switch leads := m.cfg.Shards.leads(img, p); {
		case leads:
			m.take(int32(i), p.Epoch)
		case s != nil && (p.Leader != m.cfg.Shards.self.ID || p.Epoch != s.epoch):
			m.lose(s)
		}
	}
}

// take returns the shard that this broker leads under the epoch, and begins to load it if it is new.
func (m *txnCoordinator) take(index int32, epoch id.Epoch) *txnShard {
	s := m.shards[index]
	if s != nil && s.epoch >= epoch {
		return s
	}
	if s != nil {
		m.lose(s)
	}
	s = &txnShard{index: index, epoch: epoch, byID: map[string]*txnEntry{}}
	s.ctx, s.cancel = context.WithCancel(m.ctx)
	m.shards[index] = s
	m.work.Go(func() { m.load(s) })
	return s
}

// load reads a shard.
func (m *txnCoordinator) load(s *txnShard) {
	patience := time.AfterFunc(txnLoadPatience, func() {
		m.mu.Lock()
		defer m.unlock()
		s.slow = true
		if !s.loaded {
			m.ready(s, kerr.CoordinatorLoadInProgress)
		}
	})
	defer patience.Stop()
	ctx, cancel := context.WithTimeout(s.ctx, txnLoadTimeout)
	defer cancel()
	began := time.Now()
	items, err := m.cfg.Table.Load(ctx, s.index, s.epoch)
	m.mu.Lock()
	defer m.unlock()
	if m.lost(s) {
		return
	}
	if err != nil {
		if !errors.Is(err, transactions.ErrFenced) {
			m.log.Warn("cannot load transactions", "shard", s.index, "epoch", s.epoch, "err", err)
		}
		m.ready(s, txnError("", err))
		m.lose(s)
		return
	}
	s.loaded = true
	m.cfg.Metrics.loads.Observe(time.Since(began).Seconds())
	for _, it := range items {
		e := &txnEntry{shard: s, item: it}
		s.byID[it.ID] = e
		m.settle(e)
	}
	m.ready(s, nil)
}

// ready lets those go on who wait for the shard to be loaded.
func (m *txnCoordinator) ready(s *txnShard, err error) {
	waiting := s.waiting
	s.waiting = nil
	for _, f := range waiting {
		f(err)
	}
}

// lost reports whether this broker leads the shard no more.
func (m *txnCoordinator) lost(s *txnShard) bool { return m.shards[s.index] != s }

// lose ends a shard on this broker. What is being written is answered when it is.
func (m *txnCoordinator) lose(s *txnShard) {
	if m.lost(s) {
		return
	}
	delete(m.shards, s.index)
	s.cancel()
	m.ready(s, group.ErrNotCoordinator)
	for _, e := range s.byID {
		m.failAll(e.queue, group.ErrNotCoordinator)
		m.failAll(e.parked, group.ErrNotCoordinator)
		e.queue, e.parked = nil, nil
	}
}

// each calls f for every id of the shards that are loaded, under the lock. It returns false if
// some shards are not loaded yet.
func (m *txnCoordinator) each(f func(e *txnEntry)) (all bool) {
	m.mu.Lock()
	defer m.unlock()
	all = true
	for _, s := range m.shards {
		all = all && s.loaded
		for _, e := range s.byID {
			f(e)
		}
	}
	return all
}

// abortOld aborts the transactions that have been open for longer than their timeouts.
func (m *txnCoordinator) abortOld() {
	now := m.cfg.Now()
	m.each(func(e *txnEntry) {
		due := txn.Due(&e.item.Transaction)
		if m.closed || e.writing || e.allocating || due.IsZero() || !now.After(due) {
			return
		}
		transactionalID, started := e.item.ID, e.item.Started
		e.queue = append(e.queue, &txnCall{txn.Expire{Server: m.cfg.Level(), Fresh: id.NoProducer}, func(o txn.Outcome) {
			switch {
			case o.Err != nil:
				m.log.Warn("cannot abort a transaction that timed out; will try again", "transactional_id", transactionalID, "err", o.Err)
			case o.Changed: // else its client has ended it just now
				m.cfg.Metrics.timeouts.Inc()
				m.log.Info("abort transaction: it timed out", "transactional_id", transactionalID, "producer", int64(o.Next.Producer), "open_since", started)
			}
		}})
		m.pump(e)
	})
}

// removeUnused removes the ids that nobody has used for long.
func (m *txnCoordinator) removeUnused() {
	now := m.cfg.Now()
	m.each(func(e *txnEntry) {
		if m.closed || e.writing || e.allocating || len(e.queue) > 0 || !txn.Unused(&e.item.Transaction, now, m.cfg.IDExpiration) {
			return
		}
		m.log.Info("remove transactional id: it is unused", "transactional_id", e.item.ID, "since", e.item.Updated)
		m.write(e, transactions.Transaction{}, nil)
	})
}
