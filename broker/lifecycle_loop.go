package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/broker/lifecycle"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/pause"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/collect"
	"github.com/forebaylog/forebay/tiering/compact"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

// lifecycleLoops do retention, and what else the life of data needs, of the partitions that
// this broker leads, while its session is valid. They belong to the storage.
type lifecycleLoops struct {
	b        *Broker
	keeper   *lifecycle.Keeper
	roller   roller
	bulk     *cold.Reader // what merging and compaction read would sweep out what consumers read
	limit    *rate.Limiter
	collect  *collect.Collector
	valid    func() bool            // the session is
	failures *prometheus.CounterVec // by work
}

// bulkCache is the memory for what merging and compaction read.
const bulkCache = 8 << 20

// limitBurst is how many bytes merging and compaction may read or write at once.
const limitBurst = 16 << 20

// newLifecycleLoops makes the loops; nothing runs yet.
func newLifecycleLoops(s *storage, chains *chain.Store) (*lifecycleLoops, error) {
	b := s.b
	l := &lifecycleLoops{
		b: b, roller: roller{s: s}, valid: b.valid, limit: rate.NewLimiter(rate.Inf, limitBurst),
		bulk: cold.New(b.cfg.Objects, cold.Config{CacheBytes: bulkCache, FooterBytes: bulkCache, Logger: b.log}),
	}
	spill, err := l.spillDir()
	if err != nil {
		return nil, err
	}
	cluster, session := b.meta.Image().ClusterID(), ""
	if b.cluster != nil {
		session = b.cluster.session.ID().String()
	}
	l.keeper = lifecycle.New(lifecycle.Config{
		Image: b.meta.Image, Update: b.meta.Update, Topic: func(t *metalog.Topic) *config.Effective { return b.topicConfig(t).Effective },
		Chains: s.chains, Cold: s.cold, Unsealed: func() func(id.Partition, id.Offset) int64 { return extentsOf(s.journal.Segments()).bytes },
		Rewriter: rewrite.New(rewrite.Config{
			Chain: chains, Objects: b.cfg.Objects, Cold: l.bulk, Cluster: cluster, Session: session, Node: b.cfg.NodeID,
			Now: b.cfg.Now, Limit: l.limit, Valid: b.valid, Logger: b.log,
		}),
		Dead:  func(ctx context.Context) (map[string]bool, error) { return collect.Dead(ctx, b.cfg.Objects) },
		Alone: b.cluster == nil, Bulk: l.bulk, Keys: func() compact.MapConfig {
			return compact.MapConfig{Budget: l.settings().CleanerBuffer, Dir: spill, FS: b.cfg.FS}
		},
		ProducerExpiry: b.cfg.Storage.ProducerExpiry, Valid: b.valid, Now: b.cfg.Now, Logger: b.log,
	})
	l.collect = collect.New(collect.Config{
		Cluster: cluster, Metadata: b.cfg.Metadata, Chains: b.cfg.Chains, Objects: b.cfg.Objects, Image: b.freshImage, Grace: b.cfg.Lifecycle.CollectGrace,
		AuditKept: func(*metalog.Image) time.Duration { return l.settings().AuditKept },
		Now:       b.cfg.Now, Logger: b.log,
	})
	l.failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "forebay_lifecycle_failures_total", Help: "Rounds of retention and the like that failed, in part at least, and are tried again.",
	}, []string{"work"})
	if err := b.cfg.Registerer.Register(l.failures); err != nil {
		return nil, fmt.Errorf("register metrics of the life of data: %w", err)
	}
	return l, nil
}

// loop is work that is done again and again.
type loop struct {
	work     string
	interval func() time.Duration
	do       func(context.Context) error
}

// loops lists those that the broker's configs ask for.
func (l *lifecycleLoops) loops() []loop {
	cfg := l.b.cfg.Lifecycle
	all := []loop{{"roll", fixed(rollInterval), l.roller.roll}, {"reading of chains", fixed(rereadInterval), l.reread}}
	if cfg.CollectInterval > 0 {
		all = append(all, loop{"collection", fixed(cfg.CollectInterval), l.collectAll})
	}
	if cfg.Maintenance == config.MaintenanceNone {
		return all
	}
	all = append(all, loop{"retention", fixed(cfg.RetentionCheck), l.retain},
		loop{"merging", func() time.Duration { return l.settings().MergeInterval }, l.merge})
	if !cfg.NoCleaner {
		all = append(all, loop{"compaction", func() time.Duration { return l.settings().CleanerBackoff }, l.clean})
	}
	return all
}

// run runs loops until ctx ends, and waits for what they are at.
func (l *lifecycleLoops) run(ctx context.Context, loops []loop) {
	var work sync.WaitGroup
	defer work.Wait()
	for _, o := range loops {
		l.failures.WithLabelValues(o.work) // told of from the start
		work.Go(func() { l.repeat(ctx, o) })
	}
}

// settings are the broker configs as they are now.
func (l *lifecycleLoops) settings() config.Lifecycle {
	return config.ResolveLifecycle(l.b.layers(l.b.meta.Image(), l.b.self()))
}

// spillDir is where compaction keeps the keys that its memory does not hold, emptied; "" if nothing is on disk.
func (l *lifecycleLoops) spillDir() (string, error) {
	cfg := l.b.cfg
	if cfg.DataDir == "" {
		return "", nil
	}
	dir := path.Join(cfg.DataDir, KeysDir)
	if err := cfg.FS.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("empty the directory of compaction: %w", err)
	}
	if err := cfg.FS.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the directory of compaction: %w", err)
	}
	return dir, nil
}

// close ends the reads of merging and compaction. The loops have ended.
func (l *lifecycleLoops) close(ctx context.Context) error { return l.bulk.Close(ctx) }

// merge merges small segments.
func (l *lifecycleLoops) merge(ctx context.Context) error {
	l.slowDown()
	return l.keeper.Merge(ctx, l.led())
}

// clean compacts.
func (l *lifecycleLoops) clean(ctx context.Context) error {
	l.slowDown()
	return l.keeper.Compact(ctx, l.led())
}

// rereadInterval is how often some of the chains are read again.
const rereadInterval = 30 * time.Second

// reread learns what others have done to the chains of led partitions.
func (l *lifecycleLoops) reread(ctx context.Context) error {
	img, starts := l.b.meta.Image(), map[id.Partition]id.Offset{}
	for _, p := range l.led() {
		if state, ok := img.Partition(p); ok {
			starts[p] = state.Start
		}
	}
	return l.b.storage.chains.Refresh(ctx, starts, rereadInterval, l.b.storage.logs.Live)
}

// slowDown sets the rate of what is read and written.
func (l *lifecycleLoops) slowDown() {
	bytes := rate.Inf
	if s := l.settings(); s.CleanerBytes < math.MaxInt64 {
		bytes = rate.Limit(s.CleanerBytes)
	}
	l.limit.SetLimit(bytes)
}

// collectAll removes what nothing names, if this broker is the one that does it.
func (l *lifecycleLoops) collectAll(ctx context.Context) error {
	if l.b.cluster != nil && !l.b.cluster.isPlanner() {
		return nil
	}
	_, err := l.collect.Run(ctx)
	return err
}

// freshImage is the metadata as of a moment after the call.
func (b *Broker) freshImage(ctx context.Context) (*metalog.Image, error) {
	if err := b.meta.Refresh(ctx); err != nil {
		return nil, err
	}
	return b.meta.Image(), nil
}

// fixed is an interval that does not change.
func fixed(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// firstRound is when a loop begins at the latest, as Kafka's do.
const firstRound = 30 * time.Second

// repeat does the work of a loop each interval until ctx ends, while the session is valid. What it fails with is
// counted, and logged once for each change.
func (l *lifecycleLoops) repeat(ctx context.Context, o loop) {
	var last string
	for wait := min(o.interval(), firstRound); pause.For(ctx, wait) == nil; wait = o.interval() {
		if !l.valid() {
			continue
		}
		err := o.do(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			last = ""
			continue
		}
		l.failures.WithLabelValues(o.work).Inc()
		if err.Error() != last {
			last = err.Error()
			l.b.log.Warn(o.work+": will try again", "err", err)
		}
	}
}

// retain does retention. What is hot and has expired is sealed first, since only sealed records can go.
func (l *lifecycleLoops) retain(ctx context.Context) error {
	var err error
	if l.roller.expired() && !l.b.storage.sealer.Paused() {
		if err = l.b.storage.sealer.SealAll(ctx); err != nil {
			err = fmt.Errorf("seal records that have expired: %w", err)
		}
	}
	return errors.Join(err, l.keeper.Retain(ctx, l.led()))
}

// led lists the partitions that this broker leads, but for those of internal topics, which hold no records.
func (l *lifecycleLoops) led() (ps []id.Partition) {
	for _, t := range l.b.meta.Image().Topics() {
		if admin.IsInternal(t.Name) {
			continue
		}
		for i := range t.Partitions {
			if t.Partitions[i].Leader == l.b.cfg.NodeID {
				ps = append(ps, id.Partition{Topic: t.ID, Index: int32(i)})
			}
		}
	}
	return ps
}
