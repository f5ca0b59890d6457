package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/tiering/producers"
)

// DescribeProducers (key 61), version 0 (KIP-664).
//
// Deviation: only the leader of a partition answers, others with NOT_LEADER_OR_FOLLOWER, since
// replicas that follow have no log; with Apache Kafka each replica answers.

func handleDescribeProducers(_ context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.DescribeProducersRequest](c)
	resp := responseTo[*kmsg.DescribeProducersResponse](req)
	for i := range req.Topics {
		t := &req.Topics[i]
		out := kmsg.NewDescribeProducersResponseTopic()
		out.Topic = t.Topic
		named := checkTopicName(t.Topic)
		for _, index := range t.Partitions {
			op := kmsg.NewDescribeProducersResponseTopicPartition()
			op.Partition = index
			err := named
			if err == nil {
				op.ActiveProducers, err = b.activeProducers(t.Topic, index)
			}
			if op.ErrorCode = c.code(err); err != nil {
				message := err.Error()
				op.ErrorMessage = &message
			}
			out.Partitions = append(out.Partitions, op)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

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
