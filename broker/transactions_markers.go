package broker

import (
	"context"
	"errors"
	stdsync "sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/txn"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/pause"
	"github.com/forebaylog/forebay/infra/transactions"
)

// How long is waited before markers are tried again, unless the metadata changes; doubled each time.
const (
	firstMarkerWait = 20 * time.Millisecond
	lastMarkerWait  = time.Second
	markerTimeout   = 30 * time.Second // for one attempt
)

// finish writes the markers of a transaction whose end is decided, and completes it.
func (m *txnCoordinator) finish(e *txnEntry) {
	e.marking = true
	name, t, s := e.item.ID, e.item.Transaction, e.shard
	marker := txnMarker{
		Producer: t.Producer, Epoch: t.Epoch, Commit: t.State == transactions.PrepareCommit,
		CoordinatorEpoch: int32(s.epoch), Version: t.Version,
	}
	began := time.Now()
	m.work.Go(func() {
		m.writeAll(s.ctx, name, marker, t.Partitions)
		m.complete(s.ctx, e)
		m.mu.Lock()
		defer m.unlock()
		e.marking = false
		if s.ctx.Err() == nil {
			m.cfg.Metrics.completed(marker.Commit, time.Since(began))
			m.pump(e)
		}
	})
}

// writeAll writes a marker until it is on every partition, or ctx ends.
func (m *txnCoordinator) writeAll(ctx context.Context, transactionalID string, marker txnMarker, left []id.Partition) {
	for wait := firstMarkerWait; len(left) > 0 && ctx.Err() == nil; wait = min(2*wait, lastMarkerWait) {
		changed := m.nextImage()
		if left = m.cfg.Markers(ctx, marker, left); len(left) == 0 {
			return
		}
		if wait == lastMarkerWait {
			m.log.Warn("transaction markers are not written yet; will try again", "transactional_id", transactionalID, "partitions", len(left))
		}
		pauseUnless(ctx, wait, changed)
	}
}

// complete makes it durable that all markers are written. It tries until ctx ends.
func (m *txnCoordinator) complete(ctx context.Context, e *txnEntry) {
	for wait := firstMarkerWait; ctx.Err() == nil; wait = min(2*wait, lastMarkerWait) {
		done := make(chan error, 1)
		m.mu.Lock()
		if m.lost(e.shard) {
			m.unlock()
			return
		}
		e.queue = append(e.queue, &txnCall{txn.Complete{}, func(o txn.Outcome) { done <- o.Err }})
		m.pump(e)
		m.unlock()
		if err := <-done; err == nil || errors.Is(err, txn.ErrInvalidState) { // an earlier coordinator's completion came in between
			return
		}
		_ = pause.For(ctx, wait) // whether ctx has ended is looked at next
	}
}

// pauseUnless waits for d, or until ctx ends or the channel is closed.
func pauseUnless(ctx context.Context, d time.Duration, changed <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-changed:
	case <-ctx.Done():
	}
}

// sendMarkers is the Markers of a txnConfig: it ends a transaction on the partitions that this broker
// leads directly, and on the others by WriteTxnMarkers. A partition that was deleted has nothing to end.
func (b *Broker) sendMarkers(ctx context.Context, m txnMarker, partitions []id.Partition) (left []id.Partition) {
	ctx, cancel := context.WithTimeout(ctx, markerTimeout)
	defer cancel()
	img := b.meta.Image()
	byLeader := map[id.Broker][]id.Partition{}
	for _, p := range partitions {
		if state, ok := img.Partition(p); ok {
			byLeader[state.Leader] = append(byLeader[state.Leader], p)
		}
	}
	var mu stdsync.Mutex
	var sent stdsync.WaitGroup
	for leader, ps := range byLeader {
		sent.Go(func() {
			var failed map[id.Partition]error
			if leader == b.cfg.NodeID {
				failed = b.ownMarkers(ctx, m, ps)
			} else {
				failed = b.peerMarkers(ctx, img, leader, m, ps)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, p := range ps {
				if err := failed[p]; err != nil && b.markerOpen(m, p, err) {
					left = append(left, p)
				}
			}
		})
	}
	sent.Wait()
	return left
}

// markerOpen reports whether a marker that has failed is to be tried again. One whose
// producer has a higher epoch on the partition is not: that was written after the end of the transaction.
func (b *Broker) markerOpen(m txnMarker, p id.Partition, err error) bool {
	if ke := translate(err); ke == kerr.InvalidProducerEpoch || ke == kerr.ProducerFenced {
		b.log.Warn("a marker came after a newer one of its producer", "partition", p.String(), "producer", int64(m.Producer), "epoch", m.Epoch, "err", err)
		return false
	}
	b.log.Debug("a transaction marker is not written", "partition", p.String(), "producer", int64(m.Producer), "err", err)
	return true
}

// ownMarkers ends a transaction on partitions that this broker leads.
func (b *Broker) ownMarkers(ctx context.Context, m txnMarker, ps []id.Partition) map[id.Partition]error {
	done := make(chan map[id.Partition]error, 1)
	b.writeMarkers(m, ps, func(errs map[id.Partition]error) { done <- errs })
	select {
	case errs := <-done:
		return errs
	case <-ctx.Done():
		return allFailed(ps, ctx.Err())
	}
}

func allFailed(ps []id.Partition, err error) map[id.Partition]error {
	errs := make(map[id.Partition]error, len(ps))
	for _, p := range ps {
		errs[p] = err
	}
	return errs
}

// peerMarkers ends a transaction on partitions that another broker leads.
func (b *Broker) peerMarkers(ctx context.Context, img *metalog.Image, leader id.Broker, m txnMarker, ps []id.Partition) map[id.Partition]error {
	marker := kmsg.NewWriteTxnMarkersRequestMarker()
	marker.ProducerID, marker.ProducerEpoch, marker.Committed = int64(m.Producer), m.Epoch, m.Commit
	marker.CoordinatorEpoch, marker.TransactionVersion = m.CoordinatorEpoch, m.Version
	names := map[string]id.Topic{}
	for topic, indexes := range byTopic(ps) {
		t, ok := img.TopicByID(topic)
		if !ok {
			continue
		}
		names[t.Name] = topic
		at := kmsg.WriteTxnMarkersRequestMarkerTopic{Topic: t.Name, Partitions: indexes}
		tagTopic(&at.UnknownTags, topic)
		marker.Topics = append(marker.Topics, at)
	}
	answer, err := b.peers.markers.send(ctx, leader, marker)
	if err != nil {
		return allFailed(ps, err)
	}
	errs := allFailed(ps, kerr.UnknownServerError) // unless it answers for the partition
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			errs[id.Partition{Topic: names[t.Topic], Index: p.Partition}] = kerr.ErrorForCode(p.ErrorCode)
		}
	}
	return errs
}

// byTopic lists the indexes of the partitions of each topic.
func byTopic(ps []id.Partition) map[id.Topic][]int32 {
	topics := map[id.Topic][]int32{}
	for _, p := range ps {
		topics[p.Topic] = append(topics[p.Topic], p.Index)
	}
	return topics
}
