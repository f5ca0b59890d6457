package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/tracing"
	"github.com/forebaylog/forebay/tiering/batch"
)

// Produce (key 0), versions 3 to 13; 0 to 2 are advertised, for clients that draw
// conclusions from the range, and refused.
//
// From version 10 on an answer of NOT_LEADER_OR_FOLLOWER tells who leads (KIP-951).
//
// Deviations: the records are kept as they were sent, so that the topic config
// compression.type does not compress them again.

// maxPinned is how many times its own size of a request a batch may keep in memory
// while it is in the journal's tail; a smaller batch is copied out of its request.
const maxPinned = 8

// posMagic is where every message format has its magic number.
const posMagic = 16

// zstdVersion is the first version that may carry zstd (KIP-110).
const zstdVersion = 7

// produce is one Produce request under way. It is answered when the last of its
// batches is.
type produce struct {
	b    *Broker
	c    *call
	req  *kmsg.ProduceRequest
	resp *kmsg.ProduceResponse
	left atomic.Int64 // batches not yet answered, and one for the handler

	span, commit *tracing.Span // of the request, and of its wait for the commit

	// Of a request that waits for the object store, which may be away:
	timer *time.Timer
	mu    sync.Mutex
	open  map[*kmsg.ProduceResponseTopicPartition]struct{} // appended and not answered; nil once the time is up
}

func handleProduce(ctx context.Context, b *Broker, c *call) {
	p := &produce{b: b, c: c, req: requestOf[*kmsg.ProduceRequest](c)}
	p.resp = responseTo[*kmsg.ProduceResponse](p.req)
	p.left.Store(1)
	p.layOut()
	ctx, p.span = b.cfg.Tracer.Start(ctx, spanProduce)
	p.span.Set("bytes", int64(c.size))
	p.span.Set("acks", int64(p.req.Acks))
	ctx, cancel := p.deadline(ctx)
	appending, span := b.cfg.Tracer.Start(ctx, spanAppend)
	failed := p.appendAll(appending, p.admit(appending))
	span.End(failed)
	_, p.commit = b.cfg.Tracer.Start(ctx, spanCommit)
	cancel()
	if p.req.Acks == int16(partition.AcksNone) {
		p.endSpans(failed)
		if failed != nil { // the client can be told in no other way
			c.closeConn(fmt.Sprintf("refuse produce with acks=0: %v", failed))
			return
		}
		c.noReply()
		return
	}
	p.answered()
}

// deadline bounds the request by its timeout, where commits may take long.
func (p *produce) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if p.b.cluster == nil {
		return ctx, func() {}
	}
	most := time.Duration(p.req.TimeoutMillis) * time.Millisecond
	if p.req.Acks != int16(partition.AcksNone) {
		p.open = map[*kmsg.ProduceResponseTopicPartition]struct{}{}
		p.timer = time.AfterFunc(most, p.timeout)
	}
	return context.WithTimeoutCause(ctx, most, kerr.RequestTimedOut)
}

// timeout answers, when the time is up, what is not committed: it may yet be, and a
// producer that sends it again is told so by its sequence.
func (p *produce) timeout() {
	p.mu.Lock()
	open := p.open
	p.open = nil
	p.mu.Unlock()
	for op := range open {
		p.refuse(op, fmt.Errorf("produce: not committed within %d ms: %w", p.req.TimeoutMillis, kerr.RequestTimedOut))
		p.answered()
	}
}

// settles reports whether the caller answers op: nobody else has.
func (p *produce) settles(op *kmsg.ProduceResponseTopicPartition) bool {
	if p.timer == nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, open := p.open[op]
	delete(p.open, op)
	return open
}

// opens takes note that op waits for its commit. It reports false when the time is up.
func (p *produce) opens(op *kmsg.ProduceResponseTopicPartition) bool {
	if p.timer == nil {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		return false
	}
	p.open[op] = struct{}{}
	return true
}

// layOut prepares the response, so that batches can be answered in any order.
func (p *produce) layOut() {
	p.resp.Topics = make([]kmsg.ProduceResponseTopic, len(p.req.Topics))
	for i := range p.req.Topics {
		t, out := &p.req.Topics[i], &p.resp.Topics[i]
		*out = kmsg.NewProduceResponseTopic()
		out.Topic, out.TopicID = t.Topic, t.TopicID
		out.Partitions = make([]kmsg.ProduceResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			op := kmsg.NewProduceResponseTopicPartition()
			op.Partition, op.BaseOffset = t.Partitions[j].Partition, -1
			out.Partitions[j] = op
		}
	}
}

// appendAll appends every batch and returns the first error, if any.
func (p *produce) appendAll(ctx context.Context, admissions map[*kmsg.ProduceRequestTopicPartition]admission) (first error) {
	for i := range p.req.Topics {
		t := &p.req.Topics[i]
		topic, err := p.topic(t)
		for j := range t.Partitions {
			op := &p.resp.Topics[i].Partitions[j]
			admitted := admissions[&t.Partitions[j]]
			failed := err
			if failed == nil {
				failed = admitted.err
			}
			if failed == nil {
				failed = p.append(ctx, topic, &t.Partitions[j], op, admitted.guard)
			}
			if failed != nil {
				p.refuse(op, failed)
				first = errors.Join(first, failed)
			}
		}
	}
	return first
}

// topic finds what a request names, by id from version 13 on.
func (p *produce) topic(t *kmsg.ProduceRequestTopic) (*metalog.Topic, error) {
	if acks := partition.Acks(p.req.Acks); acks != partition.AcksAll && acks != partition.AcksLeader && acks != partition.AcksNone {
		return nil, fmt.Errorf("produce with acks=%d: %w", acks, kerr.InvalidRequiredAcks)
	}
	image := p.b.meta.Image()
	if p.req.Version >= 13 {
		topic, ok := image.TopicByID(t.TopicID)
		if !ok {
			return nil, kerr.UnknownTopicID
		}
		return topic, writable(topic)
	}
	topic, ok := image.Topic(t.Topic)
	if !ok {
		return nil, kerr.UnknownTopicOrPartition
	}
	return topic, writable(topic)
}

// writable refuses internal topics.
func writable(topic *metalog.Topic) error {
	if admin.IsInternal(topic.Name) {
		return fmt.Errorf("append to internal topic %q: %w", topic.Name, kerr.InvalidTopicException)
	}
	return nil
}

// append validates one partition's batch and hands it to its log. The answer
// follows through p.committed, unless there is an error.
func (p *produce) append(
	ctx context.Context, topic *metalog.Topic, rp *kmsg.ProduceRequestTopicPartition, op *kmsg.ProduceResponseTopicPartition, guard partition.Guard,
) error {
	log, err := p.b.storage.logOf(topic, rp.Partition)
	if err != nil {
		return err
	}
	config := p.b.topicConfig(topic)
	if partition.Acks(p.req.Acks) == partition.AcksAll {
		if err := p.b.checkAcksAll(config); err != nil {
			return fmt.Errorf("produce to %q: %w", topic.Name, err)
		}
	}
	now := p.c.received
	v, err := p.onlyBatch(rp.Records)
	if err != nil {
		return err
	}
	if err := batch.ValidateProduce(v, config.rules(now)); err != nil {
		return refusedBy(log, op, err)
	}
	if len(v) < p.c.size/maxPinned {
		v = bytes.Clone(v)
	}
	if err := p.b.storage.wal.Room(ctx); err != nil {
		return err
	}
	if !p.opens(op) {
		return fmt.Errorf("produce: %w", kerr.RequestTimedOut)
	}
	p.left.Add(1)
	done, err := log.Append(partition.Append{
		Batch: v, Acks: partition.Acks(p.req.Acks), Now: now, LogAppendTime: config.LogAppendTime, Guard: guard, Span: p.span,
		Done: func(err error) { p.committed(op, err) },
	})
	if err != nil {
		if !p.settles(op) {
			return nil // answered when the time was up
		}
		p.left.Add(-1)
		return refusedBy(log, op, err)
	}
	op.BaseOffset, op.LogStartOffset, op.LogAppendTime = int64(done.Base), int64(done.Start), done.Timestamp
	p.b.storage.traffic.produced(topic.ID, v)
	return nil
}

// refusedBy tells where the log starts, as Kafka does if it is the log that refuses a batch, but
// not if the batch is too large or damaged, or the log cannot be written to.
func refusedBy(log *partition.Log, op *kmsg.ProduceResponseTopicPartition, err error) error {
	switch translate(err) {
	case kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.UnsupportedCompressionType,
		kerr.OutOfOrderSequenceNumber, kerr.InvalidProducerEpoch, kerr.InvalidTxnState:
		op.LogStartOffset = int64(log.Watermarks().Start)
	}
	return err
}

// checkAcksAll reports whether acks=all of a topic can be answered with what it promises. There are
// always enough replicas in sync: all are, and of min.insync.replicas as many count as there are, as in Kafka.
func (b *Broker) checkAcksAll(config topicConfig) error {
	if b.cluster == nil { // the metadata may be those of a cluster; there any class is served by the object store
		return admin.Settings{Durability: b.cfg.durability()}.CheckDurability(config.Durability)
	}
	return nil
}

// onlyBatch parses the records of a partition: exactly one batch of the current format. What is
// not as it should be, but arrived as it was sent, is INVALID_RECORD, so that the producer does not send it again.
func (p *produce) onlyBatch(records []byte) (batch.View, error) {
	if len(records) == 0 {
		return nil, fmt.Errorf("produce: no record batch: %w", kerr.InvalidRecord)
	}
	if len(records) > posMagic && records[posMagic] < batch.Magic {
		return nil, fmt.Errorf("produce: magic %d, want %d: %w", records[posMagic], batch.Magic, kerr.InvalidRecord)
	}
	v, rest, err := batch.ParseSent(records)
	switch {
	case errors.Is(err, batch.ErrTruncated):
		return nil, fmt.Errorf("produce: %w: %w", kerr.InvalidRecord, err)
	case err != nil:
		return nil, err
	}
	if len(rest) > 0 {
		if err := v.Verify(); err != nil { // its length may be what is damaged
			return nil, err
		}
		return nil, fmt.Errorf("produce: %d bytes follow the one batch that is allowed: %w", len(rest), kerr.InvalidRecord)
	}
	if v.Codec() == batch.Zstd && p.req.Version < zstdVersion {
		return nil, fmt.Errorf("produce: zstd needs version %d: %w", zstdVersion, kerr.UnsupportedCompressionType)
	}
	return v, nil
}

// committed is called when a batch is answered, on the group commit's goroutine. It
// may run while append still fills in the offsets, which it therefore leaves alone.
func (p *produce) committed(op *kmsg.ProduceResponseTopicPartition, err error) {
	if !p.settles(op) {
		return
	}
	if err != nil {
		p.refuse(op, err)
	}
	p.answered()
}

// refuse fills in an error.
func (p *produce) refuse(op *kmsg.ProduceResponseTopicPartition, err error) {
	op.ErrorCode = p.c.code(err)
	message := err.Error()
	op.ErrorMessage = &message
	var records *batch.RecordErrors
	if !errors.As(err, &records) {
		return
	}
	for _, r := range records.Records {
		e := kmsg.NewProduceResponseTopicPartitionErrorRecord()
		e.RelativeOffset = r.Index
		e.ErrorMessage = &r.Message
		op.ErrorRecords = append(op.ErrorRecords, e)
	}
}

// answered counts down and sends the response with the last batch.
func (p *produce) answered() {
	if p.left.Add(-1) > 0 || p.req.Acks == int16(partition.AcksNone) {
		return
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	for i := range p.resp.Topics {
		for j := range p.resp.Topics[i].Partitions {
			if op := &p.resp.Topics[i].Partitions[j]; op.ErrorCode != 0 {
				op.BaseOffset, op.LogAppendTime = -1, -1
			}
		}
	}
	p.tellLeaders()
	p.c.reply(p.resp)
	p.endSpans(nil)
}

// endSpans ends what is traced of the request.
func (p *produce) endSpans(err error) {
	p.commit.End(err)
	p.span.End(err)
}

// tellLeaders adds who leads the partitions that this broker does not.
func (p *produce) tellLeaders() {
	if p.req.Version < produceLeaderVersion {
		return
	}
	hints := leaderHints{img: p.b.told(), listener: p.c.listener().Name}
	for i := range p.resp.Topics {
		rt := &p.resp.Topics[i]
		topic := id.Topic(rt.TopicID)
		if t, ok := hints.img.Topic(rt.Topic); ok && p.req.Version < 13 {
			topic = t.ID
		}
		for j := range rt.Partitions {
			op := &rt.Partitions[j]
			if leader, ok := hints.of(op.ErrorCode, id.Partition{Topic: topic, Index: op.Partition}); ok {
				op.CurrentLeader.LeaderID, op.CurrentLeader.LeaderEpoch = int32(leader.id), int32(leader.epoch)
			}
		}
	}
	for _, n := range hints.nodes {
		node := kmsg.NewProduceResponseBroker()
		node.NodeID, node.Host, node.Port, node.Rack = int32(n.id), n.host, n.port, n.rack
		p.resp.Brokers = append(p.resp.Brokers, node)
	}
}
