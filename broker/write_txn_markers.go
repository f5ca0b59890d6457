package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/batch"
)

// WriteTxnMarkers (key 27), versions 1 and 2: a transaction's coordinator ends it on the
// partitions that this broker leads. No deviations.

// markerVersion2 is the transaction version from which on each end of a transaction raises
// the producer's epoch (KIP-890).
const markerVersion2 = 2

func handleWriteTxnMarkers(_ context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.WriteTxnMarkersRequest](c)
	resp := responseTo[*kmsg.WriteTxnMarkersResponse](req)
	resp.Markers = make([]kmsg.WriteTxnMarkersResponseMarker, len(req.Markers))
	var left atomic.Int64
	left.Store(int64(len(req.Markers)) + 1)
	settle := func() {
		if left.Add(-1) == 0 {
			c.reply(resp)
		}
	}
	for i := range req.Markers {
		m := &req.Markers[i]
		parts, answers := b.layOutMarker(c, m, &resp.Markers[i])
		b.writeMarkers(txnMarker{
			Producer: id.Producer(m.ProducerID), Epoch: m.ProducerEpoch, Commit: m.Committed,
			CoordinatorEpoch: m.CoordinatorEpoch, Version: m.TransactionVersion,
		}, parts, func(errs map[id.Partition]error) {
			for part, err := range errs {
				answers[part].ErrorCode = c.code(err)
			}
			settle()
		})
	}
	settle()
}

// markerAnswers are the places in a response for the outcome on each partition.
type markerAnswers map[id.Partition]*kmsg.WriteTxnMarkersResponseMarkerTopicPartition

// layOutMarker prepares the answer to one marker and lists the partitions that it is for,
// without those of unknown topics, which it answers.
func (b *Broker) layOutMarker(c *call, m *kmsg.WriteTxnMarkersRequestMarker, out *kmsg.WriteTxnMarkersResponseMarker) ([]id.Partition, markerAnswers) {
	var parts []id.Partition
	answers := markerAnswers{}
	out.ProducerID = m.ProducerID
	out.Topics = make([]kmsg.WriteTxnMarkersResponseMarkerTopic, len(m.Topics))
	img := b.meta.Image()
	for i := range m.Topics {
		t, ot := &m.Topics[i], &out.Topics[i]
		ot.Topic = t.Topic
		ot.Partitions = make([]kmsg.WriteTxnMarkersResponseMarkerTopicPartition, len(t.Partitions))
		topic, known := img.Topic(t.Topic)
		for j, index := range t.Partitions {
			op := &ot.Partitions[j]
			op.Partition = index
			if !known || !knowsTagged(img, t.Topic, &t.UnknownTags) {
				op.ErrorCode = c.code(kerr.UnknownTopicOrPartition)
				continue
			}
			part := id.Partition{Topic: topic.ID, Index: index}
			parts, answers[part] = append(parts, part), op
		}
	}
	return parts, answers
}

// writeMarkers ends a transaction on partitions that this broker leads. done is called once,
// from any goroutine, with an error for each partition where the marker is not committed.
func (b *Broker) writeMarkers(m txnMarker, partitions []id.Partition, done func(map[id.Partition]error)) {
	e := &ending{left: len(partitions) + 1, errs: map[id.Partition]error{}, done: done}
	img := b.meta.Image()
	for _, part := range partitions {
		settled := func(err error) { e.settle(part, err) }
		if err := b.writeMarker(img, m, part, settled); err != nil {
			settled(fmt.Errorf("end the transaction of producer %d on %s: %w", m.Producer, part, err))
		}
	}
	e.settle(id.Partition{}, nil)
}

// ending is the end of a transaction on several partitions.
type ending struct {
	mu   sync.Mutex
	left int // partitions, and one for the caller
	errs map[id.Partition]error
	done func(map[id.Partition]error)
}

func (e *ending) settle(part id.Partition, err error) {
	e.mu.Lock()
	if err != nil {
		e.errs[part] = err
	}
	e.left--
	last := e.left == 0
	e.mu.Unlock()
	if last {
		e.done(e.errs)
	}
}

// writeMarker ends a transaction on one partition. Unless it fails done is called once.
func (b *Broker) writeMarker(img *metalog.Image, m txnMarker, part id.Partition, done func(error)) error {
	topic, ok := img.TopicByID(part.Topic)
	if !ok {
		return kerr.UnknownTopicOrPartition
	}
	if topic.Name == admin.OffsetsTopic {
		b.groups.endTxn(part.Index, m, func(err error) { done(groupsError(err)) })
		return nil
	}
	log, err := b.storage.logOf(topic, part.Index)
	if err != nil {
		return err
	}
	return log.AppendMarker(partition.Marker{
		Marker:   batch.Marker{Commit: m.Commit, CoordinatorEpoch: m.CoordinatorEpoch},
		Producer: m.Producer, Epoch: m.Epoch, V2: m.Version >= markerVersion2, Now: b.cfg.Now(), Done: done,
	})
}

// groupsError makes of the errors of a groups' coordinator that is not ready what a
// transaction's coordinator expects of a partition: that it looks for the leader anew.
func groupsError(err error) error {
	if err == nil {
		return nil
	}
	switch translate(err) {
	case kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator:
		return errors.Join(kerr.NotLeaderForPartition, err)
	}
	return err
}
