package pack_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
)

func crc(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// tail is the end of an object with this footer.
func tail(footer []byte) []byte { return tailOf(pack.Version, footer) }

func tailOf(version byte, footer []byte) []byte {
	t := binary.LittleEndian.AppendUint32(nil, uint32(len(footer)))
	t = binary.LittleEndian.AppendUint32(t, crc(footer))
	t = append(t, version, 0, 0, 0)
	t = binary.LittleEndian.AppendUint32(t, crc(t))
	return append(bytes.Clone(footer), append(t, "KCAPYABF"...)...)
}

// footerOf cuts the footer out of an object.
func footerOf(b []byte) []byte {
	n := binary.LittleEndian.Uint32(b[len(b)-24:])
	return b[len(b)-24-int(n) : len(b)-24]
}

// many writes n small runs of 100 topics, each with two batches and a producer.
func many(w *pack.Writer, n int) error {
	state := []producers.State{{
		Producer: 1 << 30, LastTimestamp: 1_700_000_000_000, LastSeen: 1_700_000_000_005, TxnStart: -1,
		Batches: []producers.Batch{{FirstSequence: 10, LastSequence: 12, Base: 1000, Last: 1002, Timestamp: 1_700_000_000_000}},
	}}
	one := data(1000, 6, 3, 10, 1_700_000_000_000)
	two := data(1003, 6, 1, 10, 1_700_000_000_000)
	for i := range n {
		p := id.Partition{Topic: id.Topic{byte(i * 7 % 100)}, Index: int32(i / 100)}
		if err := w.BeginRun(p); err != nil {
			return err
		}
		for _, v := range []batch.View{one, two} {
			if err := w.Append(v); err != nil {
				return err
			}
		}
		if err := w.EndRun(state, nil); err != nil {
			return err
		}
	}
	return nil
}

func TestTenThousandRuns(t *testing.T) {
	var out bytes.Buffer
	w := pack.NewWriter(&out, header)
	require.NoError(t, many(w, 10_000))
	written, err := w.Close()
	require.NoError(t, err)
	o := &object{b: out.Bytes()}
	require.Less(t, len(footerOf(o.b)), 60*10_000, "bytes of a run in the footer")
	f, err := pack.ReadFooter(ctx, o, o.size())
	require.NoError(t, err)
	require.Equal(t, 2, o.reads, "two reads for a large footer")
	size, err := pack.TailSize(ctx, o, o.size())
	require.NoError(t, err)
	require.EqualValues(t, len(footerOf(o.b))+24, size)
	for _, short := range []int64{0, 23, o.size() - 1} {
		_, err = pack.TailSize(ctx, o, short)
		require.ErrorIs(t, err, pack.ErrCorrupt)
	}
	require.True(t, reflect.DeepEqual(written, f))
	require.NoError(t, pack.Verify(ctx, o, o.size()))
	for i := range f.Runs {
		r, ok := f.Run(f.Runs[i].Partition)
		require.True(t, ok && r == &f.Runs[i])
	}
}

// What is not yet checked never decides how much is allocated.
func TestCountsThatLie(t *testing.T) {
	o, _ := write(t, header, small()...)
	whole := footerOf(o.b)
	for at := range whole {
		for _, lie := range [][]byte{{0xff, 0xff, 0xff, 0xff, 0x7f}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}} {
			b := append(bytes.Clone(whole[:at]), lie...)
			b = append(b, whole[at:]...)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := pack.DecodeFooter(tail(b))
			runtime.ReadMemStats(&after)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
			if err != nil {
				require.ErrorIs(t, err, pack.ErrCorrupt)
			}
		}
	}
}

// FuzzDecodeFooter: bytes with a right checksum are refused with ErrCorrupt, or are a
// footer whose runs follow each other, can be looked up and have sound indexes.
func FuzzDecodeFooter(f *testing.F) {
	old, err := os.ReadFile(filepath.Join("testdata", "v1.pack"))
	require.NoError(f, err)
	f.Add(footerOf(old))
	for _, specs := range [][]runSpec{nil, small()[:1], {sparse()}, small()} {
		o, _ := write(f, header, specs...)
		b := footerOf(o.b)
		f.Add(b)
		f.Add(b[:len(b)/2])
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = pack.DecodeFooter(b)
		footer, err := pack.DecodeFooter(tail(b))
		if err != nil && at(b, 9) == pack.Version-1 {
			footer, err = pack.DecodeFooter(tailOf(pack.Version-1, b))
		}
		if err != nil {
			require.ErrorIs(t, err, pack.ErrCorrupt)
			return
		}
		pos := int64(-1)
		for i := range footer.Runs {
			r := &footer.Runs[i]
			if pos >= 0 {
				require.Equal(t, pos, r.Pos)
			}
			pos = r.Pos + r.Length
			found, ok := footer.Run(r.Partition)
			require.True(t, ok && found == r)
			checkRun(t, r)
		}
	})
}

func checkRun(t *testing.T, r *pack.Run) {
	if r.Base < 0 || r.Next <= r.Base || r.Length < 1 || r.Pos < 0 || r.Pos+r.Length < r.Pos {
		t.Fatalf("run %+v", r)
	}
	for i, e := range r.Epochs {
		if e.Start < r.Base || e.Start >= r.Next || i > 0 && (e.Start <= r.Epochs[i-1].Start || e.Epoch <= r.Epochs[i-1].Epoch) {
			t.Fatalf("epochs %+v", r.Epochs)
		}
		require.Equal(t, e.Epoch, r.EpochAt(e.Start))
	}
	require.True(t, r.Sparse || r.Epochs[0].Start == r.Base && r.Index[0].Offset == r.Base && r.Heads == nil)
	require.True(t, !r.Sparse || len(r.Heads) == len(r.Index))
	for i, e := range r.Index {
		if e.Offset < r.Base || e.Offset >= r.Next || e.Pos < r.Pos || e.Pos >= r.Pos+r.Length || i > 0 && e.MaxTimestamp < r.Index[i-1].MaxTimestamp {
			t.Fatalf("index %+v", r.Index)
		}
		require.Equal(t, e, r.Find(e.Offset))
	}
	require.Equal(t, r.MaxTimestamp, r.Index[len(r.Index)-1].MaxTimestamp)
	_, ok := r.FindTime(r.MaxTimestamp)
	require.True(t, ok)
	for _, a := range r.Aborted {
		if a.First < 0 || a.Last < a.First || a.Last < r.Base || a.Last >= r.Next || a.Stable < 0 {
			t.Fatalf("aborted %+v", a)
		}
	}
}

// FuzzDecodeHeader: bytes are refused, or are a header that encodes to the same bytes.
func FuzzDecodeHeader(f *testing.F) {
	for _, h := range []pack.Header{{}, header} {
		b := h.AppendTo(nil)
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := 28 + int(at(b, 9)) + int(at(b, 10)); len(b) >= n { // a right checksum, else nothing gets past it
			b = bytes.Clone(b)
			binary.LittleEndian.PutUint32(b[n-4:], crc(b[:n-4]))
		}
		h, size, err := pack.DecodeHeader(b)
		if err != nil {
			return
		}
		require.NoError(t, h.Validate())
		b = bytes.Clone(b[:size])
		b[8] = pack.Version // or the one before
		binary.LittleEndian.PutUint32(b[size-4:], crc(b[:size-4]))
		require.Equal(t, b, h.AppendTo(nil))
	})
}

func at(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}

func BenchmarkFooter(b *testing.B) {
	var out bytes.Buffer
	w := pack.NewWriter(&out, header)
	require.NoError(b, many(w, 10_000))
	_, err := w.Close()
	require.NoError(b, err)
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		b.ReportMetric(float64(len(footerOf(out.Bytes())))/10_000, "bytes/run")
		for b.Loop() {
			if _, err := pack.DecodeFooter(out.Bytes()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			w := pack.NewWriter(io.Discard, header)
			require.NoError(b, many(w, 10_000))
			b.StartTimer()
			if _, err := w.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
