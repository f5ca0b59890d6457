package compact_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/compact"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/rewrite"
)

const (
	benchKeys    = 10_000_000
	benchRecords = 11_000_000 // of some 100 bytes: 1 GiB
	perBatch     = 100
	perSegment   = 550_000
)

// BenchmarkCompact makes one pass over 1 GiB of records of 10 million keys, in an object store of files, with memory
// for 5 million keys and for 600,000. peak-MiB is the largest resident memory of the process,
// without what it had before. Each runs best in a process of its own.
func BenchmarkCompact(b *testing.B) {
	for _, budget := range []int64{128 << 20, 16 << 20} {
		b.Run(fmt.Sprintf("%dMiB", budget>>20), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				compactOnce(b, budget)
			}
		})
	}
}

func compactOnce(b *testing.B, budget int64) {
	dir := b.TempDir()
	objects, err := objstore.OpenFile(vfs.OS(), filepath.Join(dir, "objects"))
	require.NoError(b, err)
	defer func() { require.NoError(b, objects.Close()) }()
	c := chain.Open(kv.NewMem())
	size := fill(b, objects, c)
	reader := cold.New(objects, cold.Config{CacheBytes: 16 << 20})
	defer func() { require.NoError(b, reader.Close(context.Background())) }()
	spill := filepath.Join(dir, "spill")
	require.NoError(b, os.Mkdir(spill, 0o755))
	debug.FreeOSMemory()
	before := resetPeak(b)
	b.StartTimer()
	stats := runOne(ctx, compact.Config{
		Chain: c, Cold: reader, Keys: compact.MapConfig{Budget: budget, Dir: spill},
		Rewriter: rewrite.New(rewrite.Config{Chain: c, Objects: objects, Cold: reader}),
	}, 0, compact.Settings{})
	b.StopTimer()
	require.NoError(b, stats.Err)
	require.EqualValues(b, benchRecords, stats.MessagesRead)
	require.EqualValues(b, benchKeys, stats.MessagesRetained)
	b.SetBytes(size)
	b.ReportMetric(float64(memory(b, "VmHWM")-before)/1024, "peak-MiB")
	b.ReportMetric(float64(stats.SpilledBytes)/(1<<20), "spilled-MiB")
	b.StartTimer()
}

// fill writes segments in which the first keys come twice.
func fill(b *testing.B, objects objstore.Store, c *chain.Store) (size int64) {
	b.Helper()
	value := make([]byte, 76)
	for at := 0; at < benchRecords; at += perSegment {
		name := fmt.Sprintf("%sbench-%d", chain.ObjectPrefix, at)
		w, err := os.CreateTemp(b.TempDir(), "pack")
		require.NoError(b, err)
		pw := pack.NewWriter(w, pack.Header{Cluster: "bench", Node: 1, Created: time.Now()})
		require.NoError(b, pw.BeginRun(p0))
		for i := at; i < at+perSegment; i += perBatch {
			bb := batch.New(batch.None).Base(id.Offset(i))
			for j := i; j < i+perBatch; j++ {
				key := binary.BigEndian.AppendUint64(nil, uint64(j)*7_368_787%benchKeys)
				binary.BigEndian.PutUint64(value, uint64(j))
				bb.Add(batch.Record{Timestamp: int64(j), Key: append(key, "-user-id"...), Value: value})
			}
			require.NoError(b, pw.Append(bb.Build()))
		}
		require.NoError(b, pw.EndRun(nil, nil))
		footer, err := pw.Close()
		require.NoError(b, err)
		_, err = w.Seek(0, 0)
		require.NoError(b, err)
		require.NoError(b, objects.Put(ctx, name, w))
		require.NoError(b, w.Close())
		require.NoError(b, os.Remove(w.Name()))
		seg := chain.SegmentOf(&footer.Runs[0], name, pw.Size())
		require.NoError(b, c.Append(ctx, []chain.Link{{Partition: p0, Segment: seg}})[0])
		size += seg.Length
	}
	return size
}

// resetPeak makes VmHWM count from now on and returns what is resident, in KiB.
func resetPeak(b *testing.B) int64 {
	b.Helper()
	require.NoError(b, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0))
	return memory(b, "VmRSS")
}

func memory(b *testing.B, name string) (kib int64) {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(b, err)
	_, rest, ok := strings.Cut(string(status), name+":")
	require.True(b, ok)
	_, err = fmt.Sscan(rest, &kib)
	require.NoError(b, err)
	return kib
}
