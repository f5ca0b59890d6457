package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/oracle"
)

// transactor sends transactions under one transactional id, one after the other, until it is
// stopped. Most it commits; some it aborts, leaves behind, or loses to another producer.
type transactor struct {
	l      *load
	id     string
	rng    *rand.Rand
	client *transactional // nil: none is open
	quit   func()
	quits  chan struct{}
	ctx    context.Context //nolint:containedctx // of the goroutine's life
	cancel context.CancelFunc
	done   chan struct{}
}

// Times of transactions.
const (
	txnTimeout  = 10 * time.Second // after which the coordinator may abort one
	leftTimeout = 2 * time.Second  // the same, of those that are left behind
	txnPace     = 50 * time.Millisecond
	txnPatience = 20 * time.Second // of a client for an answer
	txnRecords  = 12               // the most that a transaction has
)

// firstTxnProducer is where the numbers of transactional producers begin; each client has its own.
const firstTxnProducer = 2000

func startTransactor(l *load, number int) *transactor {
	t := &transactor{
		l: l, id: fmt.Sprintf("%stxn-%d", l.prefix, number), rng: rand.New(rand.NewPCG(l.cfg.seed, uint64(firstTxnProducer+number))),
		quits: make(chan struct{}), done: make(chan struct{}),
	}
	t.quit = sync.OnceFunc(func() { close(t.quits) })
	t.ctx, t.cancel = context.WithCancel(context.Background())
	go t.run()
	return t
}

func (t *transactor) run() {
	defer close(t.done)
	for t.wait(txnPace) {
		if t.client == nil && !t.open() {
			continue
		}
		var err error
		switch dice := t.rng.IntN(100); {
		case dice < 70:
			err = t.plain(true)
		case dice < 85:
			err = t.plain(false)
		case dice < 90:
			err = t.zombie()
		case dice < 95:
			err = t.crash()
		default:
			err = t.leave()
		}
		if err != nil {
			if t.ctx.Err() == nil {
				t.l.rec.clientError("%s: %v", t.id, err)
			}
			t.drop()
		}
	}
	t.drop()
}

// wait pauses, and reports whether the transactor is to go on.
func (t *transactor) wait(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-t.quits:
		return false
	}
}

// open gets a client, which fences those that had the id before.
func (t *transactor) open() bool {
	c, err := openTransactional(t.ctx, t.l, t.id, txnTimeout)
	if err != nil {
		if t.ctx.Err() == nil {
			t.l.rec.clientError("%v", err)
		}
		return false
	}
	t.client = c
	return true
}

// drop gives the client up with whatever it has open.
func (t *transactor) drop() {
	if t.client != nil {
		t.client.die()
		t.client = nil
	}
}

// plain makes a transaction and commits or aborts it.
func (t *transactor) plain(commit bool) error {
	txn, err := t.client.fill(t.ctx, t.rng)
	if err != nil {
		return err
	}
	return t.client.end(t.ctx, txn, commit)
}

// zombie has another producer take the id over in the middle of a transaction, and tries to go
// on and to commit, which must fail.
func (t *transactor) zombie() error {
	txn, err := t.client.fill(t.ctx, t.rng)
	if err != nil {
		return err
	}
	old := t.client
	defer old.die()
	t.client = nil
	if !t.open() {
		return nil
	}
	if t.rng.IntN(2) == 0 {
		_ = old.send(t.ctx, t.rng, txn, 1) // after which the client gives up by itself
	}
	ctx, cancel := context.WithTimeout(t.ctx, txnPatience)
	defer cancel()
	t.l.rec.asks(txn, false)
	outcome := oracle.Fail // nothing else may come of it
	if err := old.client.EndTransaction(ctx, kgo.TryCommit); err == nil && old.acked() {
		outcome = oracle.OK
	}
	t.l.rec.ended(txn, outcome)
	t.l.rec.struck("zombie", 1)
	return nil
}

// crash ends the client in the middle of a transaction; the next one takes the id over at once.
func (t *transactor) crash() error {
	if _, err := t.client.fill(t.ctx, t.rng); err != nil {
		return err
	}
	t.drop()
	t.l.rec.struck("producer died", 1)
	return nil
}

// leave begins a transaction under an id that nobody uses again: it must time out.
func (t *transactor) leave() error {
	c, err := openTransactional(t.ctx, t.l, fmt.Sprintf("%sleft-%d", t.l.prefix, t.l.clients.Add(1)), leftTimeout)
	if err != nil {
		return err
	}
	defer c.die()
	if _, err = c.fill(t.ctx, t.rng); err == nil {
		t.l.rec.struck("transaction left", 1)
	}
	return err
}

// stop lets the transactor end what it has begun; ctx bounds that.
func (t *transactor) stop(ctx context.Context) error {
	t.quit()
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		t.cancel()
		<-t.done
		return fmt.Errorf("stop %s: it did not come to the end of its transaction: %w", t.id, context.Cause(ctx))
	}
}

// transactional is one client with a transactional id. It is used by one goroutine.
type transactional struct {
	l       *load
	id      string
	number  int // of the producer
	next    int64
	timeout time.Duration
	line    *line
	client  *kgo.Client
	lost    atomic.Bool // a record of the transaction was not acknowledged
}

// openTransactional starts a client and waits until it has the transactional id.
func openTransactional(ctx context.Context, l *load, id string, timeout time.Duration) (*transactional, error) {
	c := &transactional{
		l: l, id: id, number: firstTxnProducer + int(l.clients.Add(1)), timeout: timeout,
		line: &line{losing: &l.losing, lost: &l.lost},
	}
	var err error
	if c.client, err = kgo.NewClient(append(l.clientOpts(id), c.opts()...)...); err != nil {
		return nil, fmt.Errorf("start %s: %w", id, err)
	}
	if err := c.takeOver(ctx); err != nil {
		c.client.Close()
		return nil, err
	}
	return c, nil
}

// opts are the options of a transactional producer.
func (c *transactional) opts() []kgo.Opt {
	return []kgo.Opt{
		kgo.TransactionalID(c.id), kgo.TransactionTimeout(c.timeout), kgo.Dialer(c.line.dial),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(time.Millisecond),
		kgo.ProducerBatchMaxBytes(maxMessage),
	}
}

// takeOver gets the transactional id.
func (c *transactional) takeOver(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, txnPatience)
	defer cancel()
	done := c.l.rec.takesOver(c.id)
	if _, _, err := c.client.ProducerID(ctx); err != nil {
		return fmt.Errorf("take %s over: %w", c.id, err)
	}
	done()
	return nil
}

// fill begins a transaction, sends records to several partitions and waits until all are acknowledged.
func (c *transactional) fill(ctx context.Context, rng *rand.Rand) (txn int, err error) {
	txn = c.begin()
	if err := c.client.BeginTransaction(); err != nil {
		return txn, fmt.Errorf("begin: %w", err)
	}
	return txn, c.send(ctx, rng, txn, 2+rng.IntN(txnRecords-1))
}

func (c *transactional) begin() (txn int) {
	c.lost.Store(false)
	return c.l.rec.begin(c.id, c.timeout)
}

// send sends n records to random partitions and waits until all are acknowledged.
func (c *transactional) send(ctx context.Context, rng *rand.Rand, txn, n int) error {
	for range n {
		to := c.l.targets[rng.IntN(len(c.l.targets))]
		key := make([]byte, rng.IntN(64))
		for i := range key {
			key[i] = byte(rng.Uint32())
		}
		c.produce(ctx, txn, to, key, nil)
	}
	return c.flush(ctx)
}

// produce sends a record, which is a copy if of is not nil.
func (c *transactional) produce(ctx context.Context, txn int, to oracle.Partition, key []byte, of *oracle.Value) {
	value := oracle.Value{Producer: c.number, Sequence: c.next}
	c.next++
	r, n := &kgo.Record{Topic: to.Topic, Partition: to.Index, Key: key, Value: []byte(value.String())}, 0
	if c.l.compose != nil {
		r, n = c.l.compose(txn, value, to)
	} else {
		n = c.l.rec.sendIn(txn, value, to, of)
	}
	c.client.Produce(ctx, r, func(r *kgo.Record, err error) {
		c.l.rec.sent(n, r.Offset, err)
		if err != nil {
			c.lost.Store(true)
		}
	})
}

// acked reports whether all that was sent in the transaction was acknowledged.
func (c *transactional) acked() bool { return !c.lost.Load() }

func (c *transactional) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, txnPatience)
	defer cancel()
	if err := c.client.Flush(ctx); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	if !c.acked() {
		return errors.New("a record of the transaction was not acknowledged")
	}
	return nil
}

// end commits or aborts the transaction.
func (c *transactional) end(ctx context.Context, txn int, commit bool) error {
	ctx, cancel := context.WithTimeout(ctx, txnPatience)
	defer cancel()
	c.l.rec.asks(txn, commit)
	err := c.client.EndTransaction(ctx, kgo.TransactionEndTry(commit))
	outcome := oracle.Fail
	switch {
	case commit && err == nil:
		outcome = oracle.OK
	case commit:
		outcome = oracle.Info
	}
	c.l.rec.ended(txn, outcome)
	if err != nil {
		return fmt.Errorf("end, commit %t: %w", commit, err)
	}
	return nil
}

// die ends the client without a word to the brokers. A transaction that it has open is nobody's then.
func (c *transactional) die() {
	c.line.cut()
	c.client.Close()
}
