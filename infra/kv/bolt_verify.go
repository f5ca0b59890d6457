package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	berrors "go.etcd.io/bbolt/errors"
)

// Verify reads the whole file: every page must belong to exactly one thing, every
// key be where it is looked for, and every item have its checksum. It fails with
// ErrCorrupt, which names what is damaged. Writes wait for it.
//
// bbolt's own check trusts lengths that it reads from damaged pages, and its faults
// end the process; so this one reads the pages by itself.
func (s *Bolt) Verify(ctx context.Context) error {
	if err := s.verify(ctx); err != nil {
		return fmt.Errorf("verify table %s: %w", s.path, err)
	}
	return nil
}

func (s *Bolt) verify(ctx context.Context) error {
	tx, err := s.db.Begin(!s.db.IsReadOnly()) // keeps writers away
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing was changed
	f, err := os.Open(s.path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // read only
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return verifyFile(ctx, f, info.Size())
}

// A page is a header and count elements, which point to keys and values behind them:
//
//	header          offset 0 u64 its number, 8 u16 flags, 10 u16 count, 12 u32 further pages it extends over
//	branch element  offset 0 u32 position of the key, 4 u32 key length, 8 u64 page
//	leaf element    offset 0 u32 flags (1: a bucket), 4 u32 position of the key, 8 u32 key length, 12 u32 value length
//	free list       u64 page numbers; with a count of 0xFFFF the first is the count
//
// Positions count from the element. The value of a bucket is u64 root page, u64
// sequence and, if the root is 0, a page of its own.
const (
	elementSize  = 16
	bucketHeader = 16

	branchFlag   = 0x01
	leafFlag     = 0x02
	freelistFlag = 0x10
	bucketFlag   = 0x01
)

// verifier walks the pages of a file.
type verifier struct {
	f       io.ReaderAt
	meta    boltMeta
	claimed []bool // pages that were found to belong to something
}

func verifyFile(ctx context.Context, f io.ReaderAt, size int64) error {
	meta, err := checkMeta(f, size)
	if err != nil {
		return err
	}
	v := &verifier{f: f, meta: meta, claimed: make([]bool, meta.pages)}
	buckets := func(page uint64, flags uint32, name, value []byte) error {
		return v.bucket(ctx, page, flags, name, value)
	}
	if err := v.tree(ctx, meta.root, span{}, buckets); err != nil {
		return err
	}
	if err := v.freelist(ctx); err != nil {
		return err
	}
	for page := uint64(2); page < meta.pages; page++ { // 0 and 1 are the meta pages
		if !v.claimed[page] {
			return corruptPage(page, "belongs to nothing")
		}
	}
	return nil
}

func corruptPage(page uint64, format string, args ...any) error {
	return fmt.Errorf("%w: page %d %s", ErrCorrupt, page, fmt.Sprintf(format, args...))
}

// span is the keys that may be below an element: from on, and before to (nil: no end).
type span struct{ from, to []byte }

// rawPage is a page with those that it extends over.
type rawPage struct {
	number uint64
	flags  uint16
	count  int
	b      []byte
}

// read claims a page and those it extends over.
func (v *verifier) read(ctx context.Context, number uint64) (rawPage, error) {
	if err := ctx.Err(); err != nil {
		return rawPage{}, err
	}
	if number < 2 || number >= v.meta.pages {
		return rawPage{}, corruptPage(number, "is none of %d", v.meta.pages)
	}
	header := make([]byte, pageHeader)
	if _, err := v.f.ReadAt(header, int64(number)*v.meta.pageSize); err != nil {
		return rawPage{}, fmt.Errorf("read page %d: %w", number, err)
	}
	more := uint64(binary.LittleEndian.Uint32(header[12:]))
	if binary.LittleEndian.Uint64(header) != number || more >= v.meta.pages-number {
		return rawPage{}, corruptPage(number, "has header % x", header)
	}
	for p := number; p <= number+more; p++ {
		if v.claimed[p] {
			return rawPage{}, corruptPage(p, "belongs to two things")
		}
		v.claimed[p] = true
	}
	b := make([]byte, int64(more+1)*v.meta.pageSize)
	if _, err := v.f.ReadAt(b, int64(number)*v.meta.pageSize); err != nil {
		return rawPage{}, fmt.Errorf("read page %d: %w", number, err)
	}
	return parsePage(number, b), nil
}

func parsePage(number uint64, b []byte) rawPage {
	return rawPage{number, binary.LittleEndian.Uint16(b[8:]), int(binary.LittleEndian.Uint16(b[10:])), b}
}

// visitor is shown each element of the leaves, in order of key.
type visitor func(page uint64, flags uint32, key, value []byte) error

// tree walks the pages below and including number, whose keys must be within s.
func (v *verifier) tree(ctx context.Context, number uint64, s span, visit visitor) error {
	p, err := v.read(ctx, number)
	if err != nil {
		return err
	}
	switch p.flags {
	case leafFlag:
		return p.leaf(s, visit)
	case branchFlag:
		return v.branch(ctx, p, s, visit)
	default:
		return corruptPage(number, "has flags %#x in a tree", p.flags)
	}
}

func (v *verifier) branch(ctx context.Context, p rawPage, s span, visit visitor) error {
	if p.count == 0 {
		return corruptPage(p.number, "is an empty branch")
	}
	keys, children := make([][]byte, p.count), make([]uint64, p.count)
	for i := range p.count {
		e := p.element(i)
		if e == nil {
			return corruptPage(p.number, "ends before element %d", i)
		}
		keys[i] = p.slice(i, binary.LittleEndian.Uint32(e), 0, binary.LittleEndian.Uint32(e[4:]))
		children[i] = binary.LittleEndian.Uint64(e[8:])
	}
	if err := p.checkKeys(keys, s); err != nil {
		return err
	}
	for i, child := range children {
		below := span{from: keys[i], to: s.to}
		if i+1 < len(keys) {
			below.to = keys[i+1]
		}
		if err := v.tree(ctx, child, below, visit); err != nil {
			return err
		}
	}
	return nil
}

func (p rawPage) leaf(s span, visit visitor) error {
	keys := make([][]byte, p.count)
	for i := range p.count {
		e := p.element(i)
		if e == nil {
			return corruptPage(p.number, "ends before element %d", i)
		}
		keys[i] = p.slice(i, binary.LittleEndian.Uint32(e[4:]), 0, binary.LittleEndian.Uint32(e[8:]))
	}
	if err := p.checkKeys(keys, s); err != nil {
		return err
	}
	for i, key := range keys {
		e := p.element(i)
		value := p.slice(i, binary.LittleEndian.Uint32(e[4:]), binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:]))
		if value == nil {
			return corruptPage(p.number, "ends before the value of element %d", i)
		}
		if err := visit(p.number, binary.LittleEndian.Uint32(e), key, value); err != nil {
			return err
		}
	}
	return nil
}

// checkKeys: keys are there, rise, and are where a search would look for them.
func (p rawPage) checkKeys(keys [][]byte, s span) error {
	for i, key := range keys {
		ordered := i == 0 && bytes.Compare(key, s.from) >= 0 || i > 0 && bytes.Compare(key, keys[i-1]) > 0
		if key == nil || !ordered || s.to != nil && bytes.Compare(key, s.to) >= 0 {
			return corruptPage(p.number, "has key %q (element %d) out of order", key, i)
		}
	}
	return nil
}

// element returns element i, or nil if it is not within the page.
func (p rawPage) element(i int) []byte {
	at := pageHeader + i*elementSize
	if at+elementSize > len(p.b) {
		return nil
	}
	return p.b[at : at+elementSize]
}

// slice returns n bytes from pos+skip of element i on, or nil if they are not within the page.
func (p rawPage) slice(i int, pos, skip, n uint32) []byte {
	from := uint64(pageHeader+i*elementSize) + uint64(pos) + uint64(skip)
	if from+uint64(n) > uint64(len(p.b)) {
		return nil
	}
	return p.b[from : from+uint64(n) : from+uint64(n)]
}

// bucket visits the buckets of the root.
func (v *verifier) bucket(ctx context.Context, page uint64, flags uint32, name, value []byte) error {
	if flags != bucketFlag || len(value) < bucketHeader {
		return corruptPage(page, "has %q, which is no bucket", name)
	}
	visit := visitMeta
	switch {
	case bytes.Equal(name, bucketItems):
		visit = visitItem
	case !bytes.Equal(name, bucketMeta):
		return corruptPage(page, "has an unknown bucket %q", name)
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return v.tree(ctx, root, span{}, visit)
	}
	if len(value) < bucketHeader+pageHeader {
		return corruptPage(page, "has a bucket %q of %d bytes", name, len(value))
	}
	inline := parsePage(page, value[bucketHeader:])
	if inline.flags != leafFlag {
		return corruptPage(page, "has a bucket %q of flags %#x", name, inline.flags)
	}
	return inline.leaf(span{}, visit)
}

func visitMeta(page uint64, flags uint32, key, value []byte) error {
	if flags != 0 || !bytes.Equal(key, keyFormat) || !bytes.Equal(value, formatV1) {
		return corruptPage(page, "says %q is %q", key, value)
	}
	return nil
}

func visitItem(page uint64, flags uint32, key, value []byte) error {
	part, sort, _ := bytes.Cut(key, []byte{0})
	item := Key{Part: string(part), Sort: string(sort)}
	if flags != 0 {
		return corruptPage(page, "has item %v with flags %#x", item, flags)
	}
	if _, err := decodeItem(item, key, value); err != nil {
		return fmt.Errorf("page %d, item %v: %w", page, item, err)
	}
	return nil
}

// freelist claims the free pages.
func (v *verifier) freelist(ctx context.Context) error {
	p, err := v.read(ctx, v.meta.freelist)
	if err != nil {
		return err
	}
	if p.flags != freelistFlag {
		return corruptPage(p.number, "has flags %#x, want the free list", p.flags)
	}
	list, count := p.b[pageHeader:], uint64(p.count)
	if count == 0xFFFF {
		list, count = list[8:], binary.LittleEndian.Uint64(list)
	}
	if count > uint64(len(list))/8 {
		return corruptPage(p.number, "lists %d pages", count)
	}
	for i := range count {
		free := binary.LittleEndian.Uint64(list[i*8:])
		if free < 2 || free >= v.meta.pages || v.claimed[free] {
			return corruptPage(free, "is on the free list and is in use, or is none")
		}
		v.claimed[free] = true
	}
	return nil
}
