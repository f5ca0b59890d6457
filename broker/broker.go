package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/semaphore"

	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/session"
)

// Broker is one running node.
type Broker struct {
	cfg     Config // with defaults
	log     *slog.Logger
	metrics *metrics
	meta    *metalog.Log
	cluster *cluster          // nil on a node alone
	static  map[string]string // broker configs that cfg stands for
	parts
	detailed detailed

	served    []api                            // in order of key
	byKey     map[kmsg.Key]*api                // into served
	versions  []kmsg.ApiVersionsResponseApiKey // what ApiVersions answers
	listeners []*listener
	closers   []part              // in order of opening
	queued    *semaphore.Weighted // bytes of large frames in flight

	accepting sync.WaitGroup
	connWait  sync.WaitGroup
	draining  chan struct{} // closed when Close begins
	failed    chan error    // holds at most one

	producerIDs producerIDs

	configMu sync.RWMutex
	configs  topicConfigs // derived from the Image

	mu        sync.Mutex
	conns     map[*conn]struct{}
	closeOnce sync.Once
	closed    chan struct{} // closed when Close is done
	closeErr  error         // read after closed
}

// Open starts a broker: it binds the listeners, opens the metadata log, registers
// itself, opens its parts and then serves clients. ctx bounds the start only.
func Open(ctx context.Context, cfg Config) (_ *Broker, err error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("open broker: %w", err)
	}
	b := &Broker{
		cfg: cfg, log: cfg.Logger.With("broker", cfg.NodeID.String()),
		served: apis(), byKey: make(map[kmsg.Key]*api),
		queued:   semaphore.NewWeighted(cfg.Limits.MaxQueuedBytes),
		draining: make(chan struct{}), closed: make(chan struct{}), failed: make(chan error, 1),
		conns: make(map[*conn]struct{}),
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open broker: %w", errors.Join(err, b.Close(context.WithoutCancel(ctx))))
		}
	}()
	for i := range b.served {
		b.byKey[b.served[i].key] = &b.served[i]
	}
	b.versions = advertised(b.served)
	if b.metrics, err = newMetrics(cfg.Registerer, b.served); err != nil {
		return nil, err
	}
	for _, l := range cfg.Listeners {
		open, err := listen(ctx, l, b.metrics)
		if err != nil {
			return nil, err
		}
		b.listeners = append(b.listeners, open)
	}
	b.static = staticConfigs(cfg, b.listeners)
	if err := b.openMetadata(ctx); err != nil {
		return nil, err
	}
	for _, open := range openParts() {
		p, err := open(ctx, b)
		if err != nil {
			return nil, err
		}
		b.closers = append(b.closers, p)
	}
	if b.cluster != nil {
		b.cluster.start()
	}
	for _, l := range b.listeners {
		b.accepting.Go(func() { b.accept(l) })
	}
	return b, nil
}

// Addrs returns the bound address of each listener, in the order of the Config.
func (b *Broker) Addrs() []net.Addr {
	addrs := make([]net.Addr, 0, len(b.listeners))
	for _, l := range b.listeners {
		addrs = append(addrs, l.ln.Addr())
	}
	return addrs
}

// Failed yields the error of a part that cannot go on. The broker is then of no use
// and its owner closes it.
func (b *Broker) Failed() <-chan error { return b.failed }

// Ready returns nil if the broker serves clients now, and else says why it does not.
func (b *Broker) Ready() error {
	switch {
	case b.closing():
		return errors.New("the broker is closing")
	case b.valid():
		return nil
	case b.cluster.session.Err() != nil:
		return b.cluster.session.Err()
	}
	return fmt.Errorf("session %s of node %s is not renewed: the control table is out of reach", b.cluster.session.ID(), b.cfg.NodeID)
}

// fail reports that a part cannot go on. The first error counts.
func (b *Broker) fail(err error) {
	select {
	case b.failed <- err:
		b.log.Error("stop serving", "err", err)
	default:
	}
}

// closing reports whether Close has begun.
func (b *Broker) closing() bool {
	select {
	case <-b.draining:
		return true
	default:
		return false
	}
}

// ErrNotClosed is what Close returns when something of the broker still runs though its time is up. What it
// holds, such as the data directory, is not free; only the end of the process frees it.
var ErrNotClosed = errors.New("broker did not end in time; its process has to")

// closeSlack is how long after the end of Close's context its parts may take to notice that.
const closeSlack = 2 * time.Second

// Close gives a cluster's partitions to the other brokers, stops accepting, answers what is
// in flight, closes the connections, and then stops the parts. Requests that are not answered within ctx or
// Limits.ShutdownGrace lose their connection, and each part has Limits.CloseTime, so that one whose store or table is
// away leaves the others some. It returns at the latest a little after the end of ctx, with
// ErrNotClosed if it has to leave something behind that runs. It may be called more than once.
func (b *Broker) Close(ctx context.Context) error {
	b.closeOnce.Do(func() {
		go func() {
			defer close(b.closed)
			b.closeErr = b.close(ctx)
		}()
	})
	late := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(closeSlack, func() { close(late) }) })
	defer stop()
	select {
	case <-b.closed:
		return b.closeErr
	case <-late:
		if b.storage != nil && b.storage.wal != nil && b.storage.wal.Waiting() > 0 {
			return fmt.Errorf("close broker: %w; %d bytes of records are not committed: %w", ErrNotClosed, b.storage.wal.Waiting(), context.Cause(ctx))
		}
		return fmt.Errorf("close broker: %w: %w", ErrNotClosed, context.Cause(ctx))
	}
}

func (b *Broker) close(ctx context.Context) error {
	var errs []error
	if b.cluster != nil && errors.Is(b.cluster.session.Err(), session.ErrLost) {
		errs = append(errs, b.cluster.stream.Close(ctx)) // whoever waits for a commit is told now: the store may be away for long
	}
	if b.cluster != nil && b.storage != nil && b.storage.logs != nil {
		b.cluster.stop()
		errs = append(errs, b.cluster.leave(ctx))
	}
	b.mu.Lock()
	close(b.draining)
	b.mu.Unlock()
	for _, l := range b.listeners {
		errs = append(errs, l.ln.Close())
	}
	b.accepting.Wait()
	for _, p := range b.closers {
		p.drain()
	}
	b.drainConns(ctx)
	for i := len(b.closers) - 1; i >= 0; i-- {
		errs = append(errs, b.within(ctx, b.closers[i].close))
	}
	if b.cluster != nil {
		errs = append(errs, b.within(ctx, b.cluster.close))
	}
	if b.meta != nil {
		errs = append(errs, end(ctx, b.meta.Close))
	}
	return errors.Join(errs...)
}

// within closes a part in its share of the time.
func (b *Broker) within(ctx context.Context, closePart func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Limits.CloseTime)
	defer cancel()
	return closePart(ctx)
}

// drainConns ends every connection once its requests are answered, or at the end of
// the grace whatever is open.
func (b *Broker) drainConns(ctx context.Context) {
	for _, c := range b.open() {
		c.drain()
	}
	done := make(chan struct{})
	go func() {
		b.connWait.Wait()
		close(done)
	}()
	grace := time.NewTimer(b.cfg.Limits.ShutdownGrace)
	defer grace.Stop()
	select {
	case <-done:
		return
	case <-ctx.Done():
	case <-grace.C:
	}
	for _, c := range b.open() {
		c.abort(errShutdown)
	}
	<-done
}

// open returns the connections there are.
func (b *Broker) open() []*conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	conns := make([]*conn, 0, len(b.conns))
	for c := range b.conns {
		conns = append(conns, c)
	}
	return conns
}
