package batch_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/tiering/batch"
)

// wrap makes a batch of n records of bytes that a codec shall decompress, whatever they are.
func wrap(codec batch.Codec, n int32, body []byte) batch.View {
	v := append(batch.View(nil), batch.New(codec).Add(batch.Record{}).Build()[:batch.HeaderSize]...)
	v = append(v, body...)
	binary.BigEndian.PutUint32(v[8:], uint32(len(v)-12))
	binary.BigEndian.PutUint32(v[23:], uint32(n-1))
	binary.BigEndian.PutUint32(v[57:], uint32(n))
	return reseal(v)
}

func body(v batch.View) []byte { return v[batch.HeaderSize:] }

// bombs are batches that decompress, or say that they do, to size bytes of nothing.
func bombs(t testing.TB, size int) map[string]batch.View {
	t.Helper()
	big := batch.Record{Value: make([]byte, size)}
	out := map[string]batch.View{}
	for _, codec := range []batch.Codec{batch.Gzip, batch.LZ4, batch.Snappy, batch.Zstd} {
		out[codec.String()] = batch.New(codec).Add(big).Build()
	}
	out["snappy plain"] = wrap(batch.Snappy, 1, s2.EncodeSnappy(nil, big.Value))
	out["snappy, only a length"] = wrap(batch.Snappy, 1, binary.AppendUvarint(nil, uint64(size)))

	var stream bytes.Buffer // no content size, and the largest window there is
	w, err := zstd.NewWriter(&stream, zstd.WithWindowSize(64<<20))
	require.NoError(t, err)
	for part := range 16 {
		_, err = w.Write(big.Value[part*size/16 : (part+1)*size/16])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	out["zstd stream"] = wrap(batch.Zstd, 1, stream.Bytes())

	var frame bytes.Buffer // 4 MiB blocks
	l := lz4.NewWriter(&frame)
	require.NoError(t, l.Apply(lz4.BlockSizeOption(lz4.Block4Mb)))
	_, err = l.Write(big.Value)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	out["lz4 large blocks"] = wrap(batch.LZ4, 1, frame.Bytes())
	return out
}

func TestBombsStopAtTheLimit(t *testing.T) {
	const size, limit = 64 << 20, 1 << 20
	const workingSet = 10 << 20 // the codecs' own buffers
	for name, v := range bombs(t, size) {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time with pooled decoders
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				steps := 0
				for _, err := range batch.Decode(v, limit) {
					steps++
					require.ErrorIs(t, err, batch.ErrTooLarge)
				}
				require.Equal(t, 1, steps)
				require.ErrorIs(t, batch.ValidateProduce(v, batch.Rules{Deep: true, DecodeLimit: limit}), batch.ErrTooLarge)
				runtime.ReadMemStats(&after)
				require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2*(3*limit+workingSet)))
			}
		})
	}
}

func TestSnappyLengthsThatLie(t *testing.T) {
	v := wrap(batch.Snappy, 1, binary.AppendUvarint(nil, 32<<20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, err := range batch.Decode(v, 64<<20) {
		require.ErrorIs(t, err, batch.ErrCorrupt)
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}

func TestDecodeUpToTheLimit(t *testing.T) {
	recs := []batch.Record{{Value: bytes.Repeat([]byte("forebay"), 100_000)}}
	plain := len(body(build(batch.New(batch.None), recs)))
	for codec := range clientCodecs {
		v := build(batch.New(codec), recs)
		for r, err := range batch.Decode(v, int64(plain)) {
			require.NoError(t, err, codec)
			require.Equal(t, recs[0].Value, r.Value, codec)
		}
		if codec == batch.None {
			continue
		}
		for _, err := range batch.Decode(v, int64(plain-1)) {
			require.ErrorIs(t, err, batch.ErrTooLarge, codec)
		}
	}
}

func TestSnappyFramings(t *testing.T) {
	recs := records(1000)
	plain := body(build(batch.New(batch.None), recs))
	framed := body(build(batch.New(batch.Snappy), recs))
	half := len(plain) / 2
	xerial := func(b []byte) []byte {
		block := s2.EncodeSnappy(nil, b)
		out := append([]byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}, 0, 0, 0, 0)
		binary.BigEndian.PutUint32(out[16:], uint32(len(block)))
		return append(out, block...)
	}
	for name, b := range map[string][]byte{
		"one plain block": s2.EncodeSnappy(nil, plain),
		"xerial":          framed,
		"two streams":     append(xerial(plain[:half]), xerial(plain[half:])...),
	} {
		t.Run(name, func(t *testing.T) {
			v := wrap(batch.Snappy, 1000, b)
			require.Len(t, decoded(t, v), 1000)
			for n := 1; n < len(b); n += 1 + len(b)/200 {
				last := error(nil)
				for _, err := range batch.Decode(wrap(batch.Snappy, 1000, b[:n]), 0) {
					last = err
				}
				require.ErrorIs(t, last, batch.ErrCorrupt, "cut at %d", n)
			}
		})
	}
}

// A batch of the highest zstd levels asks for a window far above what it holds.
func TestZstdWithLargeWindow(t *testing.T) {
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, zstd.WithWindowSize(128<<20))
	require.NoError(t, err)
	plain := body(build(batch.New(batch.None), records(10)))
	for _, part := range [][]byte{plain[:100], plain[100:]} {
		_, err = w.Write(part)
		require.NoError(t, err)
		require.NoError(t, w.Flush())
	}
	require.NoError(t, w.Close())
	require.Len(t, decoded(t, wrap(batch.Zstd, 10, out.Bytes())), 10)
}

func TestDecodeStopsWhenTold(t *testing.T) {
	steps := 0
	for _, err := range batch.Decode(build(batch.New(batch.LZ4), records(10)), 0) {
		require.NoError(t, err)
		if steps++; steps == 3 {
			break
		}
	}
	require.Equal(t, 3, steps)
}

func TestDecodeAfterCompaction(t *testing.T) {
	v := build(batch.New(batch.None).Base(10), records(3))
	binary.BigEndian.PutUint32(v[23:], 9) // the records behind were removed
	got := decoded(t, reseal(v))
	require.Len(t, got, 3)
	require.EqualValues(t, 20, v.NextOffset())

	v[batch.HeaderSize+len(body(v))-1]++ // the last header's value
	last := error(nil)
	for _, err := range batch.Decode(v, 0) {
		last = err
	}
	require.ErrorIs(t, last, batch.ErrCorrupt)
}
