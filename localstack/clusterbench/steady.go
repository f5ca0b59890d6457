package main

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/infra/pause"
)

// steady produces records of 1 KiB at a fixed rate. Latency counts from the moment a record
// was due.
type steady struct {
	cl   *kgo.Client
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	times  []time.Duration
	worst  time.Duration
	failed int
}

func startSteady(ctx context.Context, cl *kgo.Client, rate int) *steady {
	ctx, cancel := context.WithCancel(ctx)
	s := &steady{cl: cl, stop: cancel, done: make(chan struct{})}
	go s.run(ctx, time.Second/time.Duration(rate))
	return s
}

func (s *steady) run(ctx context.Context, every time.Duration) {
	defer close(s.done)
	value := make([]byte, 1024)
	for due := time.Now(); ctx.Err() == nil; due = due.Add(every) {
		if wait := time.Until(due); wait > 0 && pause.For(ctx, wait) != nil {
			return
		}
		s.cl.Produce(context.WithoutCancel(ctx), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			took := time.Since(due)
			s.mu.Lock()
			defer s.mu.Unlock()
			if err != nil {
				s.failed++
				return
			}
			s.times = append(s.times, took)
			s.worst = max(s.worst, took)
		})
	}
}

// take returns the latencies since it was called last.
func (s *steady) take() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	times := s.times
	s.times = nil
	return times
}

// reset returns the greatest latency since it was called last.
func (s *steady) reset() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	worst := s.worst
	s.worst = 0
	return worst
}

// failures is the number of records that were not acknowledged.
func (s *steady) failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// end stops the load and returns the latencies since take.
func (s *steady) end(ctx context.Context) ([]time.Duration, error) {
	s.stop()
	<-s.done
	err := s.cl.Flush(ctx)
	return s.take(), err
}
