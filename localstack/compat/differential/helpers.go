package differential

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ptr returns a pointer to a copy of v.
func ptr[T any](v T) *T { return &v }

// topic creates a topic that only this scenario uses, with configs as name, value, name,
// value, and returns its name when the broker serves it.
func (s *session) topic(suffix string, partitions int32, configs ...string) string {
	name := s.name(suffix)
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, 1
	for i := 0; i < len(configs); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = configs[i], ptr(configs[i+1])
		t.Configs = append(t.Configs, c)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Version, req.TimeoutMillis = 7, 15000
	req.Topics = append(req.Topics, t)
	must(s, req, func(r *kmsg.CreateTopicsResponse) int16 { return r.Topics[0].ErrorCode })
	s.await("topic "+name, func() bool { return s.served(name, partitions) })
	return name
}

// served reports whether every partition of a topic has a leader that knows it.
func (s *session) served(topic string, partitions int32) bool {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = 6, -1
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	for p := range partitions {
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = p, -1
		rt.Partitions = append(rt.Partitions, rp)
	}
	req.Topics = append(req.Topics, rt)
	for _, t := range do[*kmsg.ListOffsetsResponse](s.quiet(), req).Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return false
			}
		}
	}
	return true
}

// topicID returns the id of a topic.
func (s *session) topicID(topic string) [16]byte {
	resp := do[*kmsg.MetadataResponse](s.quiet(), metadata(12, topic))
	if len(resp.Topics) != 1 || resp.Topics[0].ErrorCode != 0 {
		s.fail("no id of topic %s", topic)
	}
	return resp.Topics[0].TopicID
}

// metadata asks for topics without creating them.
func metadata(version int16, topics ...string) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	req.Version = version
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = ptr(name)
		req.Topics = append(req.Topics, t)
	}
	return req
}

// produceVersion is the version that requests have where any will do: the last with names.
const produceVersion = 12

// produce makes a request with one partition's records.
func produce(topic string, partition int32, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = produceVersion, -1, 15000
	req.Topics = append(req.Topics, produceTopic(topic, partition, records))
	return req
}

func produceTopic(topic string, partition int32, records []byte) kmsg.ProduceRequestTopic {
	t := kmsg.NewProduceRequestTopic()
	p := kmsg.NewProduceRequestTopicPartition()
	t.Topic, p.Partition, p.Records = topic, partition, records
	t.Partitions = append(t.Partitions, p)
	return t
}

// produceAt makes the same in another version and with other acks.
func produceAt(version, acks int16, topic string, partition int32, records []byte) *kmsg.ProduceRequest {
	req := produce(topic, partition, records)
	req.Version, req.Acks = version, acks
	return req
}

// fill appends a sound batch that is not under test.
func (s *session) fill(topic string, partition int32, b *kmsg.RecordBatch) {
	must(s, produce(topic, partition, encode(b)), func(r *kmsg.ProduceResponse) int16 { return r.Topics[0].Partitions[0].ErrorCode })
}

// producerID asks for the id of an idempotent producer.
func (s *session) producerID() (id int64, epoch int16) {
	req := kmsg.NewPtrInitProducerIDRequest()
	req.Version = 4
	s.await("a producer id", func() bool {
		resp := do[*kmsg.InitProducerIDResponse](s.quiet(), req)
		id, epoch = resp.ProducerID, resp.ProducerEpoch
		return resp.ErrorCode == 0
	})
	return id, epoch
}

// ends writes down where a partition's log begins and ends, and what is in it.
func (s *session) ends(topic string, partition int32) {
	for _, timestamp := range []int64{-2, -1} {
		s.send(listOffsets(7, 0, topic, partition, timestamp, -1))
	}
}

// listOffsets asks for one offset.
func listOffsets(version int16, isolation int8, topic string, partition int32, timestamp int64, epoch int32) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID, req.IsolationLevel = version, -1, isolation
	t := kmsg.NewListOffsetsRequestTopic()
	p := kmsg.NewListOffsetsRequestTopicPartition()
	t.Topic, p.Partition, p.Timestamp, p.CurrentLeaderEpoch = topic, partition, timestamp, epoch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// fetch asks for one partition outside of a session, without waiting.
func fetch(version int16, topic string, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.ReplicaID, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = version, -1, 100, 0, 1<<20
	req.SessionID, req.SessionEpoch = 0, -1
	req.Topics = append(req.Topics, fetchTopic(topic, partition, offset))
	return req
}

func fetchTopic(topic string, partition int32, offset int64) kmsg.FetchRequestTopic {
	t := kmsg.NewFetchRequestTopic()
	p := kmsg.NewFetchRequestTopicPartition()
	t.Topic, p.Partition, p.FetchOffset, p.PartitionMaxBytes = topic, partition, offset, 1<<20
	p.CurrentLeaderEpoch = -1
	t.Partitions = append(t.Partitions, p)
	return t
}

// part is the first partition of the first topic of a fetch, to be changed.
func part(req *kmsg.FetchRequest) *kmsg.FetchRequestTopicPartition {
	return &req.Topics[0].Partitions[0]
}

// settle waits until the broker knows of all that the answers so far said was done: Apache
// Kafka's answers come from the controller, and the broker follows its log in order.
func (s *session) settle() {
	s.marks++
	s.topic(fmt.Sprintf("settled-%d", s.marks), 1)
}
