package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Producer sends Records records of Size bytes to Topic.
type Producer struct {
	Topic   string
	Records int64
	Size    int
	Rate    float64 // records a second of all clients together; 0 for as many as go
	Clients int
	// Connect makes one client.
	Connect func(...kgo.Opt) (*kgo.Client, error)

	sent atomic.Int64
}

// Sent is how many records were acknowledged so far. It is safe for concurrent use.
func (p *Producer) Sent() int64 { return p.sent.Load() }

// Run sends everything and waits for the acknowledgements. Records that fail are
// counted in the Result and are the error.
func (p *Producer) Run(ctx context.Context) (Result, error) {
	var clients []*kgo.Client
	defer func() { closeAll(clients) }()
	for range p.Clients {
		c, err := p.Connect(kgo.DefaultProduceTopic(p.Topic))
		if err != nil {
			return Result{}, err
		}
		clients = append(clients, c)
	}
	var failures firstError
	workers := make([]*producer, p.Clients)
	for i, c := range clients {
		workers[i] = &producer{
			client: c, payloads: newPayloads(p.Size, uint64(i)), latency: histogram(), failures: &failures, sent: &p.sent,
		}
		workers[i].shots.New = workers[i].newShot
	}
	pace := newPace(p.Rate / float64(p.Clients))
	began := time.Now()
	errs := make([]error, p.Clients)
	var wg sync.WaitGroup
	for i, w := range workers {
		share := p.Records / int64(p.Clients)
		if int64(i) < p.Records%int64(p.Clients) {
			share++
		}
		wg.Go(func() { errs[i] = w.run(ctx, share, pace) })
	}
	wg.Wait()
	took := time.Since(began)
	all := histogram()
	for _, w := range workers {
		all.Merge(w.latency)
	}
	failed, err := failures.result()
	result := newResult(p.sent.Load(), p.sent.Load()*int64(p.Size), failed, took)
	result.Latency = summarize(all)
	return result, errors.Join(append(errs, err)...)
}

// producer is one client. Its latency belongs to the client's promises, which come
// one after the other, until the client is flushed.
type producer struct {
	client   *kgo.Client
	payloads *payloads
	latency  *hdrhistogram.Histogram
	failures *firstError
	sent     *atomic.Int64
	shots    sync.Pool
}

// shot is a record under way. Shots are used again, so that the loader makes no garbage.
type shot struct {
	record  kgo.Record
	due     time.Time
	promise func(*kgo.Record, error)
}

func (w *producer) newShot() any {
	s := &shot{}
	s.promise = func(_ *kgo.Record, err error) { w.acked(s, err) }
	return s
}

func (w *producer) acked(s *shot, err error) {
	if err != nil {
		w.failures.note(err)
	} else {
		note(w.latency, time.Since(s.due))
		w.sent.Add(1)
	}
	w.shots.Put(s)
}

func (w *producer) run(ctx context.Context, records int64, pace pace) error {
	for n := range records {
		if n%1024 == 0 && ctx.Err() != nil {
			break
		}
		due, err := pace.await(ctx, n)
		if err != nil {
			break
		}
		s, ok := w.shots.Get().(*shot)
		if !ok {
			return errors.New("produce: no record") // New makes nothing else
		}
		s.due, s.record = due, kgo.Record{Value: w.payloads.next()}
		w.client.Produce(ctx, &s.record, s.promise)
	}
	if err := w.client.Flush(ctx); err != nil {
		return fmt.Errorf("wait for the acknowledgements: %w", err)
	}
	return nil
}
