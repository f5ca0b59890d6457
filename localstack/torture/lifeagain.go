package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/localstack/oracle"
)

// nameTaken says that a topic could not be made though the one of that name had been deleted.
const nameTaken oracle.Kind = "name-taken"

// again is a topic that is made, written to, made larger, read, and deleted while it is written to, again and again. In the
// history each of them has a name of its own, so that a record of another one is a value that nobody sent.
// It is used by one goroutine.
type again struct {
	l         *load
	made      int  // topics so far
	there     bool // the last one may be there
	id        id.Topic
	anomalies []oracle.Anomaly
}

// Shape of it.
const (
	againTopic   = "life-again"
	againFirst   = 1100 // number of the first producer, of which each topic has two
	againRecords = 20   // of each partition
	againLimit   = 20 * time.Second
	againRate    = 50 // records per second, while it is deleted
)

func newAgain(l *load) *again { return &again{l: l} }

// run goes on until ctx ends, and then leaves a topic. What fails for a fault that lasts is begun anew.
func (a *again) run(ctx context.Context) {
	for {
		err := a.timed(ctx, a.round)
		last := ctx.Err() != nil
		if !last {
			err = errors.Join(err, a.timed(ctx, a.remove))
		}
		if err != nil {
			a.l.rec.clientError("topic %s, made %d times: %v", againTopic, a.made, err)
		}
		if last || a.there { // nothing can be said of a topic of this name if the one before was not deleted
			return
		}
	}
}

// timed calls f with a time of its own, beyond the end of ctx.
func (a *again) timed(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lifeLimit)
	defer cancel()
	return f(ctx)
}

// name is what the history calls the topic of now.
func (a *again) name() string { return fmt.Sprintf("%s.%d", againTopic, a.made) }

// round makes a topic and works with it.
func (a *again) round(ctx context.Context) error {
	if err := a.create(ctx); err != nil {
		return err
	}
	if err := a.write(ctx, againFirst+2*a.made, lifePartitions); err != nil {
		return err
	}
	if err := a.enlarge(ctx, lifePartitions+1); err != nil {
		return err
	}
	if err := a.write(ctx, againFirst+2*a.made, lifePartitions+1); err != nil {
		return err
	}
	reads, err := a.readLast(ctx, "again")
	if err == nil {
		a.l.rec.read(reads)
	}
	return err
}

// try calls f until it succeeds or ctx ends; again tells that an earlier call may have had its effect. The client does not
// send anything again by itself.
func try(ctx context.Context, l *load, f func(ctx context.Context, admin *kadm.Client, again bool) error) error {
	for again := false; ; again = true {
		err := l.admin(func(c *kadm.Client) error {
			ctx, cancel := context.WithTimeout(ctx, againLimit)
			defer cancel()
			return f(ctx, c, again)
		}, kgo.RequestRetries(0))
		if err == nil {
			return nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

// create makes the topic, whose name must be free at once, and waits until every broker knows it.
func (a *again) create(ctx context.Context) error {
	taken := false
	a.there = true
	err := try(ctx, a.l, func(ctx context.Context, c *kadm.Client, again bool) error {
		_, err := c.CreateTopic(ctx, lifePartitions, int16(min(3, len(a.l.addrs))), nil, againTopic)
		if errors.Is(err, kerr.TopicAlreadyExists) {
			taken = taken || !again
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("make it: %w", err)
	}
	if taken {
		a.anomalies = append(a.anomalies, oracle.Anomaly{Kind: nameTaken, Detail: fmt.Sprintf("topic %s after it was deleted, and made %d times", againTopic, a.made)})
	}
	a.made++
	return a.awaitID(ctx)
}

// awaitID waits until every broker names the same topic, and another one than before.
func (a *again) awaitID(ctx context.Context) error {
	return try(ctx, a.l, func(ctx context.Context, _ *kadm.Client, _ bool) error {
		var one id.Topic
		for _, addr := range a.l.addrs {
			client, err := kgo.NewClient(append(a.l.clientOpts("admin"), kgo.SeedBrokers(addr))...)
			if err != nil {
				return err
			}
			defer client.Close()
			topics, err := kadm.NewClient(client).ListTopics(ctx, againTopic)
			if err == nil {
				err = topics.Error()
			}
			if err != nil {
				return err
			}
			switch got := id.Topic(topics[againTopic].ID); {
			case got == a.id || got == id.Topic{}:
				return fmt.Errorf("broker %s names the topic before", addr)
			case one != id.Topic{} && got != one:
				return errors.New("brokers name different topics")
			default:
				one = got
			}
		}
		a.id = one
		return nil
	})
}

// enlarge gives the topic more partitions.
func (a *again) enlarge(ctx context.Context, n int) error {
	err := try(ctx, a.l, func(ctx context.Context, c *kadm.Client, again bool) error {
		answers, err := c.UpdatePartitions(ctx, n, againTopic)
		if err == nil {
			err = answers.Error()
		}
		if again && errors.Is(err, kerr.InvalidPartitions) { // it has them
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("make it larger: %w", err)
	}
	return nil
}

// write writes records to each partition and waits for their answers.
func (a *again) write(ctx context.Context, number, partitions int) error {
	client, err := a.client(number)
	if err != nil {
		return err
	}
	defer client.Close()
	for i := range partitions * againRecords {
		a.send(ctx, client, number, int64(partitions*1000+i), int32(i%partitions))
	}
	if err := client.Flush(ctx); err != nil {
		return fmt.Errorf("write to it: %w", err)
	}
	return nil
}

func (a *again) client(number int) (*kgo.Client, error) {
	client, err := kgo.NewClient(append(a.l.clientOpts(fmt.Sprintf("again-%d", number)), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RecordDeliveryTimeout(againLimit), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	if err != nil {
		return nil, fmt.Errorf("start producer %d: %w", number, err)
	}
	return client, nil
}

// send sends one record; the history knows it by the name of the topic of now.
func (a *again) send(ctx context.Context, client *kgo.Client, number int, sequence int64, partition int32) {
	r, n := keyed(a.l.rec, 0, oracle.Value{Producer: number, Sequence: sequence}, oracle.Partition{Topic: a.name(), Index: partition})
	r.Topic = againTopic
	client.Produce(ctx, r, func(r *kgo.Record, err error) { a.l.rec.sent(n, r.Offset, err) })
}

// remove deletes the topic while another producer writes to it, and ends that one.
func (a *again) remove(ctx context.Context) error {
	number := againFirst + 2*a.made + 1
	client, err := a.client(number)
	if err != nil {
		return err
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		rng := rand.New(rand.NewPCG(a.l.cfg.seed, uint64(number)))
		tick := time.NewTicker(time.Second / againRate)
		defer tick.Stop()
		for sequence := int64(0); ; sequence++ {
			a.send(ctx, client, number, sequence, rng.Int32N(lifePartitions))
			select {
			case <-tick.C:
			case <-quit:
				return
			}
		}
	}()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
	err = try(ctx, a.l, func(ctx context.Context, c *kadm.Client, again bool) error {
		_, err := c.DeleteTopic(ctx, againTopic)
		if again && errors.Is(err, kerr.UnknownTopicOrPartition) { // it is gone
			return nil
		}
		return err
	})
	close(quit)
	<-done
	client.Close()
	if err != nil {
		return fmt.Errorf("delete it: %w", err)
	}
	a.there = false
	return nil
}

// readLast reads all of the topic of now.
func (a *again) readLast(ctx context.Context, name string) (reads []oracle.Read, err error) {
	seen := &load{cfg: a.l.cfg, addrs: a.l.addrs, rec: newRecorder(), topics: []string{againTopic}}
	seen.cfg.partitions = lifePartitions + 1
	for index := range int32(lifePartitions + 1) {
		seen.partitions = append(seen.partitions, oracle.Partition{Topic: againTopic, Index: index})
	}
	r, err := newReader(seen, name)
	if err != nil {
		return nil, err
	}
	defer r.client.Close()
	r.seen = keyedRecord
	invoked := a.l.rec.now()
	ends, err := r.ends(ctx)
	if err != nil {
		return nil, err
	}
	r.poll(ctx, func() bool { return r.reached(ends) })
	for _, p := range seen.partitions {
		if r.next[p] < ends[p] {
			err = errors.Join(err, fmt.Errorf("read %s: offset %d of %d: %w", p, r.next[p], ends[p], errors.Join(r.last, ctx.Err())))
		}
		reads = append(reads, oracle.Read{
			Span: oracle.Span{Invoked: invoked, Completed: a.l.rec.now()}, Name: name, Partition: oracle.Partition{Topic: a.name(), Index: p.Index},
			End: ends[p], Records: r.records[p], Drained: r.next[p] >= ends[p],
		})
	}
	return reads, err
}
