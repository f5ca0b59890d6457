package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// inspectFile checks the file before bbolt trusts it. It returns its size, 0 if
// there is none. Unless the caller holds bbolt's lock, a file that another process
// writes is not judged: opening it will meet the lock.
func inspectFile(path string, locked bool) (int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // read only
	info, err := f.Stat()
	switch {
	case err != nil:
		return 0, err
	case !info.Mode().IsRegular():
		return 0, fmt.Errorf("%w: it is no regular file", ErrForeign)
	case info.Size() == 0:
		return 0, nil
	}
	if _, err := checkMeta(f, info.Size()); err != nil && (locked || !beingWritten(f)) {
		return 0, err
	}
	return info.Size(), nil
}

// beingWritten reports whether another open file holds bbolt's lock, so that
// what was read may have been changing. The lock it takes ends with f.
func beingWritten(f *os.File) bool {
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// bbolt keeps two meta pages, at 0 and at one page size, and starts from the
// newer valid one. That would silently forget the last commit if the newer one were
// damaged, so both must be valid here: a meta page is smaller than a disk sector, and a
// crash does not tear it.
const (
	pageHeader  = 16
	metaSize    = 64 // magic, version, page size, flags: u32; root, sequence, freelist, pages, txid, checksum: u64
	metaMagic   = 0xED0CDAED
	metaVersion = 2
)

// boltMeta is what a meta page says.
type boltMeta struct {
	pageSize int64  // bytes
	root     uint64 // page of the root bucket
	freelist uint64 // page of the list of free pages
	pages    uint64 // how many there are
	txid     uint64
}

const metaAdvice = "restore the file, or move it away"

// checkMeta checks both meta pages of a file of that size and returns the one that counts.
func checkMeta(f io.ReaderAt, size int64) (boltMeta, error) {
	first, err := readMeta(f, 0)
	if err != nil {
		return boltMeta{}, err
	}
	if first.pageSize < 512 || first.pageSize > 1<<20 {
		return boltMeta{}, fmt.Errorf("%w: page size %d: %s", ErrCorrupt, first.pageSize, metaAdvice)
	}
	second, err := readMeta(f, first.pageSize)
	if err != nil {
		return boltMeta{}, err
	}
	for _, m := range []boltMeta{first, second} {
		if m.pages > uint64(size/first.pageSize) || m.pageSize != first.pageSize {
			return boltMeta{}, fmt.Errorf("%w: cut to %d bytes of at least %d pages of %d: %s", ErrCorrupt, size, m.pages, m.pageSize, metaAdvice)
		}
	}
	if first.txid > second.txid {
		return first, nil
	}
	return second, nil
}

// readMeta reads the meta page at pos and checks its magic, version and checksum.
func readMeta(f io.ReaderAt, pos int64) (boltMeta, error) {
	b := make([]byte, metaSize)
	if _, err := f.ReadAt(b, pos+pageHeader); err != nil && !errors.Is(err, io.EOF) {
		return boltMeta{}, fmt.Errorf("read meta page: %w", err)
	}
	magic, version := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	if magic != metaMagic || version != metaVersion {
		return boltMeta{}, fmt.Errorf("%w: no meta page of bbolt at byte %d: move the file away, or use another directory", ErrForeign, pos)
	}
	sum := fnv.New64a()
	_, _ = sum.Write(b[:metaSize-8]) // never fails
	if sum.Sum64() != binary.LittleEndian.Uint64(b[metaSize-8:]) {
		return boltMeta{}, fmt.Errorf("%w: checksum of the meta page at byte %d: %s", ErrCorrupt, pos, metaAdvice)
	}
	return boltMeta{
		pageSize: int64(binary.LittleEndian.Uint32(b[8:])), root: binary.LittleEndian.Uint64(b[16:]),
		freelist: binary.LittleEndian.Uint64(b[32:]), pages: binary.LittleEndian.Uint64(b[40:]), txid: binary.LittleEndian.Uint64(b[48:]),
	}, nil
}
