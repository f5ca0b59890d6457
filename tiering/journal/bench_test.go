package journal

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
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

// BenchmarkOpen opens 1 GB of batches of 16 KiB: after a clean end, and with the index to be made anew.
func BenchmarkOpen(b *testing.B) {
	cfg := benchConfig(b)
	j, _, err := Open(context.Background(), cfg)
	require.NoError(b, err)
	template := newBatch(partition(0), 0, 16, 1024-20)
	next := make([]id.Offset, 6)
	for i, done := 0, 0; done < 1<<30; i++ {
		p := i % len(next)
		v := restamp(template, next[p])
		next[p] = v.NextOffset()
		_, err := j.Append(partition(p), v)
		require.NoError(b, err)
		if done += len(v); i%256 == 0 {
			commit(b, j)
		}
	}
	closeTest(b, j)
	for _, name := range []string{"clean", "rebuild"} {
		b.Run(name, func(b *testing.B) {
			var cpu time.Duration
			for range b.N {
				b.StopTimer()
				if name == "rebuild" {
					require.NoError(b, os.RemoveAll(cfg.IndexDir))
				}
				b.StartTimer()
				began := cpuTime()
				j, _, err := Open(context.Background(), cfg)
				require.NoError(b, err)
				cpu += cpuTime() - began
				b.StopTimer()
				closeTest(b, j)
				b.StartTimer()
			}
			b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s/op")
		})
	}
}

// BenchmarkIndexMemory is what an open index adds to the resident memory and the goroutines.
func BenchmarkIndexMemory(b *testing.B) {
	for range b.N {
		goroutines, rss := runtime.NumGoroutine(), residentBytes(b)
		x, err := openIndex(b.TempDir(), "bench", slog.New(slog.DiscardHandler))
		require.NoError(b, err)
		entries := make([]Entry, 64<<10)
		for i := range entries {
			entries[i] = Entry{Base: id.Offset(i), Next: id.Offset(i + 1), Segment: 1, Pos: int64(i) * 16432, Length: 16384}
		}
		began := time.Now()
		require.NoError(b, x.update(func(w *badger.WriteBatch) error {
			_, err := putRuns(w, partition(0), entries)
			return err
		}))
		b.ReportMetric(float64(time.Since(began).Nanoseconds())/float64(len(entries)), "ns/batch")
		b.ReportMetric(float64(residentBytes(b)-rss)/1e6, "RSS-MB")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines), "goroutines")
		require.NoError(b, x.close())
	}
}

func residentBytes(b *testing.B) int64 {
	b.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	require.NoError(b, err)
	var size, resident int64
	_, err = fmt.Sscan(string(text), &size, &resident)
	require.NoError(b, err)
	return resident * int64(os.Getpagesize())
}
