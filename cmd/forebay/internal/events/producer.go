package events

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// errOutcomeUnknown says that a record was sent and the time to wait for its answer is over.
var errOutcomeUnknown = errors.New("no acknowledgement in time")

// What a topic counts as known for, and the largest batch of one that does not tell.
const (
	topicAge        = 30 * time.Second
	defaultMaxBytes = 1_000_012
)

// producer writes records to topics that exist. It is safe for concurrent use.
type producer struct {
	client *kgo.Client

	mu     sync.Mutex
	topics map[string]topic // that were found
}

// topic is what is known of a topic.
type topic struct {
	found    time.Time
	maxBytes int32 // of a batch
}

func newProducer(brokers []string, timeout time.Duration) (*producer, error) {
	p := &producer{topics: map[string]topic{}}
	var err error
	p.client, err = kgo.NewClient(
		kgo.SeedBrokers(brokers...), kgo.ClientID("forebay-events"),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytesFn(p.maxBytes), kgo.MaxBufferedRecords(1<<20), // the server bounds what is on its way
		kgo.RecordDeliveryTimeout(timeout), kgo.RetryTimeout(timeout), kgo.UnknownTopicRetries(2),
		kgo.MetadataMinAge(250*time.Millisecond), // a failover is seen soon
	)
	if err != nil {
		return nil, fmt.Errorf("make a producer for events: %w", err)
	}
	return p, nil
}

// maxBytes is the largest batch of a topic, for the client.
func (p *producer) maxBytes(name string) int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t, ok := p.topics[name]; ok {
		return t.maxBytes
	}
	return defaultMaxBytes
}

// find returns nil if there is the topic, and a problem if there is none. The client's own
// look-up would take some rounds until it gives up.
func (p *producer) find(ctx context.Context, name string) error {
	p.mu.Lock()
	t, ok := p.topics[name]
	p.mu.Unlock()
	if ok && time.Since(t.found) < topicAge {
		return nil
	}
	req := kmsg.NewPtrMetadataRequest()
	one := kmsg.NewMetadataRequestTopic()
	one.Topic = &name
	req.Topics = append(req.Topics, one)
	resp, err := req.RequestWith(ctx, p.client)
	if err != nil {
		return produceProblem(name, fmt.Errorf("ask for topic %s: %w", name, err))
	}
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && !kerr.IsRetriable(err) || errors.Is(err, kerr.UnknownTopicOrPartition) {
			p.forget(name)
			return produceProblem(name, err)
		}
	}
	if !ok {
		t.maxBytes = p.askMaxBytes(ctx, name)
	}
	t.found = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.topics[name] = t
	return nil
}

func (p *producer) forget(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.topics, name)
}

// askMaxBytes asks how large a batch of the topic may be.
func (p *producer) askMaxBytes(ctx context.Context, name string) int32 {
	configs, err := kadm.NewClient(p.client).DescribeTopicConfigs(ctx, name)
	if err != nil {
		return defaultMaxBytes
	}
	for _, resource := range configs {
		for _, c := range resource.Configs {
			if c.Key != "max.message.bytes" || c.Value == nil {
				continue
			}
			if n, err := strconv.ParseInt(*c.Value, 10, 32); err == nil {
				return int32(min(max(n, 512), 1<<30))
			}
		}
	}
	return defaultMaxBytes
}

// outcome is what came of one event.
type outcome struct {
	ID         string `json:"id"`
	Partition  *int32 `json:"partition,omitempty"`
	Offset     *int64 `json:"offset,omitempty"`
	KafkaError string `json:"kafka_error,omitempty"`
	Error      string `json:"error,omitempty"`

	err error
}

// write produces the records, and waits for what comes of them as long as ctx allows. release
// is called once for each record when the client has let go of it, which may be later.
func (p *producer) write(ctx context.Context, records []*kgo.Record, release func(*kgo.Record)) []outcome {
	type answer struct {
		index     int
		partition int32
		offset    int64
		err       error
	}
	answers := make(chan answer, len(records))
	// A record that was sent is not taken back: the client goes on until it knows what came of it.
	background := context.WithoutCancel(ctx)
	for i, r := range records {
		p.client.TryProduce(background, r, func(r *kgo.Record, err error) {
			release(r)
			answers <- answer{i, r.Partition, r.Offset, err}
		})
	}
	outcomes := make([]outcome, len(records))
	for i := range outcomes {
		outcomes[i].err = errOutcomeUnknown
	}
	for range records {
		select {
		case a := <-answers:
			o := outcome{err: a.err}
			if a.err == nil {
				o.Partition, o.Offset = &a.partition, &a.offset
			} else if errors.Is(a.err, kerr.UnknownTopicOrPartition) || errors.Is(a.err, kerr.UnknownTopicID) {
				p.forget(records[a.index].Topic)
			}
			outcomes[a.index] = o
		case <-ctx.Done():
			return outcomes
		}
	}
	return outcomes
}

// close waits for what is on its way, as long as ctx allows, and closes the client.
func (p *producer) close(ctx context.Context) error {
	err := p.client.Flush(ctx)
	p.client.Close()
	if err != nil {
		return fmt.Errorf("finish events that are on their way: %w", err)
	}
	return nil
}
