package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/forebaylog/forebay/localstack/oracle"
)

// begin notes that a transaction is about to begin and returns its number.
func (r *recorder) begin(id string, timeout time.Duration) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Txns = append(r.history.Txns, oracle.Txn{Span: oracle.Span{Invoked: r.now()}, ID: id, Commit: oracle.Fail, Timeout: timeout})
	r.open[id] = append(r.open[id], len(r.history.Txns))
	return len(r.history.Txns)
}

// asks notes that the end of a transaction is about to be asked for; its commit has an unknown outcome from then on.
func (r *recorder) asks(txn int, commit bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.history.Txn(txn)
	t.Asked = r.now()
	if commit {
		t.Commit = oracle.Info
	}
}

// ended notes what came of a transaction, after which nobody works on it.
func (r *recorder) ended(txn int, commit oracle.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.history.Txn(txn)
	t.Completed, t.Commit = r.now(), commit
	r.open[t.ID] = slices.DeleteFunc(r.open[t.ID], func(n int) bool { return n == txn })
	sends := r.inTxn[txn]
	delete(r.inTxn, txn)
	if commit != oracle.OK {
		return
	}
	r.commits++
	for _, n := range sends {
		r.visible(&r.history.Sends[n], true)
	}
	r.notify()
}

// takesOver notes that a producer asks for a transactional id. done is called when it has
// got it: who had it before is fenced.
func (r *recorder) takesOver(id string) (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	open := slices.Clone(r.open[id])
	for _, n := range open {
		if t := r.history.Txn(n); t.Fenced.Invoked == 0 {
			t.Fenced.Invoked = r.now()
		}
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, n := range open {
			t := r.history.Txn(n)
			if t.Fenced.Completed == 0 {
				t.Fenced.Completed = r.now()
			}
			if t.Completed == 0 {
				t.Completed = r.now()
			}
			delete(r.inTxn, n)
		}
		r.open[id] = slices.DeleteFunc(r.open[id], func(n int) bool { return slices.Contains(open, n) })
	}
}

// visible notes that a record must come to groups: to those that are given what is committed
// only, or to all others. mu is held.
func (r *recorder) visible(s *oracle.Send, isolated bool) {
	if isolated && s.Offset > r.committedTo(s.Partition) {
		r.highestCommitted[s.Partition] = s.Offset
	}
	for name, g := range r.groups {
		if slices.Contains(r.history.Isolated, name) == isolated && !g.seen[s.Value] {
			g.missing[s.Value] = true
		}
	}
}

// committedTo returns the highest offset of a partition that is known to be committed, -1 if none is. mu is held.
func (r *recorder) committedTo(p oracle.Partition) int64 {
	if high, ok := r.highestCommitted[p]; ok {
		return high
	}
	return -1
}

// mustSee reports whether a group must be given an acknowledged record. mu is held.
func (r *recorder) mustSee(group string, s *oracle.Send) bool {
	return s.Txn == 0 || !slices.Contains(r.history.Isolated, group) || r.history.Txn(s.Txn).Commit == oracle.OK
}

// isolate makes a group one that is given what is committed only. It must be called before
// anything joins it.
func (r *recorder) isolate(group string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.history.Isolated, group) {
		r.history.Isolated = append(r.history.Isolated, group)
	}
}

// isolated reports whether isolate was called for a group.
func (r *recorder) isolated(group string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.history.Isolated, group)
}

// copied notes how far copies have come.
func (r *recorder) copied(list []oracle.Copy) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Copies = append(r.history.Copies, list...)
}

// awaitCommitted waits until n more transactions are committed.
func (r *recorder) awaitCommitted(ctx context.Context, n int) error {
	r.mu.Lock()
	want := r.commits + n
	r.mu.Unlock()
	return r.await(ctx, fmt.Sprintf("%d more committed transactions", n), func() bool { return r.commits >= want })
}
