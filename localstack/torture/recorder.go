package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/oracle"
)

// recorder writes the history of a run. It is safe for concurrent use.
type recorder struct {
	began time.Time

	mu      sync.Mutex
	history oracle.History
	acked   int
	watch   bool          // whether stalls are recorded
	last    time.Duration // when the latest record was acknowledged, or the watch began
	stall   time.Duration // longest time between two acknowledgements under watch
	highest map[oracle.Partition]int64
	groups  map[string]*coverage
	changed chan struct{} // closed at the next acknowledgement or poll
	faults  map[string]int64
	clients []string // errors that clients were left with
}

// coverage is what has come to the members of a group.
type coverage struct {
	seen    map[oracle.Value]bool
	missing map[oracle.Value]bool // acknowledged and not seen
}

func newRecorder() *recorder {
	return &recorder{
		began: time.Now(), history: oracle.History{Groups: map[string][]string{}}, highest: map[oracle.Partition]int64{},
		groups: map[string]*coverage{}, changed: make(chan struct{}), faults: map[string]int64{},
	}
}

// now is the time since the start of the history, on the monotonic clock.
func (r *recorder) now() time.Duration { return time.Since(r.began) }

// notify wakes who waits. mu is held.
func (r *recorder) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// send notes that a record is about to be sent and returns its number.
func (r *recorder) send(v oracle.Value, p oracle.Partition) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Sends = append(r.history.Sends, oracle.Send{
		Span: oracle.Span{Invoked: r.now()}, Value: v, Partition: p, Outcome: oracle.Info, Error: "no answer",
	})
	return len(r.history.Sends) - 1
}

// sent notes what became of a record.
func (r *recorder) sent(n int, offset int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.history.Sends[n]
	s.Completed, s.Outcome, s.Offset, s.Error = r.now(), outcomeOf(err), offset, ""
	if err != nil {
		s.Error = err.Error()
		return
	}
	r.acked++
	if r.watch {
		r.stall = max(r.stall, s.Completed-r.last)
		r.last = s.Completed
	}
	if high, ok := r.highest[s.Partition]; !ok || offset > high {
		r.highest[s.Partition] = offset
	}
	for _, g := range r.groups {
		if !g.seen[s.Value] {
			g.missing[s.Value] = true
		}
	}
	r.notify()
}

// outcomeOf tells an error that means that the record is not and never will be in the log
// from one that leaves it open.
func outcomeOf(err error) oracle.Outcome {
	switch {
	case err == nil:
		return oracle.OK
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge), errors.Is(err, kerr.InvalidRecord),
		errors.Is(err, kgo.ErrMaxBuffered):
		return oracle.Fail
	default:
		return oracle.Info
	}
}

// join adds a consumer to a group.
func (r *recorder) join(group, consumer string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Groups[group] = append(r.history.Groups[group], consumer)
	if r.groups[group] != nil {
		return
	}
	g := &coverage{seen: map[oracle.Value]bool{}, missing: map[oracle.Value]bool{}}
	for _, s := range r.history.Sends {
		if s.Outcome == oracle.OK {
			g.missing[s.Value] = true
		}
	}
	r.groups[group] = g
}

// polled notes what a consumer was given.
func (r *recorder) polled(group string, p oracle.Poll) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.Completed = r.now()
	r.history.Polls = append(r.history.Polls, p)
	if g := r.groups[group]; g != nil {
		for _, rec := range p.Records {
			g.seen[rec.Value] = true
			delete(g.missing, rec.Value)
		}
	}
	r.notify()
}

// committed notes a commit, or a fetch, of a group's offset.
func (r *recorder) committed(c oracle.Commit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Completed = r.now()
	r.history.Commits = append(r.history.Commits, c)
}

// read notes a whole read.
func (r *recorder) read(reads []oracle.Read) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Reads = append(r.history.Reads, reads...)
}

// struck counts faults that were injected.
func (r *recorder) struck(fault string, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[fault] += n
}

// clientError notes an error that a client was left with.
func (r *recorder) clientError(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients = append(r.clients, r.now().Round(time.Millisecond).String()+" "+fmt.Sprintf(format, args...))
}

// watchStalls begins or ends the recording of stalls.
func (r *recorder) watchStalls(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !on && r.watch {
		r.stall = max(r.stall, r.now()-r.last)
	}
	r.watch, r.last = on, r.now()
}

// awaitAcked waits until n more records are acknowledged.
func (r *recorder) awaitAcked(ctx context.Context, n int) error {
	r.mu.Lock()
	want := r.acked + n
	r.mu.Unlock()
	return r.await(ctx, fmt.Sprintf("%d more acknowledgements", n), func() bool { return r.acked >= want })
}

// awaitSeen waits until all that was acknowledged has come to every group.
func (r *recorder) awaitSeen(ctx context.Context) error {
	return r.await(ctx, "all groups to get all that was acknowledged", func() bool {
		for _, g := range r.groups {
			if len(g.missing) > 0 {
				return false
			}
		}
		return true
	})
}

// await waits until done, which is called with mu held, says so.
func (r *recorder) await(ctx context.Context, what string, done func() bool) error {
	for {
		r.mu.Lock()
		ok, changed := done(), r.changed
		r.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("await %s: %w", what, context.Cause(ctx))
		}
	}
}

// acknowledged returns the highest acknowledged offset of a partition, -1 if there is none.
func (r *recorder) acknowledged(p oracle.Partition) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if high, ok := r.highest[p]; ok {
		return high
	}
	return -1
}
