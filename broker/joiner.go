package broker

import (
	"context"
	"slices"
	stdsync "sync"
	"time"

	"github.com/forebaylog/forebay/infra/id"
)

const (
	gatherTimeout = 30 * time.Second // for one request
	gatherMost    = 1000             // questions of one request
)

// joiner joins the questions to a broker into few requests: while one request is under way
// the next gathers. What nobody waits for any more is not asked. It is safe for concurrent use.
type joiner[Q, A any] struct {
	ask    func(ctx context.Context, node id.Broker, questions []Q) ([]A, error) // an answer for each, in order
	ctx    context.Context
	cancel context.CancelFunc
	work   stdsync.WaitGroup

	mu      stdsync.Mutex
	closed  bool
	waiting map[id.Broker][]question[Q, A] // of brokers that are being asked
}

type question[Q, A any] struct {
	ctx  context.Context // of the one who waits
	q    Q
	done chan<- answered[A] // has room
}

type answered[A any] struct {
	a   A
	err error
}

func newJoiner[Q, A any](ask func(context.Context, id.Broker, []Q) ([]A, error)) *joiner[Q, A] {
	g := &joiner[Q, A]{ask: ask, waiting: map[id.Broker][]question[Q, A]{}}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// send asks a broker and waits for the answer, or for the end of ctx.
func (g *joiner[Q, A]) send(ctx context.Context, node id.Broker, q Q) (A, error) {
	done := make(chan answered[A], 1)
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		var none A
		return none, errShutdown
	}
	waiting, busy := g.waiting[node]
	g.waiting[node] = append(waiting, question[Q, A]{ctx, q, done})
	if !busy {
		g.work.Go(func() { g.run(node) })
	}
	g.mu.Unlock()
	select {
	case got := <-done:
		return got.a, got.err
	case <-ctx.Done():
		var none A
		return none, ctx.Err()
	}
}

// run asks a broker until nothing waits for it.
func (g *joiner[Q, A]) run(node id.Broker) {
	for {
		g.mu.Lock()
		batch := g.waiting[node]
		if len(batch) == 0 {
			delete(g.waiting, node)
			g.mu.Unlock()
			return
		}
		n := min(len(batch), gatherMost)
		g.waiting[node] = batch[n:]
		g.mu.Unlock()
		g.request(node, slices.DeleteFunc(batch[:n:n], func(q question[Q, A]) bool { return q.ctx.Err() != nil }))
	}
}

func (g *joiner[Q, A]) request(node id.Broker, batch []question[Q, A]) {
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(g.ctx, gatherTimeout)
	defer cancel()
	questions := make([]Q, len(batch))
	for i := range batch {
		questions[i] = batch[i].q
	}
	answers, err := g.ask(ctx, node, questions)
	for i := range batch {
		got := answered[A]{err: err}
		if err == nil {
			got.a = answers[i]
		}
		batch[i].done <- got
	}
}

// close ends what is under way.
func (g *joiner[Q, A]) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.cancel()
	g.work.Wait()
}
