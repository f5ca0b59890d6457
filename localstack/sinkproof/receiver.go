package sinkproof

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

// Receiver is a webhook that fails at random, refuses some records for good, and remembers
// what it has taken. It is safe for concurrent use.
type Receiver struct {
	// URL is where it listens.
	URL string

	cfg    Config
	server *http.Server

	mu        sync.Mutex
	random    *rand.Rand
	seen      []bool         // records by number
	last      map[string]int // newest record by key, of those taken for the first time
	taken     int            // different records
	again     int            // records that were taken before
	requests  int
	failed    int // requests that failed at random
	disorders []string
}

// listen starts a receiver on a free loopback port.
func listen(cfg Config) (*Receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the sink: %w", err)
	}
	r := &Receiver{
		URL: "http://" + l.Addr().String() + "/hook", cfg: cfg, random: rand.New(rand.NewPCG(cfg.Seed, 1)),
		seen: make([]bool, cfg.Records), last: map[string]int{},
	}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = r.server.Serve(l) }() // returns when Close closes it
	return r, nil
}

// Close ends the receiver.
func (r *Receiver) Close() error { return r.server.Close() }

// event is what a request has of a record.
type event struct {
	Key  string `json:"partitionkey"`
	Data value  `json:"data"`
}

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, "body: "+err.Error(), http.StatusBadRequest)
		return
	}
	var events []event
	if err := json.Unmarshal(body, &events); err != nil {
		http.Error(w, "body: "+err.Error(), http.StatusBadRequest)
		return
	}
	status := r.take(events)
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "0")
	}
	w.WriteHeader(status)
}

// take takes all of a request or nothing.
func (r *Receiver) take(events []event) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	if r.random.Float64() < r.cfg.FailRate {
		r.failed++
		return []int{http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusTooManyRequests}[r.failed%3]
	}
	for _, e := range events {
		if r.cfg.poisoned(e.Data.N) {
			return http.StatusUnprocessableEntity
		}
	}
	for _, e := range events {
		if r.seen[e.Data.N] {
			r.again++
			continue
		}
		r.seen[e.Data.N] = true
		r.taken++
		if last, ok := r.last[e.Key]; ok && last > e.Data.N && len(r.disorders) < 10 {
			r.disorders = append(r.disorders, fmt.Sprintf("key %s: record %d after %d", e.Key, e.Data.N, last))
		}
		r.last[e.Key] = e.Data.N
	}
	return http.StatusOK
}

// Taken is how many different records it has.
func (r *Receiver) Taken() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken
}
