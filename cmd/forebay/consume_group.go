package main

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// groupOptions make the client a member of the group. Only what was printed is
// committed: it is marked, and no rebalance comes between a poll and its printing.
func (c *consuming) groupOptions() []kgo.Opt {
	reset := kgo.NewOffset().AtEnd()
	if c.start.kind == startBeginning {
		reset = kgo.NewOffset().AtStart()
	}
	return []kgo.Opt{
		kgo.ConsumerGroup(c.flags.group), kgo.ConsumeTopics(c.topics...), kgo.ConsumeResetOffset(reset),
		kgo.AutoCommitMarks(), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(c.onAssigned), kgo.OnPartitionsRevoked(c.onRevoked), kgo.OnPartitionsLost(c.onLost),
	}
}

// onAssigned notes, for --exit, where the partitions start and where they end now.
func (c *consuming) onAssigned(ctx context.Context, client *kgo.Client, added map[string][]int32) {
	places := make(map[partition]position)
	if c.flags.exit {
		var err error
		if places, err = c.placeAssigned(ctx, kadm.NewClient(client), added); err != nil {
			c.progress.say("where the partitions end is unknown, so this will not stop there: %v", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for topic, indexes := range added {
		for _, index := range indexes {
			p := partition{topic, index}
			at, ok := places[p]
			if !ok {
				at.until = math.MaxInt64
			}
			c.positions[p] = at
		}
	}
	c.assigned = true
	if c.isFinished() && c.wake != nil {
		c.wake()
	}
}

func (c *consuming) placeAssigned(ctx context.Context, adm *kadm.Client, added map[string][]int32) (map[partition]position, error) {
	ctx, cancel := context.WithTimeout(ctx, c.flags.client.timeout)
	defer cancel()
	bounds, err := c.listBounds(ctx, adm)
	if err != nil {
		return nil, err
	}
	committed, err := adm.FetchOffsetsForTopics(ctx, c.flags.group, c.topics...)
	if err != nil {
		return nil, fmt.Errorf("fetch committed offsets: %w", err)
	}
	places := make(map[partition]position)
	for topic, indexes := range added {
		for _, index := range indexes {
			p := partition{topic, index}
			at, err := bounds.place(p, c.start, true)
			if err != nil {
				return nil, err
			}
			if o, ok := committed.Lookup(topic, index); ok && o.Err == nil && o.At >= 0 {
				at.next = o.At
			}
			places[p] = at
		}
	}
	return places, nil
}

// onRevoked commits what was printed before others take the partitions.
func (c *consuming) onRevoked(ctx context.Context, client *kgo.Client, revoked map[string][]int32) {
	if err := client.CommitMarkedOffsets(ctx); err != nil {
		c.progress.say("commit before a rebalance: %v", err)
	}
	c.onLost(ctx, client, revoked)
}

func (c *consuming) onLost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for topic, indexes := range lost {
		for _, index := range indexes {
			delete(c.positions, partition{topic, index})
		}
	}
	c.assigned = len(c.positions) > 0 // else wait for what the rebalance gives
}

// commit makes what was printed the group's position, also after an interrupt.
func (c *consuming) commit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeGroupTimeout)
	defer cancel()
	if err := c.client.CommitMarkedOffsets(ctx); err != nil {
		return fmt.Errorf("commit offsets of group %s: %w", c.flags.group, err)
	}
	c.client.AllowRebalance()
	if err := c.client.LeaveGroupContext(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("leave group %s: %w", c.flags.group, err)
	}
	return nil
}
