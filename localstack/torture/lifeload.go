package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/oracle"
)

// life is a load on topics whose records go. It has a history of its own, of what
// its producers sent and of whole reads, which are made all the while.
type life struct{ load *load }

// Topics of which records go, and what of them may.
var lifeRules = map[string]oracle.Rules{
	"life-age":     {Age: 6 * time.Second},
	"life-size":    {Bytes: 60_000},
	"life-compact": {Compacted: true},
}

// lifeTopics are their names, in order.
var lifeTopics = []string{"life-age", "life-size", "life-compact"}

// Shape of the load.
const (
	lifePartitions = 2
	lifeProducers  = 2
	lifeRate       = 60   // records per second of each
	lifeKeys       = 40   // of each topic
	lifePadding    = 600  // bytes of each record's header
	lifeOverhead   = 300  // bytes that a record takes at most beside that, with a batch of its own
	lifeFirst      = 2000 // number of the first producer
	lifeAfter      = 2 * time.Second
)

// lifeConfigs are a topic's, as its rules want them; with keep those that keep all but what is compacted.
func lifeConfigs(topic string, keep bool) map[string]string {
	rules := lifeRules[topic]
	configs := map[string]string{"retention.ms": "-1", "retention.bytes": "-1", "segment.ms": "1000"}
	if rules.Age > 0 && !keep {
		configs["retention.ms"] = fmt.Sprint(rules.Age.Milliseconds())
	}
	if rules.Bytes > 0 && !keep {
		configs["retention.bytes"] = fmt.Sprint(rules.Bytes)
	}
	if rules.Compacted {
		configs["cleanup.policy"], configs["min.cleanable.dirty.ratio"] = "compact", "0"
	}
	return configs
}

// startLife makes the topics and starts the producers.
func startLife(ctx context.Context, cfg config, addrs []string) (_ *life, err error) {
	cfg.partitions = lifePartitions
	l := &load{cfg: cfg, addrs: addrs, rec: newRecorder(), topics: lifeTopics}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	for _, topic := range l.topics {
		configs := map[string]*string{}
		for name, value := range lifeConfigs(topic, false) {
			configs[name] = &value
		}
		err := l.admin(func(a *kadm.Client) error {
			_, err := a.CreateTopic(ctx, lifePartitions, int16(min(3, len(addrs))), configs, topic)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("make topic %s: %w", topic, err)
		}
		for index := range int32(lifePartitions) {
			l.partitions = append(l.partitions, oracle.Partition{Topic: topic, Index: index})
		}
	}
	l.targets = l.partitions
	if err := l.awaitTopics(ctx); err != nil {
		return nil, err
	}
	for i := range lifeProducers {
		p := &producer{
			number: lifeFirst + i, rec: l.rec, to: l.targets, rate: lifeRate,
			rng: rand.New(rand.NewPCG(cfg.seed, lifeFirst+uint64(i))), quits: make(chan struct{}), done: make(chan struct{}),
		}
		p.compose = p.keyed
		if err := p.start(l, []kgo.Opt{kgo.ProducerBatchMaxBytes(maxMessage), kgo.ProducerBatchCompression(kgo.NoCompression())}); err != nil {
			return nil, err
		}
		l.producers = append(l.producers, p)
	}
	return &life{load: l}, nil
}

// keyed makes a record with one of a few keys, and a size that its value, which is short, does not give it.
func (p *producer) keyed(value oracle.Value, to oracle.Partition) (r *kgo.Record, number int) {
	padding := make([]byte, lifePadding)
	for i := range padding {
		padding[i] = byte(p.rng.Uint32())
	}
	key := keyOf(value)
	return &kgo.Record{
		Topic: to.Topic, Partition: to.Index, Key: []byte(key), Value: []byte(value.String()), Headers: []kgo.RecordHeader{{Key: "padding", Value: padding}},
	}, p.rec.sendKeyed(value, to, key, lifePadding+lifeOverhead)
}

// keyOf is the key of a value, which follows from it.
func keyOf(value oracle.Value) string {
	return fmt.Sprintf("key-%d", xxhash.Sum64String(value.String())%lifeKeys)
}

// keyedRecord is a record as the history holds it, bad if its key is not that of its value.
func keyedRecord(r *kgo.Record) oracle.Record {
	rec := seenRecord(r)
	if key := keyOf(rec.Value); rec.Bad == "" && string(r.Key) != key {
		rec.Value, rec.Bad = oracle.Value{}, fmt.Sprintf("%s with the key %s, not %s", r.Value, r.Key, key)
	}
	return rec
}

// readOn reads everything again and again until ctx ends. A read that meets a fault and does not come
// to its end says nothing and is not noted.
func (l *life) readOn(ctx context.Context) {
	for n := 1; ctx.Err() == nil; n++ {
		reading, cancel := context.WithTimeout(ctx, 10*time.Second)
		reads, err := l.readAll(reading, fmt.Sprintf("during-%d", n))
		cancel()
		if err == nil {
			l.load.rec.read(reads)
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// read reads everything after the fault, and notes it.
func (l *life) read(ctx context.Context, name string) error {
	reads, err := l.readAll(ctx, name)
	l.load.rec.read(reads)
	return err
}

// readAll reads every partition from its log start past its end and past what was acknowledged. An
// error says that not all were.
func (l *life) readAll(ctx context.Context, name string) (reads []oracle.Read, err error) {
	r, err := newReader(l.load, name, kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return nil, err
	}
	defer r.client.Close()
	r.seen = keyedRecord
	invoked := l.load.rec.now()
	starts, err := r.offsets(ctx, r.admin().ListStartOffsets)
	if err != nil {
		return nil, err
	}
	ends, err := r.ends(ctx)
	if err != nil {
		return nil, err
	}
	r.poll(ctx, func() bool { return r.reached(ends) })
	for _, p := range l.load.partitions {
		read := oracle.Read{
			Span: oracle.Span{Invoked: invoked, Completed: l.load.rec.now()}, Name: name, Partition: p, Start: starts[p], End: ends[p],
			Records: r.records[p], Compacted: true, Drained: r.next[p] >= ends[p],
		}
		if !read.Drained {
			read.Error = fmt.Sprint(errors.Join(r.last, ctx.Err()))
			err = errors.Join(err, fmt.Errorf("read %s: offset %d of %d: %s", p, r.next[p], ends[p], read.Error))
		}
		reads = append(reads, read)
	}
	return reads, err
}

// settle ends retention, so that the end of each log stays there to be read, and the producers.
func (l *life) settle(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := l.load.admin(func(a *kadm.Client) error {
		for _, topic := range l.load.topics {
			var alter []kadm.AlterConfig
			for name, value := range lifeConfigs(topic, true) {
				alter = append(alter, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value})
			}
			altered, err := a.AlterTopicConfigs(ctx, alter, topic)
			for _, r := range altered {
				err = errors.Join(err, r.Err)
			}
			if err != nil {
				return fmt.Errorf("end the retention of %s: %w", topic, err)
			}
		}
		return nil
	})
	select {
	case <-time.After(lifeAfter): // brokers learn of it while records still come
	case <-ctx.Done():
	}
	return errors.Join(append(stopAll(ctx, l.load.producers), err)...)
}

// judge judges the history and adds what was done to the report.
func (l *life) judge(e *env, rep *report) {
	rec := l.load.rec
	rec.mu.Lock()
	defer rec.mu.Unlock()
	e.anomalies = append(e.anomalies, oracle.CheckLife(&rec.history, lifeRules)...)
	ops := count(&rec.history)
	rep.Faults["life: acked"], rep.Faults["life: whole reads"] = int64(ops.Acked), int64(len(rec.history.Reads)/len(l.load.partitions))
	gone := map[string]int64{}
	for _, s := range rec.history.Sends {
		if s.Outcome == oracle.OK {
			gone[s.Partition.Topic]++
		}
	}
	last := rec.history.Reads[max(0, len(rec.history.Reads)-len(l.load.partitions)):]
	for _, r := range last {
		gone[r.Partition.Topic] -= int64(len(r.Records))
	}
	for _, topic := range l.load.topics {
		rep.Faults[topic+": gone"] = gone[topic]
		if gone[topic] <= 0 {
			e.found(notAlive, "no record of %s has gone", topic)
		}
	}
}
