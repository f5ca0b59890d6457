package broker

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
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

	cancel context.CancelFunc // ends what runs in the background
	idle   sync.WaitGroup
	unsub  func()
}

// openStorage recovers the hot tier and every log before any client is served.
func openStorage(ctx context.Context, b *Broker) (_ part, err error) {
	s := &storage{b: b}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close(context.WithoutCancel(ctx)))
		}
	}()
	cfg, jc, chains := b.cfg, s.journalConfig(), chain.Open(b.cfg.Chains)
	hot, recovery, err := journal.Open(ctx, jc)
	if err != nil {
		return nil, fmt.Errorf("open the hot tier: %w", err)
	}
	s.journal = hot
	b.log.Info("recovered hot tier", "segments", recovery.Segments, "partitions", recovery.Partitions, "batches", recovery.Batches,
		"bytes", recovery.Bytes, "scanned", recovery.Scanned, "cut", len(recovery.Cut), "corrupt", len(recovery.Corrupt),
		"index_rebuilt", recovery.IndexRebuilt, "took", recovery.Duration.Round(time.Microsecond))
	s.cold = cold.New(cfg.Objects, cold.Config{CacheBytes: cfg.Storage.CacheBytes, Logger: b.log})
	s.wal = wal.New(hot, wal.LocalSink(hot, wal.LocalConfig{}), wal.Config{Logger: b.log})
	tiers := partition.Tiers{WAL: s.wal, Hot: hot, Chain: chains, Cold: s.cold}
	s.logs, err = partition.Open(ctx, partition.Config{Tiers: tiers, Node: cfg.NodeID, Image: b.meta.Image, Damaged: len(recovery.Corrupt) > 0, Now: cfg.Now, Logger: b.log}, hot)
	if err != nil {
		return nil, fmt.Errorf("recover partitions: %w", err)
	}
	s.sealer = seal.New(seal.Config{
		Journal: hot, FS: jc.FS, Chain: chains, Objects: cfg.Objects, Cold: s.cold, DiskBudget: cfg.Storage.HotBytes, Interval: cfg.Storage.SealInterval,
		Cluster: b.meta.Image().ClusterID(), Node: cfg.NodeID, Now: cfg.Now, Live: s.logs.Live, Logger: b.log,
	})
	if err := cfg.Registerer.Register(s); err != nil {
		return nil, fmt.Errorf("register metrics of the tiers: %w", err)
	}
	s.unsub = b.meta.Subscribe(func(_, image *metalog.Image) { s.logs.Apply(image) })
	s.idle.Go(func() { _ = s.sealer.Run(background) }) // it ends with background
	s.idle.Go(func() { s.watch(background) })
	b.storage = s
	return s, nil
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

// watch ends the broker when the group commit has failed: after a failed fsync
// nothing may be assumed of what was written, so that only a restart, which reads
// what is there, can go on.
func (s *storage) watch(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-s.wal.Failed():
		s.b.fail(fmt.Errorf("commit to the hot tier: %w", s.wal.Err()))
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
		errs = append(errs, s.sealer.Close(ctx))
	}
	if s.logs != nil {
		s.logs.Close()
	}
	if s.wal != nil {
		errs = append(errs, s.wal.Close(ctx))
	}
	s.idle.Wait()
	if s.journal != nil {
		errs = append(errs, s.journal.Close(ctx))
	}
	if s.cold != nil {
		errs = append(errs, s.cold.Close(ctx))
	}
	return errors.Join(errs...)
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
	if index < 0 || int(index) >= len(t.Partitions) {
		return nil, fmt.Errorf("find partition %d of topic %q, which has %d: %w", index, t.Name, len(t.Partitions), kerr.UnknownTopicOrPartition)
	}
	log, ok := s.logs.Get(id.Partition{Topic: t.ID, Index: index})
	if !ok {
		return nil, fmt.Errorf("find partition %d of topic %q: %w", index, t.Name, kerr.NotLeaderForPartition)
	}
	return log, nil
}
