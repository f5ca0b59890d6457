package pack_test

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/tiering/pack"
)

var update = flag.Bool("update", false, "write the golden files anew; review them as a change of the format")

// The golden object of the version before is still read.
func TestGoldenBefore(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "v1.pack"))
	require.NoError(t, err)
	text, err := os.ReadFile(filepath.Join("testdata", "v1.txt"))
	require.NoError(t, err)
	require.Equal(t, string(text), list(t, b))
	o := &object{b: b}
	require.NoError(t, pack.Verify(ctx, o, o.size()))
	f, err := pack.ReadFooter(ctx, o, o.size())
	require.NoError(t, err)
	require.Equal(t, byte(1), f.Version)
	o.b[len(b)-16] = pack.Version // the trailer's
	binary.LittleEndian.PutUint32(o.b[len(b)-12:], crc(o.b[len(b)-24:len(b)-12]))
	require.ErrorIs(t, pack.Verify(ctx, o, o.size()), pack.ErrCorrupt, "header and trailer have the same version")
}

// The golden object holds the writer to the format, its listing the reader.
func TestGolden(t *testing.T) {
	o, _ := write(t, header, small()...)
	object := filepath.Join("testdata", fmt.Sprintf("v%d.pack", pack.Version))
	listing := filepath.Join("testdata", fmt.Sprintf("v%d.txt", pack.Version))
	if *update {
		require.NoError(t, os.WriteFile(object, o.b, 0o644))
		require.NoError(t, os.WriteFile(listing, []byte(list(t, o.b)), 0o644))
	}
	want, err := os.ReadFile(object)
	require.NoError(t, err)
	require.Equal(t, want, o.b, "the bytes of version %d have changed", pack.Version)
	text, err := os.ReadFile(listing)
	require.NoError(t, err)
	require.Equal(t, string(text), list(t, want))
}

// list tells what is in an object, a line for each fact.
func list(t *testing.T, b []byte) string {
	f, err := pack.DecodeFooter(b)
	require.NoError(t, err)
	var s strings.Builder
	fmt.Fprintf(&s, "object of %d bytes\n", len(b))
	fmt.Fprintf(&s, "header cluster=%q session=%q node=%d created=%d\n", f.Cluster, f.Session, f.Node, f.Created.UnixMilli())
	for _, r := range f.Runs {
		fmt.Fprintf(&s, "run %s offsets=[%d,%d) bytes=[%d,%d) records=%d max=%d crc=%08x\n",
			r.Partition, r.Base, r.Next, r.Pos, r.Pos+r.Length, r.Records, r.MaxTimestamp, r.CRC)
		if r.Sparse {
			fmt.Fprintf(&s, "  sparse heads=%08x\n", r.Heads)
		}
		for _, e := range r.Epochs {
			fmt.Fprintf(&s, "  epoch %d from %d\n", e.Epoch, e.Start)
		}
		for _, e := range r.Index {
			fmt.Fprintf(&s, "  index %d at %d max=%d\n", e.Offset, e.Pos, e.MaxTimestamp)
		}
		for _, a := range r.Aborted {
			fmt.Fprintf(&s, "  aborted %+v\n", a)
		}
		for _, p := range r.Producers {
			fmt.Fprintf(&s, "  producer %+v\n", p)
		}
	}
	return s.String()
}

// The offset tables of FORMAT.md, read by hand out of the golden object.
func TestFormatTables(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "v2.pack"))
	require.NoError(t, err)
	le := binary.LittleEndian

	require.Equal(t, "FBAYPACK", string(b[0:8]))
	require.Equal(t, []byte{2, 9, 2, 0}, b[8:12])
	require.Equal(t, uint32(3), le.Uint32(b[12:]))
	require.Equal(t, uint64(1_700_000_000_000), le.Uint64(b[16:]))
	require.Equal(t, "cluster-1s7", string(b[24:35]))
	require.Equal(t, crc(b[:35]), le.Uint32(b[35:]))
	const headerEnd = 39

	trailer := b[len(b)-24:]
	footer := b[len(b)-24-int(le.Uint32(trailer)) : len(b)-24]
	require.Equal(t, crc(footer), le.Uint32(trailer[4:]))
	require.Equal(t, []byte{2, 0, 0, 0}, trailer[8:12])
	require.Equal(t, crc(trailer[:12]), le.Uint32(trailer[12:]))
	require.Equal(t, "KCAPYABF", string(trailer[16:]))

	require.Equal(t, byte(headerEnd), footer[0])
	require.Equal(t, b[:headerEnd], footer[1:1+headerEnd])
	rest := footer[1+headerEnd:]
	require.Equal(t, byte(2), rest[0])
	require.Equal(t, topicB[:], rest[1:17])
	require.Equal(t, topicA[:], rest[17:33])
	require.Equal(t, byte(4), rest[33])
	require.Equal(t, []byte{0, 1, 100, 12}, rest[34:38], "topic, partition, base offset, offsets")
}
