package vfs_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/forebaylog/forebay/infra/vfs"
)

func openRW(t require.TestingT, fsys vfs.FS, name string) vfs.File {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	require.NoError(t, err)
	return f
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	m := newMem(t)
	f := openRW(t, m, "/dir/file")
	require.NoError(t, f.Allocate(10_000))
	_, err := f.WriteAt([]byte("synced"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("/dir"))
	_, err = f.WriteAt([]byte("UN"), 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("grown"), 20_000)
	require.NoError(t, err)
	after := m.Crash()
	require.Equal(t, "synced"+strings.Repeat("\x00", 10_000-6), read(t, after, "/dir/file"))
	require.Equal(t, int64(3*4096), after.Used())

	f = openRW(t, after, "/dir/file")
	require.NoError(t, f.Truncate(2))
	require.Equal(t, 10_000, len(read(t, after.Crash(), "/dir/file")), "an unsynced truncation")
}

func TestCrashDropsUnsyncedNames(t *testing.T) {
	m := newMem(t)
	write(t, m, "/dir/old", "old")
	write(t, m, "/dir/gone", "gone")
	require.NoError(t, m.SyncDir("/dir"))
	write(t, m, "/dir/new", "new")
	require.NoError(t, m.Rename("/dir/new", "/dir/old"))
	require.NoError(t, m.Remove("/dir/gone"))
	require.NoError(t, m.Link("/dir/old", "/dir/link"))
	require.NoError(t, m.MkdirAll("/dir/sub", 0o755))
	write(t, m, "/dir/sub/file", "content")
	require.NoError(t, m.SyncDir("/dir/sub")) // its own name is not durable
	require.Equal(t, []string{"link", "old", "sub"}, names(t, m, "/dir"))

	before := m.Crash()
	require.Equal(t, []string{"gone", "old"}, names(t, before, "/dir"))
	require.Equal(t, "old", read(t, before, "/dir/old"))
	require.Equal(t, "gone", read(t, before, "/dir/gone"))
}

func TestSyncDirKeepsNames(t *testing.T) {
	m := newMem(t)
	write(t, m, "/dir/a", "A")
	f := openRW(t, m, "/dir/unsynced")
	_, err := f.WriteAt([]byte("lost"), 0)
	require.NoError(t, err)
	require.NoError(t, m.Rename("/dir/a", "/dir/b"))
	require.NoError(t, m.Link("/dir/b", "/dir/c"))
	require.NoError(t, m.SyncDir("/dir"))
	after := m.Crash()
	require.Equal(t, []string{"b", "c", "unsynced"}, names(t, after, "/dir"))
	require.Equal(t, "A", read(t, after, "/dir/b"))
	require.Empty(t, read(t, after, "/dir/unsynced"))
	write(t, after, "/dir/b", "one file under two names")
	require.Equal(t, "one file under two names", read(t, after, "/dir/c"))
}

func TestCrashOfARenameBetweenDirectories(t *testing.T) {
	for synced, want := range map[string]string{
		"neither": "from", "/to": "from to", "/from": "", "both": "to",
	} {
		m := vfs.NewMem()
		require.NoError(t, m.MkdirAll("/from", 0o755))
		require.NoError(t, m.MkdirAll("/to", 0o755))
		write(t, m, "/from/file", "content")
		require.NoError(t, m.SyncDir("/"))
		require.NoError(t, m.SyncDir("/from"))
		require.NoError(t, m.Rename("/from/file", "/to/file"))
		for _, dir := range []string{"/from", "/to"} {
			if synced == dir || synced == "both" {
				require.NoError(t, m.SyncDir(dir))
			}
		}
		after := m.Crash()
		var found []string
		for _, dir := range []string{"from", "to"} {
			if len(names(t, after, dir)) > 0 {
				require.Equal(t, "content", read(t, after, dir+"/file"))
				found = append(found, dir)
			}
		}
		require.Equal(t, want, strings.Join(found, " "), "synced %s", synced)
	}
}

func TestACrashedFileSystemRefusesEverything(t *testing.T) {
	m := newMem(t)
	write(t, m, "/dir/file", "content")
	require.NoError(t, m.SyncDir("/dir"))
	f := openRW(t, m, "/dir/file")
	lock, err := m.Lock("/dir/file")
	require.NoError(t, err)
	after := m.Crash()
	for name, op := range map[string]func() error{
		"open":      func() error { _, err := m.Open("/dir/file"); return err },
		"create":    func() error { _, err := m.OpenFile("/dir/new", os.O_RDWR|os.O_CREATE, 0o644); return err },
		"rename":    func() error { return m.Rename("/dir/file", "/dir/new") },
		"link":      func() error { return m.Link("/dir/file", "/dir/new") },
		"remove":    func() error { return m.Remove("/dir/file") },
		"removeall": func() error { return m.RemoveAll("/dir") },
		"mkdirall":  func() error { return m.MkdirAll("/dir/sub", 0o755) },
		"readdir":   func() error { _, err := m.ReadDir("/dir"); return err },
		"stat":      func() error { _, err := m.Stat("/dir"); return err },
		"syncdir":   func() error { return m.SyncDir("/dir") },
		"lock":      func() error { _, err := m.Lock("/dir/lock"); return err },
		"read":      func() error { _, err := f.ReadAt(make([]byte, 1), 0); return err },
		"write":     func() error { _, err := f.WriteAt([]byte("x"), 0); return err },
		"writev":    func() error { _, err := f.WritevAt([][]byte{{1}}, 0); return err },
		"allocate":  func() error { return f.Allocate(1 << 20) },
		"truncate":  func() error { return f.Truncate(0) },
		"size":      func() error { _, err := f.Size(); return err },
		"sync":      func() error { return f.Sync() },
		"close":     func() error { return f.Close() },
	} {
		requirePathError(t, op(), vfs.ErrCrashed)
		require.Equal(t, "content", read(t, after, "/dir/file"), name)
	}
	_, err = after.Lock("/dir/file")
	require.NoError(t, err, "a crash ends the locks")
	require.NoError(t, lock.Close())
}

func TestCrashClonesAreIndependent(t *testing.T) {
	m := newMem(t)
	write(t, m, "/dir/file", "content")
	require.NoError(t, m.SyncDir("/dir"))
	one, two := m.Crash(), m.Crash()
	write(t, one, "/dir/file", "changed")
	require.NoError(t, two.Remove("/dir/file"))
	require.Equal(t, "changed", read(t, one, "/dir/file"))
	require.Equal(t, "content", read(t, m.Crash(), "/dir/file"))
}

func TestKeepUnsyncedTearsAndReorders(t *testing.T) {
	const sectors = 64
	m := newMem(t)
	f := openRW(t, m, "/dir/file")
	_, err := f.WriteAt(bytes.Repeat([]byte("o"), sectors*512), 0)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("/dir"))
	_, err = f.WriteAt(bytes.Repeat([]byte("n"), 2*sectors*512), 0)
	require.NoError(t, err)

	seen := make(map[string]bool)
	for seed := range uint64(50) {
		got := read(t, m.Crash(vfs.KeepUnsynced(seed)), "/dir/file")
		require.Equal(t, got, read(t, m.Crash(vfs.KeepUnsynced(seed)), "/dir/file"), "the same seed")
		require.GreaterOrEqual(t, len(got), sectors*512)
		require.LessOrEqual(t, len(got), 2*sectors*512)
		seen["length kept"] = seen["length kept"] || len(got) == sectors*512
		seen["length grown"] = seen["length grown"] || len(got) == 2*sectors*512
		for at := 0; at < len(got); at += 512 {
			sector := got[at:min(at+512, len(got))]
			require.Equal(t, strings.Repeat(sector[:1], len(sector)), sector, "a sector is written as a whole")
			seen["sector "+sector[:1]] = true
			if at < sectors*512 {
				require.NotEqual(t, byte(0), sector[0])
			}
			if at > 0 && got[at-1] != got[at] && at%4096 != 0 {
				seen["torn page"] = true
			}
			if at > 0 && got[at-1] == 'o' && got[at] == 'n' {
				seen["reordered"] = true
			}
		}
	}
	for _, outcome := range []string{"length kept", "length grown", "sector o", "sector n", "sector \x00", "torn page", "reordered"} {
		require.True(t, seen[outcome], "no seed gave: %s", outcome)
	}
}

func TestKeepUnsyncedKeepsAPrefixOfTheNames(t *testing.T) {
	m := newMem(t)
	write(t, m, "/dir/current", "0")
	require.NoError(t, m.SyncDir("/dir"))
	for i := range 5 { // replace by rename, as an updated file is
		write(t, m, "/dir/tmp", fmt.Sprint(i+1))
		require.NoError(t, m.Rename("/dir/tmp", "/dir/current"))
	}
	seen := make(map[string]bool)
	for seed := range uint64(100) {
		after := m.Crash(vfs.KeepUnsynced(seed))
		current := read(t, after, "/dir/current")
		if len(names(t, after, "/dir")) == 2 {
			require.Equal(t, string(current[0]+1), read(t, after, "/dir/tmp"))
			current += "+tmp"
		}
		seen[current] = true
	}
	require.Len(t, seen, 11, "every prefix of the ten changes: %v", seen)
}

func TestCapacity(t *testing.T) {
	m := newMem(t)
	m.SetCapacity(10 * 4096)
	f := openRW(t, m, "/dir/file")
	requirePathError(t, f.Allocate(11*4096), syscall.ENOSPC)
	size, err := f.Size()
	require.NoError(t, err)
	require.Zero(t, size, "a failed reservation leaves the file as it was")
	require.Zero(t, m.Used())
	require.NoError(t, f.Allocate(8*4096))
	require.Equal(t, int64(8*4096), m.Used())

	other := openRW(t, m, "/dir/other")
	n, err := other.WriteAt(make([]byte, 3*4096), 100)
	requirePathError(t, err, syscall.ENOSPC)
	require.Equal(t, 2*4096-100, n, "what fits was written")
	_, err = f.WriteAt(make([]byte, 8*4096), 0)
	require.NoError(t, err, "reserved space is there")
	_, err = f.WriteAt([]byte("x"), 8*4096)
	requirePathError(t, err, syscall.ENOSPC)
	_, err = other.WriteAt([]byte("overwritten"), 0)
	require.NoError(t, err)

	require.NoError(t, f.Truncate(4096))
	require.Equal(t, int64(3*4096), m.Used())
	require.NoError(t, m.Remove("/dir/other"))
	require.Equal(t, int64(3*4096), m.Used(), "an open file keeps its space")
	require.NoError(t, other.Close())
	require.Equal(t, int64(4096), m.Used())
	require.NoError(t, m.Rename("/dir/file", "/dir/renamed"))
	require.Equal(t, int64(4096), m.Used())
	require.NoError(t, f.Close())
	write(t, m, "/dir/new", "new")
	require.NoError(t, m.Rename("/dir/new", "/dir/renamed"))
	require.Equal(t, int64(4096), m.Used())
	m.SetCapacity(0)
	f = openRW(t, m, "/dir/large")
	require.NoError(t, f.Allocate(1<<40))
	require.NoError(t, m.RemoveAll("/dir"))
	require.NoError(t, f.Close())
	require.Zero(t, m.Used())
}

// TestMemAgainstAModel drives one file by random operations and crashes, beside a
// model of two byte slices.
func TestMemAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := vfs.NewMem()
		f := openRW(t, m, "file")
		require.NoError(t, m.SyncDir("/"))
		var cur, synced []byte
		position := rapid.OneOf(rapid.IntRange(0, 20_000), rapid.SampledFrom([]int{0, 4095, 4096, 4097, 8192, 12_288}))
		grow := func(size int) {
			cur = append(cur, make([]byte, max(0, size-len(cur)))...)
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				off, length := position.Draw(t, "off"), rapid.IntRange(1, 9_000).Draw(t, "length")
				p := bytes.Repeat([]byte{rapid.Byte().Draw(t, "byte")}, length)
				_, err := f.WriteAt(p, int64(off))
				require.NoError(t, err)
				grow(off + length)
				copy(cur[off:], p)
			},
			"truncate": func(t *rapid.T) {
				size := position.Draw(t, "size")
				require.NoError(t, f.Truncate(int64(size)))
				grow(size)
				cur = cur[:size:size]
			},
			"allocate": func(t *rapid.T) {
				size := position.Draw(t, "size")
				require.NoError(t, f.Allocate(int64(size)))
				grow(size)
			},
			"sync": func(*rapid.T) {
				require.NoError(t, f.Sync())
				synced = bytes.Clone(cur)
			},
			"crash": func(*rapid.T) {
				m = m.Crash()
				f = openRW(t, m, "file")
				cur = bytes.Clone(synced)
			},
			"": func(t *rapid.T) {
				p := make([]byte, len(cur))
				_, err := f.ReadAt(p, 0)
				require.NoError(t, err)
				require.True(t, bytes.Equal(cur, p))
				size, err := f.Size()
				require.NoError(t, err)
				require.Equal(t, int64(len(cur)), size)
				require.LessOrEqual(t, m.Used(), int64(len(cur)+4095))
			},
		})
	})
}

func TestRootOfMem(t *testing.T) {
	m := vfs.NewMem()
	requirePathError(t, m.Remove("/"), syscall.EINVAL)
	requirePathError(t, m.Rename("/", "/x"), syscall.EINVAL)
	requirePathError(t, m.RemoveAll("/"), syscall.EINVAL)
	require.NoError(t, m.MkdirAll("/", 0o755))
	info, err := m.Stat("/")
	require.NoError(t, err)
	require.True(t, info.IsDir())
	write(t, m, "relative", "content")
	require.Equal(t, "content", read(t, m, "/x/../relative"))
	_, err = m.Stat("absent/../also-absent")
	requirePathError(t, err, fs.ErrNotExist)
}

// TestDirectoryHalfMoved crashes with a directory in two durable directories,
// and with one in itself: it is found at most once.
func TestDirectoryHalfMoved(t *testing.T) {
	m := newMem(t)
	require.NoError(t, m.MkdirAll("/a/moving", 0o755))
	require.NoError(t, m.SyncDir("/"))
	require.NoError(t, m.SyncDir("/a"))
	require.NoError(t, m.Rename("/a/moving", "/dir/moved"))
	require.NoError(t, m.SyncDir("/dir"))
	after := m.Crash()
	require.Len(t, append(names(t, after, "/a"), names(t, after, "/dir")...), 1)

	m = newMem(t)
	require.NoError(t, m.MkdirAll("/other", 0o755))
	require.NoError(t, m.SyncDir("/"))
	require.NoError(t, m.Rename("/dir", "/other/dir"))
	require.NoError(t, m.SyncDir("/other"))
	require.NoError(t, m.Rename("/other/dir", "/dir"))
	require.NoError(t, m.Rename("/other", "/dir/other"))
	require.NoError(t, m.SyncDir("/dir"))
	for seed := range uint64(20) {
		require.LessOrEqual(t, countDirs(t, m.Crash(vfs.KeepUnsynced(seed)), "/"), 2)
	}
}

func countDirs(t *testing.T, fsys vfs.FS, dir string) int {
	t.Helper()
	list := names(t, fsys, dir)
	n := len(list)
	for _, name := range list {
		n += countDirs(t, fsys, dir+"/"+name)
	}
	return n
}

// TestATornLengthHidesNothing grows files that a crash cut: what was behind the
// end must read as zeros.
func TestATornLengthHidesNothing(t *testing.T) {
	const size = 10_000
	cut := 0
	for seed := range uint64(50) {
		m := newMem(t)
		f := openRW(t, m, "/dir/file")
		require.NoError(t, m.SyncDir("/dir"))
		_, err := f.WriteAt(bytes.Repeat([]byte("x"), size), 0)
		require.NoError(t, err)
		if seed%2 == 0 { // the crash falls into a truncation, else into an append
			require.NoError(t, f.Sync())
			require.NoError(t, f.Truncate(0))
		}
		after := m.Crash(vfs.KeepUnsynced(seed))
		f = openRW(t, after, "/dir/file")
		kept, err := f.Size()
		require.NoError(t, err)
		if kept > 0 && kept < size {
			cut++
		}
		require.NoError(t, f.Truncate(size))
		require.Equal(t, strings.Repeat("\x00", size-int(kept)), readFile(t, f)[kept:])
	}
	require.Greater(t, cut, 5)
}
