package seal

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/cold"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/producers"
)

var (
	ctx   = context.Background()
	epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func partition(n int) id.Partition {
	return id.Partition{Topic: id.Topic{6: 0x40, 14: byte(n >> 8), 15: byte(n)}, Index: int32(n)}
}

// world is a broker's tiers on a file system in memory, and what was appended to them.
type world struct {
	t       *testing.T
	fs      vfs.FS
	table   kv.Store
	objects objstore.Store
	journal *journal.Journal
	chain   *chain.Store
	cold    *cold.Reader
	sealer  *Sealer
	now     time.Time

	rng  *rand.Rand
	want map[id.Partition][]batch.View
	next map[id.Partition]id.Offset
	seqs map[id.Producer]int32

	wal        map[id.Partition][]chain.Segment // the runs in WAL objects
	walObjects int
}

const (
	hotDir    = "/data/hot"
	objectDir = "/data/objects"
)

// newWorld opens everything on fs, with segments small enough to roll often; the
// options change the sealer's config.
func newWorld(t *testing.T, fs vfs.FS, table kv.Store, options ...func(*Config)) *world {
	t.Helper()
	w := &world{
		t: t, fs: fs, table: table, now: epoch, rng: rand.New(rand.NewPCG(1, 2)),
		want: map[id.Partition][]batch.View{}, next: map[id.Partition]id.Offset{}, seqs: map[id.Producer]int32{},
	}
	w.reopen(options...)
	return w
}

// reopen opens everything that lies in the file system.
func (w *world) reopen(options ...func(*Config)) {
	w.t.Helper()
	objects, err := objstore.OpenFile(w.fs, objectDir)
	require.NoError(w.t, err)
	w.objects = objects
	w.open(64<<10, options...)
}

// open opens the journal and what reads it.
func (w *world) open(segmentBytes int64, options ...func(*Config)) {
	w.t.Helper()
	j, recovery, err := journal.Open(ctx, journal.Config{
		Dir: hotDir, FS: w.fs, SegmentBytes: segmentBytes, TailBytes: 16 << 10, Cluster: "test",
	})
	require.NoError(w.t, err)
	require.Empty(w.t, recovery.Corrupt)
	w.journal = j
	w.chain = chain.Open(w.table)
	w.cold = cold.New(w.objects, cold.Config{ChunkBytes: 16 << 10})
	cfg := Config{
		Journal: j, FS: w.fs, Chain: w.chain, Objects: w.objects, Cold: w.cold, Cluster: "test", Node: 7,
		Now: func() time.Time { return w.now },
	}
	for _, o := range options {
		o(&cfg)
	}
	w.sealer = New(cfg)
	w.t.Cleanup(w.close)
}

// newCold returns another reader, with caches of its own.
func (w *world) newCold() *cold.Reader { return w.newColdOf(w.objects) }

func (w *world) newColdOf(objects objstore.Store) *cold.Reader {
	r := cold.New(objects, cold.Config{ChunkBytes: 16 << 10})
	w.t.Cleanup(func() { require.NoError(w.t, r.Close(ctx)) })
	return r
}

// close closes what open opened. It may be called again.
func (w *world) close() {
	require.NoError(w.t, w.sealer.Close(ctx))
	_ = w.journal.Close(ctx) // fails after a crash
	require.NoError(w.t, w.cold.Close(ctx))
}

// build returns the next batch of p, of records that each have size random bytes.
func (w *world) build(p id.Partition, producer id.Producer, records, size int) batch.View {
	b := batch.New(batch.None)
	if producer != id.NoProducer {
		b.Producer(producer, 0, w.seqs[producer])
		w.seqs[producer] += int32(records)
	}
	for range records {
		value := make([]byte, size)
		for i := range value {
			value[i] = byte(w.rng.Uint32())
		}
		b.Add(batch.Record{Timestamp: 1000 + int64(w.next[p]), Value: value})
	}
	v := b.Build()
	v.Stamp(w.next[p], 0)
	return v
}

// append appends v to the journal without making it durable.
func (w *world) append(p id.Partition, v batch.View) {
	w.t.Helper()
	_, err := w.journal.Append(p, v)
	require.NoError(w.t, err)
	w.want[p] = append(w.want[p], v)
	w.next[p] = v.NextOffset()
}

func (w *world) sync() {
	w.t.Helper()
	_, err := w.journal.Flush()
	require.NoError(w.t, err)
	_, err = w.journal.Sync()
	require.NoError(w.t, err)
}

// fill appends batches to random partitions out of n and syncs.
func (w *world) fill(n, batches int) {
	w.t.Helper()
	for range batches {
		p := partition(1 + w.rng.IntN(n))
		w.append(p, w.build(p, id.NoProducer, 1+w.rng.IntN(4), 1+w.rng.IntN(2000)))
	}
	w.sync()
}

// check reads every partition from offset 0: all that was appended is there
// exactly once, from the chain up to its end and from the hot tier beyond, and
// what is still hot below the chain's end is the same.
func (w *world) check() {
	w.t.Helper()
	for p := range w.want {
		want, next := w.checkSealed(p)
		for _, v := range want {
			w.readHot(p, v)
			next = v.NextOffset()
		}
		require.Equal(w.t, w.next[p], next)
		w.checkHot(p)
	}
}

// checkSealed reads the chain of p and returns what was appended beyond it, and its end.
func (w *world) checkSealed(p id.Partition) (rest []batch.View, next id.Offset) {
	w.t.Helper()
	end, _, _, err := w.chain.End(ctx, p)
	require.NoError(w.t, err)
	segs, err := w.chain.Segments(ctx, p, 0, 0)
	require.NoError(w.t, err)
	rest = w.want[p]
	for _, seg := range segs {
		require.Equal(w.t, next, seg.Base)
		for v, err := range w.cold.Batches(ctx, p, seg, seg.Base) {
			require.NoError(w.t, err)
			require.Equal(w.t, next, v.BaseOffset())
			require.True(w.t, bytes.Equal(rest[0], v), "offset %d of %s", next, p)
			rest, next = rest[1:], v.NextOffset()
		}
	}
	require.Equal(w.t, end, next)
	return rest, next
}

func (w *world) checkHot(p id.Partition) {
	w.t.Helper()
	start, ok := w.journal.HotStart(p)
	if !ok {
		return
	}
	for _, v := range w.want[p] {
		if v.BaseOffset() >= start {
			w.readHot(p, v)
		}
	}
}

func (w *world) readHot(p id.Partition, v batch.View) {
	w.t.Helper()
	got, err := w.journal.Read(p, v.BaseOffset(), v.NextOffset(), 1)
	require.NoError(w.t, err, "offset %d of %s", v.BaseOffset(), p)
	require.Len(w.t, got, 1, "offset %d of %s", v.BaseOffset(), p)
	require.True(w.t, bytes.Equal(v, got[0]), "offset %d of %s", v.BaseOffset(), p)
}

// producers returns the producers in the last segment of p.
func (w *world) producers(p id.Partition) []producers.State {
	w.t.Helper()
	_, last, _, err := w.chain.End(ctx, p)
	require.NoError(w.t, err)
	footer, err := w.cold.Footer(ctx, last.Object, last.ObjectSize)
	require.NoError(w.t, err)
	run, ok := footer.Run(p)
	require.True(w.t, ok)
	return run.Producers
}

// verify holds the chains and packs to each other and returns how many orphans there are.
func (w *world) verify() chain.Summary {
	w.t.Helper()
	sum, err := chain.Verify(ctx, w.table, w.objects, func(f chain.Finding) {
		require.Equal(w.t, chain.OrphanFound, f.Kind, f.String())
	})
	require.NoError(w.t, err)
	return sum
}

// sealedAll requires that the chains hold all that was appended.
func (w *world) sealedAll() {
	w.t.Helper()
	for p, next := range w.next {
		end, _, _, err := w.chain.End(ctx, p)
		require.NoError(w.t, err)
		require.Equal(w.t, next, end, p.String())
	}
}

// logLines collects log records.
type logLines struct{ lines chan string }

func newLogLines() *logLines { return &logLines{make(chan string, 1000)} }

func (l *logLines) Enabled(context.Context, slog.Level) bool { return true }
func (l *logLines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logLines) WithGroup(string) slog.Handler            { return l }
func (l *logLines) Handle(_ context.Context, r slog.Record) error {
	l.lines <- fmt.Sprintf("%s %s", r.Level, r.Message)
	return nil
}

func (l *logLines) all() []string {
	var lines []string
	for len(l.lines) > 0 {
		lines = append(lines, <-l.lines)
	}
	return lines
}
