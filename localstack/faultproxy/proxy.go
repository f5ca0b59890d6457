// Package faultproxy is an HTTP proxy in front of one service, an object store or a table
// service, that does to requests what networks and busy services do: it delays, holds,
// refuses, loses, cuts and reorders them, and loses replies of requests that were carried out.
//
// What happens to a request is decided by the rules, in their order: the first that matches,
// and whose dice say so, has its Action carried out; without one the request passes. Dice are
// seeded, though the order in which requests arrive is not. Rules may be changed at any time
// and are asked once a request has been read whole.
//
// A request is read before it is forwarded and no longer depends on its client from then
// on: a held upload lands even if its sender has died. The Host header, path and query
// pass as they are, for clients sign them; they must be given the proxy's address.
//
// Every client has a listener of its own, so that one can be cut off. A Proxy keeps bodies
// in memory only while a request is under way. It is safe for concurrent use.
package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Proxy is in front of one service.
type Proxy struct {
	upstream string
	forward  *http.Transport
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc

	mu      sync.Mutex
	rng     *rand.Rand
	rules   []*armed
	passes  map[chan<- struct{}]Match // who waits for a later request to pass
	counts  map[string]int64
	servers []*http.Server
	closed  bool
	serving sync.WaitGroup // listeners and requests; nothing enters once closed
}

// armed is a rule with how often it has struck.
type armed struct {
	Rule
	struck int
	done   chan struct{} // closed when the rule is taken away
}

// New returns a proxy for the service at upstream, host:port. Close ends it.
func New(upstream string, seed uint64) *Proxy {
	ctx, cancel := context.WithCancel(context.Background())
	return &Proxy{
		upstream: upstream, ctx: ctx, cancel: cancel,
		forward: &http.Transport{
			DisableCompression: true, MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute,
			DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		},
		rng: rand.New(rand.NewPCG(seed, 0)), counts: map[string]int64{},
		passes: map[chan<- struct{}]Match{},
	}
}

// Listen opens a listener for one client, by a name that rules can match, and returns its
// loopback address.
func (p *Proxy) Listen(client string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen for %s: %w", client, err)
	}
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, client) }),
		ReadHeaderTimeout: time.Minute,
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return "", errors.Join(fmt.Errorf("listen for %s: %w", client, net.ErrClosed), l.Close())
	}
	p.servers = append(p.servers, server)
	p.serving.Go(func() { _ = server.Serve(l) }) // it ends with Close
	return l.Addr().String(), nil
}

// Close ends every listener and every request under way.
func (p *Proxy) Close() error {
	p.cancel()
	p.mu.Lock()
	servers := p.servers
	p.servers, p.closed = nil, true
	p.mu.Unlock()
	var errs []error
	for _, s := range servers {
		errs = append(errs, s.Close())
	}
	p.serving.Wait()
	p.forward.CloseIdleConnections()
	return errors.Join(errs...)
}

// enter counts a request in, unless the proxy is closed.
func (p *Proxy) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.serving.Add(1)
	return true
}

// Add appends a rule and returns what takes it away again. Requests that the rule holds
// or keeps in silence are let go then.
func (p *Proxy) Add(r Rule) (remove func()) {
	a := &armed{Rule: r, done: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, a)
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.rules = slices.DeleteFunc(p.rules, func(have *armed) bool { return have == a })
		close(a.done)
	})
}

// Counts returns how often each rule has struck, by its name, and under "passed" how many
// requests were left alone.
func (p *Proxy) Counts() map[string]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.counts)
}

// passed is the name that untouched requests are counted under.
const passed = "passed"

// choose finds the rule that a request is subject to, or nil.
func (p *Proxy) choose(r *Request) *armed {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.rules {
		if a.Times > 0 && a.struck >= a.Times || !a.Match.matches(r) {
			continue
		}
		if a.Chance > 0 && p.rng.Float64() >= a.Chance {
			continue
		}
		a.struck++
		p.counts[a.Name]++
		return a
	}
	p.counts[passed]++
	return nil
}

// pick returns a duration from low to high.
func (p *Proxy) pick(low, high time.Duration) time.Duration {
	if high <= low {
		return low
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return low + time.Duration(p.rng.Int64N(int64(high-low)))
}

// below returns a number from 0 to n-1, 0 if n is.
func (p *Proxy) below(n int) int {
	if n <= 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rng.IntN(n)
}

// awaitPass returns a channel that is closed when a request that m matches has passed.
func (p *Proxy) awaitPass(m Match) chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := make(chan struct{})
	p.passes[c] = m
	return c
}

// hasPassed tells those who wait for r, or one like it.
func (p *Proxy) hasPassed(r *Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c, m := range p.passes {
		if m.matches(r) {
			delete(p.passes, c)
			close(c)
		}
	}
}
