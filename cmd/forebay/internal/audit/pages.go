package audit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
)

// A page of bbolt says how many elements it has, and nothing covers that number: one
// bit less hides the last items, whose checksums are then never looked at. But
// bbolt writes a page from front to back, so the number is there twice: the first
// element's data begins where the elements end, each element's data where the one
// before ended, and a page without elements is zeros. Offsets in bytes:
//
//	page     0 u64 number, 8 u16 flags, 10 u16 count, 12 u32 further pages, 16 elements, then their data
//	branch   0 u32 position of the key, 4 u32 key length, 8 u64 page
//	leaf     0 u32 flags (1: a bucket), 4 u32 position of the key, 8 u32 key length, 12 u32 value length
//	bucket   a leaf's value: 0 u64 root page or 0, 8 u64 sequence, and for 0 a page of its own
//
// Positions count from the element. The table's own check, which knows what each page
// is for, comes first; this one looks at pages that are free, too.
const (
	pageHeader   = 16
	pageElement  = 16
	bucketHeader = 16
	branchPage   = 0x01
	leafPage     = 0x02
	bucketLeaf   = 0x01
	maxPageSize  = 1 << 20
	minPageSize  = 512
	pageSizeAt   = pageHeader + 8 // in the meta page, which the table has checked
)

// pages checks the form of every page of a table.
func (a *auditor) pages(ctx context.Context, file string) error {
	f, err := a.dir.FS.Open(path.Join(a.dir.Path, file))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	size, err := f.Size()
	if err != nil {
		return err
	}
	var head [4]byte
	if _, err := f.ReadAt(head[:], pageSizeAt); err != nil {
		return err
	}
	each := int64(binary.LittleEndian.Uint32(head[:]))
	if each < minPageSize || each > maxPageSize {
		return fmt.Errorf("read pages of %s: a page size of %d", file, each)
	}
	for at := 2 * each; at+each <= size; at += each { // behind the two meta pages
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := readPage(f, at, each, size)
		if err != nil {
			return err
		}
		if b == nil {
			continue
		}
		if err := checkPage(b); err != nil {
			a.find(Finding{Severity: Damage, Check: "table", File: file, Position: &at, Length: each, What: fmt.Sprintf("page %d: %v", at/each, err)})
		}
	}
	return nil
}

// readPage returns the page at a position with those it extends over, or nil if
// there is the inside of another, or no branch or leaf.
func readPage(f io.ReaderAt, at, each, size int64) ([]byte, error) {
	b := make([]byte, each)
	if _, err := f.ReadAt(b, at); err != nil {
		return nil, err
	}
	flags := binary.LittleEndian.Uint16(b[8:])
	if binary.LittleEndian.Uint64(b) != uint64(at/each) || flags != branchPage && flags != leafPage {
		return nil, nil
	}
	more := int64(binary.LittleEndian.Uint32(b[12:]))
	if more == 0 || more > size/each-at/each-1 {
		return b, nil
	}
	b = make([]byte, (more+1)*each)
	_, err := f.ReadAt(b, at)
	return b, err
}

var (
	errCount  = errors.New("its count is not that of its elements")
	errLayout = errors.New("its elements do not follow one another")
)

// checkPage checks the form of a branch or leaf.
func checkPage(b []byte) error {
	if len(b) < pageHeader {
		return errLayout
	}
	leaf := binary.LittleEndian.Uint16(b[8:]) == leafPage
	count := int(binary.LittleEndian.Uint16(b[10:]))
	if count == 0 {
		if len(bytes.Trim(b[pageHeader:], "\x00")) > 0 {
			return errCount
		}
		return nil
	}
	next := pageHeader + count*pageElement
	if next > len(b) {
		return errCount
	}
	for i := range count {
		at := pageHeader + i*pageElement
		e := b[at : at+pageElement]
		position, length := binary.LittleEndian.Uint32(e), uint64(binary.LittleEndian.Uint32(e[4:]))
		if leaf {
			position, length = binary.LittleEndian.Uint32(e[4:]), uint64(binary.LittleEndian.Uint32(e[8:]))+uint64(binary.LittleEndian.Uint32(e[12:]))
		}
		switch {
		case uint64(at)+uint64(position) != uint64(next) && i == 0:
			return errCount
		case uint64(at)+uint64(position) != uint64(next), length > uint64(len(b)-next):
			return errLayout
		}
		data := b[next : next+int(length)]
		next += int(length)
		if leaf && binary.LittleEndian.Uint32(e) == bucketLeaf {
			if err := checkBucket(data[binary.LittleEndian.Uint32(e[8:]):]); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkBucket checks the page that a small bucket has within its value.
func checkBucket(value []byte) error {
	if len(value) < bucketHeader || binary.LittleEndian.Uint64(value) != 0 {
		return nil
	}
	return checkPage(value[bucketHeader:])
}
