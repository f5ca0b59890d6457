package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/placement"
	"github.com/forebaylog/forebay/broker/takeover"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/wal"
)

// ErrSessionLost is what Failed yields when others have declared the broker dead, as after
// a pause: it opens anew, with another session, and its data directory holds nothing that
// counts.
var ErrSessionLost = errors.New("broker was declared dead; it has to open anew")

// Cluster are the settings of a broker that is one of several. Zero values take their defaults.
type Cluster struct {
	// WAL is where WAL objects go; default: Config.Objects.
	WAL objstore.Store
	// SessionTTL is after how long without a renewal a broker counts as dead: 3 s. The same
	// in all brokers.
	SessionTTL time.Duration
	// PutRate is the budget of WAL objects per second that are not full: 10; negative: none.
	PutRate float64
	// Uploads is how many WAL objects are uploaded at once: 4.
	Uploads int
	// MaxWaiting bounds the bytes of batches that wait for their commit: 64 MiB.
	MaxWaiting int64
	// MetadataPoll is how often the metadata log is looked at for changes by others: 100 ms.
	MetadataPoll time.Duration
	// Rebalance is how often leaders are balanced (leader.imbalance.check.interval.seconds): 10 s.
	Rebalance time.Duration
}

func (c Cluster) withDefaults() Cluster {
	setDefault(&c.SessionTTL, session.DefaultTTL)
	setDefault(&c.PutRate, 10)
	setDefault(&c.MetadataPoll, 100*time.Millisecond)
	setDefault(&c.Rebalance, 10*time.Second)
	return c
}

// cluster is a broker's membership: its session, what it makes of those of others, and
// the partitions that come to it and leave it.
//
// There is no controller. Whatever has to be decided for all is a record of the metadata
// log that any broker may append, and of two that try the second finds it done.
type cluster struct {
	b       *Broker
	cfg     Cluster
	session *session.Session
	watcher *session.Watcher
	stream  *wal.Stream
	metrics *clusterMetrics

	claims signals // partitions may have come
	leaves signals // partitions may have to leave
	adopts signals // records of earlier leaders may have to be sealed
	cancel context.CancelFunc
	work   sync.WaitGroup
	unsub  func()
	rolled uint64 // the stream's last slot when its objects last caused a roll
}

// signals wakes one goroutine; signals that come while it works are one.
type signals chan struct{}

func (s signals) send() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// openCluster takes the session. The metadata log is open; nothing is registered yet.
func openCluster(ctx context.Context, b *Broker) (*cluster, error) {
	c := &cluster{
		b: b, cfg: *b.cfg.Cluster, claims: make(signals, 1), leaves: make(signals, 1), adopts: make(signals, 1),
		watcher: session.NewWatcher(b.cfg.Metadata, b.cfg.Cluster.SessionTTL),
	}
	var err error
	if c.metrics, err = newClusterMetrics(b.cfg.Registerer); err != nil {
		return nil, err
	}
	c.session, err = session.Open(ctx, session.Config{
		Store: b.cfg.Metadata, Node: b.cfg.NodeID, TTL: c.cfg.SessionTTL, Info: b.listeners[0].advertised(),
		Features: admin.Supported(b.features()), Logger: b.log,
	})
	if err != nil {
		return nil, err
	}
	c.stream = wal.OpenStream(wal.StreamConfig{
		Slots: wal.Slots(b.cfg.Metadata, c.session.ID()), Objects: b.cfg.Objects, Cluster: b.meta.Image().ClusterID(),
		Session: c.session.ID(), Node: b.cfg.NodeID, Rate: c.cfg.PutRate, InFlight: c.cfg.Uploads,
		Await: c.session.AwaitValid, Now: b.cfg.Now, Logger: b.log,
		OnPut: seconds(c.metrics.puts), OnSlot: seconds(c.metrics.slots), Tracer: b.cfg.Tracer,
	})
	return c, nil
}

// valid reports whether the broker may act as a leader. A node alone always may.
func (b *Broker) valid() bool { return b.cluster == nil || b.cluster.session.Valid() }

// start runs what a member does in the background. The storage is open.
func (c *cluster) start() {
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.unsub = c.b.meta.Subscribe(func(_, _ *metalog.Image) { c.claims.send(); c.leaves.send() })
	c.work.Go(func() { c.watchSession(ctx) })
	c.work.Go(func() { c.every(ctx, c.cfg.MetadataPoll, nil, c.follow) })
	c.work.Go(func() { c.every(ctx, c.cfg.SessionTTL/6, nil, c.observe) })
	c.work.Go(func() { c.every(ctx, retryClaims, c.claims, c.acquire) })
	c.work.Go(func() { c.every(ctx, retryClaims, c.leaves, c.release) })
	c.work.Go(func() { c.every(ctx, retryAdopt, c.adopts, c.adopt) })
	c.work.Go(func() { c.every(ctx, c.cfg.Rebalance, nil, c.balance) })
	c.work.Go(func() { c.every(ctx, sweepStreams, nil, c.sweep) })
	c.work.Go(func() { c.every(ctx, time.Second, nil, c.roll) })
	c.claims.send()
	c.leaves.send()
	c.adopts.send()
}

const (
	retryClaims  = time.Second
	retryAdopt   = 5 * time.Second
	sweepStreams = 10 * time.Second
)

// every runs f each interval, and when there is a signal, until ctx ends. What f fails
// with is logged once for each change.
func (c *cluster) every(ctx context.Context, interval time.Duration, wake signals, f func(context.Context) error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var last string
	for {
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-tick.C:
		}
		err := f(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			last = ""
		case err.Error() != last:
			last = err.Error()
			c.b.log.Warn("cluster: will try again", "err", err)
		}
	}
}

// watchSession ends the broker when its session is lost.
func (c *cluster) watchSession(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-c.session.Lost():
		c.b.fail(fmt.Errorf("%w: %w", ErrSessionLost, c.session.Err()))
	}
}

// follow folds what others have appended, and ends the broker if it is of too old a release for that: it would
// never know of any change again.
func (c *cluster) follow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tableTime)
	defer cancel()
	err := c.b.meta.Refresh(ctx)
	if err == nil {
		c.metrics.followed.Store(time.Now().UnixNano())
	}
	if errors.Is(err, metalog.ErrNewer) {
		c.b.fail(err)
	}
	return err
}

// tableTime bounds one look at the table, or one change of it.
const tableTime = 10 * time.Second

// acquire recovers the partitions that have come to this broker.
func (c *cluster) acquire(ctx context.Context) error {
	claims := c.b.storage.logs.Missing()
	if len(claims) == 0 {
		return nil
	}
	began := time.Now()
	ps := make([]id.Partition, len(claims))
	for i := range claims {
		ps[i] = claims[i].Partition
	}
	c.b.storage.sealer.Forget(ps...)
	c.b.storage.chains.Forget(ps...)
	ctx, span := c.b.cfg.Tracer.Start(ctx, spanAcquire)
	span.Set("partitions", int64(len(claims)))
	err := c.b.storage.logs.Acquire(ctx, claims)
	span.End(err)
	acquired := 0
	for _, p := range ps {
		if _, ok := c.b.storage.logs.Get(p); ok {
			acquired++
		}
	}
	c.metrics.acquired(acquired, time.Since(began))
	if err == nil {
		c.b.log.Info("took over partitions", "partitions", len(claims), "took", time.Since(began).Round(time.Millisecond))
	}
	c.adopts.send()
	c.leaves.send()
	return err
}

// streams reads the stream of a session, for recovery.
func (c *cluster) streams(ctx context.Context, s id.Session, through uint64) ([]wal.Object, error) {
	ctx, cancel := context.WithTimeout(ctx, takeover.StreamTime)
	defer cancel()
	return wal.ReadStream(ctx, wal.Slots(c.b.cfg.Metadata, s), c.b.cfg.Objects, through, c.b.storage.cold.Footer)
}

// afterPass releases the WAL objects of this session that are sealed, and what is in memory of them.
func (c *cluster) afterPass(ctx context.Context, sealedTo func(context.Context, id.Partition) (id.Offset, error)) error {
	if err := c.b.storage.logs.ForgetAborted(ctx, sealedTo); err != nil {
		return err
	}
	return c.stream.Release(ctx, takeover.UnlessDeleted(c.b.meta, sealedTo))
}

// Bounds of a stream's objects that are not sealed: what a takeover has to read.
const (
	maxKept      = 512     // objects
	maxKeptTails = 4 << 20 // bytes of their footers
)

// roll has the hot segment sealed when the stream has grown long.
func (c *cluster) roll(context.Context) error {
	st := c.stream.Stats()
	if st.LastSlot < c.rolled+maxKept/2 || st.Kept < maxKept && st.KeptTails < maxKeptTails {
		return nil
	}
	c.rolled = st.LastSlot
	return c.b.storage.journal.Roll()
}

// adopt seals what earlier leaders have committed and not sealed.
func (c *cluster) adopt(ctx context.Context) error {
	return c.b.storage.adopt(ctx)
}

// isPlanner reports whether this broker does what one is enough for: it is the live one of
// the lowest id. Nothing is wrong when two do it.
func (c *cluster) isPlanner() bool {
	live := placement.Live(c.b.meta.Image())
	return c.session.Valid() && len(live) > 0 && live[0].ID == c.b.cfg.NodeID
}

// balance gives leaderless partitions leaders and asks leaders to give partitions away
// where that balances the brokers.
func (c *cluster) balance(ctx context.Context) error {
	if !c.isPlanner() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tableTime)
	defer cancel()
	_, err := c.b.meta.Update(ctx, func(img *metalog.Image) ([]metalog.Record, error) {
		records := placement.Records(img, append(placement.Drained(img, maxMoves), placement.Rebalance(img, maxMoves)...))
		if changes := placement.Leaderless(img); len(changes) > 0 {
			records = append(records, metalog.LeadersChanged{Changes: changes[:min(len(changes), takeover.MaxChanges)]})
		}
		return records, nil
	})
	return err
}

// maxMoves is how many planned moves there are at a time.
const maxMoves = 1000

// sweep releases what is sealed of the streams of sessions that are over.
func (c *cluster) sweep(ctx context.Context) error {
	if !c.isPlanner() {
		return nil
	}
	sweeper := takeover.Sweeper{
		Table: c.b.cfg.Metadata, Chains: chain.Open(c.b.cfg.Chains), Meta: c.b.meta, Objects: c.b.cfg.Objects,
		Footer: c.b.storage.cold.Footer, Self: c.b.cfg.NodeID,
	}
	_, err := sweeper.Sweep(ctx)
	return err
}

// stop ends the background work. The stream and the session go on, so that what was
// appended becomes committed.
func (c *cluster) stop() {
	if c.cancel == nil {
		return
	}
	c.unsub()
	c.cancel()
	c.work.Wait()
	c.cancel = nil
}

// close ends the stream and the session. The partitions were given away by leave, if there was time.
func (c *cluster) close(ctx context.Context) error {
	c.stop()
	return errors.Join(end(ctx, c.stream.Close), c.session.Close(ctx))
}
