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

// Direct is a flag of OpenFile, beside those of package os: large accesses pass by
// the system's page cache where it can be done, which spares the processor a copy
// and the cache pages that will not be read soon. It changes nothing else; memory
// and offsets need no alignment, though reads that have it are the faster ones.
const Direct = 1 << 30

const (
	// BlockSize is what O_DIRECT wants offsets, lengths and memory to be multiples
	// of; no common drive has larger logical blocks.
	BlockSize = 4 << 10
	// minDirect is the size in bytes from which an access passes by the page cache.
	minDirect = 64 << 10
)

// Span returns the bytes to read of a Direct file for those of [off, off+n): whole
// blocks, if there are enough of them to be read past the page cache. Memory of
// that size that package runtime has just made is aligned. Such a read may end at
// the end of the file, behind what was asked for.
func Span(off, n int64) (lo, hi int64) {
	if n < minDirect {
		return off, off + n
	}
	return off &^ (BlockSize - 1), (off + n + BlockSize - 1) &^ (BlockSize - 1)
}

// FS is a file system. Names are slash-separated paths; errors are *fs.PathError
// that match fs.ErrNotExist, fs.ErrExist and syscall.ENOSPC where these apply.
type FS interface {
	// Open opens a file for reading.
	Open(name string) (File, error)
	// OpenFile opens with the flags of package os (O_RDWR, O_CREATE, O_EXCL, O_TRUNC)
	// and Direct.
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

// WillNeed asks the system to read bytes of a file into its cache in large pieces,
// for small reads that follow in any order. It is only advice.
func WillNeed(f File, off, n int64) {
	if a, ok := f.(interface{ willNeed(off, n int64) }); ok {
		a.willNeed(off, n)
	}
}
