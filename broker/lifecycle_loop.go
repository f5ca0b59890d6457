package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/broker/lifecycle"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/pause"
	"github.com/forebaylog/forebay/tiering/chain"
)

// lifecycleLoops do retention, and what else the life of data needs, of the partitions that
// this broker leads, while its session is valid. They belong to the storage.
type lifecycleLoops struct {
	b        *Broker
	keeper   *lifecycle.Keeper
	roller   roller
	failures *prometheus.CounterVec // by work
}

// newLifecycleLoops makes the loops; nothing runs yet.
func newLifecycleLoops(s *storage, chains *chain.Store) (*lifecycleLoops, error) {
	b := s.b
	l := &lifecycleLoops{b: b, roller: roller{s: s}}
	l.keeper = lifecycle.New(lifecycle.Config{
		Image: b.meta.Image, Update: b.meta.Update, Topic: func(t *metalog.Topic) *config.Effective { return b.topicConfig(t).Effective },
		Chain: chains, Cold: s.cold, Unsealed: func() func(id.Partition, id.Offset) int64 { return extentsOf(s.journal.Segments()).bytes },
		ProducerExpiry: b.cfg.Storage.ProducerExpiry, Valid: b.valid, Now: b.cfg.Now, Logger: b.log,
	})
	l.failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "forebay_lifecycle_failures_total", Help: "Rounds of retention and the like that failed, in part at least, and are tried again.",
	}, []string{"work"})
	if err := b.cfg.Registerer.Register(l.failures); err != nil {
		return nil, fmt.Errorf("register metrics of the life of data: %w", err)
	}
	return l, nil
}

// run runs the loops until ctx ends.
func (l *lifecycleLoops) run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { l.repeat(ctx, "roll", fixed(rollInterval), l.roller.roll) })
	if l.b.cfg.Lifecycle.Maintenance == config.MaintenanceNone {
		return
	}
	work.Go(func() { l.repeat(ctx, "retention", fixed(l.b.cfg.Lifecycle.RetentionCheck), l.retain) })
}

// fixed is an interval that does not change.
func fixed(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// firstRound is when a loop begins at the latest, as Kafka's do.
const firstRound = 30 * time.Second

// repeat runs f each interval until ctx ends, while the session is valid. What f fails with is
// counted, and logged once for each change.
func (l *lifecycleLoops) repeat(ctx context.Context, work string, interval func() time.Duration, f func(context.Context) error) {
	var last string
	for wait := min(interval(), firstRound); pause.For(ctx, wait) == nil; wait = interval() {
		if !l.b.valid() {
			continue
		}
		err := f(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			last = ""
			continue
		}
		l.failures.WithLabelValues(work).Inc()
		if err.Error() != last {
			last = err.Error()
			l.b.log.Warn(work+": will try again", "err", err)
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
		if internalTopics[t.Name] {
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
