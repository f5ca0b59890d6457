package vfs

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The limits of Linux, so that a name that passes here passes there.
const (
	maxName = 255
	maxPath = 4095
)

// lookup walks to a node.
func (m *Mem) lookup(name string) (*memNode, error) {
	if len(name) > maxPath {
		return nil, syscall.ENAMETOOLONG
	}
	node := m.root
	for _, element := range elements(name) {
		if !node.isDir() {
			return nil, syscall.ENOTDIR
		}
		if len(element) > maxName {
			return nil, syscall.ENAMETOOLONG
		}
		if node = node.entries[element]; node == nil {
			return nil, syscall.ENOENT
		}
	}
	return node, nil
}

// parent walks to the directory that holds name, which may be absent from it.
func (m *Mem) parent(name string) (dir *memNode, base string, err error) {
	list := elements(name)
	if len(list) == 0 {
		return nil, "", syscall.EINVAL // the root has no parent
	}
	base = list[len(list)-1]
	if len(base) > maxName {
		return nil, "", syscall.ENAMETOOLONG
	}
	dir, err = m.lookup(path.Dir(path.Clean("/" + name)))
	if err == nil && !dir.isDir() {
		err = syscall.ENOTDIR
	}
	return dir, base, err
}

// elements splits a name; the root has none.
func elements(name string) []string {
	clean := path.Clean("/" + name)[1:]
	if clean == "" {
		return nil
	}
	return strings.Split(clean, "/")
}

// memNode is a file (data is set) or a directory (entries is set). All but data's
// content is guarded by Mem.mu.
type memNode struct {
	mode    fs.FileMode
	data    *memData
	entries map[string]*memNode
	durable map[string]*memNode // as of the last SyncDir
	changed map[string]struct{} // names that differ between entries and durable
	made    time.Time

	links   int // names in current directories
	handles int // open files
	locked  bool
}

func newMemDir(mode fs.FileMode) *memNode {
	return &memNode{
		mode: mode, made: time.Now(),
		entries: make(map[string]*memNode), durable: make(map[string]*memNode), changed: make(map[string]struct{}),
	}
}

func newMemFile(perm fs.FileMode, space *memSpace) *memNode {
	return &memNode{mode: perm.Perm(), made: time.Now(), data: newMemData(space)}
}

func (n *memNode) isDir() bool { return n.data == nil }

// names lists a directory in order.
func (n *memNode) names() []string {
	list := make([]string, 0, len(n.entries))
	for name := range n.entries {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// contains reports whether dir is n or lies below it.
func (n *memNode) contains(dir *memNode) bool {
	if n == dir {
		return true
	}
	for _, child := range n.entries {
		if child.isDir() && child.contains(dir) {
			return true
		}
	}
	return false
}

func (n *memNode) info(name string) fs.FileInfo {
	info := memInfo{name: name, mode: n.mode, modified: n.made}
	if !n.isDir() {
		info.size, info.modified = n.data.stat()
	}
	return info
}

// memInfo is what Stat returns.
type memInfo struct {
	name     string
	size     int64
	mode     fs.FileMode
	modified time.Time
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return i.modified }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }
