package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// sectorSize is what a disk writes as a whole or not at all, in bytes.
const sectorSize = 512

// The bounds of the log of changes from which a seeded crash chooses: operations,
// and pages of removed files that it may keep in memory. A log cut short offers
// fewer outcomes and no wrong ones.
const (
	maxPending = 1024
	maxBuried  = 16 << 20 / pageSize
)

// memEdit sets or removes (node is nil) one entry of a directory.
type memEdit struct {
	dir  *memNode
	name string
	node *memNode
}

// memOp is the edits of one operation, of which a crash keeps all or none unless
// SyncDir of one of two directories came between.
type memOp []memEdit

// record applies the edits of one operation to the current tree and notes them
// as not yet durable.
func (m *Mem) record(op ...memEdit) {
	var dropped []*memNode
	for _, e := range op {
		if old := e.dir.entries[e.name]; old != nil {
			old.links--
			dropped = append(dropped, old)
		}
		if e.node != nil {
			e.node.links++
		}
		setEntry(e.dir.entries, e.name, e.node)
		if e.dir.durable[e.name] == e.node {
			delete(e.dir.changed, e.name)
		} else {
			e.dir.changed[e.name] = struct{}{}
		}
	}
	if len(m.pending) == maxPending {
		m.pending = slices.Delete(m.pending, 0, maxPending/2)
	}
	m.pending = append(m.pending, op)
	for _, node := range dropped {
		m.release(node)
	}
}

// settle makes the current entries of a directory the durable ones.
func (m *Mem) settle(dir *memNode) {
	for name := range dir.changed {
		setEntry(dir.durable, name, dir.entries[name])
	}
	clear(dir.changed)
	for i := range m.pending {
		m.pending[i] = slices.DeleteFunc(m.pending[i], func(e memEdit) bool { return e.dir == dir })
	}
	m.pending = slices.DeleteFunc(m.pending, func(op memOp) bool { return len(op) == 0 })
}

// release frees the space of a file that has neither names nor handles. Its data
// stays for as long as a durable directory or the log of changes has it.
func (m *Mem) release(node *memNode) {
	if node.links > 0 || node.handles > 0 || node.isDir() {
		return
	}
	m.buried += node.data.release()
	if m.buried > maxBuried {
		m.pending, m.buried = nil, 0
	}
}

func setEntry(entries map[string]*memNode, name string, node *memNode) {
	if node == nil {
		delete(entries, name)
	} else {
		entries[name] = node
	}
}

// CrashOption alters what survives a Crash.
type CrashOption func(*crash)

// KeepUnsynced lets a random part of what was not synced survive, as a disk may
// have written it back on its own: of the changes to directories a prefix, of a file's
// pages of 4 KiB some whole, some not and some in sectors of 512 bytes, and a length
// between the synced and the current one. The same seed keeps the same part.
func KeepUnsynced(seed uint64) CrashOption {
	return func(c *crash) { c.rng = rand.New(rand.NewPCG(seed, 0)) }
}

// Crash ends the file system as a power failure does and returns what is left of
// it: every file as of its last Sync, under the names that its directory had at
// the last SyncDir. From then on m and its files answer ErrCrashed. Crash may be called
// again, with other options, for another outcome of the same crash.
func (m *Mem) Crash(opts ...CrashOption) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crashed = true
	c := &crash{
		space:   &memSpace{capacity: m.space.capacity},
		overlay: make(map[*memNode]map[string]*memNode),
		clones:  make(map[*memNode]*memNode),
	}
	for _, opt := range opts {
		opt(c)
	}
	if c.rng != nil {
		c.keepChanges(m.pending[:c.rng.IntN(len(m.pending)+1)])
	}
	return &Mem{root: c.clone(m.root), space: c.space}
}

// crash is one Crash under way.
type crash struct {
	rng     *rand.Rand // nil keeps nothing unsynced
	space   *memSpace
	overlay map[*memNode]map[string]*memNode // directories that keep more than is durable
	clones  map[*memNode]*memNode
}

// keepChanges lays ops over the durable directories.
func (c *crash) keepChanges(ops []memOp) {
	for _, op := range ops {
		for _, e := range op {
			entries, ok := c.overlay[e.dir]
			if !ok {
				entries = maps.Clone(e.dir.durable)
				c.overlay[e.dir] = entries
			}
			setEntry(entries, e.name, e.node)
		}
	}
}

// clone copies what survives of a node and of all below it. A directory that two
// durable directories name, half-renamed, stays where it is met first.
func (c *crash) clone(node *memNode) *memNode {
	if node.isDir() {
		return c.cloneDir(node)
	}
	copied := &memNode{mode: node.mode, made: node.made, data: c.cloneData(node.data)}
	c.clones[node] = copied
	return copied
}

func (c *crash) cloneDir(node *memNode) *memNode {
	copied := newMemDir(node.mode)
	copied.made = node.made
	c.clones[node] = copied
	entries, ok := c.overlay[node]
	if !ok {
		entries = node.durable
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		child := entries[name]
		known, met := c.clones[child]
		switch {
		case met && child.isDir():
			continue
		case !met:
			known = c.clone(child)
		}
		known.links++
		copied.entries[name], copied.durable[name] = known, known
	}
	return copied
}

// cloneData copies the synced image, sharing its pages, and maybe some of what is not synced.
func (c *crash) cloneData(d *memData) *memData {
	d.mu.RLock()
	defer d.mu.RUnlock()
	image := memImage{size: d.synced.size, reserved: d.synced.reserved, pages: maps.Clone(d.synced.pages)}
	if c.rng != nil {
		c.keepData(&image, d)
	}
	copied := newMemData(c.space)
	copied.written = d.written
	copied.cur, copied.synced = image, image
	copied.synced.pages = maps.Clone(image.pages)
	copied.charged = image.charge()
	c.space.used += copied.charged * pageSize
	return copied
}

// keepData lays a random part of the current image over the synced one.
func (c *crash) keepData(image *memImage, d *memData) {
	for _, index := range slices.Sorted(maps.Keys(d.dirty)) {
		page := c.keepPage(d.synced.pages[index], d.cur.pages[index])
		if page == nil {
			delete(image.pages, index)
		} else {
			image.pages[index] = page
		}
	}
	image.size = c.keepSize(d.synced.size, d.cur.size)
	image.reserved = min(max(d.synced.reserved, d.cur.reserved), pagesOf(image.size))
	image.trim()
}

// keepPage returns the old page, the new page, or sectors of both; nil is a page of zeros.
func (c *crash) keepPage(old, cur *memPage) *memPage {
	switch c.rng.IntN(3) {
	case 0:
		return old
	case 1:
		return cur
	}
	torn := new(memPage)
	for at := 0; at < pageSize; at += sectorSize {
		from := old
		if c.rng.IntN(2) == 1 {
			from = cur
		}
		if from != nil {
			copy(torn[at:at+sectorSize], from[at:])
		}
	}
	return torn
}

// keepSize returns a length between the synced and the current one.
func (c *crash) keepSize(synced, cur int64) int64 {
	if synced == cur {
		return cur
	}
	switch c.rng.IntN(3) {
	case 0:
		return synced
	case 1:
		return cur
	}
	low, high := min(synced, cur), max(synced, cur)
	return low + c.rng.Int64N(high-low+1)/sectorSize*sectorSize
}

// trim restores what memImage promises of the bytes behind size.
func (i *memImage) trim() {
	limit := pagesOf(i.size)
	maps.DeleteFunc(i.pages, func(index int64, _ *memPage) bool { return index >= limit })
	tail, last := i.size%pageSize, i.size/pageSize
	if page := i.pages[last]; tail > 0 && page != nil {
		trimmed := *page
		clear(trimmed[tail:])
		i.pages[last] = &trimmed
	}
}
