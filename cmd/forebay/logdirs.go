package main

import (
	"context"
	"fmt"
	"path"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// logSize is where the records of a partition are, in bytes, as its leader says; nil where it
// does not say.
type logSize struct {
	hot, sealed, wal *int64
	lag              *int64 // records that are committed and not sealed
}

// The last part of the names of the directories that brokers tell of.
const (
	hotLogDir   = "hot"
	packsLogDir = "packs"
	walLogDir   = "wal"
)

// logSizes asks the brokers for the sizes of partitions, of all for a nil set. One that does not tell is left out.
func logSizes(ctx context.Context, adm *kadm.Client, set kadm.TopicsSet) (map[kadm.Partition]logSize, error) {
	dirs, err := adm.DescribeAllLogDirs(ctx, set)
	if err != nil && len(dirs) == 0 {
		return nil, fmt.Errorf("describe log directories: %w", err)
	}
	sizes := make(map[kadm.Partition]logSize)
	dirs.Each(func(d kadm.DescribedLogDir) {
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			key := kadm.Partition{Topic: p.Topic, Partition: p.Partition}
			size := sizes[key]
			switch path.Base(d.Dir) {
			case hotLogDir:
				size.hot = &p.Size
			case packsLogDir:
				size.sealed, size.lag = &p.Size, &p.OffsetLag
			case walLogDir:
				size.wal = &p.Size
			}
			sizes[key] = size
		})
	})
	return sizes, nil
}

// ageTime is how long is waited for the records whose age is looked at.
const ageTime = 2 * time.Second

// recordTimes reads the time of the record at the given offset of each partition, or of the one that
// follows it. Those that do not come in time are left out.
func recordTimes(ctx context.Context, client *clientFlags, at map[string]map[int32]kgo.Offset) (map[kadm.Partition]time.Time, error) {
	times, wanted := map[kadm.Partition]time.Time{}, 0
	for _, ps := range at {
		wanted += len(ps)
	}
	if wanted == 0 {
		return times, nil
	}
	cl, err := client.connect(ctx, kgo.ConsumePartitions(at), kgo.FetchMaxPartitionBytes(1), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, ageTime)
	defer cancel()
	for len(times) < wanted && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			key := kadm.Partition{Topic: r.Topic, Partition: r.Partition}
			if _, seen := times[key]; !seen {
				times[key] = r.Timestamp
				cl.PauseFetchPartitions(map[string][]int32{r.Topic: {r.Partition}})
			}
		})
	}
	return times, nil
}
