package chain

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func sample() Segment {
	return Segment{
		Base: 4096, Next: 8192, Object: "packs/2026/01/02/1-x.pack", ObjectSize: 1 << 20, Pos: 64, Length: 1 << 19,
		MaxTimestamp: 1767312000000, Records: 4000, FirstEpoch: 3, LastEpoch: 5, CRC: 0xdeadbeef,
		Sealed: 1767312345678, Rewritten: true, CleanedTo: 16384,
	}
}

// TestSegmentV1 holds the reader to the version before, which it still reads.
func TestSegmentV1(t *testing.T) {
	text, err := os.ReadFile("testdata/segment_v1.hex")
	require.NoError(t, err)
	raw, err := hex.DecodeString(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	seg, err := DecodeSegment(raw)
	require.NoError(t, err)
	want := sample()
	want.Sealed, want.Rewritten, want.CleanedTo = 0, false, 0
	require.Equal(t, want, seg)
}

func TestSegmentGolden(t *testing.T) {
	const file = "testdata/segment_v2.hex"
	got := hex.EncodeToString(sample().AppendTo(nil)) + "\n"
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)

	raw, err := hex.DecodeString(strings.TrimSpace(string(want)))
	require.NoError(t, err)
	seg, err := DecodeSegment(raw)
	require.NoError(t, err)
	require.Equal(t, sample(), seg)
}

func TestDecodeSegmentRefuses(t *testing.T) {
	good := sample().AppendTo(nil)
	for bit := range len(good) * 8 {
		bad := append([]byte(nil), good...)
		bad[bit/8] ^= 1 << (bit % 8)
		_, err := DecodeSegment(bad)
		require.Truef(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion), "bit %d: %v", bit, err)
	}
	for n := range good {
		_, err := DecodeSegment(good[:n])
		require.ErrorIsf(t, err, ErrCorrupt, "cut to %d bytes", n)
	}
	_, err := DecodeSegment(append(good, 0))
	require.ErrorIs(t, err, ErrCorrupt)
}

func TestSegmentValidate(t *testing.T) {
	require.NoError(t, sample().Validate())
	for name, change := range map[string]func(*Segment){
		"negative base":     func(s *Segment) { s.Base = -1 },
		"no offsets":        func(s *Segment) { s.Next = s.Base },
		"no bytes":          func(s *Segment) { s.Length = 0 },
		"beyond the object": func(s *Segment) { s.Pos = s.ObjectSize - s.Length + 1 },
		"overflow":          func(s *Segment) { s.Pos = 1<<63 - 1 },
		"too many records":  func(s *Segment) { s.Records = 4097 },
		"epochs go back":    func(s *Segment) { s.LastEpoch = 2 },
		"negative epoch":    func(s *Segment) { s.FirstEpoch = -1 },
		"no object":         func(s *Segment) { s.Object = "" },
		"long object":       func(s *Segment) { s.Object = strings.Repeat("x", 901) },
		"not UTF-8":         func(s *Segment) { s.Object = "\xff" },
	} {
		t.Run(name, func(t *testing.T) {
			s := sample()
			change(&s)
			require.ErrorIs(t, s.Validate(), ErrInvalid)
			if len(s.Object) < 1<<16 {
				_, err := DecodeSegment(s.AppendTo(nil))
				require.ErrorIs(t, err, ErrCorrupt, "a good checksum does not make it valid")
			}
		})
	}
}

// FuzzDecodeSegment: what decodes is valid and encodes to the same bytes.
func FuzzDecodeSegment(f *testing.F) {
	f.Add(sample().AppendTo(nil))
	f.Add(Segment{Base: 5, Next: 9, MaxTimestamp: -1, FirstEpoch: 1, LastEpoch: 3, Rewritten: true, CleanedTo: 9}.AppendTo(nil))
	text, err := os.ReadFile("testdata/segment_v1.hex")
	require.NoError(f, err)
	before, err := hex.DecodeString(strings.TrimSpace(string(text)))
	require.NoError(f, err)
	f.Add(before)
	f.Add([]byte{})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := len(b) - segmentTrailer; n > 0 { // a right checksum, else nothing gets past it
			b = binary.BigEndian.AppendUint32(bytes.Clone(b[:n]), crc32.Checksum(b[:n], castagnoli))
		}
		s, err := DecodeSegment(b)
		if err != nil {
			require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion), "%v", err)
			return
		}
		require.NoError(t, s.Validate())
		if b[0] == segmentVersion {
			require.Equal(t, b, s.AppendTo(nil))
			return
		}
		require.False(t, s.Empty() || s.Rewritten)
		again, err := DecodeSegment(s.AppendTo(nil))
		require.NoError(t, err)
		require.Equal(t, s, again)
	})
}
