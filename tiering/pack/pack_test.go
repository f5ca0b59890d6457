package pack_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
)

var (
	ctx    = context.Background()
	header = pack.Header{Cluster: "cluster-1", Session: "s7", Node: 3, Created: time.UnixMilli(1_700_000_000_000)}
	topicA = id.Topic{0xa, 1}
	topicB = id.Topic{0xb, 2}
)

// object is an object in memory that counts how it is read.
type object struct {
	b     []byte
	reads int
}

func (o *object) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	o.reads++
	return bytes.NewReader(o.b).ReadAt(p, off)
}

func (o *object) size() int64 { return int64(len(o.b)) }

// runSpec is a run to be written.
type runSpec struct {
	p       id.Partition
	batches []batch.View
	states  []producers.State
	aborted []pack.AbortedTxn

	sparse     bool
	base, next id.Offset // of a sparse run, as its epochs
	epochs     []pack.EpochStart
}

func (r runSpec) begin(w *pack.Writer) error {
	if r.sparse {
		return w.BeginSparse(r.p, r.base, r.next)
	}
	return w.BeginRun(r.p)
}

func (r runSpec) end(w *pack.Writer) error {
	if r.sparse {
		return w.EndSparse(r.epochs, r.states, r.aborted)
	}
	return w.EndRun(r.states, r.aborted)
}

func write(t testing.TB, h pack.Header, runs ...runSpec) (*object, *pack.Footer) {
	t.Helper()
	var out bytes.Buffer
	w := pack.NewWriter(&out, h)
	for _, r := range runs {
		require.NoError(t, r.begin(w))
		for _, v := range r.batches {
			require.NoError(t, w.Append(v))
		}
		require.NoError(t, r.end(w))
	}
	f, err := w.Close()
	require.NoError(t, err)
	require.Equal(t, int64(out.Len()), w.Size())
	return &object{b: out.Bytes()}, f
}

// data makes a batch of n records with values of size bytes.
func data(base id.Offset, epoch id.Epoch, n, size int, ms int64) batch.View {
	b := batch.New(batch.None).Base(base).Epoch(epoch).Producer(5, 1, int32(base))
	for i := range n {
		b.Add(batch.Record{Timestamp: ms + int64(i), Key: []byte("k"), Value: bytes.Repeat([]byte{byte(base)}, size)})
	}
	return b.Build()
}

// small is an object with all that the format knows: two topics, four runs, epochs,
// an index with several entries, an aborted transaction, producers, and a sparse run.
func small() []runSpec { return append(dense(), sparse()) }

// sparse is a run with offsets left out at both ends and between batches, an epoch without a batch,
// and a batch without records.
func sparse() runSpec {
	return runSpec{
		p: id.Partition{Topic: topicA, Index: 2}, sparse: true, base: 1000, next: 1100,
		epochs: []pack.EpochStart{{Epoch: 2, Start: 1000}, {Epoch: 3, Start: 1005}, {Epoch: 6, Start: 1030}, {Epoch: 9, Start: 1090}},
		batches: []batch.View{
			data(1010, 3, 2, 33_000, 1_699_999_000_000),
			empty(1020, 3, 5, 1_699_999_999_999),
			data(1031, 6, 1, 10, 1_699_999_001_000),
			data(1050, 6, 4, 10, 1_699_999_000_500),
		},
	}
}

// empty is what compaction leaves of a batch of n records none of which is left.
func empty(base id.Offset, epoch id.Epoch, n int32, ms int64) batch.View {
	v := batch.New(batch.None).Base(base).Epoch(epoch).Producer(5, 1, int32(base)).Build()
	binary.BigEndian.PutUint32(v[23:], uint32(n-1))
	binary.BigEndian.PutUint64(v[35:], uint64(ms))
	binary.BigEndian.PutUint32(v[17:], crc(v[21:]))
	return v
}

// dense is an object with all that version 1 knew.
func dense() []runSpec {
	var long []batch.View
	for i := range 6 {
		long = append(long, data(id.Offset(100+2*i), id.Epoch(4+i/3), 2, 15_000, 1_699_999_000_000+int64(i%4)*1000))
	}
	var table producers.Table
	txn := batch.New(batch.None).Producer(9, 2, 0).Transactional().Base(1 << 40).Epoch(7).Add(batch.Record{Timestamp: -1, Value: []byte("x")}).Build()
	marker := batch.NewMarker(batch.Marker{CoordinatorEpoch: 3}, 9, 2, 1_700_000_000_500)
	marker.Stamp(1<<40+1, 7)
	table.Apply(txn)
	aborted, _ := table.Apply(marker)
	return []runSpec{
		{p: id.Partition{Topic: topicB, Index: 1}, batches: long},
		{p: id.Partition{Topic: topicA, Index: 0}, batches: []batch.View{data(0, 0, 1, 10, -1)}},
		{p: id.Partition{Topic: topicB, Index: 0}, batches: []batch.View{txn, marker}, states: table.Snapshot(), aborted: []pack.AbortedTxn{aborted}},
	}
}

func TestWriteAndReadBack(t *testing.T) {
	specs := small()
	o, written := write(t, header, specs...)
	f, err := pack.ReadFooter(ctx, o, o.size())
	require.NoError(t, err)
	require.Equal(t, 1, o.reads, "one read for a small footer")
	require.Equal(t, written, f)
	require.NoError(t, pack.Verify(ctx, o, o.size()))
	require.Equal(t, header, f.Header)
	require.Len(t, f.Runs, len(specs))

	for i, spec := range specs {
		r, ok := f.Run(spec.p)
		require.True(t, ok)
		require.Same(t, &f.Runs[i], r)
		require.Equal(t, bytes.Join(raw(spec.batches), nil), o.b[r.Pos:r.Pos+r.Length], "batches are untouched bytes")
		require.Equal(t, spec.states, r.Producers)
		require.Equal(t, spec.aborted, r.Aborted)
		require.Equal(t, spec.sparse, r.Sparse)
		require.Equal(t, spec.batches[0].BaseOffset(), r.Index[0].Offset)
		if spec.sparse {
			require.Equal(t, spec.base, r.Base)
			require.Equal(t, spec.next, r.Next)
			require.Equal(t, spec.epochs, r.Epochs)
			require.Len(t, r.Heads, len(r.Index))
			continue
		}
		require.Equal(t, spec.batches[0].BaseOffset(), r.Base)
		require.Equal(t, spec.batches[len(spec.batches)-1].NextOffset(), r.Next)
		require.Equal(t, int64(r.Next-r.Base), r.Records)
	}
	_, ok := f.Run(id.Partition{Topic: topicA, Index: 1})
	require.False(t, ok)

	long := f.Runs[0]
	require.Equal(t, id.Epoch(4), long.FirstEpoch)
	require.Equal(t, []pack.EpochStart{{Epoch: 4, Start: 100}, {Epoch: 5, Start: 106}}, long.Epochs)
	require.Equal(t, int64(1_699_999_003_001), long.MaxTimestamp)
	require.Equal(t, int64(-1), f.Runs[1].MaxTimestamp)
	require.Equal(t, int64(7), f.Runs[3].Records)
	require.Equal(t, int64(1_699_999_001_000), f.Runs[3].MaxTimestamp, "a batch without records has no time")
	require.Equal(t, id.Epoch(2), f.Runs[3].FirstEpoch)
}

func raw(views []batch.View) [][]byte {
	var out [][]byte
	for _, v := range views {
		out = append(out, v)
	}
	return out
}

// Whatever offset or time is looked for, reading from the entry that is found comes
// upon the right batch, and no later entry would do.
func TestIndexLeadsToTheRightBatch(t *testing.T) {
	for _, gap := range []id.Offset{0, 3} {
		var batches []batch.View
		next := id.Offset(1000)
		for i := range 120 {
			v := data(next+gap*id.Offset(i%2), 0, 1+i%3, 3000+i*50, 1_700_000_000_000+int64((i*7919)%500)*10)
			batches, next = append(batches, v), v.NextOffset()
		}
		spec := runSpec{p: id.Partition{Topic: topicA}, batches: batches}
		if gap > 0 {
			spec.sparse, spec.base, spec.next, spec.epochs = true, 1000, next, []pack.EpochStart{{Start: 1000}}
		}
		testIndex(t, spec)
	}
}

func testIndex(t *testing.T, spec runSpec) {
	o, f := write(t, header, spec)
	r := &f.Runs[0]
	require.Greater(t, len(r.Index), 8)
	for i, e := range r.Index {
		v, _, err := batch.Parse(o.b[e.Pos:])
		require.NoError(t, err)
		require.Equal(t, v.BaseOffset(), e.Offset)
		if i > 0 {
			require.GreaterOrEqual(t, e.Pos-r.Index[i-1].Pos, int64(pack.IndexInterval))
			require.GreaterOrEqual(t, e.MaxTimestamp, r.Index[i-1].MaxTimestamp)
		}
	}
	walk := func(from int64, hit func(v batch.View) bool) (id.Offset, bool) {
		for b := o.b[from : r.Pos+r.Length]; len(b) > 0; {
			v, rest, err := batch.Parse(b)
			require.NoError(t, err)
			if hit(v) {
				return v.BaseOffset(), true
			}
			b = rest
		}
		return 0, false
	}
	entryAfter := func(e pack.IndexEntry) id.Offset {
		for _, x := range r.Index {
			if x.Offset > e.Offset {
				return x.Offset
			}
		}
		return r.Next
	}
	for at := r.Base; at < r.Next; at++ {
		e := r.Find(at)
		got, ok := walk(e.Pos, func(v batch.View) bool { return v.LastOffset() >= at })
		require.True(t, ok && (got <= at || r.Sparse) && e.Offset <= got, "offset %d from entry %+v", at, e)
		require.True(t, got < entryAfter(e) || r.Sparse && at < entryAfter(e), "offset %d from entry %+v", at, e)
	}
	require.Equal(t, r.Index[0], r.Find(5))
	for ms := int64(1_699_999_999_000); ms <= r.MaxTimestamp; ms += 7 {
		later := func(v batch.View) bool { return v.MaxTimestamp() >= ms }
		want, _ := walk(r.Pos, later)
		e, ok := r.FindTime(ms)
		require.True(t, ok)
		got, ok := walk(e.Pos, later)
		require.True(t, ok && got == want && want < entryAfter(e), "time %d from entry %+v", ms, e)
	}
	_, ok := r.FindTime(r.MaxTimestamp + 1)
	require.False(t, ok)
}

func TestEmptyAndExtreme(t *testing.T) {
	o, f := write(t, pack.Header{})
	require.Empty(t, f.Runs)
	require.NoError(t, pack.Verify(ctx, o, o.size()))

	extreme := func(base id.Offset, ms int64) batch.View {
		v := data(base, math.MaxInt32, 1, 70_000, ms)
		v.SetLogAppendTime(ms)
		return v
	}
	top := id.Offset(math.MaxInt64 - 4)
	h := pack.Header{Cluster: string(make([]byte, 255)), Session: string(make([]byte, 255)), Node: math.MinInt32, Created: time.UnixMilli(math.MaxInt64 / 2)}
	o, f = write(t, h, runSpec{p: id.Partition{Index: math.MaxInt32}, batches: []batch.View{
		extreme(top, math.MinInt64), extreme(top+1, math.MaxInt64), extreme(top+2, 0),
	}})
	require.NoError(t, pack.Verify(ctx, o, o.size()))
	require.Equal(t, int64(math.MinInt64), f.Runs[0].Index[0].MaxTimestamp)
	require.Equal(t, int64(math.MaxInt64), f.Runs[0].Index[2].MaxTimestamp)

	_, err := pack.NewWriter(io.Discard, pack.Header{Cluster: string(make([]byte, 256))}).Close()
	require.Error(t, err)
}

func TestWriterRefuses(t *testing.T) {
	p, q := id.Partition{Topic: topicA}, id.Partition{Topic: topicB}
	good := data(10, 3, 2, 10, 0)
	broken := batch.View(bytes.Clone(good))
	broken[len(broken)-1] ^= 1
	for name, steps := range map[string]func(w *pack.Writer) error{
		"a batch outside of a run": func(w *pack.Writer) error { return w.Append(good) },
		"an empty run":             func(w *pack.Writer) error { return errors.Join(w.BeginRun(p), w.EndRun(nil, nil)) },
		"an end without a run":     func(w *pack.Writer) error { return w.EndRun(nil, nil) },
		"a run within a run":       func(w *pack.Writer) error { return errors.Join(w.BeginRun(p), w.Append(good), w.BeginRun(q)) },
		"a second run": func(w *pack.Writer) error {
			return errors.Join(w.BeginRun(p), w.Append(good), w.EndRun(nil, nil), w.BeginRun(p))
		},
		"a negative partition": func(w *pack.Writer) error { return w.BeginRun(id.Partition{Index: -1}) },
		"a gap": func(w *pack.Writer) error {
			return errors.Join(w.BeginRun(p), w.Append(good), w.Append(data(13, 3, 1, 1, 0)))
		},
		"an overlap": func(w *pack.Writer) error {
			return errors.Join(w.BeginRun(p), w.Append(good), w.Append(data(11, 3, 1, 1, 0)))
		},
		"an older epoch": func(w *pack.Writer) error {
			return errors.Join(w.BeginRun(p), w.Append(good), w.Append(data(12, 2, 1, 1, 0)))
		},
		"offsets that a sparse run cannot have": func(w *pack.Writer) error { return w.BeginSparse(p, 5, 5) },
		"a batch below a sparse run": func(w *pack.Writer) error {
			return errors.Join(w.BeginSparse(p, 11, 20), w.Append(good))
		},
		"a batch beyond a sparse run": func(w *pack.Writer) error {
			return errors.Join(w.BeginSparse(p, 0, 11), w.Append(good))
		},
		"an overlap in a sparse run": func(w *pack.Writer) error {
			return errors.Join(w.BeginSparse(p, 0, 20), w.Append(good), w.Append(data(11, 3, 1, 1, 0)))
		},
		"an empty sparse run": func(w *pack.Writer) error {
			return errors.Join(w.BeginSparse(p, 0, 20), w.EndSparse([]pack.EpochStart{{Epoch: 3, Start: 0}}, nil, nil))
		},
		"a sparse run that ends as a dense one": func(w *pack.Writer) error {
			return errors.Join(w.BeginSparse(p, 0, 20), w.Append(good), w.EndRun(nil, nil))
		},
		"a dense run that ends as a sparse one": func(w *pack.Writer) error {
			return errors.Join(w.BeginRun(p), w.Append(good), w.EndSparse([]pack.EpochStart{{Epoch: 3, Start: 10}}, nil, nil))
		},
		"no epochs":                    ends(p, good),
		"epochs beyond the run":        ends(p, good, pack.EpochStart{Epoch: 3, Start: 0}, pack.EpochStart{Epoch: 4, Start: 20}),
		"epochs that fall":             ends(p, good, pack.EpochStart{Epoch: 3, Start: 0}, pack.EpochStart{Epoch: 2, Start: 15}),
		"epochs at the same offset":    ends(p, good, pack.EpochStart{Epoch: 2, Start: 0}, pack.EpochStart{Epoch: 3, Start: 0}),
		"another epoch than a batch's": ends(p, good, pack.EpochStart{Epoch: 2, Start: 0}, pack.EpochStart{Epoch: 3, Start: 11}),
		"another epoch than the last batch's": func(w *pack.Writer) error {
			return errors.Join(w.BeginSparse(p, 0, 20), w.Append(good), w.Append(data(15, 3, 1, 1, 0)),
				w.EndSparse([]pack.EpochStart{{Epoch: 3, Start: 0}, {Epoch: 4, Start: 13}}, nil, nil))
		},
		"a corrupt batch": func(w *pack.Writer) error { return errors.Join(w.BeginRun(p), w.Append(broken)) },
		"a transaction that ends elsewhere": func(w *pack.Writer) error {
			return errors.Join(w.BeginRun(p), w.Append(good), w.EndRun(nil, []pack.AbortedTxn{{First: 1, Last: 12}}))
		},
		"an end within a run": func(w *pack.Writer) error {
			err := errors.Join(w.BeginRun(p), w.Append(good))
			_, closed := w.Close()
			return errors.Join(err, closed)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := pack.NewWriter(io.Discard, header)
			require.Error(t, steps(w))
			_, err := w.Close()
			require.Error(t, err, "an error stays")
			require.Error(t, w.BeginRun(id.Partition{Index: 9}))
		})
	}
}

// ends writes a sparse run of one batch and offsets 0 to 20 with the leader epochs.
func ends(p id.Partition, v batch.View, epochs ...pack.EpochStart) func(w *pack.Writer) error {
	return func(w *pack.Writer) error {
		return errors.Join(w.BeginSparse(p, 0, 20), w.Append(v), w.EndSparse(epochs, nil, nil))
	}
}

// fullDisk fails once it has taken n bytes.
type fullDisk struct{ n int }

var errFull = errors.New("no space")

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.n -= len(p); d.n < 0 {
		return max(0, len(p)+d.n), errFull
	}
	return len(p), nil
}

func TestWriterReportsWriteErrors(t *testing.T) {
	o, _ := write(t, header, small()...)
	for n := 0; n < len(o.b); n += 997 {
		w := pack.NewWriter(&fullDisk{n: n}, header)
		for _, r := range small() {
			_ = r.begin(w)
			for _, v := range r.batches {
				_ = w.Append(v)
			}
			_ = r.end(w)
		}
		_, err := w.Close()
		require.ErrorIs(t, err, errFull, "after %d bytes", n)
	}
}
