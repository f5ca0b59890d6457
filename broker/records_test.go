package broker

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

// Where a batch has what the tests spoil.
const (
	posOfCRC        = 17
	posOfAttributes = 21
	posOfCount      = 57
)

// batchAt is a batch with one record for each time in ms.
func batchAt(codec batch.Codec, times ...int64) batch.View {
	b := batch.New(codec)
	for i, ms := range times {
		b.Add(batch.Record{Timestamp: ms, Key: []byte("key"), Value: fmt.Appendf(nil, "value %d", i)})
	}
	return b.Build()
}

// batchOfNow is a batch of n records of this moment.
func batchOfNow(codec batch.Codec, n int) batch.View {
	times := make([]int64, n)
	for i := range times {
		times[i] = time.Now().UnixMilli()
	}
	return batchAt(codec, times...)
}

// batchOfSize is a batch of one record with a value of that many bytes.
func batchOfSize(size int) batch.View {
	return batch.New(batch.None).Add(batch.Record{Timestamp: time.Now().UnixMilli(), Key: []byte("key"), Value: make([]byte, size)}).Build()
}

// batchOfProducer is a batch of n records of an idempotent producer.
func batchOfProducer(p id.Producer, epoch int16, sequence int32, n int) batch.View {
	b := batch.New(batch.None).Producer(p, epoch, sequence)
	for range n {
		b.Add(batch.Record{Timestamp: time.Now().UnixMilli(), Key: []byte("key"), Value: []byte("value")})
	}
	return b.Build()
}

// spoiled is v after change, with the checksum that belongs to it.
func spoiled(v batch.View, change func(v batch.View)) batch.View {
	change(v)
	binary.BigEndian.PutUint32(v[posOfCRC:], crc32.Checksum(v[posOfAttributes:], crc32.MakeTable(crc32.Castagnoli)))
	return v
}

// put is a batch for a partition.
type put struct {
	topic   string
	index   int32
	records []byte
}

// topicID is the id of a topic, or one that nothing has.
func (n *node) topicID(name string) id.Topic {
	if t, ok := n.meta.Image().Topic(name); ok {
		return t.ID
	}
	return id.NewTopic()
}

// logOf is the log of a partition.
func (n *node) logOf(topic string, index int32) *partition.Log {
	n.t.Helper()
	l, err := n.storage.logByName(topic, index)
	require.NoError(n.t, err)
	return l
}

// produceRequest has one topic entry for each put.
func (n *node) produceRequest(version, acks int16, puts ...put) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(version)
	req.Acks, req.TimeoutMillis = acks, 10_000
	for _, p := range puts {
		t := kmsg.NewProduceRequestTopic()
		t.Topic, t.TopicID = p.topic, n.topicID(p.topic)
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Partition, rp.Records = p.index, p.records
		t.Partitions = append(t.Partitions, rp)
		req.Topics = append(req.Topics, t)
	}
	return req
}

// produce sends batches in one request and returns the answers in their order.
func (n *node) produce(version, acks int16, puts ...put) []kmsg.ProduceResponseTopicPartition {
	n.t.Helper()
	req := n.produceRequest(version, acks, puts...)
	resp := ask(n, req, kmsg.NewPtrProduceResponse())
	require.Len(n.t, resp.Topics, len(puts))
	var all []kmsg.ProduceResponseTopicPartition
	for i, t := range resp.Topics {
		if version >= 13 {
			require.Equal(n.t, req.Topics[i].TopicID, t.TopicID)
		} else {
			require.Equal(n.t, puts[i].topic, t.Topic)
		}
		require.Len(n.t, t.Partitions, 1)
		require.Equal(n.t, puts[i].index, t.Partitions[0].Partition)
		all = append(all, t.Partitions[0])
	}
	return all
}

// mustProduce sends one batch after the other with acks=all.
func (n *node) mustProduce(topic string, index int32, batches ...batch.View) {
	n.t.Helper()
	for _, v := range batches {
		got := n.produce(9, -1, put{topic, index, v})
		require.Zero(n.t, got[0].ErrorCode)
	}
}

// want is what a fetch asks of a partition. The zero limit is 1 MiB.
type want struct {
	topic  string
	index  int32
	offset int64
	limit  int32
	// current and last are leader epochs, one too high so that 0 is for none.
	current, last int32
}

// fetchRequest has no session and does not wait.
func (n *node) fetchRequest(version int16, wants ...want) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(version)
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = 0, 1, 1<<20, -1
	for _, w := range wants {
		if w.limit == 0 {
			w.limit = 1 << 20
		}
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = w.index, w.offset, w.limit
		p.CurrentLeaderEpoch, p.LastFetchedEpoch = w.current-1, w.last-1
		t := kmsg.NewFetchRequestTopic()
		t.Topic, t.TopicID = w.topic, n.topicID(w.topic)
		t.Partitions = append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
	}
	return req
}

// fetch sends a request on a connection of its own and returns the answer's partitions.
func (n *node) fetch(req *kmsg.FetchRequest) []kmsg.FetchResponseTopicPartition {
	n.t.Helper()
	resp := ask(n, req, kmsg.NewPtrFetchResponse())
	require.Zero(n.t, resp.ErrorCode)
	return partsOf(resp)
}

func partsOf(resp *kmsg.FetchResponse) (all []kmsg.FetchResponseTopicPartition) {
	for _, t := range resp.Topics {
		all = append(all, t.Partitions...)
	}
	return all
}

// basesOf are the base offsets of the batches in raw, which must all be whole and unharmed.
func (n *node) basesOf(raw []byte) (bases []int64) {
	n.t.Helper()
	for len(raw) > 0 {
		v, rest, err := batch.Parse(raw)
		require.NoError(n.t, err)
		require.NoError(n.t, v.Verify())
		bases, raw = append(bases, int64(v.BaseOffset())), rest
	}
	return bases
}

// unanswered counts the requests that were received and not answered yet.
func (b *Broker) unanswered() (count int) {
	for _, c := range b.open() {
		c.mu.Lock()
		for _, k := range c.queue {
			if !k.answered {
				count++
			}
		}
		c.mu.Unlock()
	}
	return count
}
