package broker

import (
	"path"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
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

// TestSealedSizesFollow: sizes that others change are seen once they are old, few at a time, and
// those that change while they are read are read again.
func TestSealedSizesFollow(t *testing.T) {
	const count = maxAgedReads + 100
	table := kv.NewMem()
	chains, now := chain.Open(table), time.UnixMilli(1)
	var reads atomic.Int64
	counted := chain.Open(kv.Inject(table, func(op kv.Op) kv.Fault {
		if op.Kind == kv.OpQuery {
			reads.Add(1)
		}
		return kv.FaultNone
	}))
	s := newSealedSizes(counted, func() time.Time { return now })
	starts := map[id.Partition]id.Offset{}
	segment := func(base, length int64) chain.Segment {
		return chain.Segment{Base: id.Offset(base), Next: id.Offset(base + 10), Object: "packs/x", ObjectSize: 1000, Length: length, Records: 1}
	}
	p := id.Partition{Topic: id.Topic{1}}
	for i := range int32(count) {
		starts[id.Partition{Topic: id.Topic{1}, Index: i}] = 0
	}
	require.NoError(t, chains.Append(t.Context(), []chain.Link{{Partition: p, Segment: segment(0, 100)}})[0])
	got, err := s.of(t.Context(), starts)
	require.NoError(t, err)
	require.Len(t, got, count)
	require.Equal(t, int64(100), got[p].bytes)
	require.Equal(t, id.Offset(10), got[p].end)

	require.NoError(t, chains.Append(t.Context(), []chain.Link{{Partition: p, Segment: segment(10, 50)}})[0])
	read := reads.Load()
	got, err = s.of(t.Context(), starts)
	require.NoError(t, err)
	require.Equal(t, int64(100), got[p].bytes)
	require.Equal(t, read, reads.Load())
	now = now.Add(maxSizeAge + 1)
	for range 2 {
		got, err = s.of(t.Context(), starts)
		require.NoError(t, err)
		require.LessOrEqual(t, reads.Load()-read, int64(2*maxAgedReads), "and the rest the next time")
		read = reads.Load()
	}
	require.Equal(t, int64(150), got[p].bytes)

	s.forget(p)
	s.stale(starts)                                    // chains are being read
	s.sealed(p, segment(20, 1))                        // and meanwhile this broker seals
	s.keep(p, sealedSize{start: 0, end: 20, bytes: 7}) // which the reader did not see
	got, err = s.of(t.Context(), starts)
	require.NoError(t, err)
	require.Equal(t, int64(150), got[p].bytes, "of the chain")
	s.sealed(p, segment(500, 1))
	require.NotContains(t, s.known(starts), p, "somebody else has sealed between")
}
