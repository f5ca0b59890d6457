package objstore

import (
	"container/list"
	"io/fs"
	"os"
	"sync"

	"github.com/forebaylog/forebay/infra/vfs"
)

// handles keeps the files read last open, as one pack is read in many ranges. A
// file in use is never closed under its reader.
type handles struct {
	fs    vfs.FS
	limit int

	mu      sync.Mutex
	byName  map[string]*list.Element // of *handle
	recent  *list.List               // of *handle, the one used last in front; nil once closed
	removed uint64                   // counts forget
}

// handle is an open file; its fields but file are guarded by handles.mu.
type handle struct {
	file   vfs.File
	refs   int
	cached bool
}

func newHandles(fsys vfs.FS, limit int) *handles {
	return &handles{fs: fsys, limit: limit, byName: make(map[string]*list.Element), recent: list.New()}
}

// acquire returns the open file; release must follow.
func (c *handles) acquire(name string) (*handle, error) {
	h, removed, err := c.lookup(name)
	if h != nil || err != nil {
		return h, err
	}
	f, err := c.fs.OpenFile(name, os.O_RDONLY|vfs.Direct, 0) // without the lock: it may be slow
	if err != nil {
		return nil, err
	}
	h, unused := c.insert(name, f, removed)
	closeAll(unused)
	return h, nil
}

// lookup finds an open file. If there is none it returns the count of removals,
// by which insert sees that the file may have been removed since.
func (c *handles) lookup(name string) (*handle, uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.recent == nil {
		return nil, 0, fs.ErrClosed
	}
	if e, ok := c.byName[name]; ok {
		return c.use(e), 0, nil
	}
	return nil, c.removed, nil
}

// use must be called with the lock held.
func (c *handles) use(e *list.Element) *handle {
	c.recent.MoveToFront(e)
	h := handleOf(e)
	h.refs++
	return h
}

// insert keeps a file for others, unless somebody was faster or it may be gone.
// It returns the files to close.
func (c *handles) insert(name string, f vfs.File, removed uint64) (*handle, []vfs.File) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byName[name]; ok {
		return c.use(e), []vfs.File{f}
	}
	h := &handle{file: f, refs: 1}
	if c.recent == nil || c.removed != removed {
		return h, nil
	}
	h.cached = true
	c.byName[name] = c.recent.PushFront(h)
	if c.recent.Len() > c.limit {
		return h, c.drop(c.recent.Back())
	}
	return h, nil
}

// drop must be called with the lock held. It returns the file if nobody uses it.
func (c *handles) drop(e *list.Element) []vfs.File {
	h := handleOf(e)
	c.recent.Remove(e)
	h.cached = false
	delete(c.byName, h.file.Name())
	if h.refs > 0 {
		return nil
	}
	return []vfs.File{h.file}
}

// handleOf returns what a list element holds, which is always a handle.
func handleOf(e *list.Element) *handle {
	h, _ := e.Value.(*handle)
	return h
}

func (c *handles) release(h *handle) {
	c.mu.Lock()
	h.refs--
	unused := h.refs == 0 && !h.cached
	c.mu.Unlock()
	if unused {
		closeAll([]vfs.File{h.file})
	}
}

// forget is called after the file was removed.
func (c *handles) forget(name string) {
	c.mu.Lock()
	c.removed++
	var unused []vfs.File
	if e, ok := c.byName[name]; ok {
		unused = c.drop(e)
	}
	c.mu.Unlock()
	closeAll(unused)
}

// close closes what is not in use; the rest is closed by release.
func (c *handles) close() {
	c.mu.Lock()
	var unused []vfs.File
	for c.recent != nil && c.recent.Len() > 0 {
		unused = append(unused, c.drop(c.recent.Back())...)
	}
	c.recent = nil
	c.mu.Unlock()
	closeAll(unused)
}

func closeAll(files []vfs.File) {
	for _, f := range files {
		_ = f.Close() // only read from: there is nothing to lose
	}
}
