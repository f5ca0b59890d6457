package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
)

// AlterPartitionReassignments (key 45), versions 0 and 1.
//
// Records are not bound to brokers, so nothing is copied: the replicas are replaced at once,
// and a leader that is none of them any more hands over to the first of them that lives.
// Until it has, the reassignment is in progress.
//
// Deviations: the timeout is not looked at. Replicas are not remembered once they are
// replaced, so a reassignment is cancelled by putting the leader back in the place of the
// broker that it was to hand over to; the other replicas stay as they were asked for.

// handleAlterPartitionReassignments changes the replicas of partitions, each of which
// succeeds or fails on its own.
func handleAlterPartitionReassignments(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.AlterPartitionAssignmentsRequest](c)
	resp := responseTo[*kmsg.AlterPartitionAssignmentsResponse](req)
	resp.AllowReplicationFactorChange = req.AllowReplicationFactorChange
	var all []*admin.Reassignment
	for _, rt := range req.Topics {
		for _, rp := range rt.Partitions {
			all = append(all, &admin.Reassignment{
				Topic: rt.Topic, Partition: rp.Partition, Replicas: rp.Replicas,
				KeepCount: !req.AllowReplicationFactorChange,
			})
		}
	}
	b.update(ctx, c.actor(), admin.Reassign(all))
	for _, rt := range req.Topics {
		t := kmsg.NewAlterPartitionAssignmentsResponseTopic()
		t.Topic = rt.Topic
		for range rt.Partitions {
			p := kmsg.NewAlterPartitionAssignmentsResponseTopicPartition()
			p.Partition, p.ErrorCode, p.ErrorMessage = all[0].Partition, c.code(all[0].Err), message(all[0].Err)
			t.Partitions, all = append(t.Partitions, p), all[1:]
		}
		resp.Topics = append(resp.Topics, t)
	}
	return resp
}
