package pack_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/pack"
)

// place is where a byte of an object belongs.
type place struct {
	part      string
	partition id.Partition
	offset    id.Offset
}

// places tells of every byte of an object where it belongs, from what was written.
func places(o *object, f *pack.Footer, specs []runSpec) []place {
	out := make([]place, 0, len(o.b))
	fill := func(upTo int64, p place) {
		for int64(len(out)) < upTo {
			out = append(out, p)
		}
	}
	end := int64(len(o.b))
	if len(f.Runs) > 0 {
		end = f.Runs[0].Pos
	}
	fill(end, place{part: "header"})
	for i, spec := range specs {
		at := f.Runs[i].Pos
		for _, v := range spec.batches {
			at += int64(len(v))
			fill(at, place{part: "run", partition: spec.p, offset: v.BaseOffset()})
		}
	}
	fill(int64(len(o.b)-24), place{part: "footer"})
	fill(int64(len(o.b)), place{part: "trailer"})
	return out
}

func TestEveryFlippedBitIsFoundAndNamed(t *testing.T) {
	specs := dense()
	specs[0].batches = nil // short batches, so that every bit is tried in little time
	for i := range 4 {
		specs[0].batches = append(specs[0].batches, data(id.Offset(100+2*i), id.Epoch(4+i/2), 2, 10, 1000))
	}
	o, f := write(t, header, specs...)
	want := places(o, f, specs)
	for bit := range len(o.b) * 8 {
		o.b[bit/8] ^= 1 << (bit % 8)
		err := pack.Verify(ctx, o, o.size())
		require.ErrorIs(t, err, pack.ErrCorrupt, "bit %d", bit)
		var got *pack.CorruptError
		require.ErrorAs(t, err, &got)
		require.Equal(t, want[bit/8], place{part: got.Part, partition: got.Partition, offset: got.Offset}, "bit %d: %v", bit, err)
		o.b[bit/8] ^= 1 << (bit % 8)
	}
	require.NoError(t, pack.Verify(ctx, o, o.size()))
}

// In a sparse run a batch that claims another place is found by the sums of the heads at the latest.
func TestEveryFlippedBitOfASparseRunIsFound(t *testing.T) {
	spec := sparse()
	spec.batches[0] = data(1010, 3, 2, 10, 1000)
	o, f := write(t, header, spec)
	run := f.Runs[0]
	for bit := run.Pos * 8; bit < (run.Pos+run.Length)*8; bit++ {
		o.b[bit/8] ^= 1 << (bit % 8)
		err := pack.Verify(ctx, o, o.size())
		var got *pack.CorruptError
		require.ErrorAs(t, err, &got)
		require.Equal(t, "run", got.Part)
		require.Equal(t, spec.p, got.Partition)
		o.b[bit/8] ^= 1 << (bit % 8)
	}
	require.NoError(t, pack.Verify(ctx, o, o.size()))
}

func TestEveryCutIsFound(t *testing.T) {
	o, _ := write(t, header, small()[1:]...)
	for n := range o.b {
		cut := &object{b: o.b[:n]}
		require.ErrorIs(t, pack.Verify(ctx, cut, cut.size()), pack.ErrCorrupt, "cut at %d", n)
		require.Error(t, pack.Verify(ctx, cut, o.size()), "cut at %d and not told", n)
	}
	long := &object{b: append(bytes.Clone(o.b), 0)}
	require.ErrorIs(t, pack.Verify(ctx, long, long.size()), pack.ErrCorrupt)
}

// Two batches of the same length that change places have right checksums each.
func TestSwappedBatchesAreFound(t *testing.T) {
	p := id.Partition{Topic: topicA}
	o, f := write(t, header, runSpec{p: p, batches: []batch.View{data(0, 1, 1, 50, 5), data(1, 1, 1, 50, 5)}})
	at, half := f.Runs[0].Pos, f.Runs[0].Length/2
	first := bytes.Clone(o.b[at : at+half])
	copy(o.b[at:], o.b[at+half:at+2*half])
	copy(o.b[at+half:], first)
	var got *pack.CorruptError
	require.ErrorAs(t, pack.Verify(ctx, o, o.size()), &got)
	require.Equal(t, place{"run", p, 0}, place{got.Part, got.Partition, got.Offset})
}

// A batch may be exchanged for another that is right in itself; the run's checksum tells.
func TestExchangedBatchIsFound(t *testing.T) {
	p := id.Partition{Topic: topicA}
	o, f := write(t, header, runSpec{p: p, batches: []batch.View{data(0, 1, 1, 50, 5)}})
	other := data(0, 1, 1, 50, 5)
	other[len(other)-2] ^= 1
	binary.BigEndian.PutUint32(other[17:], crc32.Checksum(other[21:], crc32.MakeTable(crc32.Castagnoli)))
	copy(o.b[f.Runs[0].Pos:], other)
	var got *pack.CorruptError
	require.ErrorAs(t, pack.Verify(ctx, o, o.size()), &got)
	require.Equal(t, place{"run", p, -1}, place{got.Part, got.Partition, got.Offset})
}

// failing fails its n-th read.
type failing struct {
	*object
	n int
}

var errStore = errors.New("slow down")

func (f *failing) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if f.n--; f.n < 0 {
		return 0, errStore
	}
	return f.object.ReadAt(ctx, p, off)
}

func TestReadErrorsAreNotCorruption(t *testing.T) {
	o, _ := write(t, header, small()...)
	for n := range 2 {
		err := pack.Verify(ctx, &failing{o, n}, o.size())
		require.ErrorIs(t, err, errStore)
		require.NotErrorIs(t, err, pack.ErrCorrupt)
	}
	_, err := pack.ReadFooter(ctx, &failing{o, 0}, o.size())
	require.ErrorIs(t, err, errStore)
}

func TestVersions(t *testing.T) {
	o, _ := write(t, header)
	for _, v := range []byte{0, pack.Version + 1, 255} {
		b := bytes.Clone(o.b)
		b[len(b)-16] = v
		_, err := pack.DecodeFooter(b)
		require.ErrorIs(t, err, pack.ErrVersion)
		b[8] = v
		_, _, err = pack.DecodeHeader(b)
		require.ErrorIs(t, err, pack.ErrVersion)
	}
}

// Verify reads batches larger than what it holds.
func TestVerifyLargeBatches(t *testing.T) {
	p := id.Partition{Topic: topicB}
	o, f := write(t, header, runSpec{p: p, batches: []batch.View{data(0, 1, 1, 10, 5), data(1, 1, 3, 2<<20, 5), data(4, 1, 1, 10, 5)}})
	require.NoError(t, pack.Verify(ctx, o, o.size()))
	o.b[f.Runs[0].Pos+5<<20] ^= 0x10
	var got *pack.CorruptError
	require.ErrorAs(t, pack.Verify(ctx, o, o.size()), &got)
	require.Equal(t, id.Offset(1), got.Offset)
}

func TestMissingObjectEnd(t *testing.T) {
	o, _ := write(t, header)
	_, err := pack.ReadFooter(ctx, o, o.size()+10)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}
