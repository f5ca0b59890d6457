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
	commits int              // of transactions
	open    map[string][]int // transactions by transactional id, as far as they have not ended
	inTxn   map[int][]int    // acknowledged sends by the open transaction
	// highestCommitted is where the latest record is that is known to be committed.
	highestCommitted map[oracle.Partition]int64
	watch            bool                               // whether stalls are recorded
	since            time.Duration                      // when the watch began
	last             map[oracle.Partition]time.Duration // when the latest record was acknowledged under watch
	stall            time.Duration                      // longest time between two acknowledgements of a partition under watch
	plain            map[oracle.Partition]bool          // those that records without a transaction were acknowledged in
	highest          map[oracle.Partition]int64
	groups           map[string]*coverage
	changed          chan struct{} // closed at the next acknowledgement or poll
	faults           map[string]int64
	clients          []string // errors that clients were left with
}

// coverage is what has come to the members of a group.
type coverage struct {
	seen    map[oracle.Value]bool
	missing map[oracle.Value]bool // acknowledged and not seen
}

func newRecorder() *recorder {
	return &recorder{
		began: time.Now(), history: oracle.History{Groups: map[string][]string{}}, highest: map[oracle.Partition]int64{},
		last: map[oracle.Partition]time.Duration{}, groups: map[string]*coverage{}, changed: make(chan struct{}), faults: map[string]int64{},
		plain: map[oracle.Partition]bool{}, open: map[string][]int{}, inTxn: map[int][]int{}, highestCommitted: map[oracle.Partition]int64{},
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
func (r *recorder) send(v oracle.Value, p oracle.Partition) int { return r.sendIn(0, v, p, nil) }

// sendIn notes the same of a record of a transaction, 0 for none, that may be a copy.
func (r *recorder) sendIn(txn int, v oracle.Value, p oracle.Partition, of *oracle.Value) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Sends = append(r.history.Sends, oracle.Send{
		Span: oracle.Span{Invoked: r.now()}, Value: v, Partition: p, Outcome: oracle.Info, Error: "no answer", Txn: txn, Of: of,
	})
	return len(r.history.Sends) - 1
}

// sendKeyed notes that a record with a key is about to be sent, in a transaction if txn is not 0, which takes no more
// than size bytes of a log.
func (r *recorder) sendKeyed(txn int, v oracle.Value, p oracle.Partition, key string, size int64, tombstone bool) int {
	n := r.sendIn(txn, v, p, nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.history.Sends[n]
	s.Key, s.Size, s.Tombstone = key, size, tombstone
	return n
}

// deletes notes that all of a partition before an offset is about to be deleted. done is told what came of it.
func (r *recorder) deletes(p oracle.Partition, offset int64) (done func(error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.history.Deletions)
	r.history.Deletions = append(r.history.Deletions, oracle.Deletion{
		Span: oracle.Span{Invoked: r.now()}, Partition: p, Offset: offset, Outcome: oracle.Info,
	})
	return func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if d := &r.history.Deletions[n]; err == nil {
			d.Completed, d.Outcome = r.now(), oracle.OK
		}
	}
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
	if s.Txn == 0 {
		r.plain[s.Partition] = true
	}
	if r.watch && s.Txn == 0 {
		r.stall = max(r.stall, s.Completed-max(r.since, r.last[s.Partition]))
		r.last[s.Partition] = s.Completed
	}
	if high, ok := r.highest[s.Partition]; !ok || offset > high {
		r.highest[s.Partition] = offset
	}
	r.visible(s, false)
	if s.Txn == 0 {
		r.visible(s, true)
	} else {
		r.inTxn[s.Txn] = append(r.inTxn[s.Txn], n)
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
		if s.Outcome == oracle.OK && r.mustSee(group, &s) {
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
	for p := range r.plain {
		if !on && r.watch {
			r.stall = max(r.stall, r.now()-max(r.since, r.last[p]))
		}
	}
	r.watch, r.since = on, r.now()
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
