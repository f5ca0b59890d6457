package broker

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"

	"github.com/forebaylog/forebay/broker/lifecycle"
	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/wal"
)

// DescribeLogDirs (key 35), versions 1 to 4.
//
// Deviation: there is one directory for each place where a partition's records are, and a
// partition is in several of them at a time:
//
//   - hot: the hot segments on this broker's disk, which all partitions share; a partition's size is what it takes of them;
//   - packs: the object store; the size is that of the sealed batches that readers may see, and the
//     offset lag is what is committed and not sealed yet, in records;
//   - wal, in a cluster: where the newest records are until they are sealed; the size is that of what is committed and
//     not sealed.

// logDirsTime bounds the reading of chains for one request.
const logDirsTime = 5 * time.Second

func handleDescribeLogDirs(ctx context.Context, b *Broker, c *call) kmsg.Response {
	req := requestOf[*kmsg.DescribeLogDirsRequest](c)
	resp := responseTo[*kmsg.DescribeLogDirsResponse](req)
	parts := b.storage.partSizes(ctx, b.meta.Image(), requestedLogDirs(req))
	hot := kmsg.NewDescribeLogDirsResponseDir()
	hot.Dir = path.Join(b.cfg.DataDir, HotDir)
	hot.TotalBytes, hot.UsableBytes = volume(b.cfg.DataDir)
	hot.Topics = logDirTopics(parts, func(p partSize) (size, lag int64, ok bool) { return p.hot, 0, true })
	packs := kmsg.NewDescribeLogDirsResponseDir()
	packs.Dir = storeDir(b.cfg.ObjectsName, chain.ObjectPrefix)
	packs.Topics = logDirTopics(parts, func(p partSize) (size, lag int64, ok bool) { return p.sealed, p.lag, p.known })
	resp.Dirs = append(resp.Dirs, hot, packs)
	if b.cluster != nil {
		newest := kmsg.NewDescribeLogDirsResponseDir()
		newest.Dir = storeDir(b.cfg.WALName, wal.ObjectPrefix)
		newest.Topics = logDirTopics(parts, func(p partSize) (size, lag int64, ok bool) { return p.wal, 0, p.known })
		resp.Dirs = append(resp.Dirs, newest)
	}
	return resp
}

// storeDir is what the folder of a store is called.
func storeDir(store, prefix string) string {
	return strings.TrimSuffix(store, "/") + "/" + strings.TrimSuffix(prefix, "/")
}

// logDirTopics lists the partitions, in order of topic and index, for which size is ok.
func logDirTopics(parts []partSize, size func(partSize) (size, lag int64, ok bool)) (topics []kmsg.DescribeLogDirsResponseDirTopic) {
	for _, p := range parts {
		bytes, lag, ok := size(p)
		if !ok {
			continue
		}
		if n := len(topics); n == 0 || topics[n-1].Topic != p.topic {
			topics = append(topics, kmsg.NewDescribeLogDirsResponseDirTopic())
			topics[n].Topic = p.topic
		}
		op := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		op.Partition, op.Size, op.OffsetLag = p.id.Index, bytes, lag
		last := &topics[len(topics)-1]
		last.Partitions = append(last.Partitions, op)
	}
	return topics
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

// partSize is where the records of a partition that this broker leads are, in bytes of batches.
type partSize struct {
	topic string
	id    id.Partition
	hot   int64 // on this broker's disk
	// What follows is known if the chain could be read.
	known  bool
	sealed int64
	wal    int64 // committed and not sealed
	lag    int64 // the same in offsets
}

// partSizes looks at the wanted partitions that this broker leads, in order of topic and index.
func (s *storage) partSizes(ctx context.Context, img *metalog.Image, wanted func(topic string, index int32) bool) []partSize {
	var parts []partSize
	starts, highs := map[id.Partition]id.Offset{}, map[id.Partition]id.Offset{}
	for _, t := range img.Topics() {
		for i := range t.Partitions {
			p := id.Partition{Topic: t.ID, Index: int32(i)}
			log, led := s.logs.Get(p)
			if !led || !wanted(t.Name, p.Index) {
				continue
			}
			w := log.Watermarks()
			starts[p], highs[p] = w.Start, w.High
			parts = append(parts, partSize{topic: t.Name, id: p})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, logDirsTime)
	defer cancel()
	sealed, err := s.chains.Sizes(ctx, starts)
	if err != nil {
		s.b.log.Warn("sizes of sealed logs are left out", "err", err)
	}
	hot, unsealed := s.hotBytes(sealed, highs)
	for _, a := range s.logs.Adoptions() {
		for _, seg := range a.Segments {
			unsealed[a.Partition] += within(seg.Base, seg.Next, seg.Length, sealed[a.Partition].End, highs[a.Partition])
		}
	}
	for i := range parts {
		p := &parts[i]
		size, known := sealed[p.id]
		p.hot, p.wal, p.known, p.sealed = hot[p.id], unsealed[p.id], known, size.Bytes
		p.lag = max(0, int64(highs[p.id]-size.End))
	}
	return parts
}

// hotBytes sums what each partition takes of the hot segments and, of those that are sealed so far,
// what of that is committed and not sealed.
func (s *storage) hotBytes(sealed map[id.Partition]lifecycle.Size, highs map[id.Partition]id.Offset) (all, unsealed map[id.Partition]int64) {
	all, unsealed = map[id.Partition]int64{}, map[id.Partition]int64{}
	for _, segment := range s.journal.Segments() {
		for p, held := range segment.Partitions {
			all[p] += held.Bytes
			if size, known := sealed[p]; known {
				unsealed[p] += withinExtent(held, size.End, highs[p])
			}
		}
	}
	return all, unsealed
}

func withinExtent(e journal.Extent, from, to id.Offset) int64 {
	return within(e.First, e.Next, e.Bytes, from, to)
}

// within is how many of the bytes of [base, next) belong to [from, to), as if all records were
// equally large.
func within(base, next id.Offset, bytes int64, from, to id.Offset) int64 {
	lo, hi := max(base, from), min(next, to)
	switch {
	case hi <= lo:
		return 0
	case lo == base && hi == next:
		return bytes
	}
	return int64(float64(bytes) * float64(hi-lo) / float64(next-base))
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
