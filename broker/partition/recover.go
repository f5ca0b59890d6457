package partition

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/wal"
)

// recoveries is how many partitions are recovered at once, and recoveryTime how long an
// attempt may take: what was recovered by then is served, and what has come since has its turn.
const (
	recoveries   = 64
	recoveryTime = time.Minute
)

// Open recovers every partition that the broker leads. Without Config.Streams the hot
// segments are the truth: each log is the end of its chain, the producers of its last
// sealed segment, and then what the hot segments hold beyond. With it the hot segments are
// empty, and Acquire does the work; what cannot be recovered is left to its caller's next
// try. Until Open returns nothing is served.
func Open(ctx context.Context, cfg Config, hot Replayer) (*Set, error) {
	s := &Set{cfg: cfg, logs: make(map[id.Partition]*Log)}
	if cfg.Streams == nil {
		if err := s.replay(ctx, hot); err != nil {
			return nil, err
		}
	} else if err := s.Acquire(ctx, s.Missing()); err != nil {
		cfg.Logger.Error("cannot recover every partition yet, trying again", "err", err)
	}
	background, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.idle.Go(func() { s.sweep(background) })
	return s, nil
}

// replay recovers from the chains and the hot segments.
func (s *Set) replay(ctx context.Context, hot Replayer) error {
	for _, c := range s.Missing() {
		l, err := s.recover(ctx, c)
		if err != nil {
			return err
		}
		s.logs[l.id] = l
	}
	from := func(p id.Partition) id.Offset {
		if l, ok := s.logs[p]; ok {
			return l.next
		}
		return math.MaxInt64
	}
	err := hot.Replay(ctx, from, func(p id.Partition, e journal.Entry, v batch.View) error {
		l := s.logs[p]
		if e.Base != l.next && !s.cfg.Damaged {
			return fmt.Errorf("replay %s: found offset %d where %d follows: a hot segment is missing; restore it, or see forebay verify", p, e.Base, l.next)
		}
		if e.Base != l.next {
			s.cfg.Logger.Error("open a log with a damaged range; reads of it will fail", "partition", p.String(), "from", l.next, "to", e.Base)
		}
		l.apply(v)
		return nil
	})
	for _, l := range s.logs {
		l.reach(s.cfg.Logger)
		l.recovered() // what survived a restart on this disk was synced or is now
	}
	return err
}

// recovered ends the recovery of a log: all that it has is committed.
func (l *Log) recovered() {
	l.committed = l.next
	l.settleEnded()
	l.unstable.stable = l.stable()
}

// recover builds the log of one partition from its chain.
func (s *Set) recover(ctx context.Context, c Claim) (*Log, error) {
	p := c.Partition
	l := &Log{id: p, tiers: &s.cfg.Tiers, epoch: c.State.Epoch, start: c.State.Start}
	var err error
	for range sealedTries { // an object may go between the look at the chain and the read
		if err = l.recoverSealed(ctx); !errors.Is(err, objstore.ErrNotFound) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("recover %s: %w", p, err)
	}
	return l, nil
}

// recoverSealed begins the recovery of a log with what its chain tells.
func (l *Log) recoverSealed(ctx context.Context) error {
	end, last, sealed, err := l.tiers.Chain.End(ctx, l.id)
	if err != nil || !sealed {
		return err
	}
	l.next, l.aborted.floor = end, end
	l.unlearn(end)
	if last.Empty() {
		// The last segment is emptied once no producer has to be known from it. Those before may tell
		// of transactions that have ended since.
		return nil
	}
	run, err := l.sealedRun(ctx, last)
	if err != nil {
		return fmt.Errorf("read the producers: %w", err)
	}
	l.producers.Restore(run.Producers)
	return nil
}

// Claim is a partition that the metadata gives to this broker and that has no log yet.
type Claim struct {
	Partition id.Partition
	State     metalog.PartitionState
}

// Missing lists the partitions that the metadata gives to this broker and that have no
// log under the epoch of now.
func (s *Set) Missing() []Claim {
	var claims []Claim
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, t := range s.cfg.Image().Topics() {
		for i, state := range t.Partitions {
			p := id.Partition{Topic: t.ID, Index: int32(i)}
			if s.cfg.Streams != nil && state.Epoch == 0 {
				continue // never led before: Get opens it
			}
			if _, ok := s.logs[p]; !ok && state.Leader == s.cfg.Node {
				claims = append(claims, Claim{p, state})
			}
		}
	}
	return claims
}

// Acquire recovers the claimed partitions from their chains and from the streams of their
// earlier leaders, and opens their logs. One that fails does not hold up the others: it is
// claimed again by the next Missing. The error says how many failed, and why the first did.
//
// The streams are read before the chains: what is gone from a stream is in a chain by then.
func (s *Set) Acquire(ctx context.Context, claims []Claim) error {
	ctx, cancel := context.WithTimeout(ctx, recoveryTime)
	defer cancel()
	streams := s.readStreams(ctx, claims)
	failed := make([]error, len(claims))
	var g errgroup.Group
	g.SetLimit(recoveries)
	for i, c := range claims {
		g.Go(func() error {
			l, err := s.acquire(ctx, c, streams)
			if err == nil {
				s.put(l)
			}
			failed[i] = err
			return nil
		})
	}
	_ = g.Wait() // its functions return nil
	failed = slices.DeleteFunc(failed, func(err error) bool { return err == nil })
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d partitions are not recovered; the first: %w", len(failed), len(claims), failed[0])
}

// readStream is what a stream has, or why that is not known.
type readStream struct {
	objects []wal.Object
	err     error
}

// readStreams reads each stream once that the tails of claims name, as far as they go.
func (s *Set) readStreams(ctx context.Context, claims []Claim) map[id.Session]*readStream {
	through := map[id.Session]uint64{}
	for _, c := range claims {
		for _, t := range c.State.Tails {
			through[t.Session] = max(through[t.Session], t.Through)
		}
	}
	streams := make(map[id.Session]*readStream, len(through))
	var work sync.WaitGroup
	for session, last := range through {
		r := &readStream{}
		streams[session] = r
		work.Go(func() { r.objects, r.err = s.cfg.Streams(ctx, session, last) })
	}
	work.Wait()
	return streams
}

// acquire builds the log of one partition: its chain, and behind it what the streams have.
func (s *Set) acquire(ctx context.Context, c Claim, streams map[id.Session]*readStream) (*Log, error) {
	l, err := s.recover(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, t := range c.State.Tails {
		stream := streams[t.Session]
		if stream.err != nil {
			return nil, fmt.Errorf("recover %s: stream of session %s: %w", c.Partition, t.Session, stream.err)
		}
		for _, o := range stream.objects {
			if o.Seq > t.Through {
				break
			}
			if err := l.adopt(o); err != nil {
				return nil, fmt.Errorf("recover %s from the stream of session %s, slot %d: %w", c.Partition, t.Session, o.Seq, err)
			}
		}
	}
	if l.next < l.start {
		return nil, fmt.Errorf("recover %s: %w: its log starts at %d, and what is there ends at %d", l.id, ErrGap, l.start, l.next)
	}
	l.recovered()
	return l, nil
}

// adopt adds the partition's run of a WAL object, if it has one beyond the log's end.
func (l *Log) adopt(o wal.Object) error {
	run, ok := o.Footer.Run(l.id)
	if !ok || run.Next <= l.next {
		return nil
	}
	if run.Base > l.next {
		return fmt.Errorf("%w: offsets %d to %d; the object there begins at %d", ErrGap, l.next, run.Base, run.Base)
	}
	l.adopted = append(l.adopted, chain.SegmentOf(run, o.Name, o.Size))
	for _, txn := range l.producers.Resolve(run.Aborted, l.next) {
		l.aborted.add(txn)
	}
	l.producers.Merge(run.Producers)
	for _, e := range run.Epochs {
		l.addEpoch(e.Epoch, e.Start) // which may be below the chain's end
	}
	l.next = run.Next
	return nil
}

// put opens a log, unless the metadata has gone on meanwhile or there is one.
func (s *Set) put(l *Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state, ok := s.cfg.Image().Partition(l.id)
	if _, open := s.logs[l.id]; open || s.done || !ok || state.Leader != s.cfg.Node || state.Epoch != l.epoch {
		return
	}
	s.logs[l.id] = l
}
