package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/oracle"
)

// producer sends values, each once, to random partitions until it is stopped.
type producer struct {
	number int
	client *kgo.Client
	rec    *recorder
	rng    *rand.Rand
	to     []oracle.Partition
	rate   int // records per second
	key    int // most bytes of a key
	least  int // least bytes of a key
	// compose makes the record for a value and notes that it will be sent, as the number returned.
	compose func(oracle.Value, oracle.Partition) (r *kgo.Record, number int)
	quit    func()
	quits   chan struct{}
	done    chan struct{}
}

// Sizes of the load, chosen so that a run makes many batches and segments and fits in memory.
const (
	maxKey      = 2 << 10  // bytes of a key
	maxBuffered = 500      // records of a producer that wait for their answer
	tooLarge    = 96 << 10 // bytes of a key that a topic refuses
	maxMessage  = 64 << 10 // bytes of a batch that a topic takes
	pace        = 10 * time.Millisecond
)

// startProducer starts an idempotent producer that waits for all replicas.
func startProducer(l *load, number int, opts ...kgo.Opt) (*producer, error) {
	p := &producer{
		number: number, rec: l.rec, to: l.targets, rate: l.cfg.rate, key: maxKey,
		rng: rand.New(rand.NewPCG(l.cfg.seed, uint64(number))), quits: make(chan struct{}), done: make(chan struct{}),
	}
	return p, p.start(l, append(opts, kgo.ProducerBatchMaxBytes(maxMessage)))
}

// startRefused starts a producer whose records are all too large: what comes of them must
// be an error, and never a record.
func startRefused(l *load, number int) (*producer, error) {
	p := &producer{
		number: number, rec: l.rec, to: l.targets, rate: 1, key: tooLarge, least: tooLarge - 1,
		rng: rand.New(rand.NewPCG(l.cfg.seed, uint64(number))), quits: make(chan struct{}), done: make(chan struct{}),
	}
	return p, p.start(l, []kgo.Opt{kgo.DisableIdempotentWrite(), kgo.ProducerBatchCompression(kgo.NoCompression())})
}

func (p *producer) start(l *load, opts []kgo.Opt) (err error) {
	if p.compose == nil {
		p.compose = p.random
	}
	opts = append(l.clientOpts(fmt.Sprintf("producer-%d", p.number)), append([]kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(5 * time.Millisecond), kgo.MaxBufferedRecords(2 * maxBuffered),
	}, opts...)...)
	if p.client, err = kgo.NewClient(opts...); err != nil {
		return fmt.Errorf("start producer %d: %w", p.number, err)
	}
	p.quit = sync.OnceFunc(func() { close(p.quits) })
	go p.run()
	return nil
}

func (p *producer) run() {
	defer close(p.done)
	tick := time.NewTicker(pace)
	defer tick.Stop()
	owed, sequence := 0.0, int64(0)
	for {
		select {
		case <-tick.C:
		case <-p.quits:
			return
		}
		for owed += float64(p.rate) * pace.Seconds(); owed >= 1; owed-- {
			if p.client.BufferedProduceRecords() >= maxBuffered {
				owed = 0
				break
			}
			p.send(sequence)
			sequence++
		}
	}
}

func (p *producer) send(sequence int64) {
	value := oracle.Value{Producer: p.number, Sequence: sequence}
	to := p.to[p.rng.IntN(len(p.to))]
	r, n := p.compose(value, to)
	p.client.Produce(context.Background(), r, func(r *kgo.Record, err error) {
		p.rec.sent(n, r.Offset, err)
		if outcomeOf(err) == oracle.Info {
			p.rec.clientError("producer %d: send %s to %s: %v", p.number, value, to, err)
		}
	})
}

// random makes a record with a random key.
func (p *producer) random(value oracle.Value, to oracle.Partition) (r *kgo.Record, number int) {
	key := make([]byte, p.least+p.rng.IntN(p.key-p.least))
	for i := range key {
		key[i] = byte(p.rng.Uint32())
	}
	number = p.rec.send(value, to)
	return &kgo.Record{Topic: to.Topic, Partition: to.Index, Key: key, Value: []byte(value.String())}, number
}

// stop ends the sending and waits until all that was sent is answered, or ctx ends.
func (p *producer) stop(ctx context.Context) error {
	p.quit()
	<-p.done
	if err := p.client.Flush(ctx); err != nil {
		return fmt.Errorf("flush producer %d, %d records are not answered: %w", p.number, p.client.BufferedProduceRecords(), err)
	}
	return nil
}

// end ends the client; what is not answered by then stays open.
func (p *producer) end() {
	p.quit()
	<-p.done
	p.client.Close()
}

// stopAll stops producers side by side and returns what could not be.
func stopAll(ctx context.Context, producers []*producer) []error {
	errs := make([]error, len(producers))
	var work sync.WaitGroup
	for i, p := range producers {
		work.Go(func() { errs[i] = p.stop(ctx) })
	}
	work.Wait()
	return errs
}
