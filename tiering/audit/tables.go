package audit

import (
	"context"
	"math"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/offsets"
	"github.com/forebaylog/forebay/infra/transactions"
)

// The topics whose partitions are the shards of groups and of transactional ids.
const (
	groupShards       = "__consumer_offsets"
	transactionShards = "__transaction_state"
)

// tables checks the files of tables that are files.
func (a *auditor) tables(ctx context.Context) error {
	for name, table := range map[string]kv.Store{"control": a.cfg.Control, "offsets": a.cfg.Offsets} {
		v, ok := table.(interface{ Verify(context.Context) error })
		if !ok {
			continue
		}
		if err := v.Verify(ctx); err != nil && ctx.Err() == nil {
			a.find(Finding{Severity: Damage, Check: "table", What: name + " table: " + err.Error()})
		}
	}
	return ctx.Err()
}

// damaged reports what was read of a table and could not be understood. An end of ctx is no finding.
func (a *auditor) damaged(ctx context.Context, check string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	a.find(a.in(Finding{Severity: Damage, Check: check}, err))
	return nil
}

// metadata reads every slot of the metadata log and the snapshot below it.
func (a *auditor) metadata(ctx context.Context) error {
	slots, err := metalog.Slots(ctx, a.cfg.Control, 0, 0)
	a.report.Slots = len(slots)
	if err == nil {
		a.image, err = metalog.Load(ctx, a.cfg.Control, a.cfg.Objects)
	}
	if err != nil {
		a.image, a.blind = nil, true
		return a.damaged(ctx, "metadata", err)
	}
	a.report.Cluster, a.report.Topics = a.image.ClusterID(), len(a.image.Topics())
	for _, t := range a.image.Topics() {
		a.report.Partitions += len(t.Partitions)
		a.topic(t.ID).Partitions = len(t.Partitions)
	}
	if a.report.Cluster == "" {
		a.find(Finding{Severity: Damage, Check: "metadata", What: "the metadata log is empty"})
		a.image, a.blind = nil, true
		return nil
	}
	return a.cfg.State.begin(a.report.Cluster)
}

// groups reads what every group has committed, its state, and what transactions have pending.
func (a *auditor) groups(ctx context.Context) error {
	table := offsets.Open(a.cfg.Offsets, offsets.Sole)
	names, err := table.Groups(ctx)
	if err != nil {
		return a.damaged(ctx, "offsets", err)
	}
	a.report.Groups = len(names)
	err = a.parallel(ctx, len(names), func(ctx context.Context, i int) error {
		entries, err := table.Read(ctx, names[i])
		if err == nil {
			_, err = table.ReadState(ctx, names[i])
		}
		if err != nil {
			return a.damaged(ctx, "offsets", err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.report.GroupOffsets += len(entries)
		return nil
	})
	if err != nil {
		return err
	}
	return a.shards(ctx, groupShards, func(ctx context.Context, shard int32) error {
		pending, err := table.ReadPending(ctx, shard)
		if err != nil {
			return a.damaged(ctx, "pending offsets", err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.report.Pending += len(pending)
		return nil
	})
}

// transactions reads every transactional id.
func (a *auditor) transactions(ctx context.Context) error {
	table := transactions.Open(a.cfg.Offsets, nil) // which Load does not ask
	return a.shards(ctx, transactionShards, func(ctx context.Context, shard int32) error {
		items, err := table.Load(ctx, shard, math.MaxInt32)
		if err != nil {
			return a.damaged(ctx, "transactions", err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.report.Transactional += len(items)
		return nil
	})
}

// shards calls f for each partition of a topic, if there is such a topic.
func (a *auditor) shards(ctx context.Context, topic string, f func(ctx context.Context, shard int32) error) error {
	if a.image == nil {
		return nil
	}
	t, ok := a.image.Topic(topic)
	if !ok {
		return nil
	}
	return a.parallel(ctx, len(t.Partitions), func(ctx context.Context, i int) error { return f(ctx, int32(i)) })
}
