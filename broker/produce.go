package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/batch"
)

// Produce (key 0), versions 3 to 13; 0 to 2 are advertised, for clients that draw
// conclusions from the range, and refused.
//
// Deviations: the records are kept as they were sent, so that the topic config
// compression.type does not compress them again; transactions are refused with
// INVALID_TXN_STATE.

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
}

func handleProduce(_ context.Context, b *Broker, c *call) {
	p := &produce{b: b, c: c, req: requestOf[*kmsg.ProduceRequest](c)}
	p.resp = responseTo[*kmsg.ProduceResponse](p.req)
	p.left.Store(1)
	p.layOut()
	failed := p.appendAll()
	if p.req.Acks == int16(partition.AcksNone) {
		if failed != nil { // the client can be told in no other way
			c.closeConn(fmt.Sprintf("refuse produce with acks=0: %v", failed))
			return
		}
		c.noReply()
		return
	}
	p.answered()
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
func (p *produce) appendAll() (first error) {
	for i := range p.req.Topics {
		t := &p.req.Topics[i]
		topic, err := p.topic(t)
		for j := range t.Partitions {
			op := &p.resp.Topics[i].Partitions[j]
			failed := err
			if failed == nil {
				failed = p.append(topic, &t.Partitions[j], op)
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
	if internalTopics[topic.Name] {
		return fmt.Errorf("append to internal topic %q: %w", topic.Name, kerr.InvalidTopicException)
	}
	return nil
}

// append validates one partition's batch and hands it to its log. The answer
// follows through p.committed, unless there is an error.
func (p *produce) append(topic *metalog.Topic, rp *kmsg.ProduceRequestTopicPartition, op *kmsg.ProduceResponseTopicPartition) error {
	log, err := p.b.storage.logOf(topic, rp.Partition)
	if err != nil {
		return err
	}
	config := p.b.topicConfig(topic)
	if partition.Acks(p.req.Acks) == partition.AcksAll && config.MinInSyncReplicas > int32(topic.ReplicationFactor) {
		return fmt.Errorf("produce to %q: min.insync.replicas is %d, replicas are %d: %w", topic.Name, config.MinInSyncReplicas, topic.ReplicationFactor, kerr.NotEnoughReplicas)
	}
	now := p.c.received
	v, err := p.onlyBatch(rp.Records)
	if err != nil {
		return err
	}
	if err := batch.ValidateProduce(v, config.rules(now)); err != nil {
		return err
	}
	if len(v) < p.c.size/maxPinned {
		v = bytes.Clone(v)
	}
	p.left.Add(1)
	done, err := log.Append(partition.Append{
		Batch: v, Acks: partition.Acks(p.req.Acks), Now: now, LogAppendTime: config.LogAppendTime,
		Done: func(err error) { p.committed(op, err) },
	})
	if err != nil {
		p.left.Add(-1)
		return err
	}
	op.BaseOffset, op.LogStartOffset, op.LogAppendTime = int64(done.Base), int64(done.Start), done.Timestamp
	p.b.storage.traffic.produced(v)
	return nil
}

// onlyBatch parses the records of a partition: exactly one batch of the current format.
func (p *produce) onlyBatch(records []byte) (batch.View, error) {
	if len(records) == 0 {
		return nil, fmt.Errorf("produce: no record batch: %w", kerr.InvalidRecord)
	}
	if len(records) > posMagic && records[posMagic] < batch.Magic {
		return nil, fmt.Errorf("produce: magic %d, want %d: %w", records[posMagic], batch.Magic, kerr.InvalidRecord)
	}
	v, rest, err := batch.Parse(records)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
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
	for i := range p.resp.Topics {
		for j := range p.resp.Topics[i].Partitions {
			if op := &p.resp.Topics[i].Partitions[j]; op.ErrorCode != 0 {
				op.BaseOffset, op.LogStartOffset, op.LogAppendTime = -1, -1, -1
			}
		}
	}
	p.c.reply(p.resp)
}
