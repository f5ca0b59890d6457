package kv

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// group lets concurrent writers share commits: while one commit is under way the
// next gathers. It never waits for more to come.
type group struct {
	commit func([]*request) error

	mu     sync.Mutex
	queue  []*request
	closed bool
	failed error         // ends all writes
	wake   chan struct{} // has room for one: there may be something in the queue
	done   chan struct{} // closed when run has returned
}

// request is the valid writes of one call.
type request struct {
	writes  []Write
	results []Result
	done    chan struct{}
}

func newGroup(commit func([]*request) error) *group {
	g := &group{commit: commit, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go g.run()
	return g
}

// write checks writes, commits the valid ones and returns all results in order.
func (g *group) write(ctx context.Context, writes []Write) []Result {
	results := make([]Result, len(writes))
	r := &request{done: make(chan struct{})}
	var index []int // of r.writes in writes
	for i, w := range writes {
		if results[i].Err = checkWrite(ctx, w); results[i].Err == nil {
			index = append(index, i)
			r.writes = append(r.writes, w)
		}
	}
	r.results = make([]Result, len(r.writes))
	if len(r.writes) > 0 {
		g.await(ctx, r)
	}
	for i, at := range index {
		results[at] = r.results[i]
	}
	return results
}

// await queues r and waits for its commit. When ctx ends it takes r back, unless the
// commit has begun: its end is near, and it decides the outcome.
func (g *group) await(ctx context.Context, r *request) {
	if err := g.enqueue(r); err != nil {
		failAll([]*request{r}, err)
		return
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		if g.withdraw(r) {
			failAll([]*request{r}, ctx.Err())
			return
		}
		<-r.done
	}
}

func (g *group) enqueue(r *request) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return ErrClosed
	case g.failed != nil:
		return g.failed
	}
	g.queue = append(g.queue, r)
	g.signal()
	return nil
}

func (g *group) signal() {
	select {
	case g.wake <- struct{}{}:
	default: // already awake
	}
}

func (g *group) withdraw(r *request) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.queue, r)
	if i < 0 {
		return false
	}
	g.queue = slices.Delete(g.queue, i, i+1)
	return true
}

// run commits what is queued until the group is closed and the queue is empty.
func (g *group) run() {
	defer close(g.done)
	for range g.wake {
		requests, closed := g.take()
		if len(requests) > 0 {
			g.serve(requests)
		}
		if closed {
			return
		}
	}
}

func (g *group) take() (requests []*request, closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	requests, g.queue = g.queue, nil
	return requests, g.closed
}

func (g *group) serve(requests []*request) {
	g.mu.Lock()
	failed := g.failed
	g.mu.Unlock()
	if failed != nil {
		failAll(requests, failed)
	} else if err := g.commit(requests); err != nil {
		g.mu.Lock()
		g.failed = fmt.Errorf("write refused: %w", err)
		g.mu.Unlock()
	}
	for _, r := range requests {
		close(r.done)
	}
}

// close commits what is queued and waits; it returns what the group failed with.
func (g *group) close() error {
	g.mu.Lock()
	g.closed = true
	g.signal()
	g.mu.Unlock()
	<-g.done
	return g.failed
}
