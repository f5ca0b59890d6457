package broker

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/lifecycle"
	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/session"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/seal"
	"github.com/forebaylog/forebay/tiering/wal"
)

// The folders below Config.DataDir.
const (
	HotDir   = "hot"   // hot segments
	IndexDir = "index" // Badger, derived from the hot segments
	KeysDir  = "keys"  // what compaction has of keys, while it runs
)

// storage is the part of a broker that holds records: the tiers, and the logs that
// this broker leads.
type storage struct {
	b        *Broker
	journal  *journal.Journal
	wal      *wal.Group
	cold     *cold.Reader
	sealer   *seal.Sealer
	logs     *partition.Set
	sessions fetchSessions
	traffic  traffic
	controls *tieringControls
	life     *lifecycleLoops
	chains   *lifecycle.Chains
	// verifyTxn is Broker.verifyTxn, but for tests.
	verifyTxn func(context.Context, txnVerification) map[id.Partition]error

	cancel context.CancelFunc // ends what runs in the background
	idle   sync.WaitGroup
	unsub  func()
}

// openStorage recovers the hot tier and every log before any client is served.
func openStorage(ctx context.Context, b *Broker) (_ part, err error) {
	s := &storage{b: b, verifyTxn: b.verifyTxn}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(context.WithoutCancel(ctx)))
		}
	}()
	cfg, jc, chains := b.cfg, s.journalConfig(), chain.Open(b.cfg.Chains)
	if b.cluster != nil {
		if err := wipe(jc); err != nil {
			return nil, err
		}
	}
	hot, recovery, err := journal.Open(ctx, jc)
	if err != nil {
		return nil, fmt.Errorf("open the hot tier: %w", err)
	}
	s.journal = hot
	b.log.Info("recovered hot tier", "segments", recovery.Segments, "partitions", recovery.Partitions, "batches", recovery.Batches,
		"bytes", recovery.Bytes, "scanned", recovery.Scanned, "cut", len(recovery.Cut), "corrupt", len(recovery.Corrupt),
		"index_rebuilt", recovery.IndexRebuilt, "took", recovery.Duration.Round(time.Microsecond))
	s.cold = cold.New(cfg.Objects, cold.Config{CacheBytes: cfg.Storage.CacheBytes, Logger: b.log})
	b.storage = s
	commits, err := newCommitTime(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	s.wal = wal.New(hot, s.sink(), s.walConfig(commits))
	pc := partition.Config{
		Tiers: partition.Tiers{WAL: s.wal, Hot: hot, Chain: chains, Cold: s.cold}, Node: cfg.NodeID, Image: b.meta.Image,
		Damaged: len(recovery.Corrupt) > 0, ProducerExpiry: cfg.Storage.ProducerExpiry, Now: cfg.Now, Logger: b.log,
	}
	sc := seal.Config{
		Journal: hot, FS: jc.FS, Chain: chains, Objects: cfg.Objects, Cold: s.cold, DiskBudget: cfg.Storage.HotBytes, Interval: cfg.Storage.SealInterval,
		ProducerExpiry: cfg.Storage.ProducerExpiry,
		Cluster:        b.meta.Image().ClusterID(), Node: cfg.NodeID, Now: cfg.Now, Logger: b.log,
	}
	s.chains = lifecycle.NewChains(chains, lifecycle.ChainsConfig{
		Now: cfg.Now, Cleaned: func(p id.Partition, upTo id.Offset) { s.logs.Cleaned(p, upTo) },
	})
	sc.Sealed = s.chains.Sealed
	sc.OnRound = func(took time.Duration, err error) { cfg.Tracer.Past(background, spanSeal, took, err) }
	if b.cluster != nil {
		pc.Streams = b.cluster.streams
	}
	began := time.Now()
	if s.logs, err = partition.Open(ctx, pc, hot); err != nil {
		return nil, fmt.Errorf("recover partitions: %w", err)
	}
	sc.Live, sc.Valid, sc.AfterPass, sc.Unwanted = s.logs.Live, b.valid, s.logs.ForgetAborted, s.unwanted
	if b.cluster != nil {
		b.cluster.metrics.acquired(s.logs.Len(), time.Since(began))
		sc.Session, sc.Held, sc.Committed, sc.AfterPass = b.cluster.session.ID().String(), s.logs.Held, s.logs.Committed, b.cluster.afterPass
	}
	s.sealer = seal.New(sc)
	if s.life, err = newLifecycleLoops(s, chains); err != nil {
		return nil, err
	}
	if err := cfg.Registerer.Register(s); err != nil {
		return nil, fmt.Errorf("register metrics of the tiers: %w", err)
	}
	if b.cluster != nil {
		if err := cfg.Registerer.Register(b.cluster); err != nil {
			return nil, fmt.Errorf("register metrics of the cluster: %w", err)
		}
	}
	s.controls = newTieringControls(s)
	s.unsub = b.meta.Subscribe(func(_, image *metalog.Image) { s.logs.Apply(image); s.controls.wake.send() })
	s.logs.Apply(b.meta.Image()) // what changed since they were opened
	s.controls.apply(b.meta.Image())
	s.idle.Go(func() { s.controls.run(background) })
	s.idle.Go(func() { _ = s.sealer.Run(background) }) // it ends with background
	s.idle.Go(func() { s.watch(background) })
	s.idle.Go(func() { s.life.run(background, s.life.loops()) })
	return s, nil
}

// sink is what makes records durable: the stream of the session, or this disk.
func (s *storage) sink() wal.Sink {
	if s.b.cluster != nil {
		return s.b.cluster.stream
	}
	return wal.LocalSink(s.journal, wal.LocalConfig{})
}

func (s *storage) walConfig(commits prometheus.Observer) wal.Config {
	c := wal.Config{Logger: s.b.log, OnCommit: seconds(commits), Tracer: s.b.cfg.Tracer}
	if s.b.cluster != nil {
		c.MaxWaiting = s.b.cluster.cfg.MaxWaiting
	}
	return c
}

// adopt seals what earlier leaders of this broker's partitions have committed and not sealed.
func (s *storage) adopt(ctx context.Context) error {
	var list []seal.Adoption
	for _, a := range s.logs.Adoptions() {
		list = append(list, seal.Adoption(a))
	}
	if len(list) == 0 || s.sealer.Paused() {
		return nil
	}
	adopted, err := s.sealer.Adopt(ctx, list)
	if errors.Is(err, seal.ErrPaused) {
		err = nil
	}
	for _, a := range adopted {
		s.logs.SealedTo(a.Partition, a.End)
	}
	return err
}

func (s *storage) journalConfig() journal.Config {
	cfg := s.b.cfg
	jc := journal.Config{
		FS: cfg.FS, Dir: path.Join(cfg.DataDir, HotDir), IndexDir: path.Join(cfg.DataDir, IndexDir),
		SegmentBytes: cfg.Storage.SegmentBytes, SegmentAge: cfg.Storage.SegmentAge, TailBytes: cfg.Storage.TailBytes,
		Cluster: s.b.meta.Image().ClusterID(), Now: cfg.Now, Logger: s.b.log,
	}
	if cfg.DataDir == "" {
		jc.FS, jc.IndexDir = vfs.NewMem(), ""
	}
	return jc
}

// wipe removes the hot segments of an earlier session: they are a cache, and what of them
// was committed only their stream tells.
func wipe(jc journal.Config) error {
	for _, dir := range []string{jc.Dir, jc.IndexDir} {
		if dir == "" {
			continue
		}
		if err := jc.FS.RemoveAll(dir); err != nil {
			return fmt.Errorf("empty the hot tier: %w", err)
		}
	}
	return nil
}

// watch ends the broker when the group commit has failed: after a failed fsync
// nothing may be assumed of what was written, so that only a restart, which reads
// what is there, can go on.
func (s *storage) watch(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-s.wal.Failed():
		err := fmt.Errorf("commit to the hot tier: %w", s.wal.Err())
		if errors.Is(err, wal.ErrFenced) || errors.Is(err, session.ErrLost) {
			err = fmt.Errorf("%w: %w", ErrSessionLost, err)
		}
		s.b.fail(err)
	}
}

// drain wakes the parked fetches.
func (s *storage) drain() { s.logs.Wake() }

// close stops in the order of the data's way, so that all that was appended is committed.
func (s *storage) close(ctx context.Context) error {
	var errs []error
	s.cancel()
	if s.unsub != nil {
		s.unsub()
	}
	if s.sealer != nil {
		errs = append(errs, end(ctx, s.sealer.Close))
	}
	if s.logs != nil {
		s.logs.Close()
	}
	if s.wal != nil {
		errs = append(errs, end(ctx, s.closeWAL))
	}
	s.idle.Wait()
	if s.journal != nil {
		errs = append(errs, end(ctx, s.journal.Close))
	}
	if s.life != nil {
		errs = append(errs, end(ctx, s.life.close))
	}
	if s.cold != nil {
		errs = append(errs, end(ctx, s.cold.Close))
	}
	return errors.Join(errs...)
}

// closeWAL closes the group commit. When the time is up what is in the stream of a cluster's broker
// is given up, for which the group commit would wait.
func (s *storage) closeWAL(ctx context.Context) error {
	err := s.wal.Close(ctx)
	if ctx.Err() != nil && s.b.cluster != nil {
		err = errors.Join(err, s.b.cluster.stream.Close(ctx))
	}
	return err
}

// end closes a part, and waits for its end though ctx ends before: it uses what Close of the broker says
// is free, which tells ErrNotClosed meanwhile. Only late is no error.
func end(ctx context.Context, closePart func(context.Context) error) error {
	err := closePart(ctx)
	if err != nil && ctx.Err() != nil {
		late := closePart(context.WithoutCancel(ctx))
		if late == nil {
			return nil
		}
		err = errors.Join(err, late)
	}
	return err
}

// logByName finds the log of a partition that this broker leads. It fails with
// UNKNOWN_TOPIC_OR_PARTITION or NOT_LEADER_OR_FOLLOWER.
func (s *storage) logByName(topic string, index int32) (*partition.Log, error) {
	t, ok := s.b.meta.Image().Topic(topic)
	if !ok {
		return nil, fmt.Errorf("find topic %q: %w", topic, kerr.UnknownTopicOrPartition)
	}
	return s.logOf(t, index)
}

// logByID is logByName for requests that name topics by id; it fails with UNKNOWN_TOPIC_ID too.
func (s *storage) logByID(topic id.Topic, index int32) (*partition.Log, error) {
	t, ok := s.b.meta.Image().TopicByID(topic)
	if !ok {
		return nil, fmt.Errorf("find topic %s: %w", topic, kerr.UnknownTopicID)
	}
	return s.logOf(t, index)
}

func (s *storage) logOf(t *metalog.Topic, index int32) (*partition.Log, error) {
	if !s.b.valid() {
		return nil, fmt.Errorf("find partition %d of topic %q: the session of this broker is not renewed: %w", index, t.Name, kerr.NotLeaderForPartition)
	}
	if index < 0 || int(index) >= len(t.Partitions) {
		return nil, fmt.Errorf("find partition %d of topic %q, which has %d: %w", index, t.Name, len(t.Partitions), kerr.UnknownTopicOrPartition)
	}
	log, ok := s.logs.Get(id.Partition{Topic: t.ID, Index: index})
	if !ok {
		return nil, fmt.Errorf("find partition %d of topic %q: %w", index, t.Name, kerr.NotLeaderForPartition)
	}
	return log, nil
}
