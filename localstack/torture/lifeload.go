package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/forebaylog/forebay/localstack/oracle"
)

// life is a load on topics whose records go. It has a history of its own, of what
// its producers sent and of whole reads, which are made all the while.
type life struct {
	load  *load // without transactions
	txns  *load // on the topic of transactions
	again *again
	found *collecting
}

// The topics.
const (
	lifeAge     = "life-age"
	lifeSize    = "life-size"
	lifeCompact = "life-compact"
	lifeBoth    = "life-both" // compact,delete
	lifeTxn     = "life-txn"  // compacted, transactions alone
	lifeCut     = "life-cut"  // DeleteRecords alone
)

// lifeRules say what may go of each topic, and what must.
var lifeRules = map[string]oracle.Rules{
	lifeAge:     {Age: 6 * time.Second, Late: lifeLate},
	lifeSize:    {Bytes: 60_000},
	lifeCompact: {Compacted: true, DeleteRetention: 2 * time.Second},
	lifeBoth:    {Age: 6 * time.Second, Late: lifeLate, Compacted: true, DeleteRetention: 2 * time.Second},
	lifeTxn:     {Compacted: true, DeleteRetention: 2 * time.Second},
	lifeCut:     {},
}

// lifeTopics are their names, in order.
var lifeTopics = slices.Sorted(maps.Keys(lifeRules))

// Shape of the load.
const (
	lifePartitions  = 2
	lifeProducers   = 2
	lifeTransactors = 2
	lifeRate        = 60   // records per second of each
	lifeKeys        = 40   // of each topic
	lifeTombstones  = 4    // one in so many records of a compacted topic has no value
	lifePadding     = 600  // bytes of each record's header
	lifeOverhead    = 300  // bytes that a record takes at most beside that, with a batch of its own
	lifeFirst       = 1000 // number of the first producer
	lifeAfter       = 2 * time.Second
	// lifeLate is by how much longer than its time a record may stay while a broker is dead and a store away, and until
	// it was sealed, on a busy machine.
	lifeLate = 25 * time.Second
)

// The headers of a record.
const (
	paddingHeader = "padding"
	valueHeader   = "value" // of a tombstone, which has none else
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
		configs["delete.retention.ms"] = fmt.Sprint(rules.DeleteRetention.Milliseconds())
	}
	if rules.Compacted && rules.Age > 0 {
		configs["cleanup.policy"] = "compact,delete"
	}
	return configs
}

// startLife makes the topics and starts the producers.
func startLife(ctx context.Context, cfg config, addrs []string) (_ *life, err error) {
	cfg.partitions = lifePartitions
	l := &load{cfg: cfg, addrs: addrs, rec: newRecorder(), topics: lifeTopics}
	txns := &load{cfg: cfg, addrs: addrs, rec: l.rec, prefix: "life-"}
	txns.compose = func(txn int, v oracle.Value, to oracle.Partition) (*kgo.Record, int) {
		return keyed(l.rec, txn, v, to)
	}
	all := &life{load: l, txns: txns, again: newAgain(l)}
	defer func() {
		if err != nil {
			all.close()
		}
	}()
	for _, topic := range l.topics {
		if err := l.makeTopic(ctx, topic, lifeConfigs(topic, false)); err != nil {
			return nil, err
		}
		for index := range int32(lifePartitions) {
			p := oracle.Partition{Topic: topic, Index: index}
			l.partitions = append(l.partitions, p)
			if topic == lifeTxn {
				txns.targets = append(txns.targets, p)
			} else {
				l.targets = append(l.targets, p)
			}
		}
	}
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
	for i := range lifeTransactors {
		txns.transactors = append(txns.transactors, startTransactor(txns, i+1))
	}
	return all, nil
}

// close ends all clients.
func (l *life) close() {
	l.load.close()
	l.txns.close()
}

// makeTopic makes a topic with some partitions.
func (l *load) makeTopic(ctx context.Context, topic string, set map[string]string) error {
	configs := map[string]*string{}
	for name, value := range set {
		configs[name] = &value
	}
	err := l.admin(func(a *kadm.Client) error {
		_, err := a.CreateTopic(ctx, lifePartitions, int16(min(3, len(l.addrs))), configs, topic)
		return err
	})
	if err != nil {
		return fmt.Errorf("make topic %s: %w", topic, err)
	}
	return nil
}

// keyed makes a record with one of a few keys.
func (p *producer) keyed(value oracle.Value, to oracle.Partition) (r *kgo.Record, number int) {
	return keyed(p.rec, 0, value, to)
}

// keyed makes a record with one of a few keys, and a size that its value, which is short, does not give it, and
// notes that it will be sent. In compacted topics some have no value.
func keyed(rec *recorder, txn int, value oracle.Value, to oracle.Partition) (r *kgo.Record, number int) {
	padding := make([]byte, lifePadding)
	rng := rand.New(rand.NewPCG(uint64(value.Producer), uint64(value.Sequence)))
	for i := range padding {
		padding[i] = byte(rng.Uint32())
	}
	key, text := keyOf(value), []byte(value.String())
	r = &kgo.Record{
		Topic: to.Topic, Partition: to.Index, Key: []byte(key), Value: text, Headers: []kgo.RecordHeader{{Key: paddingHeader, Value: padding}},
	}
	tombstone := lifeRules[to.Topic].Compacted && isTombstone(value)
	if tombstone {
		r.Value, r.Headers = nil, append(r.Headers, kgo.RecordHeader{Key: valueHeader, Value: text})
	}
	return r, rec.sendKeyed(txn, value, to, key, lifePadding+lifeOverhead, tombstone)
}

// keyOf is the key of a value, which follows from it.
func keyOf(value oracle.Value) string {
	return fmt.Sprintf("key-%d", xxhash.Sum64String(value.String())%lifeKeys)
}

// isTombstone says which values are sent without one.
func isTombstone(value oracle.Value) bool {
	return xxhash.Sum64String(value.String())/lifeKeys%lifeTombstones == 0
}

// keyedRecord is a record as the history holds it, bad if its key is not that of its value.
func keyedRecord(r *kgo.Record) oracle.Record {
	if i := slices.IndexFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == valueHeader }); i >= 0 && r.Value == nil {
		named := *r
		named.Value = r.Headers[i].Value
		r = &named
	}
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
		reads, err := l.readAll(reading, fmt.Sprintf("during-%d", n), true)
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
	last, lastErr := l.again.readLast(ctx, name)
	l.load.rec.read(last)
	reads, err := l.readAll(ctx, name, false)
	l.load.rec.read(reads)
	return errors.Join(err, lastErr)
}

// readAll reads what is committed of every partition from its log start past its end and past what was acknowledged,
// or, beside producers, past its last stable offset. An error says that not all were.
func (l *life) readAll(ctx context.Context, name string, beside bool) (reads []oracle.Read, err error) {
	r, err := newReader(l.load, name, kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
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
	ends, err := r.offsets(ctx, r.admin().ListCommittedOffsets)
	if err == nil && !beside {
		ends, err = r.ends(ctx)
	}
	if err != nil {
		return nil, err
	}
	r.poll(ctx, func() bool { return r.reached(ends) })
	after, err := r.offsets(ctx, r.admin().ListStartOffsets)
	if err != nil {
		return nil, err
	}
	for _, p := range l.load.partitions {
		read := oracle.Read{
			Span: oracle.Span{Invoked: invoked, Completed: l.load.rec.now()}, Name: name, Partition: p, Start: starts[p], End: ends[p], EndStart: after[p],
			Records: r.records[p], Compacted: true, Committed: true, Drained: r.next[p] >= ends[p],
		}
		if !read.Drained {
			read.Error = fmt.Sprint(errors.Join(r.last, ctx.Err()))
			err = errors.Join(err, fmt.Errorf("read %s: offset %d of %d: %s", p, r.next[p], ends[p], read.Error))
		}
		reads = append(reads, read)
	}
	return reads, err
}

// cutOn deletes records of one topic again and again until ctx ends.
func (l *life) cutOn(ctx context.Context) {
	rng := rand.New(rand.NewPCG(l.load.cfg.seed, lifeFirst))
	for ctx.Err() == nil {
		p := oracle.Partition{Topic: lifeCut, Index: rng.Int32N(lifePartitions)}
		if high := l.load.rec.acknowledged(p); high > 0 {
			offset := rng.Int64N(high)
			done := l.load.rec.deletes(p, offset)
			done(l.load.admin(func(a *kadm.Client) error {
				ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
				defer cancel()
				offsets := kadm.Offsets{}
				offsets.AddOffset(p.Topic, p.Index, offset, -1)
				answers, err := a.DeleteRecords(ctx, offsets)
				if err != nil {
					return err
				}
				return answers.Error()
			}))
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// settle ends retention, so that the end of each log stays there to be read, and the producers.
func (l *life) settle(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	until := l.load.rec.now()
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
	l.found.until = until
	select {
	case <-time.After(lifeAfter): // brokers learn of it while records still come
	case <-ctx.Done():
	}
	errs := stopAll(ctx, l.load.producers)
	for _, t := range l.txns.transactors {
		errs = append(errs, t.stop(ctx))
	}
	return errors.Join(append(errs, err)...)
}

// judge judges the history and adds what was done to the report.
func (l *life) judge(e *env, rep *report) {
	rec := l.load.rec
	rec.mu.Lock()
	defer rec.mu.Unlock()
	rules := maps.Clone(lifeRules)
	for topic, r := range rules {
		r.Until = l.found.until
		rules[topic] = r
	}
	e.anomalies = append(e.anomalies, oracle.CheckLife(&rec.history, rules)...)
	e.anomalies = append(e.anomalies, l.again.anomalies...)
	ops := count(&rec.history)
	rep.Faults["life: acked"], rep.Faults["life: transactions"] = int64(ops.Acked), int64(ops.Committed)
	rep.Faults["life: topics made anew"], rep.Faults["life: deletions"] = int64(l.again.made-1), int64(len(rec.history.Deletions))
	sent, gone := map[string]int64{}, map[string]int64{}
	for _, s := range rec.history.Sends {
		if s.Outcome == oracle.OK && (s.Txn == 0 || rec.history.Txn(s.Txn).Commit == oracle.OK) {
			sent[s.Partition.Topic]++
		}
	}
	left := map[string]int64{}
	for _, r := range rec.history.Reads[max(0, len(rec.history.Reads)-len(l.load.partitions)):] {
		left[r.Partition.Topic] += int64(len(r.Records))
	}
	for _, r := range rec.history.Reads {
		if strings.HasPrefix(r.Name, "during-") && r.Partition == l.load.partitions[0] {
			rep.Faults["life: whole reads"]++
		}
	}
	for _, topic := range l.load.topics {
		gone[topic] = sent[topic] - left[topic]
		rep.Faults[topic+": gone"] = gone[topic]
		if gone[topic] <= 0 {
			e.found(notAlive, "no record of %s has gone", topic)
		}
	}
	if l.again.made < 3 {
		e.found(notAlive, "a topic was made %d times", l.again.made)
	}
}
