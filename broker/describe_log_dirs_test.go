package broker

import (
	"path"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/tiering/batch"
)

// logDirs asks for topics, nil for all, and returns the hot directory.
func (n *node) logDirs(version int16, topics []kmsg.DescribeLogDirsRequestTopic) kmsg.DescribeLogDirsResponseDir {
	n.t.Helper()
	return n.allLogDirs(version, topics)[0]
}

// allLogDirs returns the hot directory, the packs and, of a cluster, the WAL.
func (n *node) allLogDirs(version int16, topics []kmsg.DescribeLogDirsRequestTopic) []kmsg.DescribeLogDirsResponseDir {
	n.t.Helper()
	req := kmsg.NewPtrDescribeLogDirsRequest()
	req.SetVersion(version)
	req.Topics = topics
	resp := ask(n, req, kmsg.NewPtrDescribeLogDirsResponse())
	require.Zero(n.t, resp.ErrorCode)
	for _, d := range resp.Dirs {
		require.Zero(n.t, d.ErrorCode)
	}
	return resp.Dirs
}

// sizesOf are the sizes of the partitions of each topic.
func sizesOf(dir kmsg.DescribeLogDirsResponseDir) map[string]map[int32]int64 {
	all := make(map[string]map[int32]int64)
	for _, t := range dir.Topics {
		all[t.Topic] = make(map[int32]int64)
		for _, p := range t.Partitions {
			all[t.Topic][p.Partition] = p.Size
		}
	}
	return all
}

func TestDescribeLogDirs(t *testing.T) {
	data := t.TempDir()
	n := startNode(t, func(cfg *Config) { cfg.DataDir, cfg.Storage.HotBytes = data, 1 })
	n.mustCreate(wantTopic("b", 2, 1), wantTopic("a", 1, 1))
	n.mustProduce("b", 0, batchOfSize(1000))
	n.mustProduce("b", 1, batchOfSize(3000), batchOfNow(batch.None, 1))
	for version := int16(1); version <= 4; version++ {
		dir := n.logDirs(version, nil)
		require.Equal(t, path.Join(data, HotDir), dir.Dir)
		require.Equal(t, "a", dir.Topics[0].Topic, "in order")
		sizes := sizesOf(dir)
		require.Equal(t, int64(0), sizes["a"][0])
		require.Greater(t, sizes["b"][0], int64(1000))
		require.Greater(t, sizes["b"][1], int64(3000))
		require.Less(t, sizes["b"][0]+sizes["b"][1], int64(5000))
		if version >= 4 {
			require.Positive(t, dir.TotalBytes)
			require.LessOrEqual(t, dir.UsableBytes, dir.TotalBytes)
		}
		some := n.logDirs(version, []kmsg.DescribeLogDirsRequestTopic{{Topic: "b", Partitions: []int32{1, 7}}, {Topic: "none", Partitions: []int32{0}}})
		require.Equal(t, map[string]map[int32]int64{"b": {1: sizes["b"][1]}}, sizesOf(some))
		require.Empty(t, n.logDirs(version, []kmsg.DescribeLogDirsRequestTopic{}).Topics)
	}
	require.NoError(t, n.storage.sealer.SealAll(t.Context()))
	require.Equal(t, map[string]map[int32]int64{"a": {0: 0}, "b": {0: 0, 1: 0}}, sizesOf(n.logDirs(4, nil)), "what is sealed is not on the disk")
}

// sizeIn is the size and the lag of a partition in a directory.
func sizeIn(t *testing.T, dir kmsg.DescribeLogDirsResponseDir, topic string, index int32) (size, lag int64) {
	t.Helper()
	for _, in := range dir.Topics {
		for _, p := range in.Partitions {
			if in.Topic == topic && p.Partition == index {
				return p.Size, p.OffsetLag
			}
		}
	}
	require.Fail(t, "not there", "%s-%d in %s", topic, index, dir.Dir)
	return 0, 0
}

func TestLogDirsOfTheStores(t *testing.T) {
	var reads atomic.Int64
	n := startNode(t, func(cfg *Config) {
		cfg.Chains = kv.Inject(cfg.Metadata, func(op kv.Op) kv.Fault {
			if op.Kind == kv.OpQuery {
				reads.Add(1)
			}
			return kv.FaultNone
		})
		cfg.ObjectsName = "s3://bucket/prefix/"
	})
	n.mustCreate(wantTopic("t", 2, 1))
	n.mustProduce("t", 0, batchOfSize(1000), batchOfSize(1000))
	dirs := n.allLogDirs(4, nil)
	require.Len(t, dirs, 2)
	require.Equal(t, "s3://bucket/prefix/packs", dirs[1].Dir)
	require.Equal(t, [2]int64{-1, -1}, [2]int64{dirs[1].TotalBytes, dirs[1].UsableBytes})
	size, lag := sizeIn(t, dirs[1], "t", 0)
	require.Equal(t, [2]int64{0, 2}, [2]int64{size, lag})
	hot, lag := sizeIn(t, dirs[0], "t", 0)
	require.Zero(t, lag)

	require.NoError(t, n.storage.sealer.SealAll(t.Context()))
	before := reads.Load()
	for range 3 {
		size, lag = sizeIn(t, n.allLogDirs(4, nil)[1], "t", 0)
		require.Equal(t, [2]int64{hot, 0}, [2]int64{size, lag})
	}
	require.Equal(t, before, reads.Load(), "what this broker seals it need not read")

	n.mustProduce("t", 0, batchOfSize(500))
	require.NoError(t, n.storage.sealer.SealAll(t.Context()))
	all, _ := sizeIn(t, n.allLogDirs(4, nil)[1], "t", 0)
	require.Greater(t, all, hot)
	_, err := n.deleteRecords(2, "t", 0, 2)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		size, lag := sizeIn(t, n.allLogDirs(4, nil)[1], "t", 0)
		return size == all-hot && lag == 0
	}, 5*time.Second, time.Millisecond, "only what readers may see counts")
}

func TestLogDirsOfACluster(t *testing.T) {
	n := startNode(t, func(cfg *Config) { cfg.Cluster = &Cluster{} })
	n.mustCreate(wantTopic("t", 1, 1))
	n.mustProduce("t", 0, batchOfSize(1000), batchOfSize(1000))
	dirs := n.allLogDirs(4, nil)
	require.Len(t, dirs, 3)
	require.Equal(t, "objects/wal", dirs[2].Dir)
	hot, _ := sizeIn(t, dirs[0], "t", 0)
	size, _ := sizeIn(t, dirs[2], "t", 0)
	require.Equal(t, hot, size)
	require.NoError(t, n.storage.sealer.SealAll(t.Context()))
	size, _ = sizeIn(t, n.allLogDirs(4, nil)[2], "t", 0)
	require.Zero(t, size)
}
