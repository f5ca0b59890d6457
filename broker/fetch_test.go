package broker

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/tiering/batch"
)

// Every version gives the batch that holds the offset and what follows it.
func TestFetchFromEveryOffset(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	n.mustProduce("t", 0, batchOfNow(batch.None, 1), batchOfNow(batch.Snappy, 2), batchOfNow(batch.None, 3))
	for version := int16(4); version <= 18; version++ {
		for offset, bases := range [][]int64{{0, 1, 3}, {1, 3}, {1, 3}, {3}, {3}, {3}, nil} {
			got := n.fetch(n.fetchRequest(version, want{topic: "t", offset: int64(offset)}))
			require.Len(t, got, 1)
			require.Zero(t, got[0].ErrorCode)
			require.Equal(t, bases, n.basesOf(got[0].RecordBatches), "version %d, offset %d", version, offset)
			require.Equal(t, []int64{6, 6}, []int64{got[0].HighWatermark, got[0].LastStableOffset})
			require.Empty(t, got[0].AbortedTransactions)
			require.Equal(t, int32(-1), got[0].PreferredReadReplica)
			if version >= 5 {
				require.Zero(t, got[0].LogStartOffset)
			}
		}
		for _, offset := range []int64{-1, 7, 1 << 60} {
			got := n.fetch(n.fetchRequest(version, want{topic: "t", offset: offset}))
			require.Equal(t, kerr.OffsetOutOfRange, errorOf(got[0].ErrorCode))
			require.Empty(t, got[0].RecordBatches)
			require.Equal(t, []int64{-1, -1}, []int64{got[0].HighWatermark, got[0].LastStableOffset})
		}
	}
}

func TestFetchWhatDoesNotExist(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	n.mustProduce("t", 0, batchOfNow(batch.None, 1))
	for _, tc := range []struct {
		version int16
		want    want
		err     *kerr.Error
	}{
		{12, want{topic: "none"}, kerr.UnknownTopicOrPartition},
		{13, want{topic: "none"}, kerr.UnknownTopicID},
		{12, want{topic: "t", index: 1}, kerr.UnknownTopicOrPartition},
		{13, want{topic: "t", index: -1}, kerr.UnknownTopicOrPartition},
	} {
		req := n.fetchRequest(tc.version, tc.want, want{topic: "t"})
		req.MaxWaitMillis, req.MinBytes = 60_000, 1<<20 // an error is answered at once
		got := n.fetch(req)
		require.Equal(t, tc.err, errorOf(got[0].ErrorCode))
		require.Zero(t, got[1].ErrorCode)
		require.Equal(t, []int64{0}, n.basesOf(got[1].RecordBatches), "the others are served beside it")
	}
}

// Clients that are older than zstd are told so for a topic of it.
func TestFetchZstdBeforeItsVersion(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1, with("compression.type", value("zstd"))))
	n.mustProduce("t", 0, batchOfNow(batch.Zstd, 1))
	for version := int16(4); version <= 18; version++ {
		got := n.fetch(n.fetchRequest(version, want{topic: "t"}))[0]
		if version < 10 {
			require.Equal(t, kerr.UnsupportedCompressionType, errorOf(got.ErrorCode))
			continue
		}
		require.Equal(t, []int64{0}, n.basesOf(got.RecordBatches))
	}
}

// The first batch of the first partition that has one is returned above any limit, others are not.
func TestFetchLimits(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 3, 1)) // partition 2 stays empty
	v := batchOfSize(1000)
	for range 3 {
		n.mustProduce("t", 0, bytes.Clone(v))
		n.mustProduce("t", 1, bytes.Clone(v))
	}
	size := int32(len(v))
	all := []int64{0, 1, 2}
	for _, tc := range []struct {
		name       string
		total      int32
		each       int32
		first, two []int64
	}{
		{"one byte in all", 1, 1 << 20, all[:1], nil},
		{"nothing in all", 0, 1 << 20, all[:1], nil},
		{"one byte each", 1 << 20, 1, all[:1], nil},
		{"a byte less than one each", 1 << 20, size - 1, all[:1], nil},
		{"one each", 1 << 20, size, all[:1], all[:1]},
		{"two each", 1 << 20, 3*size - 1, all[:2], all[:2]},
		{"three in all", 3 * size, 1 << 20, all, nil},
		{"four in all", 4 * size, 1 << 20, all, all[:1]},
		{"a byte less than four in all", 4*size - 1, 1 << 20, all, nil},
		{"one in all", size, 1 << 20, all[:1], nil},
		{"no limit", 1 << 30, 1 << 30, all, all},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := &node{Broker: n.Broker, t: t}
			req := n.fetchRequest(12, want{topic: "t", index: 2}, want{topic: "t", index: 0, limit: tc.each}, want{topic: "t", index: 1, limit: tc.each})
			req.MaxBytes = tc.total
			got := n.fetch(req)
			require.Len(t, got, 3)
			require.Empty(t, got[0].RecordBatches)
			require.Equal(t, tc.first, n.basesOf(got[1].RecordBatches))
			require.Equal(t, tc.two, n.basesOf(got[2].RecordBatches))
			require.Equal(t, int64(3), got[2].HighWatermark, "told even if there is no room for records")
		})
	}
}

// awaitParked waits until that many requests are parked.
func (n *node) awaitParked(count int) {
	n.t.Helper()
	require.Eventually(n.t, func() bool { return n.unanswered() == count }, 10*time.Second, time.Millisecond)
}

// waiting is a fetch from an offset that waits a minute for so many bytes.
func (n *node) waiting(version int16, minBytes int, wants ...want) *kmsg.FetchRequest {
	req := n.fetchRequest(version, wants...)
	req.MaxWaitMillis, req.MinBytes = 60_000, int32(minBytes)
	return req
}

// fetched reads the response to a fetch.
func (c *client) fetched(correlation int32, version int16) *kmsg.FetchResponse {
	c.t.Helper()
	resp := kmsg.NewPtrFetchResponse()
	resp.SetVersion(version)
	c.response(correlation, resp)
	return resp
}

// A fetch waits until there are as many bytes as it wants, over all its partitions.
func TestFetchMinBytes(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 2, 1))
	v := batchOfSize(100)
	n.mustProduce("t", 0, bytes.Clone(v))
	c := n.dial()
	c.send(n.waiting(12, 3*len(v), want{topic: "t", index: 0}, want{topic: "t", index: 1}))
	n.awaitParked(1)
	n.mustProduce("t", 1, bytes.Clone(v))
	require.Equal(t, 1, n.unanswered(), "a produce is answered after it has woken those that it completes")
	n.mustProduce("t", 0, bytes.Clone(v))
	got := partsOf(c.fetched(0, 12))
	require.Equal(t, []int64{0, 1}, n.basesOf(got[0].RecordBatches))
	require.Equal(t, []int64{0}, n.basesOf(got[1].RecordBatches))

	c.send(n.waiting(12, 3*len(v), want{topic: "t"}, want{topic: "t", index: 1}))
	require.Len(t, partsOf(c.fetched(1, 12)), 2, "what is there already is not waited for")
	c.send(n.waiting(12, 0, want{topic: "t", offset: 2}))
	require.Empty(t, partsOf(c.fetched(2, 12))[0].RecordBatches, "nor are no bytes")
}

func TestFetchMaxWait(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	n.mustProduce("t", 0, batchOfSize(10))
	req := n.waiting(12, 1<<20, want{topic: "t"})
	req.MaxWaitMillis = 100
	begun := time.Now()
	got := n.fetch(req)
	require.GreaterOrEqual(t, time.Since(begun), 100*time.Millisecond)
	require.Equal(t, []int64{0}, n.basesOf(got[0].RecordBatches), "it gives what there is")
	require.Zero(t, n.unanswered())
}

// Parked fetches cost no goroutine, and one produce wakes them all.
func TestFetchManyParked(t *testing.T) {
	const many = 500
	n := startNode(t, func(cfg *Config) { cfg.Limits.MaxInFlight = many + 1 })
	n.mustCreate(wantTopic("t", 1, 1))
	c := n.dial()
	c.send(n.waiting(12, 1, want{topic: "t"}))
	n.awaitParked(1)
	before := runtime.NumGoroutine()
	for range many {
		c.send(n.waiting(12, 1, want{topic: "t"}))
	}
	n.awaitParked(many + 1)
	require.Less(t, runtime.NumGoroutine(), before+many/10)
	n.mustProduce("t", 0, batchOfNow(batch.None, 1))
	for i := range int32(many + 1) {
		require.Equal(t, []int64{0}, n.basesOf(partsOf(c.fetched(i, 12))[0].RecordBatches))
	}
}

// Both isolation levels end at the high watermark while no transaction is open.
func TestFetchIsolation(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	n.mustProduce("t", 0, batchOfNow(batch.None, 2), batchOfProducer(7, 0, 0, 2))
	for isolation := int8(0); isolation <= 1; isolation++ {
		req := n.fetchRequest(12, want{topic: "t"})
		req.IsolationLevel = isolation
		got := n.fetch(req)[0]
		require.Equal(t, []int64{0, 2}, n.basesOf(got.RecordBatches))
		require.Equal(t, int64(4), got.LastStableOffset)
	}
}

// A topic that is deleted, and a broker that closes, answer those that wait.
func TestFetchDeletedWhileParked(t *testing.T) {
	n := startNode(t)
	for version, err := range map[int16]*kerr.Error{12: kerr.UnknownTopicOrPartition, 13: kerr.UnknownTopicID} {
		n.mustCreate(wantTopic("t", 1, 1))
		c := n.dial()
		c.send(n.waiting(version, 1, want{topic: "t"}))
		n.awaitParked(1)
		_, deleted := n.admin().DeleteTopics(t.Context(), "t")
		require.NoError(t, deleted)
		require.Equal(t, err, errorOf(partsOf(c.fetched(0, version))[0].ErrorCode))
	}
}

func TestFetchWhileClosing(t *testing.T) {
	grace := time.Minute
	n := startNode(t, func(cfg *Config) { cfg.Limits.ShutdownGrace = grace })
	n.mustCreate(wantTopic("t", 1, 1))
	n.mustProduce("t", 0, batchOfNow(batch.None, 1))
	c := n.dial()
	c.send(n.waiting(12, 1<<20, want{topic: "t"}))
	c.send(n.waiting(12, 1, want{topic: "t", offset: 1}))
	n.awaitParked(2)
	begun := time.Now()
	n.close()
	require.Less(t, time.Since(begun), grace, "the grace for requests is not needed")
	require.Equal(t, []int64{0}, n.basesOf(partsOf(c.fetched(0, 12))[0].RecordBatches))
	require.Empty(t, partsOf(c.fetched(1, 12))[0].RecordBatches)
	c.closed()
}

// drained is a part that runs when the parked fetches have been woken.
type drained func()

func (f drained) drain()                    { f() }
func (drained) close(context.Context) error { return nil }

// A client that is woken sends its next fetch at once. While the broker closes it must not be parked.
func TestFetchSentWhileClosing(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	c := n.dial()
	c.send(n.fetchRequest(12, want{topic: "t"}))
	c.fetched(0, 12)
	n.closers = append(n.closers, drained(func() {
		c.send(n.waiting(12, 1, want{topic: "t"}))
		require.NoError(t, c.nc.SetReadDeadline(time.Now().Add(5*time.Second)))
		require.Empty(t, partsOf(c.fetched(1, 12))[0].RecordBatches)
	}))
	n.close()
}

// inSession makes a fetch one of a session.
func inSession(req *kmsg.FetchRequest, session, epoch int32) *kmsg.FetchRequest {
	req.SessionID, req.SessionEpoch = session, epoch
	return req
}

// indexesOf are the partitions in a response.
func indexesOf(resp *kmsg.FetchResponse) (all []int32) {
	for _, p := range partsOf(resp) {
		all = append(all, p.Partition)
	}
	return all
}

// A session remembers its partitions, and its answers leave out what has nothing new.
func TestFetchSessions(t *testing.T) {
	for _, version := range []int16{7, 11, 12, 13, 18} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			n := startNode(t)
			n.mustCreate(wantTopic("t", 3, 1))
			session := int32(0)
			step := func(epoch int32, forget []int32, wants ...want) []int32 {
				req := inSession(n.fetchRequest(version, wants...), session, epoch)
				if len(forget) > 0 {
					f := kmsg.NewFetchRequestForgottenTopic()
					f.Topic, f.TopicID, f.Partitions = "t", n.topicID("t"), forget
					req.ForgottenTopics = append(req.ForgottenTopics, f)
				}
				resp := ask(n, req, kmsg.NewPtrFetchResponse())
				require.Zero(t, resp.ErrorCode)
				session = resp.SessionID
				return indexesOf(resp)
			}
			require.Equal(t, []int32{0, 1, 2}, step(0, nil, want{topic: "t"}, want{topic: "t", index: 1}, want{topic: "t", index: 2}))
			require.NotZero(t, session)
			require.Empty(t, step(1, nil))
			n.mustProduce("t", 1, batchOfNow(batch.None, 1))
			require.Equal(t, []int32{1}, step(2, nil))
			require.Equal(t, []int32{1}, step(3, nil), "still at offset 0")
			require.Empty(t, step(4, nil, want{topic: "t", index: 1, offset: 1}))
			n.mustProduce("t", 0, batchOfNow(batch.None, 1))
			n.mustProduce("t", 1, batchOfNow(batch.None, 1))
			require.Equal(t, []int32{0}, step(5, []int32{1}), "forgotten")
			require.Equal(t, []int32{0, 1}, step(6, nil, want{topic: "t", index: 1, offset: 2}), "named again, so told of")
			require.Empty(t, step(7, nil, want{topic: "t", index: 0, offset: 1}))
			require.Equal(t, []int32{0}, step(8, nil, want{topic: "t", index: 0, offset: 9}), "an error")
			require.Equal(t, []int32{0}, step(9, nil), "each time")
			require.Equal(t, []int32{0}, step(10, nil, want{topic: "t", index: 0, offset: 1}), "and that it has ended")
			require.Empty(t, step(11, nil))
			before := session
			require.Equal(t, []int32{2}, step(-1, nil, want{topic: "t", index: 2}))
			require.Zero(t, session, "the session has ended")
			resp := ask(n, inSession(n.fetchRequest(version), before, 12), kmsg.NewPtrFetchResponse())
			require.Equal(t, kerr.FetchSessionIDNotFound, errorOf(resp.ErrorCode))
		})
	}
}

func TestFetchSessionErrors(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1))
	first := ask(n, inSession(n.fetchRequest(12, want{topic: "t"}), 0, 0), kmsg.NewPtrFetchResponse())
	for _, tc := range []struct {
		version        int16
		session, epoch int32
		want           *kerr.Error
	}{
		{12, first.SessionID, 2, kerr.InvalidFetchSessionEpoch},
		{12, first.SessionID ^ 1, 1, kerr.FetchSessionIDNotFound},
		{13, first.SessionID, 1, kerr.FetchSessionTopicIDError},
		{12, first.SessionID, 1, nil},
		{12, first.SessionID, 1, kerr.InvalidFetchSessionEpoch},
		{12, first.SessionID, 2, nil},
	} {
		resp := ask(n, inSession(n.fetchRequest(tc.version), tc.session, tc.epoch), kmsg.NewPtrFetchResponse())
		require.Equal(t, tc.want, errorOf(resp.ErrorCode))
		require.Empty(t, resp.Topics)
	}
}

// A parked incremental fetch is woken by a partition of its session.
func TestFetchSessionParked(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 3, 1))
	c := n.dial()
	c.send(inSession(n.fetchRequest(13, want{topic: "t"}, want{topic: "t", index: 1}, want{topic: "t", index: 2}), 0, 0))
	session := c.fetched(0, 13).SessionID
	c.send(inSession(n.waiting(13, 1), session, 1))
	n.awaitParked(1)
	n.mustProduce("t", 2, batchOfNow(batch.None, 1))
	resp := c.fetched(1, 13)
	require.Equal(t, []int32{2}, indexesOf(resp))
	require.Equal(t, []int64{0}, n.basesOf(partsOf(resp)[0].RecordBatches))
}

// restarted opens a broker, runs before on it, and returns its successor on the same stores.
func restarted(t *testing.T, before func(n *node)) *node {
	cfg, dir := testConfig(), t.TempDir()
	reuse := func(c *Config) {
		c.Metadata, c.Offsets, c.Objects, c.DataDir = cfg.Metadata, cfg.Offsets, cfg.Objects, dir
		c.Storage.HotBytes = 1 // of what is sealed nothing stays hot
	}
	first := startNode(t, reuse)
	before(first)
	first.close()
	return startNode(t, reuse)
}

// The leader epochs that a client believes in are checked, and so is the epoch of what it has read.
func TestFetchLeaderEpochs(t *testing.T) {
	n := restarted(t, func(n *node) {
		n.mustCreate(wantTopic("t", 1, 1))
		n.mustProduce("t", 0, batchOfNow(batch.None, 5))
	})
	n.mustProduce("t", 0, batchOfNow(batch.None, 5))
	none, zero, one, two := int32(0), int32(1), int32(2), int32(3)
	for _, tc := range []struct {
		name          string
		offset        int64
		current, last int32
		want          *kerr.Error
		diverging     [2]int64
		bases         []int64
	}{
		{"none", 0, none, none, nil, [2]int64{-1, -1}, []int64{0}},
		{"less than none", 0, none - 2, none, nil, [2]int64{-1, -1}, []int64{0}},
		{"current", 5, one, none, nil, [2]int64{-1, -1}, []int64{5}},
		{"fenced", 5, zero, none, kerr.FencedLeaderEpoch, [2]int64{-1, -1}, nil},
		{"unknown", 5, two, none, kerr.UnknownLeaderEpoch, [2]int64{-1, -1}, nil},
		{"last of the old epoch", 5, one, zero, nil, [2]int64{-1, -1}, []int64{5}},
		{"beyond the old epoch", 6, one, zero, nil, [2]int64{0, 5}, nil},
		{"within the new one", 6, one, one, nil, [2]int64{-1, -1}, []int64{5}},
		{"beyond the new one", 11, one, one, nil, [2]int64{1, 10}, nil},
		{"an epoch to come", 5, one, two, kerr.OffsetOutOfRange, [2]int64{-1, -1}, nil},
	} {
		for _, version := range []int16{12, 13, 18} {
			t.Run(fmt.Sprintf("%s/%d", tc.name, version), func(t *testing.T) {
				n := &node{Broker: n.Broker, t: t}
				req := n.waiting(version, 1, want{topic: "t", offset: tc.offset, current: tc.current, last: tc.last})
				got := n.fetch(req)[0]
				require.Equal(t, tc.want, errorOf(got.ErrorCode))
				require.Equal(t, tc.diverging, [2]int64{int64(got.DivergingEpoch.Epoch), got.DivergingEpoch.EndOffset})
				bases := n.basesOf(got.RecordBatches)
				require.Equal(t, tc.bases, bases[:min(len(bases), 1)])
			})
		}
	}
}

// A read ends where its tier does. What follows is there already, so that there is
// nothing to wait for, however many bytes are wanted.
func TestFetchDoesNotWaitForWhatIsThere(t *testing.T) {
	n := startNode(t, func(cfg *Config) { cfg.Storage.HotBytes = 1 })
	n.mustCreate(wantTopic("t", 1, 1))
	n.mustProduce("t", 0, batchOfNow(batch.None, 5))
	require.NoError(t, n.storage.sealer.SealAll(t.Context()))
	n.mustProduce("t", 0, batchOfNow(batch.None, 5))
	require.Equal(t, []int64{0}, n.basesOf(n.fetch(n.waiting(12, 1<<20, want{topic: "t"}))[0].RecordBatches))
	c := n.dial()
	c.send(n.waiting(12, 1<<20, want{topic: "t", offset: 5}))
	n.awaitParked(1)
	n.close()
	require.Equal(t, []int64{5}, n.basesOf(partsOf(c.fetched(0, 12))[0].RecordBatches))
}

// What has left the hot tier is read from packs, byte for byte, from every offset.
func TestFetchFromPacks(t *testing.T) {
	n := startNode(t, func(cfg *Config) { cfg.Storage.SegmentBytes, cfg.Storage.HotBytes = 8<<10, 1 })
	n.mustCreate(wantTopic("t", 2, 1))
	const batches = 60
	for range batches {
		n.mustProduce("t", 0, batchOfSize(500))
		n.mustProduce("t", 1, batchOfNow(batch.Zstd, 2))
	}
	require.Eventually(t, func() bool { return n.logOf("t", 0).HotStart() > batches/2 }, 20*time.Second, 5*time.Millisecond, "older segments are sealed and dropped")
	require.Less(t, int(n.logOf("t", 0).HotStart()), batches, "the newest is hot")
	for from := range int64(batches) {
		var bases []int64
		for next := from; next < batches; next = bases[len(bases)-1] + 1 {
			got := n.fetch(n.fetchRequest(12, want{topic: "t", offset: next, limit: 3000}))[0]
			require.Zero(t, got.ErrorCode)
			require.LessOrEqual(t, len(got.RecordBatches), 3000)
			bases = append(bases, n.basesOf(got.RecordBatches)...)
		}
		require.Len(t, bases, batches-int(from))
		require.Equal(t, from, bases[0])
	}
	require.Positive(t, n.storage.cold.Stats().Requests)

	consumer := n.kgo(kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	next := make(map[int32]int64)
	for next[0] < batches || next[1] < 2*batches {
		f := consumer.PollFetches(t.Context())
		require.NoError(t, f.Err())
		f.EachRecord(func(r *kgo.Record) {
			require.Equal(t, next[r.Partition], r.Offset)
			next[r.Partition]++
		})
	}
}
