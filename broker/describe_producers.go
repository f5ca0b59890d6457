package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/admin"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/producers"
)

// DescribeProducers (key 61), version 0 (KIP-664). Every replica of a partition answers, as in Kafka,
// those that do not lead it with what the leader says. No deviations.

func handleDescribeProducers(ctx context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.DescribeProducersRequest](c)
	resp := responseTo[*kmsg.DescribeProducersResponse](req)
	led := map[id.Broker][]*kmsg.DescribeProducersResponseTopicPartition{} // by others
	asks := map[id.Broker]*kmsg.DescribeProducersRequest{}
	for i := range req.Topics {
		t := &req.Topics[i]
		out := kmsg.NewDescribeProducersResponseTopic()
		out.Topic, out.Partitions = t.Topic, make([]kmsg.DescribeProducersResponseTopicPartition, len(t.Partitions))
		named := admin.CheckTopicName(t.Topic)
		for j, index := range t.Partitions {
			op := &out.Partitions[j]
			*op = kmsg.NewDescribeProducersResponseTopicPartition()
			op.Partition = index
			err := named
			if err == nil {
				op.ActiveProducers, err = b.activeProducers(t.Topic, index)
			}
			if leader, ok := b.followed(c, t.Topic, index); ok && errors.Is(err, kerr.NotLeaderForPartition) {
				if asks[leader] == nil {
					asks[leader] = kmsg.NewPtrDescribeProducersRequest()
				}
				one := kmsg.DescribeProducersRequestTopic{Topic: t.Topic, Partitions: []int32{index}}
				asks[leader].Topics, led[leader] = append(asks[leader].Topics, one), append(led[leader], op)
			}
			refuseProducers(c, op, err)
		}
		resp.Topics = append(resp.Topics, out)
	}
	if len(asks) == 0 {
		c.reply(resp)
		return
	}
	b.peers.work.Go(func() {
		for leader, ask := range asks {
			b.askProducers(ctx, c, leader, ask, led[leader])
		}
		c.reply(resp)
	})
}

// refuseProducers fills in an error, if there is one.
func refuseProducers(c *call, op *kmsg.DescribeProducersResponseTopicPartition, err error) {
	if op.ErrorCode = c.code(err); err != nil {
		op.ErrorMessage = kmsg.StringPtr(err.Error())
	}
}

// followed returns the leader of a partition of which this broker is another replica. A request
// of another broker is not handed on: each may take the other for the leader.
func (b *Broker) followed(c *call, topic string, index int32) (id.Broker, bool) {
	t, ok := b.meta.Image().Topic(topic)
	if !ok || index < 0 || int(index) >= len(t.Partitions) || c.clientID == peerClientID {
		return metalog.NoBroker, false
	}
	p := &t.Partitions[index]
	return p.Leader, p.Leader != b.cfg.NodeID && p.Leader != metalog.NoBroker && slices.Contains(p.Replicas, b.cfg.NodeID)
}

// askProducers fills in what the leader of partitions says of their producers.
func (b *Broker) askProducers(ctx context.Context, c *call, leader id.Broker, ask *kmsg.DescribeProducersRequest, ops []*kmsg.DescribeProducersResponseTopicPartition) {
	ctx, cancel := context.WithTimeout(ctx, describeProducersTime)
	defer cancel()
	resp, err := b.peers.request(ctx, leader, ask)
	var answers []kmsg.DescribeProducersResponseTopic
	if err == nil {
		answers = resp.(*kmsg.DescribeProducersResponse).Topics //nolint:errcheck // it is what was asked for
	}
	for i, op := range ops {
		switch {
		case err != nil: // who leads it is not there, or not any more
			refuseProducers(c, op, fmt.Errorf("%w: %w", kerr.NotLeaderForPartition, err))
		case i < len(answers) && len(answers[i].Partitions) == 1:
			*op = answers[i].Partitions[0]
		}
	}
}

// describeProducersTime is how long the leader of a partition may take to tell of its producers.
const describeProducersTime = 5 * time.Second

// activeProducers lists the producers of a partition, in order.
func (b *Broker) activeProducers(topic string, index int32) ([]kmsg.DescribeProducersResponseTopicPartitionActiveProducer, error) {
	log, err := b.storage.logByName(topic, index)
	if err != nil {
		return nil, err
	}
	states := log.ActiveProducers()
	out := make([]kmsg.DescribeProducersResponseTopicPartitionActiveProducer, 0, len(states))
	for i := range states {
		out = append(out, describeProducer(&states[i]))
	}
	return out, nil
}

func describeProducer(s *producers.State) kmsg.DescribeProducersResponseTopicPartitionActiveProducer {
	d := kmsg.NewDescribeProducersResponseTopicPartitionActiveProducer()
	d.ProducerID, d.ProducerEpoch = int64(s.Producer), int32(s.Epoch)
	d.LastSequence, d.LastTimestamp = -1, s.LastTimestamp
	if n := len(s.Batches); n > 0 {
		d.LastSequence = s.Batches[n-1].LastSequence
	}
	d.CoordinatorEpoch, d.CurrentTxnStartOffset = s.CoordinatorEpoch, int64(s.TxnStart)
	return d
}
