package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// OS returns the file system of the machine. Relative names start at the working
// directory of the process.
func OS() FS { return osFS{} }

// osFS is the file system of the machine; it has no state.
type osFS struct{}

func (osFS) Open(name string) (File, error) {
	return openOS(name, os.O_RDONLY, 0)
}

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	return openOS(name, flag, perm)
}

// openOS refuses directories, which the kernel would open for reading.
func openOS(name string, flag int, perm fs.FileMode) (File, error) {
	if err := checkFlags(name, flag); err != nil {
		return nil, err
	}
	path, direct := filepath.FromSlash(name), flag&Direct != 0
	flag &^= Direct
	f, err := os.OpenFile(path, flag, perm)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = pathError("open", name, syscall.EISDIR)
	}
	var conn syscall.RawConn
	if err == nil {
		conn, err = f.SyscallConn()
	}
	file := &osFile{f: f, conn: conn, name: name}
	if err == nil && direct {
		file.direct, err = openDirect(path, flag)
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return file, nil
}

func (osFS) Rename(oldname, newname string) error {
	return asPathError(os.Rename(filepath.FromSlash(oldname), filepath.FromSlash(newname)))
}

func (osFS) Link(oldname, newname string) error {
	return asPathError(os.Link(filepath.FromSlash(oldname), filepath.FromSlash(newname)))
}

func (osFS) Remove(name string) error { return os.Remove(filepath.FromSlash(name)) }

func (osFS) RemoveAll(name string) error { return os.RemoveAll(filepath.FromSlash(name)) }

func (osFS) MkdirAll(name string, perm fs.FileMode) error {
	return os.MkdirAll(filepath.FromSlash(name), perm)
}

func (osFS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(filepath.FromSlash(name)) }

func (osFS) Stat(name string) (fs.FileInfo, error) { return os.Stat(filepath.FromSlash(name)) }

func (osFS) SyncDir(name string) error {
	d, err := os.Open(filepath.FromSlash(name))
	if err != nil {
		return err
	}
	info, err := d.Stat()
	switch {
	case err != nil:
	case !info.IsDir():
		err = pathError("syncdir", name, syscall.ENOTDIR)
	default:
		err = d.Sync()
	}
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(filepath.FromSlash(name), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	conn, err := f.SyscallConn()
	if err == nil {
		err = control(conn, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, pathError("lock", name, err)
	}
	return f, nil // closing the descriptor releases the lock
}

// osFile is an open file of the machine. Its raw calls go through conn, which
// keeps the descriptor from being closed and used again under them.
type osFile struct {
	f      *os.File
	conn   syscall.RawConn
	direct *directFile // nil: everything goes through f
	name   string
}

func (f *osFile) Name() string              { return f.name }
func (f *osFile) Truncate(size int64) error { return f.f.Truncate(size) }
func (f *osFile) Close() error              { return errors.Join(f.direct.close(), f.f.Close()) }

func (f *osFile) ReadAt(p []byte, off int64) (int, error) {
	return f.direct.readAt(p, off, f.f.ReadAt)
}

func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	return f.direct.writeAt(p, off, f.f.WriteAt)
}

func (f *osFile) Size() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Allocate undoes a failed reservation, of which file systems keep a part.
func (f *osFile) Allocate(size int64) error {
	old, err := f.Size()
	if err != nil {
		return err
	}
	if size < 0 {
		return pathError("allocate", f.name, syscall.EINVAL)
	}
	if size == 0 {
		return nil
	}
	if err := f.reserve(old, size); err != nil {
		return pathError("allocate", f.name, errors.Join(err, f.f.Truncate(old)))
	}
	return nil
}

// zeroes is what extend writes at a time.
var zeroes [64 << 10]byte

// extend reserves blocks the portable way: it writes zeros from old up to size.
// Holes below old stay holes.
func (f *osFile) extend(old, size int64) error {
	for off := old; off < size; {
		n, err := f.f.WriteAt(zeroes[:min(size-off, int64(len(zeroes)))], off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// control runs call on the descriptor, again while a signal interrupts it.
func control(conn syscall.RawConn, call func(fd int) error) error {
	var err error
	if conn.Control(func(fd uintptr) {
		for err = call(int(fd)); errors.Is(err, unix.EINTR); {
			err = call(int(fd))
		}
	}) != nil {
		return fs.ErrClosed // the only error of Control
	}
	return err
}

// asPathError turns the two-name error of package os into the kind that FS promises.
func asPathError(err error) error {
	if le, ok := errors.AsType[*os.LinkError](err); ok {
		return &fs.PathError{Op: le.Op + " " + le.Old + " to", Path: le.New, Err: le.Err}
	}
	return err
}
