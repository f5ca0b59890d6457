package seal

import (
	"context"
	"fmt"
	"io"
	"syscall"
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
	"github.com/forebaylog/forebay/tiering/journal"
)

// BenchmarkSeal seals hot segments on the disk into packs on the disk, or, to see what
// the sealer itself costs, into nothing. It reports the processor time of each GB, the
// kernel's included.
func BenchmarkSeal(b *testing.B) {
	b.Run("store=file", func(b *testing.B) {
		benchSeal(b, func(dir string) (objstore.Store, error) { return objstore.OpenFile(vfs.OS(), dir) })
	})
	b.Run("store=none", func(b *testing.B) {
		benchSeal(b, func(string) (objstore.Store, error) { return discard{objstore.NewMem()}, nil })
	})
}

// discard is a store that reads objects as the file driver does and keeps nothing.
type discard struct{ objstore.Store }

func (discard) Put(_ context.Context, _ string, body io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, body, make([]byte, 512<<10))
	return err
}

func benchSeal(b *testing.B, open func(dir string) (objstore.Store, error)) {
	for _, bench := range []struct{ partitions, batch int }{
		{6, 1 << 10}, {6, 16 << 10}, {6, 128 << 10}, {1000, 1 << 10}, {1000, 16 << 10},
	} {
		b.Run(fmt.Sprintf("partitions=%d/batch=%d", bench.partitions, bench.batch), func(b *testing.B) {
			const total = 96 << 20 // one hot segment, one pack
			var cpu time.Duration
			b.SetBytes(total)
			for range b.N {
				b.StopTimer()
				s, j, cleanUp := benchJournal(b, open, bench.partitions, bench.batch, total)
				require.NoError(b, j.Roll())
				before := processorTime(b)
				b.StartTimer()
				require.NoError(b, s.SealAll(ctx))
				b.StopTimer()
				cpu += processorTime(b) - before
				cleanUp()
			}
			b.ReportMetric(cpu.Seconds()/float64(b.N)*(1<<30)/total, "cpu-s/GB")
		})
	}
}

// benchJournal fills the hot tier in a new directory with batches of all partitions in turn.
func benchJournal(
	b *testing.B, open func(dir string) (objstore.Store, error), partitions, size, total int,
) (*Sealer, *journal.Journal, func()) {
	b.Helper()
	dir := b.TempDir()
	j, _, err := journal.Open(ctx, journal.Config{Dir: dir + "/hot", Cluster: "bench"})
	require.NoError(b, err)
	objects, err := open(dir + "/objects")
	require.NoError(b, err)
	reader := cold.New(objects, cold.Config{})
	s := New(Config{Journal: j, Chain: chain.Open(kv.NewMem()), Objects: objects, Cold: reader, Cluster: "bench", DiskBudget: 1 << 40})
	model := batch.New(batch.None).Add(batch.Record{Value: make([]byte, size)}).Build()
	for i := range total / size {
		v := append(batch.View(nil), model...)
		v.Stamp(id.Offset(i/partitions), 0)
		_, err := j.Append(partition(i%partitions), v)
		require.NoError(b, err)
		if i%(1+(4<<20)/size) == 0 {
			_, err := j.Flush()
			require.NoError(b, err)
		}
	}
	_, err = j.Flush()
	require.NoError(b, err)
	return s, j, func() {
		require.NoError(b, s.Close(ctx))
		require.NoError(b, j.Close(ctx))
		require.NoError(b, reader.Close(ctx))
		require.NoError(b, objects.Close())
	}
}

func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
