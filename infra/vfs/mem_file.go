package vfs

import (
	"io"
	"io/fs"
	"math"
	"sync"
	"syscall"
	"time"
)

// pageSize is the unit of memory, of accounting and of what a crash may keep, in bytes.
const pageSize = 4096

// memPage is shared between images, and between a file system and what a crash
// left of it; only a page that is in one current image alone is written to.
type memPage [pageSize]byte

// memImage is the content of a file. Absent pages read as zeros, and so do the
// bytes of a page behind size.
type memImage struct {
	size     int64
	reserved int64 // pages below this one take space, written or not
	pages    map[int64]*memPage
}

// charge is the space that the image takes, in pages.
func (i *memImage) charge() int64 {
	n := i.reserved
	for index := range i.pages {
		if index >= i.reserved {
			n++
		}
	}
	return n
}

// memData is the content of a file in its two images.
type memData struct {
	mu      sync.RWMutex
	cur     memImage
	synced  memImage
	dirty   map[int64]struct{} // pages that may differ between cur and synced
	charged int64              // pages taken from space
	space   *memSpace
	written time.Time
}

func newMemData(space *memSpace) *memData {
	return &memData{
		cur:     memImage{pages: make(map[int64]*memPage)},
		synced:  memImage{pages: make(map[int64]*memPage)},
		dirty:   make(map[int64]struct{}),
		space:   space,
		written: time.Now(),
	}
}

func (d *memData) readAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, syscall.EINVAL
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	n := 0
	for n < len(p) && off < d.cur.size {
		page, start := off/pageSize, off%pageSize
		chunk := p[n:]
		chunk = chunk[:min(int64(len(chunk)), pageSize-start, d.cur.size-off)]
		if data := d.cur.pages[page]; data != nil {
			copy(chunk, data[start:])
		} else {
			clear(chunk)
		}
		n += len(chunk)
		off += int64(len(chunk))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// writeAt writes bufs one after the other, as far as there is space.
func (d *memData) writeAt(bufs [][]byte, off int64) (int64, error) {
	if off < 0 {
		return 0, syscall.EINVAL
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var total int64
	for _, buf := range bufs {
		for len(buf) > 0 {
			n, err := d.writePage(buf, off+total)
			if err != nil {
				return total, err
			}
			buf = buf[n:]
			total += int64(n)
		}
	}
	return total, nil
}

// writePage writes as much of p as falls into the page of off.
func (d *memData) writePage(p []byte, off int64) (int, error) {
	index, start := off/pageSize, off%pageSize
	p = p[:min(int64(len(p)), pageSize-start)]
	if off > math.MaxInt64-pageSize {
		return 0, syscall.EFBIG
	}
	page, err := d.writable(index, len(p) == pageSize)
	if err != nil {
		return 0, err
	}
	copy(page[start:], p)
	d.cur.size = max(d.cur.size, off+int64(len(p)))
	d.written = time.Now()
	return len(p), nil
}

// writable returns a page of the current image that nobody else holds. A page
// about to be overwritten as a whole is not copied.
func (d *memData) writable(index int64, whole bool) (*memPage, error) {
	old := d.cur.pages[index]
	if old != nil && old != d.synced.pages[index] {
		return old, nil
	}
	if old == nil && index >= d.cur.reserved {
		if !d.space.take(1) {
			return nil, syscall.ENOSPC
		}
		d.charged++
	}
	page := new(memPage)
	if old != nil && !whole {
		*page = *old
	}
	d.cur.pages[index] = page
	d.dirty[index] = struct{}{}
	return page, nil
}

func (d *memData) truncate(size int64) error {
	if size < 0 {
		return syscall.EINVAL
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if tail := size % pageSize; tail > 0 && size < d.cur.size && d.cur.pages[size/pageSize] != nil {
		page, err := d.writable(size/pageSize, false)
		if err != nil {
			return err
		}
		clear(page[tail:])
	}
	limit := pagesOf(size)
	for index := range d.cur.pages {
		if index >= limit {
			delete(d.cur.pages, index)
			d.dirty[index] = struct{}{}
		}
	}
	d.cur.size = size
	d.cur.reserved = min(d.cur.reserved, limit)
	d.written = time.Now()
	d.recharge(d.cur.charge())
	return nil
}

func (d *memData) allocate(size int64) error {
	if size < 0 {
		return syscall.EINVAL
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	next := d.cur
	next.size = max(next.size, size)
	next.reserved = max(next.reserved, pagesOf(size))
	if !d.recharge(next.charge()) {
		return syscall.ENOSPC
	}
	d.cur = next
	return nil
}

// recharge takes the file's space from charged to pages, which fails only upwards.
func (d *memData) recharge(pages int64) bool {
	if !d.space.take(pages - d.charged) {
		return false
	}
	d.charged = pages
	return true
}

func (d *memData) sync() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for index := range d.dirty {
		if page := d.cur.pages[index]; page != nil {
			d.synced.pages[index] = page
		} else {
			delete(d.synced.pages, index)
		}
	}
	clear(d.dirty)
	d.synced.size, d.synced.reserved = d.cur.size, d.cur.reserved
}

func (d *memData) stat() (size int64, written time.Time) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.cur.size, d.written
}

// release gives back the space of a file that has neither names nor handles. It
// returns the pages that stay in memory.
func (d *memData) release() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recharge(0)
	return int64(len(d.cur.pages))
}

func pagesOf(size int64) int64 { return size/pageSize + min(size%pageSize, 1) }

// memSpace counts the bytes in use.
type memSpace struct {
	mu       sync.Mutex
	capacity int64 // 0 means unlimited
	used     int64
}

// take takes a number of pages, or gives them back if it is negative.
func (s *memSpace) take(pages int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pages > 0 && s.capacity > 0 && pages > (s.capacity-s.used)/pageSize {
		return false
	}
	s.used += pages * pageSize
	return true
}

// memFile is an open file.
type memFile struct {
	m           *Mem
	node        *memNode
	name        string
	read, write bool
	closed      bool // guarded by Mem.mu
}

func (f *memFile) Name() string { return f.name }

func (f *memFile) ReadAt(p []byte, off int64) (n int, err error) {
	eof := false
	err = f.do("read", f.read, func(d *memData) (err error) {
		n, err = d.readAt(p, off)
		if err == io.EOF { //nolint:errorlint // readAt returns it bare
			eof, err = true, nil
		}
		return err
	})
	if eof {
		err = io.EOF
	}
	return n, err
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.WritevAt([][]byte{p}, off)
	return int(n), err
}

func (f *memFile) WritevAt(bufs [][]byte, off int64) (n int64, err error) {
	err = f.do("write", f.write, func(d *memData) (err error) {
		n, err = d.writeAt(bufs, off)
		return err
	})
	return n, err
}

func (f *memFile) Allocate(size int64) error {
	return f.do("allocate", f.write, func(d *memData) error { return d.allocate(size) })
}

func (f *memFile) Truncate(size int64) error {
	return f.do("truncate", f.write, func(d *memData) error { return d.truncate(size) })
}

func (f *memFile) Size() (size int64, err error) {
	err = f.do("stat", true, func(d *memData) error {
		size, _ = d.stat()
		return nil
	})
	return size, err
}

func (f *memFile) Sync() error {
	return f.do("sync", true, func(d *memData) error {
		d.sync()
		return nil
	})
}

// do runs fn if the file is open for it and the file system has not crashed.
func (f *memFile) do(op string, allowed bool, fn func(*memData) error) error {
	f.m.mu.RLock()
	defer f.m.mu.RUnlock()
	switch {
	case f.m.crashed:
		return pathError(op, f.name, ErrCrashed)
	case f.closed:
		return pathError(op, f.name, fs.ErrClosed)
	case !allowed:
		return pathError(op, f.name, syscall.EBADF)
	}
	return pathError(op, f.name, fn(f.node.data))
}

func (f *memFile) Close() error {
	return f.m.change("close", f.name, func() error {
		if f.closed {
			return fs.ErrClosed
		}
		f.closed = true
		f.node.handles--
		f.m.release(f.node)
		return nil
	})
}
