package vfs

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxVec is the number of buffers that one pwritev takes (IOV_MAX of Linux).
const maxVec = 1024

func (f *osFile) WritevAt(bufs [][]byte, off int64) (int64, error) {
	if off < 0 {
		return 0, pathError("pwritev", f.name, syscall.EINVAL)
	}
	buffered := func(bufs [][]byte, off int64) (int64, error) { return writeVec(bufs, off, f.pwritev, f.f.WriteAt) }
	return f.direct.writevAt(bufs, off, buffered)
}

// writeVec writes all of bufs with vec, which may write short, and with one for
// the buffer that a short write ended in.
func writeVec(bufs [][]byte, off int64,
	vec func([][]byte, int64) (int64, error), one func([]byte, int64) (int, error),
) (int64, error) {
	var total int64
	for len(bufs) > 0 {
		slice := bufs[:min(len(bufs), maxVec)]
		n, err := vec(slice, off+total)
		total += n
		if err != nil {
			return total, err
		}
		done, rest := advance(slice, n)
		bufs = bufs[done:]
		if rest == nil {
			continue
		}
		m, err := one(rest, off+total)
		total += int64(m)
		if err != nil {
			return total, err
		}
		bufs = bufs[1:]
	}
	return total, nil
}

// pwritev makes one system call. It reports no progress as an error.
func (f *osFile) pwritev(bufs [][]byte, off int64) (n int64, err error) {
	empty := true
	for i := 0; i < len(bufs) && empty; i++ {
		empty = len(bufs[i]) == 0
	}
	if empty {
		return 0, nil
	}
	err = control(f.conn, func(fd int) error {
		m, err := unix.Pwritev(fd, bufs, off)
		n = int64(max(m, 0))
		return err
	})
	if err == nil && n == 0 {
		err = syscall.EIO
	}
	return n, pathError("pwritev", f.name, err)
}

// advance finds the end of n bytes in bufs: the number of buffers wholly before
// it and, where it lies within the next one, what remains of that (else nil).
func advance(bufs [][]byte, n int64) (done int, rest []byte) {
	for done < len(bufs) && n >= int64(len(bufs[done])) {
		n -= int64(len(bufs[done]))
		done++
	}
	if done < len(bufs) {
		rest = bufs[done][n:]
	}
	return done, rest
}

// reserve uses fallocate, which also sets the length, and zeros where the file
// system has no fallocate.
func (f *osFile) reserve(old, size int64) error {
	err := control(f.conn, func(fd int) error { return unix.Fallocate(fd, 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return f.extend(old, size)
	}
	return err
}

func (f *osFile) Sync() error {
	return pathError("fdatasync", f.name, control(f.conn, unix.Fdatasync))
}

// willNeed asks in steps, as the kernel heeds only the first part of each request:
// twice the read-ahead of the drive, or what one request to it may take.
func (f *osFile) willNeed(off, n int64) {
	const step = 128 << 10
	_ = control(f.conn, func(fd int) error {
		for end := off + n; off < end; off += step {
			if err := unix.Fadvise(fd, off, min(step, end-off), unix.FADV_WILLNEED); err != nil {
				return err
			}
		}
		return nil
	})
}
