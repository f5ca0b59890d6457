package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/vfs"
)

// everywhere runs the same test on every driver, in an empty directory, and on
// each of them again below Inject.
func everywhere(t *testing.T, test func(t *testing.T, fsys vfs.FS, dir string)) {
	t.Helper()
	pass := func(vfs.Op) error { return nil }
	t.Run("os", func(t *testing.T) { test(t, vfs.OS(), t.TempDir()) })
	t.Run("os injected", func(t *testing.T) { test(t, vfs.Inject(vfs.OS(), pass), t.TempDir()) })
	t.Run("mem", func(t *testing.T) { test(t, newMem(t), "/dir") })
	t.Run("mem injected", func(t *testing.T) { test(t, vfs.Inject(newMem(t), pass), "dir") })
}

func newMem(t *testing.T) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	require.NoError(t, m.MkdirAll("/dir", 0o755))
	require.NoError(t, m.SyncDir("/"))
	return m
}

// write makes a file of the given content and syncs it, but not its directory.
func write(t *testing.T, fsys vfs.FS, name, content string) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	require.NoError(t, err)
	n, err := f.WriteAt([]byte(content), 0)
	require.NoError(t, err)
	require.Equal(t, len(content), n)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

// read returns the whole content of a file.
func read(t *testing.T, fsys vfs.FS, name string) string {
	t.Helper()
	f, err := fsys.Open(name)
	require.NoError(t, err)
	content := readFile(t, f)
	require.NoError(t, f.Close())
	return content
}

func readFile(t *testing.T, f vfs.File) string {
	t.Helper()
	size, err := f.Size()
	require.NoError(t, err)
	p := make([]byte, size)
	n, err := f.ReadAt(p, 0)
	require.NoError(t, err)
	require.Equal(t, len(p), n)
	return string(p)
}

func names(t *testing.T, fsys vfs.FS, dir string) []string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	require.NoError(t, err)
	list := []string{}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// requirePathError checks the promise that every error is a *fs.PathError.
func requirePathError(t *testing.T, err, target error) {
	t.Helper()
	require.ErrorIs(t, err, target)
	_, ok := errors.AsType[*fs.PathError](err)
	require.True(t, ok, "%T is no *fs.PathError", err)
}

func TestReadAndWrite(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := path.Join(dir, "file")
		f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		require.NoError(t, err)
		require.Equal(t, name, f.Name())
		_, err = f.WriteAt([]byte("tail"), 10_000)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("head"), 0)
		require.NoError(t, err)
		want := "head" + strings.Repeat("\x00", 9_996) + "tail"
		require.Equal(t, want, readFile(t, f))

		p := make([]byte, 8)
		n, err := f.ReadAt(p, 10_000)
		require.Equal(t, io.EOF, err)
		require.Equal(t, "tail", string(p[:n]))
		n, err = f.ReadAt(p, 20_000)
		require.Equal(t, io.EOF, err)
		require.Zero(t, n)
		n, err = f.ReadAt(nil, 20_000)
		require.NoError(t, err)
		require.Zero(t, n)
		_, err = f.ReadAt(p, -1)
		require.Error(t, err)
		_, err = f.WriteAt(p, -1)
		require.Error(t, err)

		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
		requirePathError(t, f.Close(), fs.ErrClosed)
		_, err = f.ReadAt(p, 0)
		requirePathError(t, err, fs.ErrClosed)
		_, err = f.WriteAt(p, 0)
		requirePathError(t, err, fs.ErrClosed)
		require.ErrorIs(t, f.Sync(), fs.ErrClosed)
		require.Equal(t, want, read(t, fsys, name))
	})
}

func TestWritevAt(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		f, err := fsys.OpenFile(path.Join(dir, "file"), os.O_RDWR|os.O_CREATE, 0o644)
		require.NoError(t, err)
		var bufs [][]byte
		for i := range 3_000 { // more than one system call takes, with empty ones between
			bufs = append(bufs, bytes.Repeat([]byte{byte(i)}, i%7))
		}
		bufs = append(bufs, make([]byte, 0), bytes.Repeat([]byte("long"), 100_000), nil)
		want := bytes.Join(bufs, nil)
		n, err := f.WritevAt(bufs, 5)
		require.NoError(t, err)
		require.Equal(t, int64(len(want)), n)
		require.Equal(t, "\x00\x00\x00\x00\x00"+string(want), readFile(t, f))
		require.Equal(t, want, bytes.Join(bufs, nil), "the buffers must stay as they are")

		n, err = f.WritevAt(nil, 0)
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = f.WritevAt(make([][]byte, 2_000), 0)
		require.NoError(t, err)
		require.Zero(t, n)
		_, err = f.WritevAt([][]byte{{1}}, -1)
		require.Error(t, err)
		require.NoError(t, f.Close())
		_, err = f.WritevAt([][]byte{{1}}, 0)
		require.ErrorIs(t, err, fs.ErrClosed)
	})
}

func TestAllocateAndTruncate(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		f, err := fsys.OpenFile(path.Join(dir, "file"), os.O_RDWR|os.O_CREATE, 0o644)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("content"), 0)
		require.NoError(t, err)
		requireSize := func(want int64) {
			t.Helper()
			size, err := f.Size()
			require.NoError(t, err)
			require.Equal(t, want, size)
		}
		require.NoError(t, f.Allocate(1<<20))
		requireSize(1 << 20)
		require.NoError(t, f.Allocate(0))
		require.NoError(t, f.Allocate(4096)) // never shortens
		requireSize(1 << 20)
		require.Equal(t, "content"+strings.Repeat("\x00", 1<<20-7), readFile(t, f))

		require.NoError(t, f.Truncate(3))
		require.NoError(t, f.Truncate(6_000)) // what was cut off reads as zeros
		require.Equal(t, "con"+strings.Repeat("\x00", 5_997), readFile(t, f))
		require.Error(t, f.Truncate(-1))
		require.Error(t, f.Allocate(-1))
		requireSize(6_000)
		require.NoError(t, f.Close())
	})
}

func TestOpenFlags(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := path.Join(dir, "file")
		_, err := fsys.Open(name)
		requirePathError(t, err, fs.ErrNotExist)
		_, err = fsys.OpenFile(path.Join(dir, "absent", "file"), os.O_RDWR|os.O_CREATE, 0o644)
		requirePathError(t, err, fs.ErrNotExist)
		write(t, fsys, name, "content")
		_, err = fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
		requirePathError(t, err, fs.ErrExist)
		_, err = fsys.OpenFile(name, os.O_RDWR|os.O_APPEND, 0o644)
		requirePathError(t, err, syscall.EINVAL)
		_, err = fsys.Open(path.Join(name, "below"))
		requirePathError(t, err, syscall.ENOTDIR)
		_, err = fsys.Open(dir)
		requirePathError(t, err, syscall.EISDIR)
		_, err = fsys.Open(path.Join(dir, strings.Repeat("n", 256)))
		requirePathError(t, err, syscall.ENAMETOOLONG)

		f, err := fsys.Open(name)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("x"), 0)
		requirePathError(t, err, syscall.EBADF)
		require.Error(t, f.Truncate(0))
		require.Error(t, f.Allocate(100))
		require.Equal(t, "content", readFile(t, f))
		require.NoError(t, f.Close())
		f, err = fsys.OpenFile(name, os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.ReadAt(make([]byte, 1), 0)
		requirePathError(t, err, syscall.EBADF)
		require.NoError(t, f.Close())
		f, err = fsys.OpenFile(name, os.O_RDWR|os.O_TRUNC, 0)
		require.NoError(t, err)
		require.Empty(t, readFile(t, f))
		require.NoError(t, f.Close())
	})
}

func TestRename(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		a, b, sub := path.Join(dir, "a"), path.Join(dir, "b"), path.Join(dir, "sub")
		requirePathError(t, fsys.Rename(a, b), fs.ErrNotExist)
		write(t, fsys, a, "A")
		write(t, fsys, b, "B")
		old, err := fsys.Open(b)
		require.NoError(t, err)
		require.NoError(t, fsys.Rename(a, b))
		require.Equal(t, []string{"b"}, names(t, fsys, dir))
		require.Equal(t, "A", read(t, fsys, b))
		require.Equal(t, "B", readFile(t, old), "an open file outlives its name")
		require.NoError(t, old.Close())
		require.NoError(t, fsys.Rename(b, b))

		require.NoError(t, fsys.MkdirAll(sub, 0o755))
		require.Error(t, fsys.Rename(b, sub), "a file does not replace a directory")
		require.Error(t, fsys.Rename(sub, b), "nor a directory a file")
		require.NoError(t, fsys.Rename(b, path.Join(sub, "b")))
		require.Error(t, fsys.Rename(sub, path.Join(sub, "below")), "nor goes a directory into itself")
		require.NoError(t, fsys.Rename(sub, path.Join(dir, "moved")))
		require.Equal(t, "A", read(t, fsys, path.Join(dir, "moved", "b")))
		require.NoError(t, fsys.SyncDir(dir))
	})
}

func TestLink(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		a, b := path.Join(dir, "a"), path.Join(dir, "b")
		requirePathError(t, fsys.Link(a, b), fs.ErrNotExist)
		write(t, fsys, a, "A")
		require.NoError(t, fsys.Link(a, b))
		requirePathError(t, fsys.Link(a, b), fs.ErrExist)
		write(t, fsys, a, "shared")
		require.Equal(t, "shared", read(t, fsys, b))
		require.NoError(t, fsys.Remove(a))
		require.Equal(t, "shared", read(t, fsys, b))
		require.Error(t, fsys.Link(dir, a), "a directory has one name")
	})
}

func TestDirectories(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		deep := path.Join(dir, "x", "y")
		require.NoError(t, fsys.MkdirAll(deep, 0o755))
		require.NoError(t, fsys.MkdirAll(deep, 0o755))
		for _, name := range []string{"c", "a", "b"} {
			write(t, fsys, path.Join(deep, name), name)
		}
		require.Equal(t, []string{"a", "b", "c"}, names(t, fsys, deep))
		requirePathError(t, fsys.MkdirAll(path.Join(deep, "a", "z"), 0o755), syscall.ENOTDIR)
		require.Error(t, fsys.MkdirAll(path.Join(deep, "a"), 0o755))
		_, err := fsys.ReadDir(path.Join(deep, "a"))
		require.Error(t, err)
		_, err = fsys.ReadDir(path.Join(dir, "absent"))
		requirePathError(t, err, fs.ErrNotExist)
		require.NoError(t, fsys.SyncDir(deep))
		requirePathError(t, fsys.SyncDir(path.Join(deep, "a")), syscall.ENOTDIR)
		requirePathError(t, fsys.SyncDir(path.Join(dir, "absent")), fs.ErrNotExist)

		info, err := fsys.Stat(path.Join(deep, "a"))
		require.NoError(t, err)
		require.Equal(t, "a", info.Name())
		require.Equal(t, int64(1), info.Size())
		require.False(t, info.IsDir())
		require.False(t, info.ModTime().IsZero())
		info, err = fsys.Stat(deep)
		require.NoError(t, err)
		require.True(t, info.IsDir())
		require.Equal(t, "y", info.Name())
		_, err = fsys.Stat(path.Join(dir, "absent"))
		requirePathError(t, err, fs.ErrNotExist)
	})
}

func TestRemove(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		sub := path.Join(dir, "sub")
		requirePathError(t, fsys.Remove(sub), fs.ErrNotExist)
		require.NoError(t, fsys.RemoveAll(sub))
		require.NoError(t, fsys.MkdirAll(path.Join(sub, "deep"), 0o755))
		write(t, fsys, path.Join(sub, "file"), "content")
		write(t, fsys, path.Join(sub, "deep", "file"), "content")
		requirePathError(t, fsys.Remove(sub), syscall.ENOTEMPTY)
		f, err := fsys.Open(path.Join(sub, "file"))
		require.NoError(t, err)
		require.NoError(t, fsys.Remove(path.Join(sub, "file")))
		require.Equal(t, "content", readFile(t, f), "an open file outlives its name")
		require.NoError(t, f.Close())
		require.NoError(t, fsys.RemoveAll(sub))
		require.Empty(t, names(t, fsys, dir))
		require.NoError(t, fsys.MkdirAll(sub, 0o755))
		require.NoError(t, fsys.Remove(sub))
	})
}

func TestLock(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		name := path.Join(dir, "lock")
		lock, err := fsys.Lock(name)
		require.NoError(t, err)
		_, err = fsys.Lock(name)
		requirePathError(t, err, vfs.ErrLocked)
		require.NoError(t, lock.Close())
		require.Error(t, lock.Close())
		again, err := fsys.Lock(name)
		require.NoError(t, err)
		require.NoError(t, again.Close())
		_, err = fsys.Lock(path.Join(dir, "absent", "lock"))
		requirePathError(t, err, fs.ErrNotExist)
	})
}

func TestReadersBesideOneWriter(t *testing.T) {
	everywhere(t, func(t *testing.T, fsys vfs.FS, dir string) {
		const block, blocks = 1_000, 200
		f, err := fsys.OpenFile(path.Join(dir, "file"), os.O_RDWR|os.O_CREATE, 0o644)
		require.NoError(t, err)
		content := func(i int64) []byte { return bytes.Repeat([]byte{byte(i + 1)}, block) }
		var written atomic.Int64
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				p := make([]byte, block)
				for next := int64(0); next < blocks; {
					for end := written.Load(); next < end; next++ {
						if _, err := f.ReadAt(p, next*block); err != nil || !bytes.Equal(p, content(next)) {
							t.Errorf("read block %d: %v", next, err)
							return
						}
					}
					runtime.Gosched()
				}
			})
		}
		for i := range int64(blocks) {
			if _, err := f.WriteAt(content(i), i*block); err != nil {
				t.Errorf("write block %d: %v", i, err)
			}
			written.Store(i + 1)
		}
		readers.Wait()
		require.NoError(t, f.Close())
	})
}
