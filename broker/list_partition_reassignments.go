package broker

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/metalog"
)

// ListPartitionReassignments (key 46), version 0.
//
// A reassignment is in progress while the leader is none of the replicas: then the
// leader is being removed, and the replica that it hands over to, if one is chosen, is being
// added. Deviation: replicas that do not lead come and go at once, so they are
// never listed as adding or removing.

// handleListPartitionReassignments lists the reassignments in progress, of all
// partitions or of those asked for.
func handleListPartitionReassignments(_ context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.ListPartitionReassignmentsRequest](c)
	resp := responseTo[*kmsg.ListPartitionReassignmentsResponse](req)
	img := b.meta.Image()
	if req.Topics == nil {
		for _, t := range img.Topics() {
			all := make([]int32, len(t.Partitions))
			for i := range all {
				all[i] = int32(i)
			}
			resp.Topics = appendReassignments(resp.Topics, img, t, all)
		}
		return resp
	}
	for _, rt := range req.Topics {
		if t, ok := img.Topic(rt.Topic); ok {
			resp.Topics = appendReassignments(resp.Topics, img, t, rt.Partitions)
		}
	}
	return resp
}

// appendReassignments adds a topic if one of the partitions is being reassigned.
func appendReassignments(to []kmsg.ListPartitionReassignmentsResponseTopic, img *metalog.Image, t *metalog.Topic, partitions []int32) []kmsg.ListPartitionReassignmentsResponseTopic {
	rt := kmsg.NewListPartitionReassignmentsResponseTopic()
	rt.Topic = t.Name
	view := replicaView{img: img}
	for _, i := range partitions {
		if i < 0 || int(i) >= len(t.Partitions) || !admin.Reassigning(&t.Partitions[i]) {
			continue
		}
		p := &t.Partitions[i]
		rp := kmsg.NewListPartitionReassignmentsResponseTopicPartition()
		rp.Partition, rp.Replicas, rp.RemovingReplicas = i, view.list(p), []int32{int32(p.Leader)}
		if slices.Contains(p.Replicas, p.Target) {
			rp.AddingReplicas = []int32{int32(p.Target)}
		}
		rt.Partitions = append(rt.Partitions, rp)
	}
	if len(rt.Partitions) == 0 {
		return to
	}
	return append(to, rt)
}
