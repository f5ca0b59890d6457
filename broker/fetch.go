package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/broker/partition"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/tracing"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/producers"
)

// Fetch (key 1), versions 4 to 18.
//
// A fetch that finds too little is parked as a partition.Wait: no goroutine, one
// timer. When it is woken the connection's writer reads once more and answers.
//
// From version 16 on an answer of NOT_LEADER_OR_FOLLOWER or FENCED_LEADER_EPOCH tells who
// leads (KIP-951).
//
// Deviations: diverging epochs (version 12, KIP-595) are reported for the last
// fetched epoch as Kafka does, but followers do not exist: a replica id other
// than -1 is served as a consumer. PreferredReadReplica is always -1.

// maxFetchBytes bounds one answer whatever the client asks (fetch.max.bytes).
const maxFetchBytes = 55 << 20

// zstdFetchVersion is the first version that may be given zstd (KIP-110).
const zstdFetchVersion = 10

// fetched is the answer for one partition, with its records by reference.
type fetched struct {
	want      *fetchPartition
	topic     id.Topic // of the log, if it was found
	code      int16
	high      id.Offset
	stable    id.Offset
	start     id.Offset
	diverging *divergingEpoch
	leader    *currentLeader // told with an error, if not nil
	batches   [][]byte
	bytes     int
	committed bool // read with isolation read_committed
	aborted   []producers.AbortedTxn
	more      bool // what follows the batches is there already
}

type divergingEpoch struct {
	epoch id.Epoch
	end   id.Offset
}

// fetch is one Fetch request under way.
type fetch struct {
	b       *Broker
	c       *call
	req     *kmsg.FetchRequest
	context fetchContext
}

func handleFetch(ctx context.Context, b *Broker, c *call) {
	req := requestOf[*kmsg.FetchRequest](c)
	context, kafkaErr := b.storage.sessions.begin(req, c.received)
	if kafkaErr != nil {
		resp := responseTo[*kmsg.FetchResponse](req)
		resp.ErrorCode = c.code(kafkaErr)
		c.reply(resp)
		return
	}
	f := &fetch{b: b, c: c, req: req, context: context}
	results, complete := f.read(ctx)
	if complete {
		held := 0
		for i := range results {
			held += results[i].bytes
		}
		c.holds(held)
		c.reply(f.response(results))
		return
	}
	f.park(ctx, results)
}

// read fetches every partition once. complete reports that the answer need not wait:
// also when a partition has more to give than it gave, since a partition that is
// behind would otherwise wait out its time wherever a read ends, at the end of a pack
// or of a hot segment.
func (f *fetch) read(ctx context.Context) (results []fetched, complete bool) {
	results = make([]fetched, 0, len(f.context.parts))
	left := min(int(f.req.MaxBytes), maxFetchBytes)
	total := 0
	for _, want := range f.context.parts {
		r := f.readOne(ctx, want, left, total == 0)
		total += r.bytes
		left -= r.bytes
		complete = complete || r.code != 0 || r.diverging != nil || r.more
		results = append(results, r)
	}
	return results, complete || total >= int(f.req.MinBytes) || f.req.MaxWaitMillis <= 0 || len(results) == 0
}

// readOne fetches one partition. Only the first partition that has data may
// exceed the limits, by its first batch (KIP-74).
func (f *fetch) readOne(ctx context.Context, want *fetchPartition, left int, first bool) fetched {
	r := fetched{want: want, high: -1, stable: -1, start: -1}
	log, err := f.log(want)
	if err == nil {
		r.topic = log.ID().Topic
		err = log.CheckEpoch(want.currentEpoch)
	}
	if err == nil {
		err = f.checkDivergence(ctx, log, want, &r)
	}
	if err != nil || r.diverging != nil {
		r.code = f.c.code(err)
		return r
	}
	most := min(int(want.maxBytes), left)
	if most <= 0 && !first {
		w := log.Watermarks()
		r.high, r.stable, r.start = w.High, w.Stable, w.Start
		return r
	}
	r.committed = f.committed()
	ctx, span := f.coldSpan(ctx, log, want)
	got, err := log.Read(ctx, want.offset, most, r.committed)
	span.Set("bytes", int64(got.Bytes))
	span.End(err)
	r.high, r.stable, r.start = got.High, got.Stable, got.Start
	if err != nil {
		r.code = f.c.code(err)
		if errors.Is(err, partition.ErrOutOfRange) {
			r.high, r.stable, r.start = -1, -1, -1
		}
		return r
	}
	r.batches, r.bytes, r.more, r.aborted = got.Batches, got.Bytes, got.More, got.Aborted
	for !first && r.bytes > most {
		last := len(r.batches) - 1
		r.bytes -= len(r.batches[last])
		next := batch.View(r.batches[last]).BaseOffset()
		r.batches, r.more = r.batches[:last], true
		r.aborted = slices.DeleteFunc(r.aborted, func(t producers.AbortedTxn) bool { return t.First >= next })
	}
	return r
}

// coldSpan begins a span if the read is one below the hot tier.
func (f *fetch) coldSpan(ctx context.Context, log *partition.Log, want *fetchPartition) (context.Context, *tracing.Span) {
	if f.b.cfg.Tracer == nil || want.offset >= log.HotStart() {
		return ctx, nil
	}
	ctx, span := f.b.cfg.Tracer.Start(ctx, spanFetch)
	span.Name("topic", log.ID().Topic.String())
	span.Set("partition", int64(want.index))
	span.Set("offset", int64(want.offset))
	return ctx, span
}

// committed reports whether the client wants records of committed transactions only.
func (f *fetch) committed() bool { return f.req.IsolationLevel == 1 }

// log finds the partition's log by id or by name.
func (f *fetch) log(want *fetchPartition) (*partition.Log, error) {
	if f.req.Version >= 13 {
		return f.b.storage.logByID(want.id, want.index)
	}
	if err := f.checkZstd(want.topic); err != nil {
		return nil, err
	}
	return f.b.storage.logByName(want.topic, want.index)
}

// checkZstd refuses a topic of compression.type zstd to clients that are older than
// zstd (KIP-110). A topic that is not known passes.
func (f *fetch) checkZstd(topic string) error {
	if f.req.Version >= zstdFetchVersion {
		return nil
	}
	t, ok := f.b.meta.Image().Topic(topic)
	if ok && f.b.topicConfig(t).CompressionType == "zstd" {
		return fmt.Errorf("fetch: topic %q is of zstd, which needs version %d: %w", topic, zstdFetchVersion, kerr.UnsupportedCompressionType)
	}
	return nil
}

// checkDivergence answers a client whose last fetched epoch ended elsewhere here.
func (f *fetch) checkDivergence(ctx context.Context, log *partition.Log, want *fetchPartition, r *fetched) error {
	if f.req.Version < 12 || want.lastEpoch < 0 {
		return nil
	}
	epoch, end, err := log.EpochEnd(ctx, want.lastEpoch)
	if err != nil {
		return err
	}
	if epoch < 0 {
		return kerr.OffsetOutOfRange
	}
	if epoch < want.lastEpoch || end < want.offset {
		w := log.Watermarks()
		r.high, r.stable, r.start = w.High, w.Stable, w.Start
		r.diverging = &divergingEpoch{epoch: epoch, end: end}
	}
	return nil
}

// park registers the fetch with its partitions, to be answered when enough has come
// or its time is up: at once, if one of them has moved since it was read.
func (f *fetch) park(ctx context.Context, results []fetched) {
	need := int64(f.req.MinBytes)
	for _, r := range results {
		need -= int64(r.bytes)
	}
	wait := time.Duration(f.req.MaxWaitMillis) * time.Millisecond
	w := partition.NewWait(max(need, 1), wait, func() {
		f.c.replyLater(func() response {
			results, _ := f.read(ctx)
			return f.response(results)
		})
	})
	for _, r := range results {
		log, err := f.log(r.want)
		seen := r.high
		if f.committed() {
			seen = r.stable
		}
		if err != nil || !log.Register(w, seen, f.committed()) {
			w.Fire()
			return
		}
	}
	select {
	case <-f.b.draining: // those parked have been woken, this one perhaps not
		w.Fire()
	default:
	}
}

// response builds the answer; in a session it leaves out what has nothing new.
func (f *fetch) response(results []fetched) response {
	resp := &fetchResponse{sessionID: f.context.id}
	f.tellLeaders(resp, results)
	for i := range results {
		if r := &results[i]; r.bytes > 0 {
			f.b.storage.traffic.fetched(r.topic, r.batches, r.bytes)
		}
	}
	session := f.context.session
	if session == nil {
		resp.parts = results
		return resp
	}
	session.mu.Lock()
	defer session.mu.Unlock()
	served := make(map[*fetchPartition]bool)
	for _, r := range results {
		want := r.want.kept
		fresh := !f.context.incremental || !want.sent || r.code != 0 || r.bytes > 0 || r.diverging != nil ||
			r.high != want.sentHigh || r.start != want.sentStart
		if !fresh {
			continue
		}
		want.sent, want.sentHigh, want.sentStart = r.code == 0, r.high, r.start
		if r.bytes > 0 {
			served[want] = true
		}
		resp.parts = append(resp.parts, r)
	}
	session.serveLast(served)
	return resp
}

// tellLeaders adds who leads the partitions that this broker does not, or no more under
// the client's epoch.
func (f *fetch) tellLeaders(resp *fetchResponse, results []fetched) {
	if f.req.Version < fetchLeaderVersion {
		return
	}
	hints := leaderHints{img: f.b.told(), listener: f.c.listener().Name}
	for i := range results {
		r := &results[i]
		if leader, ok := hints.of(r.code, id.Partition{Topic: r.want.id, Index: r.want.index}); ok {
			r.leader = &leader
		}
	}
	resp.nodes = hints.nodes
}
