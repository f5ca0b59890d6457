package vfs

import (
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stagingSize is the memory that bytes of unaligned memory are copied through.
const stagingSize = 1 << 20

// staging is aligned, as Go gives large arrays whole pages.
var staging = sync.Pool{New: func() any { return new([stagingSize]byte) }}

// directFile is a second descriptor of a file, for whole blocks. It is nil where
// the file system has no O_DIRECT.
type directFile struct{ f *os.File }

// openDirect opens the second descriptor of an open file.
func openDirect(name string, flag int) (*directFile, error) {
	f, err := os.OpenFile(name, flag&^(os.O_CREATE|os.O_EXCL|os.O_TRUNC)|unix.O_DIRECT, 0)
	if errors.Is(err, syscall.EINVAL) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &directFile{f}, nil
}

// whole returns the part of [off, off+n) that is whole blocks; ok is false if it is not worth it.
func whole(off, n int64) (lo, hi int64, ok bool) {
	lo = (off + BlockSize - 1) &^ (BlockSize - 1)
	hi = (off + n) &^ (BlockSize - 1)
	return lo, hi, hi-lo >= minDirect
}

func aligned(p []byte) bool { return uintptr(unsafe.Pointer(unsafe.SliceData(p)))%BlockSize == 0 }

// writeAt writes the whole blocks of p directly and the rest through buffered.
func (d *directFile) writeAt(p []byte, off int64, buffered func([]byte, int64) (int, error)) (int, error) {
	lo, hi, ok := whole(off, int64(len(p)))
	if d == nil || !ok {
		return buffered(p, off)
	}
	n, err := buffered(p[:lo-off], off)
	if err != nil {
		return n, err
	}
	m, err := d.writeBlocks(p[lo-off:hi-off], lo)
	if n += m; err != nil {
		return n, err
	}
	m, err = buffered(p[hi-off:], hi)
	return n + m, err
}

// writevAt is writeAt for many pieces; the whole blocks are copied together.
func (d *directFile) writevAt(bufs [][]byte, off int64, buffered func([][]byte, int64) (int64, error)) (int64, error) {
	var size int64
	for _, b := range bufs {
		size += int64(len(b))
	}
	lo, hi, ok := whole(off, size)
	if d == nil || !ok {
		return buffered(bufs, off)
	}
	head, rest := split(bufs, lo-off)
	n, err := buffered(head, off)
	if err != nil {
		return n, err
	}
	middle, tail := split(rest, hi-lo)
	m, err := d.gatherBlocks(middle, lo)
	if n += m; err != nil {
		return n, err
	}
	m, err = buffered(tail, hi)
	return n + m, err
}

// split cuts bufs behind n bytes, without changing it.
func split(bufs [][]byte, n int64) (before, after [][]byte) {
	done, rest := advance(bufs, n)
	if rest == nil || len(rest) == len(bufs[done]) {
		return bufs[:done], bufs[done:]
	}
	cut := len(bufs[done]) - len(rest)
	before = append(slices.Clone(bufs[:done]), bufs[done][:cut])
	return before, append([][]byte{rest}, bufs[done+1:]...)
}

// gatherBlocks copies bufs, whole blocks in all, through aligned memory.
func (d *directFile) gatherBlocks(bufs [][]byte, off int64) (int64, error) {
	buf, _ := staging.Get().(*[stagingSize]byte) // the pool holds nothing else
	defer staging.Put(buf)
	var n int64
	used := 0
	flush := func() error {
		m, err := d.f.WriteAt(buf[:used], off+n)
		n, used = n+int64(m), 0
		return err
	}
	for _, b := range bufs {
		for len(b) > 0 {
			m := copy(buf[used:], b)
			used, b = used+m, b[m:]
			if used == len(buf) {
				if err := flush(); err != nil {
					return n, err
				}
			}
		}
	}
	if used == 0 {
		return n, nil
	}
	return n, flush()
}

func (d *directFile) writeBlocks(p []byte, off int64) (n int, err error) {
	if aligned(p) {
		return d.f.WriteAt(p, off)
	}
	buf, _ := staging.Get().(*[stagingSize]byte) // the pool holds nothing else
	defer staging.Put(buf)
	for n < len(p) {
		m := copy(buf[:], p[n:])
		m, err = d.f.WriteAt(buf[:m], off+int64(n))
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

// readAt reads the whole blocks directly where p is aligned as the file is, and
// the rest through buffered.
func (d *directFile) readAt(p []byte, off int64, buffered func([]byte, int64) (int, error)) (int, error) {
	lo, hi, ok := whole(off, int64(len(p)))
	if d == nil || !ok || lo != off || !aligned(p) {
		return buffered(p, off)
	}
	n, err := d.f.ReadAt(p[:hi-off], off)
	if err != nil || hi == off+int64(len(p)) {
		return n, err
	}
	m, err := buffered(p[n:], hi)
	return n + m, err
}

func (d *directFile) close() error {
	if d == nil {
		return nil
	}
	return d.f.Close()
}
