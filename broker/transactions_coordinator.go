package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	stdsync "sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/broker/txn"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/seeded"
	"github.com/forebaylog/forebay/infra/transactions"
)

const (
	txnLoadTimeout  = 10 * time.Second       // for one read of a shard
	txnLoadPatience = time.Second            // for requests to wait for it
	txnPatience     = 100 * time.Millisecond // for the next transaction to wait for the one before
	txnConflicts    = 5                      // how often an event is tried on items that others have changed
)

// txnErrors maps the errors of the state machine and of its items to Kafka's.
var txnErrors = []translated{
	{err: txn.ErrFenced, kafka: kerr.ProducerFenced},
	{err: txn.ErrConcurrent, kafka: kerr.ConcurrentTransactions},
	{err: txn.ErrMapping, kafka: kerr.InvalidProducerIDMapping},
	{err: txn.ErrInvalidState, kafka: kerr.InvalidTxnState},
	{err: txn.ErrAbortable, kafka: kerr.TransactionAbortable},
	{err: transactions.ErrFenced, kafka: kerr.NotCoordinator},
	{err: group.ErrNotCoordinator, kafka: kerr.NotCoordinator},
	{err: transactions.ErrInvalidID, kafka: kerr.InvalidRequest},
}

// txnError turns an error about a transactional id into the Kafka error for it. What is none of
// the above is a failure of the table: the client tries again.
func txnError(transactionalID string, err error) error {
	if err == nil || errors.As(err, new(*kerr.Error)) {
		return err
	}
	for _, t := range txnErrors {
		if errors.Is(err, t.err) {
			return fmt.Errorf("transactional id %q: %w: %w", transactionalID, t.kafka, err)
		}
	}
	return fmt.Errorf("transactional id %q: %w: %w", transactionalID, kerr.CoordinatorNotAvailable, err)
}

// txnConfig is what a txnCoordinator needs of a broker.
type txnConfig struct {
	Transactions
	Table   *transactions.Table // with Shards as its Authority
	Shards  *shards
	Image   func() *metalog.Image
	Fresh   func(context.Context) (id.Producer, error) // a producer id that nobody has had
	Level   func() int8                                // transaction.version of the cluster
	Now     func() time.Time
	Logger  *slog.Logger
	Metrics *txnMetrics
	// Markers ends a transaction on partitions, wherever they are led, and returns those on which
	// it has to be tried again. It blocks, but not for long after the end of ctx.
	Markers func(ctx context.Context, m txnMarker, partitions []id.Partition) (left []id.Partition)
}

// txnCoordinator is the transaction coordinator: every transactional id of the shards that this
// broker leads behind one lock, and the queue in which their states become durable.
//
// The events of an id take effect in their order. Those that come while a write of the id is
// under way wait for it; then as many as there are become one write. An event is answered when
// what it has led to is durable, and no other coordinator has been appointed by then (see
// package transactions). Once the end of a transaction is decided, a goroutine of its own writes the
// markers until all are written, and completes it.
//
// A shard is read when this broker comes to lead it, which also finds the transactions whose
// markers are to be written, and is forgotten when it leads it no more.
type txnCoordinator struct {
	cfg    txnConfig
	log    *slog.Logger
	writer *transactions.Writer

	ctx    context.Context // ends when close begins
	cancel context.CancelFunc
	wake   chan struct{}     // for the loop: a new image
	work   stdsync.WaitGroup // the loop, and whatever reads, allocates or writes markers

	mu      stdsync.Mutex
	closed  bool // no event is accepted any more
	shards  map[int32]*txnShard
	after   []func()      // answers to give when the lock is free
	changed chan struct{} // closed, and replaced, with each new image
}

// txnShard is a shard that this broker leads under an epoch. Guarded by txnCoordinator.mu.
type txnShard struct {
	index   int32
	epoch   id.Epoch
	ctx     context.Context // ends when it is lost
	cancel  context.CancelFunc
	loaded  bool
	slow    bool          // loading takes long: nobody waits for it
	waiting []func(error) // for it to be loaded, or for why it is not
	byID    map[string]*txnEntry
}

// txnEntry is one transactional id. Guarded by txnCoordinator.mu.
type txnEntry struct {
	shard      *txnShard
	item       transactions.Item // durable, as far as we know
	queue      []*txnCall        // not yet looked at, or to be looked at again
	parked     []*txnCall        // that wait for the transaction to be complete
	writing    bool
	allocating bool // a producer id
	marking    bool // the markers are being written, or the completion
	conflicts  int  // in a row
}

// txnCall is an event on its way. Its answer is called once, without the lock.
type txnCall struct {
	event  txn.Event
	answer func(txn.Outcome)
}

func newTxnCoordinator(cfg txnConfig) *txnCoordinator {
	ctx, cancel := context.WithCancel(context.Background())
	m := &txnCoordinator{
		cfg: cfg, log: cfg.Logger, writer: transactions.NewWriter(cfg.Table), ctx: ctx, cancel: cancel,
		wake: make(chan struct{}, 1), shards: map[int32]*txnShard{}, changed: make(chan struct{}),
	}
	m.work.Go(m.loop)
	signal(m.wake)
	return m
}

// step hands an event to a transactional id. answer is called once, now or later, without the
// lock. The Err of the outcome is a Kafka error.
func (m *txnCoordinator) step(transactionalID string, ev txn.Event, answer func(txn.Outcome)) {
	told := func(o txn.Outcome) {
		o.Err = txnError(transactionalID, o.Err)
		answer(o)
	}
	fail := func(err error) { told(txn.Outcome{Err: err, Producer: id.NoProducer, Epoch: -1}) }
	m.with(transactionalID, fail, func(s *txnShard) {
		e := s.entry(transactionalID)
		e.queue = append(e.queue, &txnCall{ev, told})
		m.pump(e)
	})
}

// with calls f with the shard of a transactional id under the lock, once it is loaded, or fail with why not.
func (m *txnCoordinator) with(transactionalID string, fail func(error), f func(s *txnShard)) {
	m.mu.Lock()
	defer m.unlock()
	epoch, err := m.cfg.Shards.lead(transactionalID)
	switch {
	case m.closed:
		err = kerr.CoordinatorNotAvailable
	case err == nil:
		err = transactions.CheckID(transactionalID)
	}
	if err != nil {
		m.after = append(m.after, func() { fail(err) })
		return
	}
	topic, _ := m.cfg.Image().Topic(admin.TxnTopic)
	s := m.take(int32(group.Shard(transactionalID, len(topic.Partitions))), epoch)
	switch {
	case s.loaded:
		f(s)
	case s.slow:
		m.after = append(m.after, func() { fail(kerr.CoordinatorLoadInProgress) })
	default:
		s.waiting = append(s.waiting, func(err error) {
			if err != nil {
				m.after = append(m.after, func() { fail(err) })
				return
			}
			f(s)
		})
	}
}

// unlock gives up the lock and gives the answers that were prepared under it.
func (m *txnCoordinator) unlock() {
	after := m.after
	m.after = nil
	m.mu.Unlock()
	for _, f := range after {
		f()
	}
}

// entry returns the entry of an id, which need not exist yet.
func (s *txnShard) entry(transactionalID string) *txnEntry {
	e := s.byID[transactionalID]
	if e == nil {
		e = &txnEntry{shard: s, item: transactions.Item{ID: transactionalID}}
		s.byID[transactionalID] = e
	}
	return e
}

func (m *txnCoordinator) tell(c *txnCall, o txn.Outcome) {
	m.after = append(m.after, func() { c.answer(o) })
}

func (m *txnCoordinator) failAll(calls []*txnCall, err error) {
	for _, c := range calls {
		m.tell(c, txn.Outcome{Err: err, Producer: id.NoProducer, Epoch: -1})
	}
}

// told is a call with its outcome, which it is told once it is durable.
type told struct {
	call    *txnCall
	outcome txn.Outcome
}

// pump steps through the events that wait, and begins to write what they lead to.
func (m *txnCoordinator) pump(e *txnEntry) {
	if e.writing || e.allocating {
		return
	}
	now, next := m.cfg.Now(), e.item.Transaction
	var flight []told
	for len(e.queue) > 0 {
		c := e.queue[0]
		o := txn.Step(next, now, c.event)
		if errors.Is(o.Err, txn.ErrNeedProducer) {
			break
		}
		e.queue = e.queue[1:]
		next = o.Next
		switch {
		case !o.Changed && txn.Early(&next, c.event):
			m.park(e, c)
		case !o.Changed && len(flight) == 0:
			m.tell(c, o)
		default:
			flight = append(flight, told{c, o})
		}
	}
	switch {
	case len(flight) > 0:
		m.write(e, next, flight)
	case len(e.queue) > 0:
		m.allocate(e)
	default:
		m.settle(e)
	}
}

// park keeps an event back until the transaction of before is complete, but not for long.
func (m *txnCoordinator) park(e *txnEntry, c *txnCall) {
	e.parked = append(e.parked, c)
	time.AfterFunc(txnPatience, func() {
		m.mu.Lock()
		defer m.unlock()
		if i := slices.Index(e.parked, c); i >= 0 {
			e.parked = slices.Delete(e.parked, i, i+1)
			m.failAll([]*txnCall{c}, txn.ErrConcurrent)
		}
	})
}

// allocate gets the producer id that the first event needs.
func (m *txnCoordinator) allocate(e *txnEntry) {
	e.allocating = true
	m.work.Go(func() {
		fresh, err := m.cfg.Fresh(e.shard.ctx)
		m.mu.Lock()
		defer m.unlock()
		e.allocating = false
		if m.lost(e.shard) || len(e.queue) == 0 {
			return
		}
		c := e.queue[0]
		switch ev := c.event.(type) {
		case txn.Init:
			ev.Fresh = fresh
			c.event = ev
		case txn.End:
			ev.Fresh = fresh
			c.event = ev
		case txn.Expire:
			ev.Fresh = fresh
			c.event = ev
		}
		if err != nil {
			e.queue = e.queue[1:]
			m.failAll([]*txnCall{c}, err)
		}
		m.pump(e)
	})
}

// write begins to write the next state of an id.
func (m *txnCoordinator) write(e *txnEntry, next transactions.Transaction, flight []told) {
	e.writing = true
	if next.State.Preparing() && seeded.Enabled(seeded.UnpreparedEnd) {
		m.work.Go(func() { m.wrote(e, next, flight, transactions.Result{Version: e.item.Version}) })
		return
	}
	w := transactions.Write{
		Shard: e.shard.index, ID: e.item.ID, Epoch: e.shard.epoch, If: e.item.Version,
		Transaction: next, Delete: next.State == transactions.None,
	}
	m.writer.Submit(w, func(r transactions.Result) {
		m.work.Go(func() { m.wrote(e, next, flight, r) }) // not with the lock that Submit may be called under
	})
}

// wrote takes in the outcome of a write, and answers.
func (m *txnCoordinator) wrote(e *txnEntry, next transactions.Transaction, flight []told, r transactions.Result) {
	m.mu.Lock()
	defer m.unlock()
	e.writing = false
	calls := make([]*txnCall, len(flight))
	for i := range flight {
		calls[i] = flight[i].call
	}
	switch {
	case r.Err == nil && !m.lost(e.shard):
		e.item.Transaction, e.item.Version, e.conflicts = next, r.Version, 0
		if next.State == transactions.None {
			e.item.Version = ""
		}
		for _, t := range flight {
			m.tell(t.call, t.outcome)
		}
	case m.lost(e.shard):
		m.failAll(calls, group.ErrNotCoordinator)
		return
	case errors.Is(r.Err, transactions.ErrConflict) && e.conflicts < txnConflicts:
		m.log.Info("transaction was changed by an earlier coordinator", "transactional_id", e.item.ID, "state", r.Found.State.String())
		e.item = r.Found
		e.conflicts++
		e.queue = append(calls, e.queue...)
	default:
		e.conflicts = 0
		m.log.Warn("cannot write the state of a transaction", "transactional_id", e.item.ID, "err", r.Err)
		m.failAll(calls, r.Err)
	}
	m.pump(e)
}

// settle begins what follows from the durable state of an id at which no write is under way.
func (m *txnCoordinator) settle(e *txnEntry) {
	switch {
	case e.item.State.Preparing() && !e.marking:
		m.finish(e)
	case !e.item.State.Preparing() && len(e.parked) > 0:
		e.queue, e.parked = e.parked, nil
		m.pump(e)
	case e.item.State == transactions.None && len(e.queue) == 0 && e.shard.byID[e.item.ID] == e:
		delete(e.shard.byID, e.item.ID)
	}
}

// drain refuses what comes, and answers what waits.
func (m *txnCoordinator) drain() {
	m.mu.Lock()
	defer m.unlock()
	m.closed = true
	for _, s := range m.shards {
		m.ready(s, kerr.CoordinatorNotAvailable)
		for _, e := range s.byID {
			m.failAll(e.parked, txn.ErrConcurrent)
			e.parked = nil
		}
	}
}

// close ends what is under way, but for writes that have begun, for which it waits until ctx ends.
func (m *txnCoordinator) close(ctx context.Context) error {
	m.drain()
	m.mu.Lock()
	for _, s := range m.shards {
		m.lose(s)
	}
	m.unlock()
	m.cancel()
	err := m.writer.Close(ctx)
	m.work.Wait()
	return err
}
