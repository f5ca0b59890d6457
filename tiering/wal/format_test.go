package wal

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/pack"
)

var update = flag.Bool("update", false, "write the golden files anew; review them as a change of the format")

// goldenSlots are slots of every kind.
func goldenSlots() []Slot {
	return []Slot{
		{Objects: []ObjectRef{{"wal/s/1700000000000-aaaaaaaaaaaaaaaa.pack", 1234}}},
		{
			Objects: []ObjectRef{{"wal/s/1700000000001-bbbbbbbbbbbbbbbb.pack", 5}, {"wal/s/1700000000002-cccccccccccccccc.pack", 1 << 40}},
			Index:   &ObjectRef{"wal/s/00000000000000000001-dddddddddddddddd.index", 99},
		},
		{Fence: &FenceMark{By: 3}},
		{Fence: &FenceMark{}},
	}
}

// goldenEntries are two objects of a stream.
func goldenEntries(t testing.TB) []indexed {
	var entries []indexed
	for i := range 2 {
		var b bytes.Buffer
		w := pack.NewWriter(&b, pack.Header{Cluster: "c", Session: "s", Node: 1, Created: time.UnixMilli(1_700_000_000_000)})
		v := batch.New(batch.None).Base(id.Offset(10 * i)).Add(batch.Record{Timestamp: 1_700_000_000_000, Value: []byte("v")}).Build()
		require.NoError(t, w.BeginRun(id.Partition{Topic: id.Topic{1}, Index: int32(i)}))
		require.NoError(t, w.Append(v))
		require.NoError(t, w.EndRun(nil, nil))
		_, err := w.Close()
		require.NoError(t, err)
		tail, err := pack.Tail(b.Bytes())
		require.NoError(t, err)
		entries = append(entries, indexed{uint64(i + 1), ObjectRef{fmt.Sprintf("wal/s/%d.pack", i), int64(b.Len())}, bytes.Clone(tail)})
	}
	return entries
}

// golden compares b with a file of testdata, or writes it.
func golden(t *testing.T, name string, b []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(file, b, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, want, b, "the bytes of version 1 have changed")
}

func TestGoldenSlots(t *testing.T) {
	var text strings.Builder
	for _, s := range goldenSlots() {
		b, err := s.encode()
		require.NoError(t, err)
		fmt.Fprintf(&text, "%s\n", b)
		got, err := DecodeSlot(b)
		require.NoError(t, err)
		s.Version = 1
		require.Equal(t, s, got)
	}
	golden(t, "v1.slots", []byte(text.String()))
	got, err := DecodeSlot([]byte(`{"v":1,"objects":[{"name":"a","size":1,"later":2}],"later":{}}`))
	require.NoError(t, err, "fields that are not known are passed over")
	require.Equal(t, Slot{Version: 1, Objects: []ObjectRef{{"a", 1}}}, got)
}

// goldenIndex is an index of version 1 with footers of packs of version 2.
const goldenIndex = "v1.packs2.index"

// TestIndexOfOlderPacks: an index that was written when packs were of version 1.
func TestIndexOfOlderPacks(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", "v1.index"))
	require.NoError(t, err)
	got, err := decodeIndex(b)
	require.NoError(t, err)
	require.Len(t, got, 2)
	f, err := got[1].footer()
	require.NoError(t, err)
	require.EqualValues(t, 1, f.Version)
	require.Equal(t, id.Offset(10), f.Runs[0].Base)
}

func TestGoldenIndex(t *testing.T) {
	entries := goldenEntries(t)
	b := appendIndex(nil, entries)
	golden(t, goldenIndex, b)
	got, err := decodeIndex(b)
	require.NoError(t, err)
	require.Equal(t, entries, got)
	f, err := got[1].footer()
	require.NoError(t, err)
	require.Equal(t, id.Offset(10), f.Runs[0].Base)
	require.Equal(t, append([]byte("before"), b...), appendIndex([]byte("before"), entries), "the CRC is of the index alone")
}

// The offset tables of FORMAT.md, read by hand out of the golden index.
func TestIndexTables(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("testdata", goldenIndex))
	require.NoError(t, err)
	le, end := binary.LittleEndian, len(b)-4
	require.Equal(t, "FBAYWIDX\x01\x00\x00\x00", string(b[:12]))
	require.EqualValues(t, 2, le.Uint32(b[12:]))
	require.Equal(t, crc32.Checksum(b[:end], crc32.MakeTable(crc32.Castagnoli)), le.Uint32(b[end:]))
	at := 16
	for i, want := range goldenEntries(t) {
		require.EqualValues(t, i+1, le.Uint64(b[at:]))
		require.EqualValues(t, want.ref.Size, le.Uint64(b[at+8:]))
		n := int(le.Uint16(b[at+16:]))
		require.Equal(t, want.ref.Name, string(b[at+18:at+18+n]))
		l := int(le.Uint32(b[at+18+n:]))
		require.Equal(t, want.tail, b[at+22+n:at+22+n+l])
		at += 22 + n + l
	}
	require.Equal(t, end, at)
}

// TestEveryBitOfAnIndex: none can change unseen, and no beginning of one is one.
func TestEveryBitOfAnIndex(t *testing.T) {
	good := appendIndex(nil, goldenEntries(t))
	for i := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		_, err := decodeIndex(bad)
		require.Error(t, err, "bit %d", i)
	}
	for n := range good {
		_, err := decodeIndex(good[:n:n])
		require.ErrorIs(t, err, ErrCorrupt)
	}
}

// FuzzDecodeSlot: what is decoded is encoded to what decodes to the same, and commits
// objects or ends the stream, never both or neither.
func FuzzDecodeSlot(f *testing.F) {
	for _, s := range goldenSlots() {
		b, err := s.encode()
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, err := DecodeSlot(payload)
		if err != nil {
			require.Zero(t, s)
			return
		}
		require.NotEqual(t, s.Fence == nil, len(s.Objects) == 0)
		for _, o := range s.Objects {
			require.NotEmpty(t, o.Name)
			require.Positive(t, o.Size)
		}
		b, err := s.encode()
		require.NoError(t, err)
		again, err := DecodeSlot(b)
		require.NoError(t, err)
		require.Equal(t, s, again)
	})
}

// FuzzDecodeIndex: with a checksum that fits, what is decoded is encoded to the same bytes;
// nothing is allocated beyond what there are bytes for.
func FuzzDecodeIndex(f *testing.F) {
	f.Add(appendIndex(nil, goldenEntries(f)))
	f.Add(appendIndex(nil, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := decodeIndex(b); err == nil {
			return // it is among those with a checksum that fits
		}
		if len(b) >= indexCRC {
			body := b[: len(b)-indexCRC : len(b)-indexCRC]
			b = binary.LittleEndian.AppendUint32(body, crc32.Checksum(body, castagnoli))
		}
		entries, err := decodeIndex(b)
		if err != nil {
			require.Nil(t, entries)
			return
		}
		require.Equal(t, b, appendIndex(nil, entries))
		for _, e := range entries {
			_, _ = e.footer() // must not panic
		}
	})
}
