package broker

import (
	"context"
	"path"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"

	"github.com/forebaylog/forebay/infra/id"
)

// DescribeLogDirs (key 35), versions 1 to 4.
//
// Deviation: all partitions share the hot segments of one directory; a partition's
// size is what it takes of them. Sealed records are in the object store and not counted.

func handleDescribeLogDirs(_ context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.DescribeLogDirsRequest](c)
	resp := responseTo[*kmsg.DescribeLogDirsResponse](req)
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir = path.Join(b.cfg.DataDir, HotDir)
	dir.TotalBytes, dir.UsableBytes = volume(b.cfg.DataDir)

	sizes := b.storage.hotBytes()
	wanted := requestedLogDirs(req)
	for _, t := range b.meta.Image().Topics() {
		out := kmsg.NewDescribeLogDirsResponseDirTopic()
		out.Topic = t.Name
		for i := range t.Partitions {
			p := id.Partition{Topic: t.ID, Index: int32(i)}
			if _, led := b.storage.logs.Get(p); !led || !wanted(t.Name, p.Index) {
				continue
			}
			op := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
			op.Partition, op.Size = p.Index, sizes[p]
			out.Partitions = append(out.Partitions, op)
		}
		if len(out.Partitions) > 0 {
			dir.Topics = append(dir.Topics, out)
		}
	}
	resp.Dirs = append(resp.Dirs, dir)
	return resp
}

// requestedLogDirs tells which partitions a request asks for; null asks for all.
func requestedLogDirs(req *kmsg.DescribeLogDirsRequest) func(topic string, index int32) bool {
	if req.Topics == nil {
		return func(string, int32) bool { return true }
	}
	byTopic := make(map[string][]int32, len(req.Topics))
	for _, t := range req.Topics {
		byTopic[t.Topic] = append(byTopic[t.Topic], t.Partitions...)
	}
	return func(topic string, index int32) bool { return slices.Contains(byTopic[topic], index) }
}

// hotBytes sums what each partition takes of the hot segments.
func (s *storage) hotBytes() map[id.Partition]int64 {
	sizes := make(map[id.Partition]int64)
	for _, segment := range s.journal.Segments() {
		for p, held := range segment.Partitions {
			sizes[p] += held.Bytes
		}
	}
	return sizes
}

// volume returns the size and the free bytes of the file system that dir is on,
// -1 where they are unknown (KIP-827).
func volume(dir string) (total, usable int64) {
	var st unix.Statfs_t
	if dir == "" || unix.Statfs(dir, &st) != nil {
		return -1, -1
	}
	block := int64(st.Bsize)
	return int64(st.Blocks) * block, int64(st.Bavail) * block
}
