package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	topicconfig "github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/broker/lifecycle"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/stores"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/collect"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

// stage is a part of the system that works in rounds.
type stage struct {
	name   string
	counts *counts
	every  time.Duration // 0: never
	rounds int
	due    time.Time
	run    func(context.Context) error
	did    func() string // what has become of all rounds
}

// tick runs a round if its time has come.
func (s *stage) tick(ctx context.Context, now time.Time) error {
	if s.every == 0 || now.Before(s.due) {
		return nil
	}
	s.due = s.due.Add(s.every)
	s.rounds++
	return s.run(ctx)
}

// stages are all parts, in the order in which a record comes through them.
func (s *sim) stages() []*stage {
	return append([]*stage{{name: "WAL", counts: &s.wal}, {name: "sealing", counts: &s.seal}, {name: "looks", counts: &s.looks}}, s.life...)
}

// topics are those of the simulation: with the large partition, with those that are compacted, and with the others.
func (s *sim) topics() []metalog.TopicCreated {
	kept := func(rate float64) map[string]string {
		bytes := s.cfg.kept * rate * s.cfg.duration.Seconds()
		return map[string]string{"retention.ms": "-1", "retention.bytes": strconv.FormatInt(int64(bytes), 10)}
	}
	topics := []metalog.TopicCreated{
		{Name: "large", Partitions: make([]metalog.Assignment, 1), Configs: kept(float64(s.cfg.largeRate))},
		{Name: "compacted", Partitions: make([]metalog.Assignment, s.cfg.compacted), Configs: map[string]string{"cleanup.policy": "compact"}},
		{Name: "small", Partitions: make([]metalog.Assignment, s.cfg.small-s.cfg.compacted), Configs: kept(float64(s.cfg.smallBatch) / s.cfg.every.Seconds())},
	}
	for i := range topics {
		topics[i].ID, topics[i].ReplicationFactor = id.Topic{6: 0x40, 15: byte(i + 1)}, 1
	}
	return topics
}

// begin makes the metadata and the stages, of which none has run yet.
func (s *sim) begin(ctx context.Context) (err error) {
	merge, compact, retain, remove := &counts{}, &counts{}, &counts{}, &counts{}
	s.meta, err = metalog.Open(ctx, metalog.Options{Store: countedTable{s.table, retain}, Objects: countedObjects{s.bucket, retain}})
	if err != nil {
		return err
	}
	_, err = s.meta.Update(ctx, func(*metalog.Image) ([]metalog.Record, error) {
		records := []metalog.Record{metalog.BrokerRegistered{ID: 1, Incarnation: session}}
		for _, t := range s.topics() {
			if len(t.Partitions) > 0 {
				records = append(records, t)
			}
		}
		return records, nil
	})
	if err != nil {
		return fmt.Errorf("make the topics: %w", err)
	}
	if err := s.bucket.Put(ctx, stores.Identity, strings.NewReader(s.meta.Image().ClusterID())); err != nil {
		return fmt.Errorf("mark the bucket: %w", err)
	}
	*retain = counts{} // of what is done to the data alone
	s.life = []*stage{s.merging(merge), s.compaction(compact), s.retention(retain), s.collector(remove)}
	for _, stage := range s.life {
		stage.due = s.clock().Add(stage.every)
	}
	return nil
}

// engine is what rewrites packs for a stage, and what it reads with.
func (s *sim) engine(c *counts) (*chain.Store, *cold.Reader, *rewrite.Engine) {
	chains, reader := chain.Open(countedTable{s.table, c}), s.reader(c)
	return chains, reader, rewrite.New(rewrite.Config{
		Chain: chains, Objects: countedObjects{s.bucket, c}, Cold: reader, Cluster: "bench", Node: 1, Now: s.clock,
	})
}

// keeper does what a broker does for the partitions that it leads.
func (s *sim) keeper(c *counts) *lifecycle.Keeper {
	_, reader, engine := s.engine(c)
	return lifecycle.New(lifecycle.Config{
		Image: s.meta.Image, Update: s.meta.Update,
		Topic: func(t *metalog.Topic) *topicconfig.Effective {
			return topicconfig.Resolve(topicconfig.Layers{Resource: t.Configs, Source: topicconfig.DynamicTopic})
		},
		Chains: s.known, Cold: reader, Bulk: reader, Rewriter: engine, Now: s.clock,
	})
}

// compaction compacts what is dirty enough.
func (s *sim) compaction(c *counts) *stage {
	k := s.keeper(c)
	return &stage{
		name: "compaction", counts: c, every: s.cfg.compact,
		run: func(ctx context.Context) error { return k.Compact(ctx, s.ps) },
		did: func() string { return fmt.Sprintf("%d partitions compacted", k.Stats().Compacted) },
	}
}

// retention moves log starts.
func (s *sim) retention(c *counts) *stage {
	k := s.keeper(c)
	return &stage{
		name: "retention", counts: c, every: s.cfg.retain,
		run: func(ctx context.Context) error { return k.Retain(ctx, s.ps) },
		did: func() string {
			stats := k.Stats()
			return fmt.Sprintf("%d log starts moved over %.0f MiB", stats.Moved, float64(stats.RetainedBytes)/(1<<20))
		},
	}
}

// collector removes what nothing names any more. Nobody works beside it.
func (s *sim) collector(c *counts) *stage {
	collector := collect.New(collect.Config{
		Metadata: countedTable{s.table, c}, Objects: countedObjects{s.bucket, c}, Alone: true, Grace: s.cfg.grace, Rate: -1, Now: s.clock,
		Image: func(context.Context) (*metalog.Image, error) { return s.meta.Image(), nil },
	})
	var items, objects, bytes int64
	return &stage{
		name: "collector", counts: c, every: s.cfg.collect,
		run: func(ctx context.Context) error {
			r, err := collector.Run(ctx)
			items += r.Items.Removed
			objects += r.Removed().Objects
			bytes += r.Removed().Bytes
			return err
		},
		did: func() string {
			return fmt.Sprintf("%d items and %d objects of %.0f MiB removed", items, objects, float64(bytes)/(1<<20))
		},
	}
}

// merging merges what the policy says, as a broker does for the partitions that it leads.
func (s *sim) merging(c *counts) *stage {
	chains, _, engine := s.engine(c)
	merged := 0
	merge := func(ctx context.Context) error {
		var jobs []rewrite.Job
		for i, p := range s.ps {
			items, err := s.canonical(ctx, chains, p)
			if err != nil {
				return err
			}
			state, _ := s.meta.Image().Partition(p)
			policy := rewrite.MergePolicy{FanIn: s.cfg.fanIn, Compacted: 1 <= i && i <= s.cfg.compacted}
			for _, group := range policy.Plan(items, s.clock()) {
				jobs = append(jobs, rewrite.Job{Partition: p, Start: state.Start, Old: group})
				merged += len(group)
			}
		}
		results, err := engine.Rewrite(ctx, jobs)
		for _, r := range results {
			err = errors.Join(err, r.Err)
			s.known.Forget(r.Partition)
		}
		return err
	}
	return &stage{
		name: "merging", counts: c, every: s.cfg.merge, run: merge,
		did: func() string { return fmt.Sprintf("%d segments merged", merged) },
	}
}

// canonical reads what counts of a chain from its log start on.
func (s *sim) canonical(ctx context.Context, chains *chain.Store, p id.Partition) ([]chain.Item, error) {
	items, err := chains.Items(ctx, p)
	if err != nil {
		return nil, err
	}
	state, _ := s.meta.Image().Partition(p)
	canonical, _, err := chain.Canonical(items, state.Start)
	if err != nil {
		return nil, fmt.Errorf("chain of %s: %w", p, err)
	}
	for len(canonical) > 0 && canonical[0].Next <= state.Start {
		canonical = canonical[1:]
	}
	return canonical, nil
}
