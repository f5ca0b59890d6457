package journal

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/vfs"
)

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// TestTenThousandPartitions holds the memory of a partition with one batch to some 300 bytes, its batch apart.
func TestTenThousandPartitions(t *testing.T) {
	const n = 10_000
	cfg := Config{Dir: t.TempDir() + "/hot", IndexDir: t.TempDir(), FS: vfs.OS(), Cluster: "c", SegmentBytes: 8 << 20}
	j, _ := openTest(t, cfg)
	template := newBatch(partition(0), 0, 1, 20)
	before := heap()
	for i := range n {
		_, err := j.Append(partition(i), template)
		require.NoError(t, err)
		if i%500 == 499 {
			commit(t, j)
		}
	}
	each := (heap() - before) / n
	t.Logf("%d bytes for each partition", each)
	require.Less(t, each, int64(320))
	before = heap()
	closeTest(t, j)
	began := time.Now()
	j, rec, err := Open(context.Background(), cfg)
	require.NoError(t, err)
	t.Logf("reopened in %s, recovery %s, index %s", time.Since(began), rec.Duration, rec.IndexDuration)
	require.Equal(t, n, rec.Partitions)
	t.Logf("%d bytes for each partition after a restart", (heap()-before)/n)
	closeTest(t, j)
}
