package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/oracle"
)

// load is the clients that work on the log during a run.
type load struct {
	cfg        config
	addrs      []string
	rec        *recorder
	topics     []string
	partitions []oracle.Partition
	producers  []*producer
	consumers  []*consumer
	losing     atomic.Int64 // how many of a thousand replies producers lose
	lost       atomic.Int64 // how many they have lost
}

// Shape of the load.
const (
	refusedProducer = 1000             // the number of the one whose records are too large
	deliveryTimeout = 15 * time.Second // of the last producer, so that some sends end unknown
)

// startLoad makes the topics and starts the clients.
func startLoad(ctx context.Context, cfg config, addrs []string, rec *recorder) (_ *load, err error) {
	l := &load{cfg: cfg, addrs: addrs, rec: rec}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if err := l.makeTopics(ctx); err != nil {
		return nil, err
	}
	for i := range cfg.groups {
		for j := range cfg.members {
			if err := l.addMember(fmt.Sprintf("group-%d", i+1), fmt.Sprintf("g%d-m%d", i+1, j+1)); err != nil {
				return nil, err
			}
		}
	}
	tail, err := startTail(l, "tail-1")
	if err != nil {
		return nil, err
	}
	l.consumers = append(l.consumers, tail)
	for i := range cfg.producers {
		line := &line{losing: &l.losing, lost: &l.lost}
		opts := []kgo.Opt{kgo.Dialer(line.dial)}
		if i > 0 && i == cfg.producers-1 {
			opts = append(opts, kgo.RecordDeliveryTimeout(deliveryTimeout))
		}
		p, err := startProducer(l, i+1, opts...)
		if err != nil {
			return nil, err
		}
		l.producers = append(l.producers, p)
	}
	refused, err := startRefused(l, refusedProducer)
	if err != nil {
		return nil, err
	}
	l.producers = append(l.producers, refused)
	return l, nil
}

// addMember starts a member that stays to the end.
func (l *load) addMember(group, name string) error {
	m, err := startMember(l, group, name)
	if err != nil {
		return err
	}
	l.consumers = append(l.consumers, m)
	return nil
}

// clientOpts are the options of every client.
func (l *load) clientOpts(name string) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(l.addrs...), kgo.ClientID(name), kgo.MetadataMinAge(250 * time.Millisecond), kgo.MetadataMaxAge(5 * time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return 200 * time.Millisecond }), kgo.DialTimeout(5 * time.Second),
	}
}

func (l *load) makeTopics(ctx context.Context) error {
	return l.admin(func(a *kadm.Client) error {
		forever, most := "-1", fmt.Sprint(maxMessage)
		configs := map[string]*string{"retention.ms": &forever, "retention.bytes": &forever, "max.message.bytes": &most}
		for i := range l.cfg.topics {
			topic := fmt.Sprintf("torture-%d", i+1)
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			_, err := a.CreateTopic(ctx, int32(l.cfg.partitions), int16(min(3, len(l.addrs))), configs, topic)
			cancel()
			if err != nil {
				return fmt.Errorf("make topic %s: %w", topic, err)
			}
			l.topics = append(l.topics, topic)
			for index := range l.cfg.partitions {
				l.partitions = append(l.partitions, oracle.Partition{Topic: topic, Index: int32(index)})
			}
		}
		return nil
	})
}

// admin runs f with a fresh admin client.
func (l *load) admin(f func(*kadm.Client) error) error {
	client, err := kgo.NewClient(l.clientOpts("admin")...)
	if err != nil {
		return fmt.Errorf("start an admin client: %w", err)
	}
	defer client.Close()
	return f(kadm.NewClient(client))
}

// settle ends the producers, each time-bounded by ctx, and waits until consumers have got
// all that was acknowledged. The consumers go on.
func (l *load) settle(ctx context.Context) (unanswered error, unseen error) {
	unanswered = errors.Join(stopAll(ctx, l.producers)...)
	return unanswered, l.rec.awaitSeen(ctx)
}

// close ends all clients.
func (l *load) close() {
	for _, p := range l.producers {
		p.end()
	}
	for _, c := range l.consumers {
		c.stop()
	}
	l.producers, l.consumers = nil, nil
}
