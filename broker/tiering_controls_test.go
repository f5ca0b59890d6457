package broker

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/forebaylog/forebay/broker/config"
	"github.com/forebaylog/forebay/infra/vfs"
)

func ms(t time.Time) *string { return value(strconv.FormatInt(t.UnixMilli(), 10)) }

// sealedTo awaits that the chain of a partition reaches the offset.
func (n *node) awaitSealed(topic string, index int32, offset int64) {
	n.t.Helper()
	require.Eventually(n.t, func() bool { return n.listOffset(11, 0, topic, index, -1, timeEarliestWait).Offset == offset },
		10*time.Second, 2*time.Millisecond, "offset %d of partition %d", offset, index)
}

func TestSealBefore(t *testing.T) {
	n := startNode(t)
	n.mustCreate(wantTopic("t", 2, 1))
	n.mustProduce("t", 0, batchOfSize(100), batchOfSize(100))
	n.mustProduce("t", 1, batchOfSize(100))
	require.NoError(t, n.change(ofBroker, "", false, operation(set, config.SealBefore, ms(time.Now().Add(50*time.Millisecond)))))
	n.awaitSealed("t", 0, 2)
	n.awaitSealed("t", 1, 1)

	n.mustProduce("t", 1, batchOfSize(100))
	require.NoError(t, n.change(ofBroker, "", false, operation(set, config.SealBefore, ms(time.Now().Add(-time.Hour)))))
	require.NoError(t, n.change(ofBroker, "1", false, operation(set, config.SealBefore, ms(time.Now()))))
	n.awaitSealed("t", 1, 2)
	require.Equal(t, int64(2), n.storage.sealer.Stats().Packs, "the time that is long past has changed nothing")
}

// TestSealingIsPaused: from the request on, and from the start after a restart.
func TestSealingIsPaused(t *testing.T) {
	cfg := testConfig()
	cfg.FS, cfg.DataDir = vfs.NewMem(), "/data"
	same := func(c *Config) { *c = cfg }
	n := startNode(t, same)
	n.mustCreate(wantTopic("t", 1, 1))
	require.NoError(t, n.change(ofBroker, "", false, operation(set, config.SealEnable, value("false"))))
	require.Eventually(t, n.storage.sealer.Paused, 30*time.Second, time.Millisecond)
	n.mustProduce("t", 0, batchOfSize(100))
	require.NoError(t, n.storage.sealer.SealAll(t.Context()))
	n.close()

	n = startNode(t, same)
	require.True(t, n.storage.sealer.Paused())
	require.NoError(t, n.storage.sealer.SealAll(t.Context()))
	require.Zero(t, n.storage.sealer.Stats().Packs)
	require.Len(t, n.basesOf(n.fetch(n.fetchRequest(12, want{topic: "t"}))[0].RecordBatches), 1)
	require.NoError(t, n.change(ofBroker, "1", false, operation(set, config.SealEnable, value("true"))))
	n.awaitSealed("t", 0, 1)
}

func TestTieringBudgets(t *testing.T) {
	n := startNode(t, func(cfg *Config) { cfg.Storage.CacheBytes, cfg.Storage.HotBytes = 1<<20, 5000 })
	got, err := n.describe(ofBroker, "1")
	require.NoError(t, err)
	require.Equal(t, []string{config.CacheBytes + "=4194304 STATIC_BROKER_CONFIG", config.CacheBytes + "=67108864 DEFAULT_CONFIG"},
		sources(got[config.CacheBytes]), "the least there is")
	require.Equal(t, []string{config.HotBytes + "=5000 STATIC_BROKER_CONFIG", config.HotBytes + "=1073741824 DEFAULT_CONFIG"}, sources(got[config.HotBytes]))
	require.Equal(t, int64(5000), n.storage.sealer.DiskBudget())

	require.NoError(t, n.change(ofBroker, "", false, operation(set, config.HotBytes, value("6000"))))
	require.NoError(t, n.change(ofBroker, "1", false, operation(set, config.HotBytes, value("7000"))))
	got, err = n.describe(ofBroker, "1", config.HotBytes)
	require.NoError(t, err)
	require.Equal(t, []string{
		config.HotBytes + "=7000 DYNAMIC_BROKER_CONFIG", config.HotBytes + "=6000 DYNAMIC_DEFAULT_BROKER_CONFIG",
		config.HotBytes + "=5000 STATIC_BROKER_CONFIG", config.HotBytes + "=1073741824 DEFAULT_CONFIG",
	}, sources(got[config.HotBytes]))
	budget := func(bytes int64) func() bool { return func() bool { return n.storage.sealer.DiskBudget() == bytes } }
	require.Eventually(t, budget(7000), 30*time.Second, time.Millisecond)
	require.NoError(t, n.change(ofBroker, "1", false, operation(remove, config.HotBytes, nil)))
	require.Eventually(t, budget(6000), 30*time.Second, time.Millisecond)
	require.NoError(t, n.change(ofBroker, "", false, operation(remove, config.HotBytes, nil)))
	require.Eventually(t, budget(5000), 30*time.Second, time.Millisecond)

	for name, bad := range map[string]string{
		config.SealEnable: "maybe", config.SealBefore: "-1", config.CacheBytes: "1000", config.HotBytes: "0",
	} {
		require.ErrorIs(t, n.change(ofBroker, "", false, operation(set, name, value(bad))), kerr.InvalidConfig, name)
	}
}
