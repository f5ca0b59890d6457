package journal

import (
	"context"
	"errors"
	"math"
	"os"
	"path"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/vfs"
)

// fileBytes returns the content of a file, and writeBytes replaces it, durably.
func fileBytes(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, size)
	require.NoError(t, readFull(f, b, 0))
	require.NoError(t, f.Close())
	return b
}

func writeBytes(t testing.TB, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	require.NoError(t, err)
	_, err = f.WriteAt(b, 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	require.NoError(t, fs.SyncDir(path.Dir(name)))
}

// sample is one small segment: rolled as a clean end leaves it, and open as a crash does.
func sample(t testing.TB, rolled bool) (name string, content []byte, m model, acked map[id.Partition]id.Offset) {
	t.Helper()
	mem := vfs.NewMem()
	cfg := testConfig(mem)
	cfg.SegmentBytes = minSegmentBytes
	j, _ := openTest(t, cfg)
	m, acked = model{}, map[id.Partition]id.Offset{}
	for round := range 3 {
		for k := range 2 {
			p := partition(k)
			v := newBatch(p, m.next(p), 1+k, 8)
			_, err := j.Append(p, v)
			require.NoError(t, err)
			m[p] = append(m[p], v)
		}
		if round < 2 {
			commit(t, j)
			for p := range m {
				acked[p] = m.next(p)
			}
			continue
		}
		_, err := j.Flush()
		require.NoError(t, err)
	}
	name = j.Segments()[0].Path
	if rolled {
		closeTest(t, j)
		return name, fileBytes(t, mem, name), m, acked
	}
	content = fileBytes(t, mem, name)
	closeTest(t, j)
	return name, content, m, acked
}

// dirWith is a file system that holds one segment.
func dirWith(t testing.TB, name string, content []byte) *vfs.Mem {
	t.Helper()
	mem := vfs.NewMem()
	require.NoError(t, makeDir(mem, path.Dir(name)))
	writeBytes(t, mem, name, content)
	return mem
}

// requireHonest checks that every read gives the right bytes or an error, and that where
// acknowledged batches are not served the damage was named, or, if intact, that all of them are served.
func requireHonest(t testing.TB, mem *vfs.Mem, m model, acked map[id.Partition]id.Offset, intact bool) {
	t.Helper()
	cfg := testConfig(mem)
	cfg.SegmentBytes = minSegmentBytes
	j, rec, err := Open(context.Background(), cfg)
	require.NoError(t, err)
	named := !intact && (len(rec.Corrupt) > 0 || len(rec.Cut) > 0)
	for p, list := range m {
		for _, want := range list {
			got, err := j.Read(p, want.BaseOffset(), math.MaxInt64, 1)
			switch {
			case err == nil && len(got) == 1:
				require.Equal(t, []byte(want), got[0])
			case errors.Is(err, ErrCorrupt) && !intact:
				var c *CorruptError
				require.ErrorAs(t, err, &c)
				require.NotEmpty(t, c.Path)
			default:
				require.True(t, named || want.BaseOffset() >= acked[p], "%s at %d: %v, and nothing was named", p, want.BaseOffset(), err)
			}
		}
	}
	require.NoError(t, j.Close(context.Background()))
}

func TestCutAtEveryByte(t *testing.T) {
	for _, rolled := range []bool{true, false} {
		name, content, m, acked := sample(t, rolled)
		ends := map[id.Partition][]int64{} // of the frames
		r, err := OpenSegment(dirWith(t, name, content), name)
		require.NoError(t, err)
		for f, err := range r.Frames() {
			require.NoError(t, err)
			if !f.Footer {
				ends[f.Partition] = append(ends[f.Partition], f.Position+f.Length)
			}
		}
		require.NoError(t, r.Close())
		for n := range content {
			if !rolled && n > 1500 && n%64 != 0 {
				continue // deep in the zeros every byte is like the next
			}
			left := map[id.Partition]id.Offset{} // a cut file is one whose end was never written
			for p, list := range m {
				for i, v := range list {
					if ends[p][i] <= int64(n) {
						left[p] = min(v.NextOffset(), acked[p])
					}
				}
			}
			requireHonest(t, dirWith(t, name, content[:n]), m, left, true)
		}
	}
}

func TestFlipEveryBit(t *testing.T) {
	for _, rolled := range []bool{true, false} {
		name, content, m, acked := sample(t, rolled)
		for at := range content {
			if !rolled && at > 1500 && at%64 != 0 {
				continue // deep in the zeros every byte is like the next
			}
			for bit := range 8 {
				content[at] ^= 1 << bit
				mem := dirWith(t, name, content)
				found := 0
				require.NoError(t, Verify(mem, testDir, func(f Finding) {
					found++
					require.Equal(t, name, f.Path)
					require.LessOrEqual(t, f.Position, int64(at))
					require.True(t, f.Length == 0 || f.Position+f.Length > int64(at), "%s, flipped at %d", f, at)
				}))
				require.Positive(t, found, "bit %d of byte %d of %s", bit, at, name)
				if bit == at%8 { // reading is slower: one bit of each byte
					requireHonest(t, mem, m, acked, false)
				}
				content[at] ^= 1 << bit
			}
		}
	}
}

// TestDamageInTheMiddle keeps what is around it and says so at every start.
func TestDamageInTheMiddle(t *testing.T) {
	mem := vfs.NewMem()
	j, _ := openTest(t, testConfig(mem))
	m := model{}
	for i := range 20 {
		fill(t, j, m, 1, 1, uint64(i))
		commit(t, j)
	}
	p := partition(0)
	var entries []Entry
	for e, err := range j.Entries(p, 0) {
		require.NoError(t, err)
		entries = append(entries, e)
	}
	name := j.Segments()[0].Path
	crashed := mem.Crash()
	_ = j.Close(context.Background())
	content := fileBytes(t, crashed, name)
	hurt := entries[7]
	content[hurt.Pos+FrameHeaderSize+int64(hurt.Length)-1] ^= 0x10 // in the last record
	content[entries[8].Pos+5] ^= 1                                 // in a frame header
	writeBytes(t, crashed, name, content)
	for range 2 {
		j, rec := openTest(t, testConfig(crashed))
		require.NotEmpty(t, rec.Corrupt)
		require.Equal(t, hurt.Pos, rec.Corrupt[0].Position)
		require.Contains(t, rec.Corrupt[0].What, p.String())
		require.Empty(t, rec.Cut)
		for i, want := range m[p] {
			got, err := j.Read(p, want.BaseOffset(), math.MaxInt64, 1)
			if i == 7 || i == 8 {
				require.ErrorIs(t, err, ErrCorrupt)
				require.ErrorContains(t, err, name)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, []byte(want), got[0])
		}
		closeTest(t, j)
	}
}

// TestDamageUnderAnOpenJournal is damage to a rolled segment that only a read finds.
func TestDamageUnderAnOpenJournal(t *testing.T) {
	for what, at := range map[string]int64{"payload": FrameHeaderSize + 70, "header": 30} {
		t.Run(what, func(t *testing.T) {
			mem := vfs.NewMem()
			cfg := testConfig(mem)
			cfg.TailBytes = 1
			j, _ := openTest(t, cfg)
			m := model{}
			fill(t, j, m, 20, 2, 1)
			commit(t, j)
			require.NoError(t, j.Roll())
			fill(t, j, m, 5, 2, 2)
			commit(t, j)
			p := partition(1)
			var hurt Entry
			for e, err := range j.Entries(p, 2) {
				require.NoError(t, err)
				hurt = e
				break
			}
			name := j.Segments()[0].Path
			f, err := mem.OpenFile(name, os.O_RDWR, 0)
			require.NoError(t, err)
			b := make([]byte, 1)
			require.NoError(t, readFull(f, b, hurt.Pos+at))
			b[0] ^= 4
			_, err = f.WriteAt(b, hurt.Pos+at)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			for range 3 {
				_, err = j.Read(p, hurt.Base, math.MaxInt64, 1)
				require.ErrorIs(t, err, ErrCorrupt)
				require.ErrorContains(t, err, name)
			}
			require.LessOrEqual(t, j.Stats().IndexRebuilds, int64(1))
			for p, list := range m {
				for _, want := range list {
					if p == partition(1) && want.BaseOffset() == hurt.Base {
						continue
					}
					got, err := j.Read(p, want.BaseOffset(), math.MaxInt64, 1)
					require.NoError(t, err)
					require.Equal(t, []byte(want), got[0])
				}
			}
			closeTest(t, j)
		})
	}
}
