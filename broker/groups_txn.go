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
	"github.com/forebaylog/forebay/infra/offsets"
)

// txnVerifyTimeout bounds the question whether a transaction is open, as offsets.commit.timeout.ms does.
const txnVerifyTimeout = 5 * time.Second

// txnCommit is a commit of offsets as part of a transaction.
type txnCommit struct {
	group        string
	verification txnVerification // without partitions
	member       group.Commit
	entries      []offsets.Entry
	done         func(error) // called once, from any goroutine
}

// txnCommitKey names those who commit one after the other.
type txnCommitKey struct {
	group    string
	producer id.Producer
}

// commitTxn makes offsets pending, after those of the same producer and group that came before. It
// does not block.
func (m *groups) commitTxn(c *txnCommit) {
	key := txnCommitKey{c.group, c.verification.Producer}
	m.mu.Lock()
	defer m.unlock()
	if m.closed {
		m.after = append(m.after, func() { c.done(group.ErrNotAvailable) })
		return
	}
	queue, running := m.txnCommits[key]
	m.txnCommits[key] = append(queue, c)
	if !running {
		m.writes.Go(func() { m.runTxnCommits(key) })
	}
}

// runTxnCommits takes the commits of one producer and group in until there are none.
func (m *groups) runTxnCommits(key txnCommitKey) {
	for {
		m.mu.Lock()
		queue := m.txnCommits[key]
		if len(queue) == 0 {
			delete(m.txnCommits, key)
			m.mu.Unlock()
			return
		}
		c := queue[0]
		m.txnCommits[key] = queue[1:]
		m.mu.Unlock()
		ctx, cancel := context.WithTimeout(m.ctx, pendingTimeout)
		err := m.takeTxnCommit(ctx, c)
		for errors.Is(err, errGuardBroken) && ctx.Err() == nil { // the marker was that of the transaction before, or the answer says so now
			err = m.takeTxnCommit(ctx, c)
		}
		if err != nil {
			c.done(err)
		}
		cancel()
	}
}

// errGuardBroken says that a marker came while the coordinator of the transaction was asked. It is asked again.
var errGuardBroken = fmt.Errorf("the producer's transaction has ended: %w", kerr.InvalidTxnState)

// takeTxnCommit asks whether the transaction is open, and if so accepts the offsets; c.done is
// called then once they are durable. The end of the transaction in between invalidates the answer.
func (m *groups) takeTxnCommit(ctx context.Context, c *txnCommit) error {
	guard := &txnGuard{}
	var s *groupsShard
	known, fenced := false, false
	producer := c.verification.Producer
	err := m.with(ctx, c.group, func(e *groupEntry, _ time.Time) {
		s = e.shard
		s.guards[producer] = append(s.guards[producer], guard)
		if t := s.pending[c.group][producer]; t != nil {
			known, fenced = t.epoch == c.verification.Epoch && t.ending == nil && len(t.offsets) > 0, c.verification.Epoch < t.epoch
		}
	})
	if err != nil {
		return err
	}
	defer m.dropGuard(s, producer, guard)
	if fenced {
		return fmt.Errorf("commit offsets of producer %d in group %q: epoch %d is over: %w",
			producer, c.group, c.verification.Epoch, kerr.InvalidProducerEpoch)
	}
	if !known {
		v := c.verification
		v.Partitions = []id.Partition{m.shardPartition(c.group)}
		if err := m.verify(ctx, v); err != nil {
			return err
		}
	}
	return m.acceptTxnCommit(ctx, s, c, guard)
}

func (m *groups) dropGuard(s *groupsShard, producer id.Producer, guard *txnGuard) {
	m.mu.Lock()
	defer m.mu.Unlock()
	left := slices.DeleteFunc(s.guards[producer], func(g *txnGuard) bool { return g == guard })
	if s.guards[producer] = left; len(left) == 0 {
		delete(s.guards, producer)
	}
}

// verificationErrors are what a producer hears, as in Kafka, when the transaction's coordinator cannot be
// asked: it takes it for a passing trouble of the group's coordinator, for which it looks anew unless that
// loads. What is not here it hears as it is.
var verificationErrors = []struct{ err, heard error }{
	{kerr.NotCoordinator, kerr.NotCoordinator},
	{kerr.CoordinatorNotAvailable, kerr.CoordinatorNotAvailable},
	{kerr.RequestTimedOut, kerr.CoordinatorNotAvailable},
	{kerr.NotLeaderForPartition, kerr.NotCoordinator},
	{kerr.NetworkException, kerr.CoordinatorLoadInProgress},
	{context.DeadlineExceeded, kerr.CoordinatorLoadInProgress},
	{context.Canceled, kerr.CoordinatorLoadInProgress},
}

// verify asks whether the transaction is open, but not for longer than a producer may wait.
func (m *groups) verify(ctx context.Context, v txnVerification) error {
	ctx, cancel := context.WithTimeout(ctx, txnVerifyTimeout)
	defer cancel()
	err := m.cfg.Verify(ctx, v)[v.Partitions[0]]
	for _, e := range verificationErrors {
		if errors.Is(err, e.err) {
			return fmt.Errorf("verify transaction %q, which commits offsets: %w: %w", v.TransactionalID, e.heard, err)
		}
	}
	return err
}

// acceptTxnCommit makes the offsets pending if the group lets the member commit.
func (m *groups) acceptTxnCommit(ctx context.Context, s *groupsShard, c *txnCommit, guard *txnGuard) error {
	var refused error
	producer := c.verification.Producer
	err := m.with(ctx, c.group, func(e *groupEntry, now time.Time) {
		t := s.pending[c.group][producer]
		switch {
		case e.shard != s:
			refused = group.ErrNotCoordinator
			return
		case guard.broken:
			refused = errGuardBroken
			return
		case t != nil && t.ending != nil:
			refused = fmt.Errorf("commit offsets of producer %d in group %q: its transaction ends: %w", producer, c.group, kerr.ConcurrentTransactions)
			return
		}
		for _, a := range e.state.Step(now, c.member) {
			if a, ok := a.(group.CommitAnswer); ok {
				refused = a.Err
			}
		}
		if refused == nil && len(c.entries) > 0 {
			m.makePending(e, s, c, now)
		}
	})
	switch {
	case err != nil:
		return err
	case refused != nil:
		return refused
	case len(c.entries) == 0:
		c.done(nil)
	}
	return nil
}

func (m *groups) makePending(e *groupEntry, s *groupsShard, c *txnCommit, now time.Time) {
	t := s.txn(c.group, c.verification.Producer)
	if t.epoch != c.verification.Epoch {
		t.epoch = c.verification.Epoch
		clear(t.offsets) // of a transaction that was fenced before it committed anything here
	}
	at := e.commitTime(now, false)
	for _, o := range c.entries {
		o.CommitTime = at
		t.offsets[id.Partition{Topic: o.Topic, Index: o.Partition}] = o
	}
	m.writePending(s, c.group, c.verification.Producer, t, t.entries(), func(err error) {
		m.after = append(m.after, func() { c.done(err) })
	})
}
