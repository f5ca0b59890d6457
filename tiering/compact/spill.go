package compact

import (
	"bytes"
	"cmp"
	"container/heap"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"sort"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/vfs"
)

const (
	pageEntries = 170 // of a sorted file: a page of the system
	largeBuffer = 1 << 20
	indexEntry  = 8 // bytes of a page's first hash that are held
)

// spill is a file of runs, each sorted. An entry that is in several is newest in the last.
type spill struct {
	cfg  MapConfig
	file vfs.File
	runs []extent
	size int64
}

type extent struct{ from, to int64 } // bytes of the file

// temporary makes a file that has no name any more, so that a crash leaves none.
func temporary(cfg MapConfig) (vfs.File, error) {
	name := path.Join(cfg.Dir, "compact-"+rand.Text())
	f, err := cfg.FS.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make a file for the keys of a compaction: %w", err)
	}
	if err := cfg.FS.Remove(name); err != nil {
		return nil, errors.Join(fmt.Errorf("remove the name of file %s, which is in use: %w", name, err), f.Close())
	}
	return f, nil
}

func newSpill(cfg MapConfig) (*spill, error) {
	f, err := temporary(cfg)
	if err != nil {
		return nil, err
	}
	return &spill{cfg: cfg, file: f}, nil
}

// add appends a run.
func (s *spill) add(run []entry) error {
	w := newWriter(s.file, s.size, largeBuffer)
	for i := range run {
		if err := w.write(&run[i]); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	s.runs = append(s.runs, extent{from: s.size, to: w.at})
	s.size = w.at
	return nil
}

func (s *spill) close() error {
	if err := s.file.Close(); err != nil {
		return fmt.Errorf("close the spilled keys of a compaction: %w", err)
	}
	return nil
}

// writer appends entries to a file.
type writer struct {
	file vfs.File
	at   int64
	buf  []byte
}

func newWriter(f vfs.File, at, buffer int64) *writer {
	return &writer{file: f, at: at, buf: make([]byte, 0, max(1, buffer/entrySize)*entrySize)}
}

func (w *writer) write(e *entry) error {
	if w.buf = append(w.buf, e[:]...); len(w.buf) < cap(w.buf) {
		return nil
	}
	return w.flush()
}

func (w *writer) flush() error {
	n, err := w.file.WriteAt(w.buf, w.at)
	w.at += int64(n)
	w.buf = w.buf[:0]
	if err != nil {
		return fmt.Errorf("spill keys of a compaction (raise log.cleaner.dedupe.buffer.size, or free space): %w", err)
	}
	return nil
}

// merge merges the runs within budget bytes of memory, roughly.
func (s *spill) merge(budget int64) (*sorted, error) {
	f, err := temporary(s.cfg)
	if err != nil {
		return nil, err
	}
	out := &sorted{file: f, perPage: pageEntries}
	for s.size/entrySize/out.perPage*indexEntry > budget/4 {
		out.perPage *= 2
	}
	if err := s.mergeInto(out, budget/2/int64(len(s.runs)+1)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	out.page = make([]byte, out.perPage*entrySize)
	return out, nil
}

func (s *spill) mergeInto(out *sorted, buffer int64) error {
	buffer = max(1, min(buffer, largeBuffer)/entrySize) * entrySize
	w := newWriter(out.file, 0, buffer)
	h := make(cursors, 0, len(s.runs))
	for i, r := range s.runs {
		c := &cursor{file: s.file, left: r, run: i, buf: make([]byte, 0, buffer)}
		if ok, err := c.next(); err != nil {
			return err
		} else if ok {
			h = append(h, c)
		}
	}
	heap.Init(&h)
	for len(h) > 0 {
		e := h[0].e
		for len(h) > 0 && bytes.Equal(h[0].e.hash(), e.hash()) { // the last of them is the newest
			e = h[0].e
			if err := h.advance(); err != nil {
				return err
			}
		}
		if n := out.size / entrySize; n%out.perPage == 0 {
			out.index = append(out.index, binary.BigEndian.Uint64(e[:]))
		}
		out.size += entrySize
		if err := w.write(&e); err != nil {
			return err
		}
	}
	return w.flush()
}

// cursor reads a run.
type cursor struct {
	file vfs.File
	left extent
	run  int
	buf  []byte
	at   int
	e    entry
}

func (c *cursor) next() (bool, error) {
	if c.at == len(c.buf) {
		if c.left.from == c.left.to {
			return false, nil
		}
		c.buf, c.at = c.buf[:min(int64(cap(c.buf)), c.left.to-c.left.from)], 0
		if err := readAt(c.file, c.buf, c.left.from); err != nil {
			return false, err
		}
		c.left.from += int64(len(c.buf))
	}
	c.at += copy(c.e[:], c.buf[c.at:])
	return true, nil
}

func readAt(f vfs.File, b []byte, at int64) error {
	n, err := f.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	return fmt.Errorf("read the spilled keys of a compaction: %w", cmp.Or(err, io.ErrUnexpectedEOF))
}

// cursors is a heap of runs by their next entry, and then by their number.
type cursors []*cursor

func (h cursors) Len() int      { return len(h) }
func (h cursors) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *cursors) Push(x any)   { c, _ := x.(*cursor); *h = append(*h, c) }

func (h cursors) Less(i, j int) bool {
	return cmp.Or(bytes.Compare(h[i].e.hash(), h[j].e.hash()), cmp.Compare(h[i].run, h[j].run)) < 0
}

// Pop removes the last.
func (h *cursors) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	*h = (*h)[:last]
	return c
}

// advance goes past the first entry of all.
func (h *cursors) advance() error {
	ok, err := (*h)[0].next()
	switch {
	case err != nil:
		return err
	case ok:
		heap.Fix(h, 0)
	default:
		heap.Pop(h)
	}
	return nil
}

// sorted is a file of sorted entries, and the first hash of each page of it.
type sorted struct {
	file    vfs.File
	size    int64 // bytes
	perPage int64 // entries
	index   []uint64
	page    []byte // the one that was read last
	inPage  int    // its number + 1
}

// get finds the entry of e's hash.
func (s *sorted) get(e *entry) (id.Offset, bool, error) {
	// Hashes whose first 8 bytes are alike may lie on both sides of a page's beginning: the
	// search begins with the page before.
	first := binary.BigEndian.Uint64(e[:])
	i := max(sort.Search(len(s.index), func(i int) bool { return s.index[i] >= first })-1, 0)
	for ; i < len(s.index) && s.index[i] <= first; i++ {
		if err := s.load(i); err != nil {
			return 0, false, err
		}
		n := len(s.page) / entrySize
		at := sort.Search(n, func(j int) bool { return bytes.Compare(s.page[j*entrySize:j*entrySize+hashSize], e.hash()) >= 0 })
		if at < n {
			var found entry
			copy(found[:], s.page[at*entrySize:])
			return found.offset(), bytes.Equal(found.hash(), e.hash()), nil
		}
	}
	return 0, false, nil
}

func (s *sorted) load(i int) error {
	if s.inPage == i+1 {
		return nil
	}
	from := int64(i) * s.perPage * entrySize
	s.page = s.page[:min(int64(cap(s.page)), s.size-from)]
	s.inPage = 0
	if err := readAt(s.file, s.page, from); err != nil {
		return err
	}
	s.inPage = i + 1
	return nil
}

func (s *sorted) close() error {
	if err := s.file.Close(); err != nil {
		return fmt.Errorf("close the sorted keys of a compaction: %w", err)
	}
	return nil
}
