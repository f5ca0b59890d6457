package broker

import (
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/broker/lifecycle"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

// looksOften has retention looked to without pause.
func looksOften(cfg *Config) { cfg.Lifecycle.RetentionCheck = 5 * time.Millisecond }

// awaitStart awaits that a log starts at offset.
func (n *node) awaitStart(topic string, index int32, offset int64) {
	n.t.Helper()
	require.Eventually(n.t, func() bool { return n.listOffset(7, 0, topic, index, -1, timeEarliest).Offset == offset },
		10*time.Second, 2*time.Millisecond, "start %d of partition %d", offset, index)
}

// lastSegment is the end of a partition's chain.
func (n *node) lastSegment(topic string, index int32) chain.Segment {
	n.t.Helper()
	_, last, _, err := chain.Open(n.cfg.Chains).End(n.t.Context(), id.Partition{Topic: n.topicID(topic), Index: index})
	require.NoError(n.t, err)
	return last
}

// An idle partition empties, and goes on, also after a restart.
func TestRetentionByTime(t *testing.T) {
	cfg := testConfig()
	cfg.FS, cfg.DataDir = vfs.NewMem(), "/data"
	looksOften(&cfg)
	same := func(c *Config) { *c = cfg }
	n := startNode(t, same)
	n.mustCreate(wantTopic("t", 1, 1, with("retention.ms", value("60000"))), wantTopic("kept", 1, 1, with("retention.ms", value("-1"))),
		wantTopic("compacted", 1, 1, with("retention.ms", value("0")), with("cleanup.policy", value("compact"))))
	for _, topic := range []string{"t", "kept", "compacted"} {
		n.mustProduce(topic, 0, batchAt(batch.None, 10, 20, 30))
	}
	n.awaitStart("t", 0, 3)
	require.Equal(t, int64(3), n.listOffset(7, 0, "t", 0, -1, timeLatest).Offset)
	require.Eventually(t, func() bool { return n.lastSegment("t", 0).Empty() }, 10*time.Second, 2*time.Millisecond)
	n.mustProduce("t", 0, batchOfNow(batch.None, 2))
	n.close()

	n = startNode(t, same)
	require.Equal(t, int64(3), n.listOffset(7, 0, "t", 0, -1, timeEarliest).Offset)
	require.Equal(t, int64(5), n.listOffset(7, 0, "t", 0, -1, timeLatest).Offset)
	require.Equal(t, []int64{3}, n.basesOf(n.fetch(n.fetchRequest(12, want{topic: "t", offset: 3}))[0].RecordBatches))
	require.NoError(t, n.change(ofTopic, "t", false, operation(set, "retention.ms", value("0"))))
	n.awaitStart("t", 0, 5)
	for _, topic := range []string{"kept", "compacted"} {
		require.Zero(t, n.listOffset(7, 0, topic, 0, -1, timeEarliest).Offset)
	}
}

// Whole segments go as long as the others have retention.bytes.
func TestRetentionBySize(t *testing.T) {
	n := startNode(t, looksOften)
	n.mustCreate(wantTopic("t", 1, 1))
	for range 4 {
		n.mustProduce("t", 0, batchOfSize(1000))
		require.NoError(t, n.storage.sealer.SealAll(t.Context()))
	}
	n.mustProduce("t", 0, batchOfSize(1000)) // which is hot
	bytes := len(batchOfSize(1000))
	require.NoError(t, n.change(ofTopic, "t", false, operation(set, "retention.bytes", value(strconv.Itoa(2*bytes+1)))))
	n.awaitStart("t", 0, 2)
	require.NoError(t, n.change(ofTopic, "t", false, operation(set, "retention.bytes", value(strconv.Itoa(bytes)))))
	n.awaitStart("t", 0, 4)
	require.NoError(t, n.change(ofTopic, "t", false, operation(set, "retention.bytes", value("0"))))
	n.awaitStart("t", 0, 5)
}

// While sealing is paused, nothing of what is hot goes.
func TestRetentionOfWhatCannotBeSealed(t *testing.T) {
	n := startNode(t, looksOften)
	n.mustCreate(wantTopic("t", 1, 1, with("retention.ms", value("0"))), wantTopic("other", 1, 1))
	require.NoError(t, n.change(ofBroker, "", false, operation(set, config.SealEnable, value("false"))))
	require.Eventually(t, n.storage.sealer.Paused, 5*time.Second, time.Millisecond)
	n.mustProduce("t", 0, batchAt(batch.None, 10))
	require.NoError(t, n.storage.life.retain(t.Context()))
	require.Zero(t, n.listOffset(7, 0, "t", 0, -1, timeEarliest).Offset)
	require.NoError(t, n.change(ofBroker, "", false, operation(set, config.SealEnable, value("true"))))
	n.awaitStart("t", 0, 1)
}

func TestMaintenanceElsewhere(t *testing.T) {
	n := startNode(t, looksOften, func(cfg *Config) { cfg.Lifecycle.Maintenance = config.MaintenanceNone })
	got, err := n.describe(ofBroker, "1", config.Maintenance, config.RetentionCheck)
	require.NoError(t, err)
	require.Equal(t, []string{"forebay.maintenance=none STATIC_BROKER_CONFIG", "forebay.maintenance=broker DEFAULT_CONFIG"}, sources(got[config.Maintenance]))
	require.Equal(t, "5", *got[config.RetentionCheck].Value)
	require.True(t, got[config.RetentionCheck].ReadOnly)
	n.mustCreate(wantTopic("t", 1, 1, with("retention.ms", value("0"))))
	n.mustProduce("t", 0, batchAt(batch.None, 10))
	require.NoError(t, n.storage.sealer.SealAll(t.Context()))
	require.Zero(t, n.listOffset(7, 0, "t", 0, -1, timeEarliest).Offset, "nobody looks to it here")
}

func TestRollerIsDue(t *testing.T) {
	var passed atomic.Int64
	began := time.Now()
	pass := func(d time.Duration) { passed.Add(int64(d)) }
	n := startNode(t, func(cfg *Config) {
		cfg.Now = func() time.Time { return began.Add(time.Duration(passed.Load())) }
	})
	r := &roller{s: n.storage}
	due := func() bool {
		active, ok := n.storage.activeSegment()
		require.True(t, ok)
		return r.due(active)
	}
	n.mustCreate(
		wantTopic("young", 1, 1, with("segment.ms", value("1000"))), wantTopic("patient", 1, 1),
		wantTopic("full", 1, 1, with("segment.bytes", value("1048576"))),
		wantTopic("lagging", 1, 1, with("cleanup.policy", value("compact")), with("max.compaction.lag.ms", value("2000"))),
	)
	n.mustProduce("patient", 0, batchOfSize(1<<19))
	require.False(t, due())
	pass(time.Hour)
	require.False(t, due())

	n.mustProduce("young", 0, batchAt(batch.None, 10))
	require.False(t, due(), "it counts from when the records came, not from their time")
	pass(999 * time.Millisecond)
	require.False(t, due())
	pass(time.Millisecond)
	require.True(t, due())
	require.NoError(t, n.storage.journal.Roll())

	n.mustProduce("full", 0, batchOfSize(1<<19))
	require.False(t, due(), "a segment of its own")
	n.mustProduce("full", 0, batchOfSize(1<<19))
	require.True(t, due())
	require.NoError(t, n.storage.journal.Roll())

	n.mustProduce("lagging", 0, batchAt(batch.None, 10))
	require.False(t, due())
	pass(2 * time.Second)
	require.True(t, due())
	require.NoError(t, n.storage.journal.Roll())

	n.mustProduce("young", 0, batchAt(batch.None, 10))
	require.False(t, due())
	n.mustDelete("young")
	pass(time.Hour)
	require.False(t, due(), "a deleted topic asks for nothing")
}

// The loop rolls the segment, which is then sealed.
func TestSegmentMs(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 1, 1, with("segment.ms", value("1"))))
	n.mustProduce("t", 0, batchOfSize(100))
	n.awaitSealed("t", 0, 1)
}

// Hot segments go once they are sealed and nobody wants them locally; the records are read from packs then.
func TestLocalRetention(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("age", 1, 1, with("local.retention.ms", value("60000"))), wantTopic("size", 1, 1), wantTopic("deleted", 1, 1),
		wantTopic("below", 1, 1))
	n.mustProduce("age", 0, batchAt(batch.None, 10))
	n.mustProduce("size", 0, batchOfSize(1000))
	n.mustProduce("deleted", 0, batchOfSize(1000))
	n.mustProduce("below", 0, batchOfSize(1000))
	require.NoError(t, n.storage.sealer.SealAll(t.Context()))
	n.mustProduce("size", 0, batchOfSize(1000)) // into the next segment
	bytes := strconv.Itoa(len(batchOfSize(1000)))

	unwanted := func() int { return n.storage.unwanted(n.storage.journal.Segments()) }
	require.Zero(t, unwanted(), "size, deleted and below want it")
	n.mustDelete("deleted")
	_, err := n.deleteRecords(2, "below", 0, 1)
	require.NoError(t, err)
	require.Zero(t, unwanted())
	require.NoError(t, n.change(ofTopic, "size", false, operation(set, "local.retention.bytes", value(bytes+"0"))))
	require.Zero(t, unwanted(), "size wants it")
	before := n.storage.journal.Segments()
	require.NoError(t, n.change(ofTopic, "size", false, operation(set, "local.retention.bytes", value(bytes))))
	require.NoError(t, n.storage.sealer.SealAll(t.Context()))
	require.NotContains(t, hotIDs(n), before[0].ID)
	require.Equal(t, int64(1), n.storage.sealer.Stats().Dropped)
	for _, topic := range []string{"age", "size"} {
		require.Equal(t, []int64{0}, n.basesOf(n.fetch(n.fetchRequest(12, want{topic: topic}))[0].RecordBatches)[:1], topic)
	}
}

// hotIDs are the hot segments there are.
func hotIDs(n *node) (ids []id.Segment) {
	for _, s := range n.storage.journal.Segments() {
		ids = append(ids, s.ID)
	}
	return ids
}

// Of a compacted topic the newest record of each key is left, in every tier; retention goes on beside it.
func TestCompaction(t *testing.T) {
	n := startNode(t, looksOften, func(cfg *Config) {
		cfg.Defaults.Configs = map[string]string{config.CleanerBackoff: "5", config.MergeInterval: "5"}
		cfg.Lifecycle.CollectInterval = 5 * time.Millisecond
	})
	n.mustCreate(wantTopic("t", 1, 1, with("cleanup.policy", value("compact")), with("min.cleanable.dirty.ratio", value("0.01"))))
	for range 3 {
		n.mustProduce("t", 0, batchOfNow(batch.None, 2)) // of one key
		require.NoError(t, n.storage.sealer.SealAll(t.Context()))
	}
	left := func() int {
		records := 0
		for raw := n.fetch(n.fetchRequest(12, want{topic: "t"}))[0].RecordBatches; len(raw) > 0; {
			v, rest, err := batch.Parse(raw)
			require.NoError(t, err)
			records, raw = records+int(v.Records()), rest
		}
		return records
	}
	require.Eventually(t, func() bool { return left() == 1 }, 20*time.Second, 5*time.Millisecond)
	require.Zero(t, n.listOffset(7, 0, "t", 0, -1, timeEarliest).Offset)
	require.Equal(t, int64(6), n.listOffset(7, 0, "t", 0, -1, timeLatest).Offset)
	require.Positive(t, n.storage.life.keeper.Stats().Compacted)
	require.Eventually(t, func() bool { return n.storage.life.collect.Stats().Looks > 0 }, 20*time.Second, 5*time.Millisecond)
	require.Zero(t, n.storage.life.collect.Stats().Errors)
}

// A topic's lags must not contradict each other, whichever of them is set last.
func TestCompactionLagsAreConsistent(t *testing.T) {
	const least, most = "min.compaction.lag.ms", "max.compaction.lag.ms"
	n := startNode(t)
	bad := n.create(7, false, wantTopic("bad", 1, 1, with(least, value("6")), with(most, value("5"))))
	require.ErrorIs(t, kerr.ErrorForCode(bad[0].ErrorCode), kerr.InvalidConfig)
	n.mustCreate(wantTopic("t", 1, 1, with(most, value("5"))))
	require.ErrorIs(t, n.change(ofTopic, "t", false, operation(set, least, value("6"))), kerr.InvalidConfig)
	require.NoError(t, n.change(ofTopic, "t", false, operation(set, least, value("6")), operation(remove, most, nil)))
	require.ErrorIs(t, n.change(ofTopic, "t", false, operation(set, most, value("5"))), kerr.InvalidConfig)
}

// A topic of the same name begins anew, with retention of its own, and what the old one had is in nobody's way.
func TestRetentionOfATopicMadeAnew(t *testing.T) {
	n := startNode(t, looksOften)
	n.mustCreate(wantTopic("t", 1, 1, with("retention.ms", value("60000"))))
	n.mustProduce("t", 0, batchAt(batch.None, 10, 20))
	n.awaitStart("t", 0, 2)
	n.mustDelete("t")
	n.mustCreate(wantTopic("t", 1, 1, with("retention.ms", value("60000"))))
	require.Zero(t, n.listOffset(7, 0, "t", 0, -1, timeLatest).Offset)
	n.mustProduce("t", 0, batchOfNow(batch.None, 3))
	require.NoError(t, n.storage.sealer.SealAll(t.Context()))
	_, err := n.deleteRecords(2, "t", 0, 1)
	require.NoError(t, err)
	require.NoError(t, n.storage.life.retain(t.Context()))
	require.Equal(t, int64(1), n.listOffset(7, 0, "t", 0, -1, timeEarliest).Offset, "young records stay")
	_, err = n.admin().CreatePartitions(t.Context(), 1, "t")
	require.NoError(t, err)
	n.mustProduce("t", 1, batchAt(batch.None, 10))
	n.awaitStart("t", 1, 1)
	require.Equal(t, int64(1), n.listOffset(7, 0, "t", 0, -1, timeEarliest).Offset)
}

// TestCompactionElsewhere: what a function has compacted away is not read from the hot tier any more once the chain was read again.
func TestCompactionElsewhere(t *testing.T) {
	n := startNode(t, func(cfg *Config) { cfg.Lifecycle.Maintenance = config.MaintenanceNone })
	n.mustCreate(wantTopic("t", 1, 1, with("cleanup.policy", value("compact")), with("min.cleanable.dirty.ratio", value("0.01"))))
	require.NoError(t, n.storage.life.reread(t.Context()))
	for range 3 {
		n.mustProduce("t", 0, batchOfNow(batch.None, 2)) // of one key
		require.NoError(t, n.storage.sealer.SealAll(t.Context()))
	}
	first := func() int64 { return n.basesOf(n.fetch(n.fetchRequest(12, want{topic: "t"}))[0].RecordBatches)[0] }
	require.Zero(t, first())
	elsewhere := lifecycle.New(lifecycle.Config{
		Image: n.meta.Image, Topic: func(t *metalog.Topic) *config.Effective { return n.topicConfig(t).Effective },
		Chains: lifecycle.NewChains(chain.Open(n.cfg.Chains), lifecycle.ChainsConfig{}), Cold: n.storage.cold, Bulk: n.storage.life.bulk,
		Rewriter: rewrite.New(rewrite.Config{Chain: chain.Open(n.cfg.Chains), Objects: n.cfg.Objects, Cold: n.storage.life.bulk}),
	})
	require.NoError(t, elsewhere.Compact(t.Context(), n.storage.life.led()))
	require.EqualValues(t, 1, elsewhere.Stats().Compacted)
	require.Zero(t, first(), "the broker does not know yet, and all is hot")
	require.NoError(t, n.storage.life.reread(t.Context()))
	require.Equal(t, int64(4), first())
}
