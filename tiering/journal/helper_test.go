package journal

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testDir = "data/hot"

func partition(n int) id.Partition {
	p := id.Partition{Topic: id.Topic{0: 1, 6: 0x40}, Index: int32(n)}
	binary.BigEndian.PutUint16(p.Topic[14:], uint16(n%7))
	return p
}

// newBatch makes a batch of records offsets from base on, whose bytes depend on all arguments.
func newBatch(p id.Partition, base id.Offset, records, valueSize int) batch.View {
	rng := rand.New(rand.NewPCG(uint64(p.Index), uint64(base)))
	b := batch.New(batch.None).Base(base).Epoch(3)
	for i := range records {
		value := make([]byte, valueSize)
		for k := range value {
			value[k] = byte(rng.Uint32())
		}
		b.Add(batch.Record{Timestamp: 1_700_000_000_000 + int64(base)*10 + int64(i), Value: value})
	}
	return b.Build()
}

func testConfig(fs vfs.FS) Config {
	return Config{Dir: testDir, FS: fs, Cluster: "cluster-a", SegmentBytes: 16 << 10, TailBytes: 4 << 10}
}

func openTest(t testing.TB, cfg Config) (*Journal, Recovery) {
	t.Helper()
	j, rec, err := Open(context.Background(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = j.Close(context.Background()) }) // the tests that care close it themselves
	return j, rec
}

func closeTest(t testing.TB, j *Journal) {
	t.Helper()
	require.NoError(t, j.Close(context.Background()))
}

// model is what the log must hold: the batches of each partition in order.
type model map[id.Partition][]batch.View

func (m model) next(p id.Partition) id.Offset {
	if n := len(m[p]); n > 0 {
		return m[p][n-1].NextOffset()
	}
	return 0
}

// fill appends n batches over a number of partitions and notes them.
func fill(t testing.TB, j *Journal, m model, n, partitions int, seed uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	for range n {
		p := partition(rng.IntN(partitions))
		v := newBatch(p, m.next(p), 1+rng.IntN(4), rng.IntN(300))
		_, err := j.Append(p, v)
		require.NoError(t, err)
		m[p] = append(m[p], v)
	}
}

func commit(t testing.TB, j *Journal) Position {
	t.Helper()
	_, err := j.Flush()
	require.NoError(t, err)
	pos, err := j.Sync()
	require.NoError(t, err)
	return pos
}

// readAll reads p from its hot start to its end.
func readAll(t testing.TB, j *Journal, p id.Partition, maxBytes int) []batch.View {
	t.Helper()
	from, ok := j.HotStart(p)
	if !ok {
		return nil
	}
	var out []batch.View
	for {
		list, err := j.Read(p, from, math.MaxInt64, maxBytes)
		require.NoError(t, err)
		if len(list) == 0 {
			return out
		}
		for _, b := range list {
			out = append(out, b)
		}
		from = out[len(out)-1].NextOffset()
	}
}

func requireModel(t testing.TB, j *Journal, m model, maxBytes int) {
	t.Helper()
	for p, want := range m {
		require.Equal(t, want, readAll(t, j, p, maxBytes), "partition %s", p)
	}
}

// How long, and how often, a test looks for what a goroutine does on its own.
const (
	waitLong = 20 * time.Second
	waitStep = 2 * time.Millisecond
)
