package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
)

// DeleteRecords (key 21), versions 0 to 2 (KIP-107). The log start moves, which ends that
// records below it are read; their bytes stay until retention removes them. No deviations.

// startMoveBytes is about what one move takes in a slot.
const startMoveBytes = 96

// recordsDeletion is the wish to move the start of one partition's log.
type recordsDeletion struct {
	*admin.Change
	to  *kmsg.DeleteRecordsResponseTopicPartition
	log *partition.Log
	at  id.Offset
}

// handleDeleteRecords moves the log starts of partitions that this broker leads, each of which
// succeeds or fails on its own.
//
// Commit point: the slot with the LogStartsMoved. A crash before it deletes nothing; after it
// whoever leads next begins at the new start. A leader that was replaced meanwhile fails, since
// it decides under its epoch.
func handleDeleteRecords(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.DeleteRecordsRequest](c)
	resp := responseTo[*kmsg.DeleteRecordsResponse](req)
	var all []*recordsDeletion
	var changes []*admin.Change
	for i := range req.Topics {
		t := &req.Topics[i]
		out := kmsg.NewDeleteRecordsResponseTopic()
		out.Topic, out.Partitions = t.Topic, make([]kmsg.DeleteRecordsResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			d := &recordsDeletion{Change: &admin.Change{}, to: &out.Partitions[j]}
			*d.to = kmsg.NewDeleteRecordsResponseTopicPartition()
			d.to.Partition = t.Partitions[j].Partition
			all = append(all, d)
			if d.Err = d.prepare(b, t.Topic, t.Partitions[j].Offset); d.Err == nil {
				changes = append(changes, d.Change)
			}
		}
		resp.Topics = append(resp.Topics, out)
	}
	b.update(ctx, c.actor(), changes)
	for _, d := range all {
		d.to.LowWatermark = -1
		if d.Err == nil || errors.Is(d.Err, errNoMove) {
			d.log.MoveStart(d.at)
			d.to.LowWatermark, d.Err = int64(d.log.Watermarks().Start), nil
		}
		d.to.ErrorCode = c.code(d.Err)
	}
	return resp
}

// errNoMove: the log starts at or above the offset already. It is no failure.
var errNoMove = errors.New("log starts there already")

// prepare checks what is asked, as Kafka does, and says how it is decided on.
func (d *recordsDeletion) prepare(b *Broker, topic string, offset int64) error {
	log, err := b.storage.logByName(topic, d.to.Partition)
	if err != nil {
		return err
	}
	t, ok := b.meta.Image().TopicByID(log.ID().Topic)
	switch {
	case !ok:
		return kerr.UnknownTopicOrPartition
	case admin.IsInternal(topic):
		return fmt.Errorf("delete records of the internal topic %q: %w", topic, kerr.InvalidTopicException)
	}
	if cfg := b.topicConfig(t); cfg.Compact && !cfg.Delete {
		return fmt.Errorf("delete records of topic %q, whose cleanup.policy is compact alone: %w", topic, kerr.PolicyViolation)
	}
	w := log.Watermarks()
	d.log, d.at = log, id.Offset(offset)
	if offset == timeLatest {
		d.at = w.High
	}
	if d.at < 0 || d.at > w.High {
		return fmt.Errorf("delete records of %s below %d, where its high watermark is %d: %w", log.ID(), offset, w.High, kerr.OffsetOutOfRange)
	}
	d.Action, d.Resource = admin.ActionDeleteRecords, metalog.Resource{Type: metalog.ResourceTopic, Name: topic}
	d.Size, d.Decide = startMoveBytes, func(img *metalog.Image) ([]metalog.Record, error) {
		state, ok := img.Partition(log.ID())
		switch {
		case !ok:
			return nil, kerr.UnknownTopicOrPartition
		case state.Leader != b.cfg.NodeID || state.Epoch != w.Epoch:
			return nil, fmt.Errorf("delete records of %s: %w", log.ID(), kerr.NotLeaderForPartition)
		case state.Start >= d.at:
			return nil, errNoMove
		}
		return []metalog.Record{metalog.LogStartsMoved{Moves: []metalog.StartMove{{Partition: log.ID(), Epoch: w.Epoch, Start: d.at}}}}, nil
	}
	return nil
}
