package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/localstack/oracle"
)

// load is the clients that work on the log during a run.
type load struct {
	cfg    config
	prefix string // of transactional ids
	// compose makes the records of transactions; nil: with random keys.
	compose    func(txn int, v oracle.Value, to oracle.Partition) (r *kgo.Record, number int)
	addrs      []string
	rec        *recorder
	topics     []string           // the first is copied; the last, with copiers, is the copy
	partitions []oracle.Partition // of all topics
	targets    []oracle.Partition // those that producers send to
	producers  []*producer
	consumers  []*consumer

	transactors []*transactor
	copiers     []*copier
	clients     atomic.Int64 // transactional ones so far
	settling    atomic.Bool  // nobody is to die any more

	losing atomic.Int64 // how many of a thousand replies producers lose
	lost   atomic.Int64 // how many they have lost
}

// Shape of the load.
const (
	refusedProducer = 1000                         // the number of the one whose records are too large
	deliveryTimeout = 15 * time.Second             // of the last producer, so that some sends end unknown
	stopPatience    = txnPatience + 10*time.Second // for a copier to end its transaction and to leave
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
	if err := l.awaitTopics(ctx); err != nil {
		return nil, err
	}
	l.rec.isolate(fmt.Sprintf("group-%d", max(2, cfg.groups)))
	l.rec.isolate(committedGroup)
	for i := range cfg.groups {
		for j := range cfg.members {
			if err := l.addMember(fmt.Sprintf("group-%d", i+1), fmt.Sprintf("g%d-m%d", i+1, j+1)); err != nil {
				return nil, err
			}
		}
	}
	for group, name := range map[string]string{tailGroup: "tail-1", committedGroup: "tail-2"} {
		tail, err := startTail(l, group, name)
		if err != nil {
			return nil, err
		}
		l.consumers = append(l.consumers, tail)
	}
	if err := l.startProducers(); err != nil {
		return nil, err
	}
	for i := range cfg.transactors {
		l.transactors = append(l.transactors, startTransactor(l, i+1))
	}
	for i := range cfg.copiers {
		l.copiers = append(l.copiers, startCopier(l, i+1))
	}
	return l, nil
}

// startProducers starts the producers without transactions.
func (l *load) startProducers() error {
	cfg := l.cfg
	for i := range cfg.producers {
		line := &line{losing: &l.losing, lost: &l.lost}
		opts := []kgo.Opt{kgo.Dialer(line.dial)}
		if i > 0 && i == cfg.producers-1 {
			opts = append(opts, kgo.RecordDeliveryTimeout(deliveryTimeout))
		}
		p, err := startProducer(l, i+1, opts...)
		if err != nil {
			return err
		}
		l.producers = append(l.producers, p)
	}
	refused, err := startRefused(l, refusedProducer)
	if err != nil {
		return err
	}
	l.producers = append(l.producers, refused)
	return nil
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
		var topics []string
		for i := range l.cfg.topics {
			topics = append(topics, fmt.Sprintf("torture-%d", i+1))
		}
		if l.cfg.copiers > 0 {
			topics = append(topics, copyTopic)
		}
		for _, topic := range topics {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			_, err := a.CreateTopic(ctx, int32(l.cfg.partitions), int16(min(3, len(l.addrs))), configs, topic)
			cancel()
			if err != nil {
				return fmt.Errorf("make topic %s: %w", topic, err)
			}
			l.topics = append(l.topics, topic)
			for index := range l.cfg.partitions {
				p := oracle.Partition{Topic: topic, Index: int32(index)}
				if l.partitions = append(l.partitions, p); topic != copyTopic {
					l.targets = append(l.targets, p)
				}
			}
		}
		return nil
	})
}

// awaitTopics waits until every broker knows all topics: one whose metadata is a moment behind
// tells consumers of an unknown topic, which is no fault's doing.
func (l *load) awaitTopics(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	client, err := kgo.NewClient(l.clientOpts("admin")...)
	if err != nil {
		return fmt.Errorf("start an admin client: %w", err)
	}
	defer client.Close()
	for _, broker := range client.SeedBrokers() {
		for !l.knows(ctx, broker) {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("wait until every broker knows the topics: %w", ctx.Err())
			}
		}
	}
	return nil
}

// knows reports whether a broker says that all topics are there.
func (l *load) knows(ctx context.Context, broker *kgo.Broker) bool {
	req := kmsg.NewPtrMetadataRequest()
	for _, topic := range l.topics {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &topic})
	}
	resp, err := req.RequestWith(ctx, broker)
	return err == nil && !slices.ContainsFunc(resp.Topics, func(t kmsg.MetadataResponseTopic) bool { return t.ErrorCode != 0 })
}

// admin runs f with a fresh admin client.
func (l *load) admin(f func(*kadm.Client) error, opts ...kgo.Opt) error {
	client, err := kgo.NewClient(append(l.clientOpts("admin"), opts...)...)
	if err != nil {
		return fmt.Errorf("start an admin client: %w", err)
	}
	defer client.Close()
	return f(kadm.NewClient(client))
}

// settle ends the producers, each time-bounded by ctx, and waits until consumers have got
// all that was acknowledged and may be seen. The consumers go on. part is told of each part that is over.
func (l *load) settle(ctx context.Context, part func(string)) (unanswered error, unseen error) {
	l.settling.Store(true)
	errs := stopAll(ctx, l.producers)
	for _, t := range l.transactors {
		errs = append(errs, t.stop(ctx))
	}
	part("answers")
	unseen = l.awaitCopied(ctx)
	part("copies")
	unseen = errors.Join(unseen, l.rec.awaitSeen(ctx))
	part("consumers")
	// Time of their own: that they are behind does not mean that they are stuck.
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer cancel()
	for _, c := range l.copiers {
		errs = append(errs, c.stop(stopping))
	}
	return errors.Join(errs...), unseen
}

// close ends all clients.
func (l *load) close() {
	ended, cancel := context.WithCancel(context.Background())
	cancel() // nobody waits any more
	for _, t := range l.transactors {
		_ = t.stop(ended)
	}
	for _, c := range l.copiers {
		_ = c.stop(ended)
	}
	for _, p := range l.producers {
		p.end()
	}
	for _, c := range l.consumers {
		c.stop()
	}
	l.producers, l.consumers, l.transactors, l.copiers = nil, nil, nil, nil
}
