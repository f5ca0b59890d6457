package broker

import (
	"path"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/forebaylog/forebay/tiering/batch"
)

// logDirs asks for topics; nil for all.
func (n *node) logDirs(version int16, topics []kmsg.DescribeLogDirsRequestTopic) kmsg.DescribeLogDirsResponseDir {
	n.t.Helper()
	req := kmsg.NewPtrDescribeLogDirsRequest()
	req.SetVersion(version)
	req.Topics = topics
	resp := ask(n, req, kmsg.NewPtrDescribeLogDirsResponse())
	require.Zero(n.t, resp.ErrorCode)
	require.Len(n.t, resp.Dirs, 1)
	require.Zero(n.t, resp.Dirs[0].ErrorCode)
	return resp.Dirs[0]
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
