package batch_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/tiering/batch"
)

// clientBroker is as much of a broker as franz-go needs to send one topic's batches to.
type clientBroker struct {
	mu      sync.Mutex
	batches [][]byte
	conns   sync.WaitGroup
}

// clientBatches returns the batches that a franz-go client sends for the records, byte for byte.
func clientBatches(t testing.TB, codec kgo.CompressionCodec, records ...*kgo.Record) []batch.View {
	t.Helper()
	b := &clientBroker{}
	client, err := kgo.NewClient(
		kgo.SeedBrokers("broker:9092"), kgo.Dialer(b.dial), kgo.DefaultProduceTopic("events"),
		kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(50*time.Millisecond), kgo.ProducerBatchMaxBytes(8<<20))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var copies []*kgo.Record // a client makes its own what it sends
	for _, r := range records {
		copies = append(copies, &kgo.Record{Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp})
	}
	err = client.ProduceSync(ctx, copies...).FirstErr()
	client.Close()
	b.conns.Wait()
	require.NoError(t, err)
	var views []batch.View
	for _, raw := range b.batches {
		v, rest, err := batch.Parse(raw)
		require.NoError(t, err)
		require.Empty(t, rest)
		views = append(views, v)
	}
	return views
}

func (b *clientBroker) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	b.conns.Add(1)
	go func() {
		defer b.conns.Done()
		defer ours.Close()
		for b.serveOne(ours) == nil {
		}
	}()
	return theirs, nil
}

func (b *clientBroker) serveOne(conn net.Conn) error {
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, frame); err != nil {
		return err
	}
	key, version := int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	body := frame[8:] // after key, version and correlation id
	if n := int16(binary.BigEndian.Uint16(body)); n > 0 {
		body = body[n:]
	}
	body = body[2:]
	if req.IsFlexible() {
		body = body[1:] // no tags
	}
	if err := req.ReadFrom(body); err != nil {
		return err
	}
	resp := b.answer(req)
	resp.SetVersion(version)
	out := append([]byte{0, 0, 0, 0}, frame[4:8]...)
	if resp.IsFlexible() && key != 18 {
		out = append(out, 0)
	}
	out = resp.AppendTo(out)
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	_, err := conn.Write(out)
	return err
}

func (b *clientBroker) answer(req kmsg.Request) kmsg.Response {
	topicID := [16]byte{1}
	switch req := req.(type) {
	case *kmsg.ApiVersionsRequest:
		resp := kmsg.NewPtrApiVersionsResponse()
		for key, most := range map[int16]int16{0: 9, 3: 9, 18: 3, 22: 4} {
			resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: key, MaxVersion: most})
		}
		return resp
	case *kmsg.MetadataRequest:
		resp := kmsg.NewPtrMetadataResponse()
		resp.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: "broker", Port: 9092}}
		name := "events"
		part := kmsg.NewMetadataResponseTopicPartition()
		part.Leader, part.Replicas, part.ISR = 1, []int32{1}, []int32{1}
		resp.Topics = []kmsg.MetadataResponseTopic{{Topic: &name, TopicID: topicID, Partitions: []kmsg.MetadataResponseTopicPartition{part}}}
		return resp
	case *kmsg.InitProducerIDRequest:
		resp := kmsg.NewPtrInitProducerIDResponse()
		resp.ProducerID, resp.ProducerEpoch = 7, 3
		return resp
	case *kmsg.ProduceRequest:
		raw := req.Topics[0].Partitions[0].Records
		b.mu.Lock()
		b.batches = append(b.batches, append([]byte(nil), raw...))
		b.mu.Unlock()
		resp := kmsg.NewPtrProduceResponse()
		part := kmsg.NewProduceResponseTopicPartition()
		resp.Topics = []kmsg.ProduceResponseTopic{{Topic: "events", Partitions: []kmsg.ProduceResponseTopicPartition{part}}}
		return resp
	}
	panic("request that a producer does not send")
}

// clientCodecs are the codecs under the names that franz-go has for them.
var clientCodecs = map[batch.Codec]kgo.CompressionCodec{
	batch.None:   kgo.NoCompression(),
	batch.Gzip:   kgo.GzipCompression(),
	batch.Snappy: kgo.SnappyCompression(),
	batch.LZ4:    kgo.Lz4Compression(),
	batch.Zstd:   kgo.ZstdCompression(),
}

// clientRecords are a few records with nulls and headers.
func clientRecords() []*kgo.Record {
	at := time.UnixMilli(1_600_000_000_123)
	text := bytes.Repeat([]byte("forebay "), 200)
	return []*kgo.Record{
		{Key: []byte("k1"), Value: text, Timestamp: at.Add(5 * time.Millisecond), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}, {Key: "null"}}},
		{Key: nil, Value: text[:900], Timestamp: at},
		{Key: []byte{}, Value: nil, Timestamp: at.Add(time.Hour)},
	}
}
