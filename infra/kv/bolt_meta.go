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
	if err := checkMeta(f, info.Size()); err != nil && (locked || !beingWritten(f)) {
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
	metaPageHeader = 16
	metaSize       = 64 // magic, version, page size, flags: u32; root, sequence, freelist, pages, txid, checksum: u64
	metaMagic      = 0xED0CDAED
	metaVersion    = 2
)

func checkMeta(f io.ReaderAt, size int64) error {
	const advice = "restore the file, or move it away"
	first, err := readMeta(f, 0)
	if err != nil {
		return err
	}
	pageSize := int64(binary.LittleEndian.Uint32(first[8:]))
	if pageSize < 512 || pageSize > 1<<20 {
		return fmt.Errorf("%w: page size %d: %s", ErrCorrupt, pageSize, advice)
	}
	second, err := readMeta(f, pageSize)
	if err != nil {
		return err
	}
	for i, meta := range [][]byte{first, second} {
		sum := fnv.New64a()
		_, _ = sum.Write(meta[:metaSize-8]) // never fails
		if sum.Sum64() != binary.LittleEndian.Uint64(meta[metaSize-8:]) {
			return fmt.Errorf("%w: checksum of meta page %d: %s", ErrCorrupt, i, advice)
		}
		if pages := binary.LittleEndian.Uint64(meta[40:]); pages > uint64(size/pageSize) {
			return fmt.Errorf("%w: cut to %d bytes of at least %d pages of %d: %s", ErrCorrupt, size, pages, pageSize, advice)
		}
	}
	return nil
}

// readMeta returns the meta struct of the page at pos, its magic and version checked.
func readMeta(f io.ReaderAt, pos int64) ([]byte, error) {
	meta := make([]byte, metaSize)
	if _, err := f.ReadAt(meta, pos+metaPageHeader); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read meta page: %w", err)
	}
	magic, version := binary.LittleEndian.Uint32(meta), binary.LittleEndian.Uint32(meta[4:])
	if magic != metaMagic || version != metaVersion {
		return nil, fmt.Errorf("%w: no meta page of bbolt at byte %d: move the file away, or use another directory", ErrForeign, pos)
	}
	return meta, nil
}
