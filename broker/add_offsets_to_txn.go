package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/group"
	"github.com/forebaylog/forebay/broker/txn"
	"github.com/forebaylog/forebay/infra/id"
)

// AddOffsetsToTxn (key 25), versions 0 to 4. The shard of the group becomes a partition of the
// transaction, so that its end reaches the offsets. No deviations.

func handleAddOffsetsToTxn(ctx context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.AddOffsetsToTxnRequest](c)
	resp := responseTo[*kmsg.AddOffsetsToTxnResponse](req)
	fail := func(err error) {
		resp.ErrorCode = c.code(fencedBefore(c, 2, err))
		c.reply(resp)
	}
	if req.TransactionalID == "" {
		fail(fmt.Errorf("add offsets to a transaction: no transactional id: %w", kerr.InvalidRequest))
		return
	}
	shard, err := b.groupShard(ctx, req.Group)
	if err != nil {
		fail(err)
		return
	}
	ev := txn.Add{Producer: id.Producer(req.ProducerID), Epoch: req.ProducerEpoch, Partitions: []id.Partition{shard}}
	b.txns.step(req.TransactionalID, ev, func(o txn.Outcome) { fail(o.Err) })
}

// groupShard returns the shard of a group. If there are no shards yet it creates them.
func (b *Broker) groupShard(ctx context.Context, groupID string) (id.Partition, error) {
	if err := b.createShards(ctx); err != nil {
		return id.Partition{}, fmt.Errorf("find the shard of group %q: %w: %w", groupID, kerr.CoordinatorNotAvailable, err)
	}
	topic, ok := b.meta.Image().Topic(admin.OffsetsTopic)
	if !ok {
		return id.Partition{}, fmt.Errorf("find the shard of group %q: %w", groupID, kerr.CoordinatorNotAvailable)
	}
	return id.Partition{Topic: topic.ID, Index: int32(group.Shard(groupID, len(topic.Partitions)))}, nil
}
