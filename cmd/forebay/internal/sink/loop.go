package sink

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// loop decides everything, one thing at a time, until ctx has ended or a record cannot be moved,
// and then until nothing is under way.
func (s *Sink) loop(ctx context.Context) {
	defer close(s.done)
	// A request under way is not broken off at once when the sink ends.
	flights, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	timer := time.NewTimer(far)
	defer timer.Stop()
	ended := ctx.Done()
	var drained <-chan time.Time
	for {
		if s.stopping && drained == nil {
			ended, drained = nil, time.After(s.cfg.Drain)
			s.finish(s.fatal == nil)
		}
		if s.stopping && len(s.flights) == 0 && s.queue.waiting == 0 {
			return
		}
		now := time.Now()
		wait := s.depart(flights, now)
		s.leave(now)
		timer.Reset(max(s.nextLeave(wait).Sub(now), 0))
		var room chan struct{}
		if !s.stopping && !s.polling && s.hasRoom() {
			room = s.room
		}
		select {
		case room <- struct{}{}:
			s.polling = true
		case f := <-s.fetched:
			s.polling = false
			s.arrive(f, time.Now())
		case f := <-s.landed:
			s.land(f)
		case r := <-s.revokes:
			s.revoke(&r)
		case <-timer.C:
		case <-ended:
			s.stopping = true
		case <-drained:
			cancel()
			s.finish(false)
		}
		s.observe()
	}
}

// finish has as little sent any more as a clean end needs, or nothing.
func (s *Sink) finish(send bool) {
	s.queue.window = 0
	for _, p := range s.partitions {
		s.queue.finish(p, send)
	}
}

// hasRoom reports whether more records may be read.
func (s *Sink) hasRoom() bool {
	return s.queue.waiting < s.cfg.waiting() && s.queue.waitingBytes < maxWaitingBytes && s.backlog < maxBacklog
}

// far is when the loop looks again without a reason.
const far = time.Minute

// depart starts deliveries as long as batches are due, and returns when the next one may be.
func (s *Sink) depart(ctx context.Context, now time.Time) time.Time {
	for len(s.flights) < s.cfg.Concurrency {
		at := s.queue.due(now)
		switch {
		case at.IsZero():
			return now.Add(far)
		case at.After(now):
			return at
		case s.gate.After(now):
			return s.gate
		}
		batch := s.queue.take()
		one, cancel := context.WithCancel(ctx)
		f := &flight{entries: batch, cancel: cancel}
		s.flights[f] = true
		go func() {
			s.deliver(one, f)
			s.landed <- f
		}()
	}
	return now.Add(far)
}

// arrive queues what a poll brought, unless the sink ends.
func (s *Sink) arrive(f fetched, now time.Time) {
	if s.stopping {
		return
	}
	for _, r := range f.records {
		p := s.partitions[r.Partition]
		if p == nil {
			p = newProgress(r.Partition)
			s.partitions[r.Partition] = p
		}
		s.queue.push(r, p, now)
	}
	for partition, high := range f.highs {
		if p := s.partitions[partition]; p != nil {
			p.high = max(high, p.high)
		}
	}
}

// land takes in a delivery that has ended: offsets move on, and what is not settled goes back.
func (s *Sink) land(f *flight) {
	f.cancel()
	delete(s.flights, f)
	marks := map[int32]kgo.EpochOffset{}
	for _, e := range f.entries {
		if !e.settled {
			continue
		}
		if commit, moved := e.progress.settle(e.sequence); moved {
			marks[e.progress.partition] = commit
		}
	}
	if len(marks) > 0 {
		s.client.MarkCommitOffsets(map[string]map[int32]kgo.EpochOffset{s.cfg.Topic: marks})
	}
	s.queue.giveBack(f.entries)
	if f.result.Verdict == Unavailable && f.result.RetryAfter > 0 {
		if until := f.ended.Add(f.result.RetryAfter); until.After(s.gate) {
			s.gate = until
		}
	}
	if f.fatal != nil {
		s.fatal = f.fatal
		s.stopping = true
	}
}

// revoke finishes partitions that were taken away.
func (s *Sink) revoke(r *revocation) {
	for _, partition := range r.partitions {
		if p := s.partitions[partition]; p != nil {
			s.queue.finish(p, true)
		}
	}
	s.leaving = append(s.leaving, r)
}

// leave lets partitions go of which nothing is under way any more, and gives up what is so too long.
func (s *Sink) leave(now time.Time) {
	rest := s.leaving[:0]
	for _, r := range s.leaving {
		busy := false
		for _, partition := range r.partitions {
			if p := s.partitions[partition]; p != nil && p.inFlight+p.waiting > 0 {
				busy = true
			} else {
				delete(s.partitions, partition)
			}
		}
		if !busy {
			close(r.done)
			continue
		}
		rest = append(rest, r)
		if !r.deadline.After(now) {
			s.abandon(r)
		}
	}
	s.leaving = rest
}

// abandon drops what holds up a revocation, and breaks off its deliveries.
func (s *Sink) abandon(r *revocation) {
	for _, partition := range r.partitions {
		if p := s.partitions[partition]; p != nil {
			s.queue.finish(p, false)
		}
	}
	for f := range s.flights {
		for _, e := range f.entries {
			if e.progress.leaving && slices.Contains(r.partitions, e.progress.partition) {
				f.cancel()
				break
			}
		}
	}
}

// nextLeave is at, or the deadline of a revocation if that is sooner. One that has passed waits for deliveries only.
func (s *Sink) nextLeave(at time.Time) time.Time {
	now := time.Now()
	for _, r := range s.leaving {
		if r.deadline.After(now) && r.deadline.Before(at) {
			at = r.deadline
		}
	}
	return at
}

// observe sums up the partitions.
func (s *Sink) observe() {
	var lag int64
	s.backlog = 0
	for _, p := range s.partitions {
		lag += p.lag()
		s.backlog = max(s.backlog, len(p.pending))
	}
	s.metrics.lag.Set(float64(lag))
	s.metrics.inFlight.Set(float64(len(s.flights)))
	s.metrics.partitions.Set(float64(len(s.partitions)))
}
