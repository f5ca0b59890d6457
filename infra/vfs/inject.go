package vfs

import (
	"io"
	"io/fs"
)

// Kind is the kind of an operation seen by Inject.
type Kind uint8

// The operations of FS and File. WritevAt counts as one OpWrite.
const (
	OpOpen Kind = iota + 1
	OpCreate
	OpRename
	OpLink
	OpRemove
	OpRemoveAll
	OpMkdirAll
	OpReadDir
	OpStat
	OpSyncDir
	OpLock
	OpRead
	OpWrite
	OpAllocate
	OpTruncate
	OpSize
	OpSync
	OpClose
)

var kindNames = [...]string{
	"unknown", "open", "create", "rename", "link", "remove", "removeall", "mkdirall", "readdir",
	"stat", "syncdir", "lock", "read", "write", "allocate", "truncate", "size", "sync", "close",
}

// String returns the kind as one lower-case word.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[0]
}

// Mutates reports whether the operation can change what a crash leaves behind.
func (k Kind) Mutates() bool {
	switch k {
	case OpCreate, OpRename, OpLink, OpRemove, OpRemoveAll, OpMkdirAll, OpSyncDir,
		OpLock, OpWrite, OpAllocate, OpTruncate, OpSync:
		return true
	default:
		return false
	}
}

// Op is one operation about to happen.
type Op struct {
	Kind   Kind
	Name   string // of the file or directory, the old name of a rename or link
	Target string // the new name of a rename or link
	Offset int64  // bytes; of a read or write
	Length int64  // bytes; of a read or write, and the size of Allocate and Truncate
}

// Inject returns fsys with f called before every operation on it and on the files
// opened through it. When f returns an error the operation is not performed and
// the error is returned as it is, but for OpClose, where the file is closed all the same. f may
// be called concurrently; as it is called before each operation it serves as a
// counter of crash points.
func Inject(fsys FS, f func(op Op) error) FS { return &injectFS{fs: fsys, f: f} }

type injectFS struct {
	fs FS
	f  func(op Op) error
}

func (i *injectFS) Open(name string) (File, error) {
	if err := i.f(Op{Kind: OpOpen, Name: name}); err != nil {
		return nil, err
	}
	return i.wrap(i.fs.Open(name))
}

func (i *injectFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	kind := OpOpen
	if changesOnOpen(flag) {
		kind = OpCreate
	}
	if err := i.f(Op{Kind: kind, Name: name}); err != nil {
		return nil, err
	}
	return i.wrap(i.fs.OpenFile(name, flag, perm))
}

func (i *injectFS) wrap(f File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &injectFile{File: f, f: i.f}, nil
}

func (i *injectFS) Rename(oldname, newname string) error {
	if err := i.f(Op{Kind: OpRename, Name: oldname, Target: newname}); err != nil {
		return err
	}
	return i.fs.Rename(oldname, newname)
}

func (i *injectFS) Link(oldname, newname string) error {
	if err := i.f(Op{Kind: OpLink, Name: oldname, Target: newname}); err != nil {
		return err
	}
	return i.fs.Link(oldname, newname)
}

func (i *injectFS) Remove(name string) error {
	if err := i.f(Op{Kind: OpRemove, Name: name}); err != nil {
		return err
	}
	return i.fs.Remove(name)
}

func (i *injectFS) RemoveAll(name string) error {
	if err := i.f(Op{Kind: OpRemoveAll, Name: name}); err != nil {
		return err
	}
	return i.fs.RemoveAll(name)
}

func (i *injectFS) MkdirAll(name string, perm fs.FileMode) error {
	if err := i.f(Op{Kind: OpMkdirAll, Name: name}); err != nil {
		return err
	}
	return i.fs.MkdirAll(name, perm)
}

func (i *injectFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := i.f(Op{Kind: OpReadDir, Name: name}); err != nil {
		return nil, err
	}
	return i.fs.ReadDir(name)
}

func (i *injectFS) Stat(name string) (fs.FileInfo, error) {
	if err := i.f(Op{Kind: OpStat, Name: name}); err != nil {
		return nil, err
	}
	return i.fs.Stat(name)
}

func (i *injectFS) SyncDir(name string) error {
	if err := i.f(Op{Kind: OpSyncDir, Name: name}); err != nil {
		return err
	}
	return i.fs.SyncDir(name)
}

func (i *injectFS) Lock(name string) (io.Closer, error) {
	if err := i.f(Op{Kind: OpLock, Name: name}); err != nil {
		return nil, err
	}
	return i.fs.Lock(name)
}

// injectFile passes Name through and guards the rest.
type injectFile struct {
	File
	f func(op Op) error
}

func (i *injectFile) ReadAt(p []byte, off int64) (int, error) {
	if err := i.f(Op{Kind: OpRead, Name: i.Name(), Offset: off, Length: int64(len(p))}); err != nil {
		return 0, err
	}
	return i.File.ReadAt(p, off)
}

func (i *injectFile) WriteAt(p []byte, off int64) (int, error) {
	if err := i.f(Op{Kind: OpWrite, Name: i.Name(), Offset: off, Length: int64(len(p))}); err != nil {
		return 0, err
	}
	return i.File.WriteAt(p, off)
}

func (i *injectFile) WritevAt(bufs [][]byte, off int64) (int64, error) {
	var length int64
	for _, b := range bufs {
		length += int64(len(b))
	}
	if err := i.f(Op{Kind: OpWrite, Name: i.Name(), Offset: off, Length: length}); err != nil {
		return 0, err
	}
	return i.File.WritevAt(bufs, off)
}

func (i *injectFile) Allocate(size int64) error {
	if err := i.f(Op{Kind: OpAllocate, Name: i.Name(), Length: size}); err != nil {
		return err
	}
	return i.File.Allocate(size)
}

func (i *injectFile) Truncate(size int64) error {
	if err := i.f(Op{Kind: OpTruncate, Name: i.Name(), Length: size}); err != nil {
		return err
	}
	return i.File.Truncate(size)
}

func (i *injectFile) Size() (int64, error) {
	if err := i.f(Op{Kind: OpSize, Name: i.Name()}); err != nil {
		return 0, err
	}
	return i.File.Size()
}

func (i *injectFile) Sync() error {
	if err := i.f(Op{Kind: OpSync, Name: i.Name()}); err != nil {
		return err
	}
	return i.File.Sync()
}

func (i *injectFile) Close() error {
	err := i.f(Op{Kind: OpClose, Name: i.Name()})
	if cerr := i.File.Close(); err == nil {
		err = cerr
	}
	return err
}
