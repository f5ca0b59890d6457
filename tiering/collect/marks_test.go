package collect

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func encodeMarks(t testing.TB, marks ...mark) []byte {
	w := &marksWriter{max: 1 << 20}
	for _, m := range marks {
		require.NoError(t, w.add(m))
	}
	b, err := w.finish()
	require.NoError(t, err)
	return b
}

func decodeMarks(b []byte) (marks []mark, err error) {
	r, err := openMarks(b)
	for err == nil {
		var m mark
		if m, err = r.next(); err == nil {
			marks = append(marks, m)
		}
	}
	if errors.Is(err, io.EOF) && !errors.Is(err, ErrCorrupt) {
		err = nil
	}
	return marks, err
}

func someMarks() []mark {
	var marks []mark
	for i := range 1000 {
		marks = append(marks, mark{key: fmt.Sprintf("cpacks/%06d", i), since: int64(i), size: int64(i) << 20})
	}
	return append(marks, mark{key: "d"})
}

func TestMarksComeBack(t *testing.T) {
	want := someMarks()
	got, err := decodeMarks(encodeMarks(t, want...))
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// TestMarksGolden: what an earlier build has written is read. What is written is compared decompressed
// only: how well gzip compresses is its own affair.
func TestMarksGolden(t *testing.T) {
	const file = "testdata/marks_v1.hex"
	want := goldenMarks()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(hex.EncodeToString(encodeMarks(t, want...))+"\n"), 0o644))
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	stored, err := hex.DecodeString(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	got, err := decodeMarks(stored)
	require.NoError(t, err)
	require.Equal(t, want, got)

	written := encodeMarks(t, want...)
	require.Equal(t, stored[:marksHead], written[:marksHead])
	require.Equal(t, stored[len(stored)-marksTail:len(stored)-4], written[len(written)-marksTail:len(written)-4])
	require.Equal(t, inflate(t, stored), inflate(t, written))
}

// goldenMarks has one of each kind, and since and size at their bounds.
func goldenMarks() []mark {
	topic := "00112233-4455-6677-8899-aabbccddeeff"
	return []mark{
		{key: kindItem + topic + "/0000000003/00000000000000000010/v1", since: 1767225600000},
		{key: kindItem + topic + "/0000000003/00000000000000000020/v2"},
		{key: kindChain + topic + "/0000000003", since: 1},
		{key: kindObject + "packs/2026/01/02/1-1767312000000-abcdefghijklmnop.pack", since: 1767225600000, size: 1<<63 - 1},
		{key: kindWAL + "wal/session/1.pack", since: 1<<63 - 1, size: 1 << 20},
	}
}

func inflate(t testing.TB, encoded []byte) []byte {
	zip, err := gzip.NewReader(bytes.NewReader(encoded[marksHead : len(encoded)-marksTail]))
	require.NoError(t, err)
	b, err := io.ReadAll(zip)
	require.NoError(t, err)
	return b
}

func TestMarksMustBeInOrder(t *testing.T) {
	w := &marksWriter{max: 1 << 20}
	require.NoError(t, w.add(mark{key: "b"}))
	require.Error(t, w.add(mark{key: "b"}))
	require.Error(t, w.add(mark{key: "a"}))
}

func TestEveryDamageToMarksIsFound(t *testing.T) {
	whole := encodeMarks(t, someMarks()[:20]...)
	for i := range whole {
		b := append([]byte{}, whole...)
		b[i] ^= 0x10
		_, err := decodeMarks(b)
		require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion), "byte %d: %v", i, err)
		_, err = decodeMarks(whole[:i])
		require.ErrorIs(t, err, ErrCorrupt, "the first %d bytes", i)
	}
	b := append([]byte{}, whole...)
	b[8] = marksVersion + 1
	_, err := decodeMarks(b)
	require.ErrorIs(t, err, ErrVersion)
}

// FuzzMarks: whatever the bytes, also with a checksum that is right, decoding ends; what it returns
// is in order and is encoded to what decodes to the same.
func FuzzMarks(f *testing.F) {
	f.Add(encodeMarks(f, someMarks()[:5]...))
	f.Add(encodeMarks(f, goldenMarks()...))
	f.Add([]byte(marksMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		comesBack(t, b)
		if len(b) > 4 {
			comesBack(t, checked(b[:len(b)-4]))
		}
	})
}

// FuzzMarkEntries does so behind the compression and the checksum.
func FuzzMarkEntries(f *testing.F) {
	add := func(marks ...mark) { f.Add(inflate(f, encodeMarks(f, marks...)), uint64(len(marks))) }
	add(someMarks()[:5]...)
	add(goldenMarks()...)
	f.Fuzz(func(t *testing.T, entries []byte, count uint64) {
		var b bytes.Buffer
		b.WriteString(marksMagic)
		b.Write([]byte{marksVersion, 0, 0, 0})
		zip, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
		require.NoError(t, err)
		_, err = zip.Write(entries)
		require.NoError(t, errors.Join(err, zip.Close()))
		comesBack(t, checked(binary.LittleEndian.AppendUint64(b.Bytes(), count)))
	})
}

// checked returns b with its checksum behind it.
func checked(b []byte) []byte {
	b = slices.Clip(b)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func comesBack(t *testing.T, b []byte) {
	marks, err := decodeMarks(b)
	if err != nil {
		require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion), "%v", err)
		return
	}
	if len(marks) == 0 {
		return
	}
	again, err := decodeMarks(encodeMarks(t, marks...))
	require.NoError(t, err)
	require.Equal(t, marks, again)
}
