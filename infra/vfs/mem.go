package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"syscall"
)

// ErrCrashed is returned by every operation on a Mem that has crashed, and on its files.
var ErrCrashed = errors.New("file system has crashed")

// Mem is a file system in memory that can crash. It keeps two images of each
// file and of each directory: the current one, and the one that Sync or SyncDir
// made durable. Names with and without a leading slash are the same; the root
// exists and is durable. Permissions are recorded and not enforced.
type Mem struct {
	// mu guards the tree. Operations on open files hold it shared, so that a Crash
	// falls between operations and never into one.
	mu      sync.RWMutex
	root    *memNode
	pending []memOp // the log of changes not yet durable, oldest first
	buried  int64   // pages of removed files, since the log was last cut
	crashed bool
	space   *memSpace
}

// NewMem returns an empty file system of unlimited capacity.
func NewMem() *Mem {
	return &Mem{root: newMemDir(fs.ModeDir | 0o755), space: &memSpace{}}
}

// SetCapacity limits the space for file data, in bytes: writes and reservations
// beyond it fail with ENOSPC, a write after writing what fits. 0 lifts the limit.
// Directories and empty files take no space.
func (m *Mem) SetCapacity(bytes int64) {
	m.space.mu.Lock()
	defer m.space.mu.Unlock()
	m.space.capacity = bytes
}

// Used returns the space taken by file data and reservations, in bytes, whole
// pages of 4 KiB counted.
func (m *Mem) Used() int64 {
	m.space.mu.Lock()
	defer m.space.mu.Unlock()
	return m.space.used
}

// Open opens a file for reading.
func (m *Mem) Open(name string) (File, error) { return m.OpenFile(name, os.O_RDONLY, 0) }

// OpenFile opens a file.
func (m *Mem) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	if err := checkFlags(name, flag); err != nil {
		return nil, err
	}
	var f *memFile
	err := m.change("open", name, func() error {
		node, err := m.openNode(name, flag, perm)
		if err != nil {
			return err
		}
		node.handles++
		f = &memFile{
			m: m, node: node, name: name,
			read:  flag&os.O_WRONLY == 0,
			write: flag&(os.O_WRONLY|os.O_RDWR) != 0,
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (m *Mem) openNode(name string, flag int, perm fs.FileMode) (*memNode, error) {
	node, err := m.lookup(name)
	switch {
	case errors.Is(err, syscall.ENOENT) && flag&os.O_CREATE != 0:
		return m.create(name, perm)
	case err != nil:
		return nil, err
	case flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, syscall.EEXIST
	case node.isDir():
		return nil, syscall.EISDIR
	case flag&os.O_TRUNC != 0:
		return node, node.data.truncate(0)
	}
	return node, nil
}

// create makes an empty file where there is none.
func (m *Mem) create(name string, perm fs.FileMode) (*memNode, error) {
	dir, base, err := m.parent(name)
	if err != nil {
		return nil, err
	}
	node := newMemFile(perm, m.space)
	m.record(memEdit{dir, base, node})
	return node, nil
}

// Rename replaces newname, unless that is a directory that is not empty.
func (m *Mem) Rename(oldname, newname string) error {
	return m.change("rename "+oldname+" to", newname, func() error {
		node, err := m.lookup(oldname)
		if err != nil {
			return err
		}
		from, oldbase, err := m.parent(oldname)
		if err != nil {
			return err
		}
		to, newbase, err := m.parent(newname)
		if err != nil {
			return err
		}
		target := to.entries[newbase]
		switch {
		case target == node:
			return nil
		case node.isDir() && node.contains(to):
			return syscall.EINVAL
		case target == nil:
		case target.isDir() && !node.isDir():
			return syscall.EISDIR
		case !target.isDir() && node.isDir():
			return syscall.ENOTDIR
		case len(target.entries) > 0:
			return syscall.ENOTEMPTY
		}
		m.record(memEdit{from, oldbase, nil}, memEdit{to, newbase, node})
		return nil
	})
}

// Link gives a file a second name.
func (m *Mem) Link(oldname, newname string) error {
	return m.change("link "+oldname+" to", newname, func() error {
		node, err := m.lookup(oldname)
		if err != nil {
			return err
		}
		to, base, err := m.parent(newname)
		if err != nil {
			return err
		}
		if to.entries[base] != nil {
			return syscall.EEXIST
		}
		if node.isDir() {
			return syscall.EPERM
		}
		m.record(memEdit{to, base, node})
		return nil
	})
}

// Remove removes a file or an empty directory.
func (m *Mem) Remove(name string) error {
	return m.change("remove", name, func() error {
		node, err := m.lookup(name)
		if err != nil {
			return err
		}
		if len(node.entries) > 0 {
			return syscall.ENOTEMPTY
		}
		dir, base, err := m.parent(name)
		if err != nil {
			return err
		}
		m.record(memEdit{dir, base, nil})
		return nil
	})
}

// RemoveAll removes a file or a directory with all that it holds, from the leaves
// on; it is no error when there is none.
func (m *Mem) RemoveAll(name string) error {
	return m.change("removeall", name, func() error {
		node, err := m.lookup(name)
		if errors.Is(err, syscall.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
		dir, base, err := m.parent(name)
		if err != nil {
			return err
		}
		m.removeTree(dir, base, node)
		return nil
	})
}

func (m *Mem) removeTree(dir *memNode, base string, node *memNode) {
	for _, name := range node.names() {
		m.removeTree(node, name, node.entries[name])
	}
	m.record(memEdit{dir, base, nil})
}

// MkdirAll makes a directory and those above it that are missing.
func (m *Mem) MkdirAll(name string, perm fs.FileMode) error {
	return m.change("mkdir", name, func() error {
		node := m.root
		for _, element := range elements(name) {
			next := node.entries[element]
			switch {
			case len(element) > maxName:
				return syscall.ENAMETOOLONG
			case next == nil:
				next = newMemDir(fs.ModeDir | perm.Perm())
				m.record(memEdit{node, element, next})
			case !next.isDir():
				return syscall.ENOTDIR
			}
			node = next
		}
		return nil
	})
}

// ReadDir lists a directory in order of name.
func (m *Mem) ReadDir(name string) (list []fs.DirEntry, err error) {
	err = m.view("readdir", name, func(node *memNode) error {
		if !node.isDir() {
			return syscall.ENOTDIR
		}
		for _, base := range node.names() {
			list = append(list, fs.FileInfoToDirEntry(node.entries[base].info(base)))
		}
		return nil
	})
	return list, err
}

// Stat describes a file or a directory.
func (m *Mem) Stat(name string) (info fs.FileInfo, err error) {
	err = m.view("stat", name, func(node *memNode) error {
		info = node.info(path.Base(path.Clean("/" + name)))
		return nil
	})
	return info, err
}

// SyncDir makes the entries of a directory durable, but not the data of its files.
func (m *Mem) SyncDir(name string) error {
	return m.change("syncdir", name, func() error {
		node, err := m.lookup(name)
		if err != nil {
			return err
		}
		if !node.isDir() {
			return syscall.ENOTDIR
		}
		m.settle(node)
		return nil
	})
}

// Lock takes the lock of the named file for the user of this Mem; the Mem that a
// crash leaves has no locks.
func (m *Mem) Lock(name string) (io.Closer, error) {
	var node *memNode
	err := m.change("lock", name, func() (err error) {
		node, err = m.openNode(name, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		if node.locked {
			return ErrLocked
		}
		node.locked = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &memLock{m: m, node: node}, nil
}

// memLock is a held lock; node is nil once it was closed.
type memLock struct {
	m    *Mem
	node *memNode
}

func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.node == nil {
		return fs.ErrClosed
	}
	l.node.locked, l.node = false, nil
	return nil
}

// change runs fn with the tree locked for writing.
func (m *Mem) change(op, name string, fn func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.crashed {
		return pathError(op, name, ErrCrashed)
	}
	return pathError(op, name, fn())
}

// view runs fn on the named node with the tree locked for reading.
func (m *Mem) view(op, name string, fn func(*memNode) error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.crashed {
		return pathError(op, name, ErrCrashed)
	}
	node, err := m.lookup(name)
	if err == nil {
		err = fn(node)
	}
	return pathError(op, name, err)
}
