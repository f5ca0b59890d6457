package journal

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
)

// cpuTime is the processor time of this process so far, kernel included.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchConfig(b *testing.B) Config {
	return Config{Dir: b.TempDir() + "/hot", IndexDir: b.TempDir(), FS: vfs.OS(), Cluster: "bench"}
}

func restamp(template batch.View, base id.Offset) batch.View {
	v := append(make(batch.View, 0, len(template)), template...)
	v.Stamp(base, 1)
	return v
}

func reportGB(b *testing.B, bytes int64, cpu time.Duration) {
	gb := float64(bytes) / 1e9
	b.ReportMetric(cpu.Seconds()/gb, "cpu-s/GB")
	b.ReportMetric(gb*1000/b.Elapsed().Seconds(), "MB/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkAppend appends 1 GB in groups of 4 MiB, each flushed and synced.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{16 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			const total = 1 << 30
			template := newBatch(partition(0), 0, size/1024, 1024-20)
			for range b.N {
				j, _, err := Open(context.Background(), benchConfig(b))
				require.NoError(b, err)
				next := make([]id.Offset, 6)
				cpu, began := cpuTime(), time.Now()
				var done, group int64
				for i := 0; done < total; i++ {
					p := i % len(next)
					v := restamp(template, next[p])
					next[p] = v.NextOffset()
					_, err := j.Append(partition(p), v)
					require.NoError(b, err)
					done += int64(len(v))
					if group += int64(len(v)); group >= 4<<20 {
						commit(b, j)
						group = 0
					}
				}
				commit(b, j)
				used := cpuTime() - cpu
				b.ReportMetric(float64(done)/1e6/time.Since(began).Seconds(), "MB/s")
				b.ReportMetric(used.Seconds()/(float64(done)/1e9), "cpu-s/GB")
				s := j.Stats()
				b.ReportMetric(float64(s.IndexKeys), "index-keys")
				b.ReportMetric(float64(runtime.NumGoroutine()), "goroutines")
				closeTest(b, j)
			}
		})
	}
}

// BenchmarkQueue is Append alone, without the disk: what it costs a batch.
func BenchmarkQueue(b *testing.B) {
	cfg := Config{Dir: "hot", FS: vfs.NewMem(), Cluster: "bench", SegmentBytes: 2 << 30, TailBytes: 1}
	j, _, err := Open(context.Background(), cfg)
	require.NoError(b, err)
	template := newBatch(partition(0), 0, 1, 100)
	vs := make([]batch.View, b.N)
	for i := range vs {
		vs[i] = restamp(template, id.Offset(i))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i, v := range vs {
		if _, err := j.Append(partition(i%6), v); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	closeTest(b, j)
}

// BenchmarkRead reads 512 MB of 6 interleaved partitions, 1 MiB at a time.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{16 << 10, 1 << 20} {
		for _, tier := range []string{"tail", "file"} {
			b.Run(fmt.Sprintf("%s/%dKiB", tier, size>>10), func(b *testing.B) { benchmarkRead(b, size, tier == "tail") })
		}
	}
}

func benchmarkRead(b *testing.B, size int, tail bool) {
	cfg := benchConfig(b)
	cfg.TailBytes = 1
	if tail {
		cfg.TailBytes = 1 << 30
	}
	j, _, err := Open(context.Background(), cfg)
	require.NoError(b, err)
	const total = 512 << 20
	template := newBatch(partition(0), 0, size/1024, 1024-20)
	var done int64
	next := make([]id.Offset, 6)
	for i := 0; done < total; i++ {
		p := i % len(next)
		v := restamp(template, next[p])
		next[p] = v.NextOffset()
		_, err := j.Append(partition(p), v)
		require.NoError(b, err)
		done += int64(len(v))
		if i%64 == 0 {
			commit(b, j)
		}
	}
	commit(b, j)
	b.ResetTimer()
	cpu := cpuTime()
	var bytes int64
	for range b.N {
		for p := range next {
			for from := id.Offset(0); from < next[p]; {
				list, err := j.Read(partition(p), from, math.MaxInt64, 1<<20)
				require.NoError(b, err)
				for _, v := range list {
					bytes += int64(len(v))
					from = batch.View(v).NextOffset()
				}
			}
		}
	}
	b.StopTimer()
	reportGB(b, bytes, cpuTime()-cpu)
	closeTest(b, j)
}
