// Package vfs is the file system as Forebay's hot tier sees it: few operations,
// each with its durability stated, so that tests can put a file system under it
// that crashes or fails at any of them. It never buffers and never retries.
// Every FS is safe for concurrent use; a File allows concurrent ReadAt beside one writer.
package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// ErrLocked is returned by FS.Lock when another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// FS is a file system. Names are slash-separated paths; errors are *fs.PathError
// that match fs.ErrNotExist, fs.ErrExist and syscall.ENOSPC where these apply.
type FS interface {
	// Open opens a file for reading.
	Open(name string) (File, error)
	// OpenFile opens with the flags of package os (O_RDWR, O_CREATE, O_EXCL, O_TRUNC).
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Rename replaces newname; it is durable once SyncDir of the directory returns.
	Rename(oldname, newname string) error
	// Link gives a file a second name; it fails with fs.ErrExist rather than replace
	// newname. It is durable once SyncDir of newname's directory returns.
	Link(oldname, newname string) error
	Remove(name string) error
	RemoveAll(name string) error
	MkdirAll(name string, perm fs.FileMode) error
	// ReadDir lists a directory in order of name.
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the creations, renames and removals in a directory durable.
	SyncDir(name string) error
	// Lock takes an exclusive lock on the named file, made if absent, until Close
	// or the end of the process. It fails with ErrLocked and never waits.
	Lock(name string) (io.Closer, error)
}

// File is an open file. There is no file position: every access names its offset, in bytes.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// WritevAt writes bufs one after the other from off on, in as few system calls
	// as the system allows, and returns the bytes written. It leaves bufs as they are.
	WritevAt(bufs [][]byte, off int64) (int64, error)
	// Allocate reserves blocks so that later writes below size cannot run out of
	// space, and makes the file at least size bytes long, reading as zeros. It
	// fails with ENOSPC and then leaves the file as it was.
	Allocate(size int64) error
	// Truncate sets the length.
	Truncate(size int64) error
	// Size returns the length.
	Size() (int64, error)
	// Sync makes data and length durable (fdatasync). After an error nothing may
	// be assumed of the unsynced bytes, and Sync must not be tried again.
	Sync() error
	// Name returns the name as given to Open.
	Name() string
}
