package lifemodel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/producers"
)

// life is the world beside the model of it. Its exported methods are the steps.
type life struct {
	w      *world
	topics []*topic
	gone   []*topic // deleted ones
	serial int      // of values, so that no two records are alike
}

// TestLife: whatever is done to the data of a node, its readers see what Kafka's would, and in
// the end nothing is left that nobody can read.
func TestLife(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &life{w: newWorld(t)}
		defer func() { l.w.stop(t.Failed()) }()
		for _, policy := range []string{"delete", "compact", "compact,delete"} {
			l.create(t, policy, policy)
		}
		t.Repeat(map[string]func(*rapid.T){
			"Append": l.Append, "AppendMore": l.Append, "AppendMost": l.Append, "Repeated": l.Repeated,
			"Mark": l.Mark, "Seal": l.Seal, "DeleteRecords": l.DeleteRecords, "Restart": l.Restart, "Crash": l.Crash, "Clock": l.Clock, "Retain": l.Retain,
			"Merge": l.Merge, "MergeStale": l.MergeStale, "MergeAcross": l.MergeAcross, "Collect": l.Collect, "Compact": l.Compact,
			"KeepMerging": l.KeepMerging, "KeepCompacting": l.KeepCompacting, "Reread": l.Reread,
			"Recreate": l.Recreate, "AddPartition": l.AddPartition, "Read": l.Read,
		})
		l.Finish(t)
	})
}

// create makes a topic with settings of its own.
func (l *life) create(t *rapid.T, name, policy string) {
	tp := &topic{
		name: name, id: id.NewTopic(), compact: policy != "delete", delete: policy != "compact",
		retention:      rapid.SampledFrom([]int64{-1, hour, 24 * hour}).Draw(t, "retention.ms"),
		retentionBytes: rapid.SampledFrom([]int64{-1, 0, 8 << 10}).Draw(t, "retention.bytes"),
		tombstones:     rapid.SampledFrom([]int64{0, hour, 24 * hour}).Draw(t, "delete.retention.ms"),
	}
	created := metalog.TopicCreated{Name: name, ID: tp.id, ReplicationFactor: 1, Configs: map[string]string{
		"cleanup.policy": policy, "retention.ms": fmt.Sprint(tp.retention), "retention.bytes": fmt.Sprint(tp.retentionBytes),
		"delete.retention.ms": fmt.Sprint(tp.tombstones), "min.cleanable.dirty.ratio": "0", "segment.bytes": "16384",
	}}
	for i := range int32(rapid.IntRange(1, 2).Draw(t, "partitions")) {
		created.Partitions = append(created.Partitions, here)
		tp.parts = append(tp.parts, newPart(tp, i))
	}
	l.w.update(created)
	l.topics = append(l.topics, tp)
}

const hour = int64(time.Hour / time.Millisecond)

var here = metalog.Assignment{Leader: node, Replicas: []id.Broker{node}}

func (l *life) topic(t *rapid.T) *topic { return rapid.SampledFrom(l.topics).Draw(t, "topic") }

func (l *life) part(t *rapid.T) *part {
	all := l.parts()
	return all[rapid.IntRange(0, len(all)-1).Draw(t, "partition")]
}

// The producers: of none, idempotent ones, and transactional ones of versions 1 and 2.
const (
	firstTransactional id.Producer = 10
	firstV2            id.Producer = 12
)

var allProducers = []id.Producer{id.NoProducer, 1, 2, 10, 11, 12, 13}

// batch draws some records.
func (l *life) batch(t *rapid.T, most int) []record {
	now := l.w.now.Load()
	records := make([]record, rapid.IntRange(1, most).Draw(t, "records"))
	for i := range records {
		l.serial++
		value := fmt.Appendf(nil, "value %d ", l.serial)
		value = append(value, make([]byte, rapid.SampledFrom([]int{0, 50, 600}).Draw(t, "size"))...)
		if rapid.IntRange(0, 5).Draw(t, "tombstone") == 0 {
			value = nil
		}
		back := rapid.SampledFrom([]int64{0, 0, 1, 2 * hour, 30 * hour}).Draw(t, "age")
		records[i] = record{time: now - back, appended: now, key: rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "key"), value: value}
	}
	return records
}

// build makes a batch of a producer's next records.
func build(p *part, producer id.Producer, records []record, sequence int32, codec batch.Codec) batch.View {
	b := batch.New(codec)
	if producer != id.NoProducer {
		b.Producer(producer, p.epoch[producer], sequence)
	}
	if producer >= firstTransactional {
		b.Transactional()
	}
	for _, r := range records {
		b.Add(batch.Record{Timestamp: r.time, Key: []byte(r.key), Value: r.value})
	}
	return b.Build()
}

// send hands a batch of new records to the log and does not wait.
func (l *life) send(t *rapid.T, p *part, producer id.Producer, records []record, sequence int32, done func(error)) partition.Appended {
	v := build(p, producer, records, sequence, rapid.SampledFrom([]batch.Codec{batch.None, batch.None, batch.Gzip, batch.Zstd}).Draw(t, "codec"))
	a := partition.Append{Batch: v, Acks: partition.AcksAll, Now: l.w.clock(), Done: done}
	if producer >= firstTransactional {
		a.Guard, _ = l.w.log(p.id).Verify(v, a.Now, producer >= firstV2)
	}
	got, err := l.w.log(p.id).Append(a)
	if l.w.expiry != forever && errors.Is(err, producers.ErrOutOfOrder) && sequence > 0 {
		// It was forgotten, and is known again by a marker alone: as in Kafka it begins a new epoch.
		p.epoch[producer]++
		p.sequence[producer] = 0
		return l.send(t, p, producer, records, 0, done)
	}
	require.NoError(t, err)
	return got
}

// Append appends batches of random producers.
func (l *life) Append(t *rapid.T) {
	p := l.part(t)
	for range rapid.IntRange(1, 4).Draw(t, "batches") {
		producer := rapid.SampledFrom(allProducers).Draw(t, "producer")
		records := l.batch(t, 6)
		done := make(chan error, 1)
		got := l.send(t, p, producer, records, p.sequence[producer], func(err error) { done <- err })
		require.NoError(t, <-done)
		require.Equal(t, p.end(), got.Base)
		require.False(t, got.Duplicate)
		p.add(producer, records, producer >= firstTransactional)
	}
}

// Repeated sends the last batch of an idempotent producer again.
func (l *life) Repeated(t *rapid.T) {
	p := l.part(t)
	producer := rapid.SampledFrom([]id.Producer{1, 2}).Draw(t, "producer")
	last, ok := p.last[producer]
	if !ok || l.w.expiry != forever {
		t.Skip("it has sent nothing, or may be forgotten")
	}
	done := make(chan error, 1)
	got := l.send(t, p, producer, last.records, last.sequence, func(err error) { done <- err })
	require.NoError(t, <-done)
	require.True(t, got.Duplicate, "producer %d of %s, base %d", producer, p.id, last.base)
	require.Equal(t, last.base, got.Base)
}

// Mark ends a transaction, or repeats the end of one.
func (l *life) Mark(t *rapid.T) {
	p := l.part(t)
	producer := rapid.SampledFrom(allProducers[3:]).Draw(t, "producer")
	m := partition.Marker{Marker: batch.Marker{Commit: rapid.Bool().Draw(t, "commit"), CoordinatorEpoch: 1}, Producer: producer, Epoch: p.epoch[producer], V2: producer >= firstV2, Now: l.w.clock()}
	if m.V2 {
		m.Epoch++
		p.epoch[producer], p.sequence[producer] = m.Epoch, 0
	}
	done := make(chan error, 1)
	m.Done = func(err error) { done <- err }
	require.NoError(t, l.w.log(p.id).AppendMarker(m))
	require.NoError(t, <-done)
	p.mark(producer, m.Commit, l.w.now.Load())
}

// Seal moves all that is hot into packs.
func (l *life) Seal(t *rapid.T) { require.NoError(t, l.w.sealer.SealAll(context.Background())) }

// DeleteRecords moves a log start, as the request does.
func (l *life) DeleteRecords(t *rapid.T) {
	p := l.part(t)
	if !p.topic.delete {
		t.Skip("a compacted topic")
	}
	to := id.Offset(rapid.Int64Range(int64(p.start), int64(p.end())).Draw(t, "to"))
	l.w.update(metalog.LogStartsMoved{Moves: []metalog.StartMove{{Partition: p.id, Epoch: l.w.log(p.id).Watermarks().Epoch, Start: to}}})
	p.start = to
}

// Restart stops the node and starts it again.
func (l *life) Restart(*rapid.T) {
	l.w.stop(false)
	l.w.start()
}

// Crash takes the node's power while batches are on their way to the disk, or in the middle of a step.
func (l *life) Crash(t *rapid.T) {
	w := l.w
	if rapid.Bool().Draw(t, "in a step") {
		before := l.chains(t)
		defer func() { l.retained(t, before, false) }()
		l.someStep(t)
	}
	p := l.part(t)
	var mu sync.Mutex
	var batches [][]record
	acked := 0
	end := p.end()
	for range rapid.IntRange(0, 3).Draw(t, "on the way") {
		records := l.batch(t, 3)
		l.send(t, p, id.NoProducer, records, -1, func(err error) {
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				acked++
			}
		})
		batches = append(batches, records)
	}
	var keep []vfs.CrashOption
	if rapid.Bool().Draw(t, "keeps some of the rest") {
		keep = append(keep, vfs.KeepUnsynced(rapid.Uint64().Draw(t, "seed")))
	}
	w.crash(keep...)
	high := w.log(p.id).Watermarks().High
	for i, records := range batches {
		if high == p.end() {
			require.LessOrEqual(t, acked, i, "%s has lost what was acknowledged: from %d it has come back to %d", p.id, end, high)
			break
		}
		p.add(id.NoProducer, records, false)
	}
	require.Equal(t, p.end(), high, "%s ends with a whole batch", p.id)
}

// someStep is a step that may fail at any place; the node crashes behind it.
func (l *life) someStep(t *rapid.T) {
	jobs, p := l.jobs(t), l.part(t)
	ctx := l.w.fuse.light(rapid.IntRange(0, 12).Draw(t, "operations"))
	steps := map[string]func(){
		"seal":    func() { _ = l.w.sealer.SealAll(ctx) },
		"retain":  func() { _ = l.w.keeper.Retain(ctx, l.ids()) },
		"merge":   func() { _, _ = l.w.engine.Rewrite(ctx, jobs) },
		"compact": func() { _ = l.compact(ctx, p) },
		"keep":    func() { _ = l.w.keeper.Compact(ctx, l.ids()); _ = l.w.keeper.Merge(ctx, l.ids()) },
		"collect": func() { _, _ = l.w.collector.Run(ctx) },
	}
	names := make([]string, 0, len(steps))
	for name := range steps {
		names = append(names, name)
	}
	slices.Sort(names)
	steps[rapid.SampledFrom(names).Draw(t, "step")]()
}

// Clock lets time pass.
func (l *life) Clock(t *rapid.T) {
	l.w.now.Add(rapid.SampledFrom([]int64{1, 60_000, hour, 25 * hour}).Draw(t, "ms"))
}

// Recreate deletes a topic and makes another of its name.
func (l *life) Recreate(t *rapid.T) {
	tp := l.topic(t)
	if rapid.IntRange(0, 3).Draw(t, "often") != 0 {
		t.Skip("not so often")
	}
	l.w.update(metalog.TopicDeleted{ID: tp.id})
	l.topics = slices.DeleteFunc(l.topics, func(o *topic) bool { return o == tp })
	l.gone = append(l.gone, tp)
	l.create(t, tp.name, rapid.SampledFrom([]string{"delete", "compact", "compact,delete"}).Draw(t, "policy"))
}

// AddPartition makes a topic larger.
func (l *life) AddPartition(t *rapid.T) {
	tp := l.topic(t)
	if len(tp.parts) > 3 {
		t.Skip("large enough")
	}
	l.w.update(metalog.PartitionsAdded{ID: tp.id, Partitions: []metalog.Assignment{here}})
	tp.parts = append(tp.parts, newPart(tp, int32(len(tp.parts))))
}

// Read reads one partition in every way.
func (l *life) Read(t *rapid.T) {
	p := l.part(t)
	all := p.check(t, l.w, rapid.SampledFrom([]int{1, 700, 1 << 20}).Draw(t, "bytes at a time"))
	p.checkFrom(t, l.w, all)
}

// readAll reads every partition.
func (l *life) readAll(t *rapid.T) {
	for _, p := range l.parts() {
		p.checkFrom(t, l.w, p.check(t, l.w, 1<<20))
	}
}

// Finish reads everything once more, hot, sealed and recovered.
func (l *life) Finish(t *rapid.T) {
	l.readAll(t)
	l.Seal(t)
	l.readAll(t)
	l.Restart(t)
	l.readAll(t)
	l.noGarbage(t)
	l.readAll(t)
}

// verify walks all chains and packs. With clean there must not be an orphan either.
func (l *life) verify(t *rapid.T, clean bool) {
	sum, err := chain.Verify(context.Background(), l.w.table, l.w.objects, func(f chain.Finding) {
		if clean || f.Kind != chain.OrphanFound {
			t.Errorf("verify: %s", f)
		}
	})
	require.NoError(t, err)
	require.Zero(t, sum.Damage)
}
