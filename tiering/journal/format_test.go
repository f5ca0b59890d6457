package journal

import (
	"encoding/hex"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/vfs"
)

var update = flag.Bool("update", false, "write the golden files anew")

// goldenSegment is the segment that FORMAT.md takes apart.
func goldenSegment() []byte {
	h := header{id: 5, created: 1_700_000_000_000, salt: 0x5a17da7a, cluster: "golden"}
	b := h.appendTo(nil)
	var entries []located
	for i, base := range []id.Offset{0, 0, 2} {
		p := partition(1 + i%2)
		v := newBatch(p, base, 2, 3)
		hdr := make([]byte, FrameHeaderSize)
		frameHeader{kind: frameBatch, partition: p, length: uint32(len(v)), position: int64(len(b)), synced: int64(i * headerSize)}.put(hdr, h.salt, v)
		entries = append(entries, located{p, entryOf(h.id, int64(len(b)), v)})
		b = append(append(b, hdr...), v...)
	}
	sum := summarize(entries)
	pos := int64(len(b))
	payload := appendFooter(nil, sum, h.salt, pos)
	hdr := make([]byte, FrameHeaderSize)
	frameHeader{kind: frameFooter, length: uint32(len(payload)), position: pos, synced: pos}.put(hdr, h.salt, payload)
	return append(append(b, hdr...), payload...)
}

func goldenRun() (key, value []byte) {
	p := partition(2)
	key = appendRunKey(nil, p, 100)
	return key, appendRun(nil, key, []Entry{
		{Base: 100, Next: 103, MaxTimestamp: 1_700_000_000_000, Epoch: 3, Segment: 5, Pos: 256, Length: 80},
		{Base: 103, Next: 104, MaxTimestamp: 1_700_000_000_900, Epoch: 4, Segment: 5, Pos: 900, Length: 72},
	})
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	text := hex.Dump(got)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), text)
}

func TestGolden(t *testing.T) {
	golden(t, "segment.hex", goldenSegment())
	key, value := goldenRun()
	golden(t, "index-run.hex", append(key, value...))
}

// TestGoldenIsRead checks that the golden segment is what the readers take for a good one.
func TestGoldenIsRead(t *testing.T) {
	name := testDir + "/" + segmentName(5)
	mem := dirWith(t, name, goldenSegment())
	require.NoError(t, Verify(mem, testDir, func(f Finding) { t.Errorf("finding: %s", f) }))
	cfg := testConfig(mem)
	cfg.Cluster = "golden"
	j, rec := openTest(t, cfg)
	require.EqualValues(t, 3, rec.Batches)
	list, err := j.Read(partition(1), 0, math.MaxInt64, 1<<20)
	require.NoError(t, err)
	require.Len(t, list, 2)
	closeTest(t, j)
}

// TestFormatDocument holds FORMAT.md to the constants.
func TestFormatDocument(t *testing.T) {
	doc, err := os.ReadFile("FORMAT.md")
	require.NoError(t, err)
	for _, line := range []string{
		"| 24 | 4 | salt |", "| 28 | 64 | cluster id", "| 124 | 4 | CRC32C |",
		"| 8 | 4 | partition |", "| 28 | 8 | position |", "| 36 | 8 | synced |", "| 44 | 4 | CRC32C |",
	} {
		require.True(t, strings.Contains(string(doc), line), line)
	}
	require.Equal(t, []int{24, 28, 124}, []int{posSalt, posCluster, posHeaderCRC})
	require.Equal(t, []int{8, 28, 36, 44, 48}, []int{posPartition, posPosition, posSynced, posFrameCRC, FrameHeaderSize})
}

func FuzzDecodeHeader(f *testing.F) {
	f.Add(goldenSegment()[:headerSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		h, harm, err := decodeHeader(b)
		if err == nil && harm < 0 {
			require.Equal(t, b[:headerSize], h.appendTo(nil))
		}
	})
}

// FuzzScan: whatever the bytes, a scan ends, its frames and gaps cover the file
// without overlap, and a frame that passes is one that encodes to the same bytes.
func FuzzScan(f *testing.F) {
	g := goldenSegment()
	f.Add(g[headerSize:])
	f.Add(append(g[headerSize:headerSize+300:headerSize+300], make([]byte, 500)...))
	f.Add(append([]byte("FBF\x01FBFBF"), g[headerSize:]...))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, _, err := decodeHeader(g)
		require.NoError(t, err)
		file := append(g[:headerSize:headerSize], b...)
		mem := vfs.NewMem()
		mf, err := mem.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o644)
		require.NoError(t, err)
		_, err = mf.WriteAt(file, 0)
		require.NoError(t, err)
		sc := newScanner(mf, h, int64(len(file)))
		at := int64(headerSize)
		for {
			fr, gp, err := sc.next()
			require.NoError(t, err)
			if fr == nil && gp == nil {
				break
			}
			if gp != nil {
				require.Equal(t, at, gp.from)
				require.Greater(t, gp.to, gp.from)
				at = gp.to
				continue
			}
			require.Equal(t, at, fr.position)
			hdr := make([]byte, FrameHeaderSize)
			payload := file[at+FrameHeaderSize : fr.end()]
			fr.put(hdr, h.salt, payload)
			require.Equal(t, file[at:at+FrameHeaderSize], hdr)
			at = fr.end()
		}
		require.Equal(t, int64(len(file)), at)
	})
}

func FuzzDecodeFooter(f *testing.F) {
	g := goldenSegment()
	pos, ok := footerPosition(g[len(g)-footerTrailer:], int64(len(g)))
	if !ok {
		f.Fatal("the golden segment has no footer")
	}
	f.Add(g[pos+FrameHeaderSize:])
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeFooter(b, 0x5a17da7a, pos)
		if err != nil {
			return
		}
		again, err := decodeFooter(appendFooter(nil, s, 0x5a17da7a, pos), 0x5a17da7a, pos)
		require.NoError(t, err)
		require.Equal(t, s, again)
	})
}

func FuzzDecodeRun(f *testing.F) {
	key, value := goldenRun()
	f.Add(key, value)
	f.Fuzz(func(t *testing.T, key, body []byte) {
		for _, value := range [][]byte{body, appendCRC(key, body)} { // a matching checksum lets the fuzzer in
			entries, err := decodeRun(nil, key, value)
			if err != nil {
				require.ErrorIs(t, err, errIndex)
				continue
			}
			again, err := decodeRun(nil, key, appendRun(nil, key, entries))
			require.NoError(t, err)
			require.Equal(t, entries, again)
		}
	})
}

func appendCRC(key, body []byte) []byte {
	crc := runCRC(key, body)
	return append(append([]byte(nil), body...), byte(crc>>24), byte(crc>>16), byte(crc>>8), byte(crc))
}
