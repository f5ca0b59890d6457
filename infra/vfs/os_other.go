//go:build !linux

package vfs

func (f *osFile) WritevAt(bufs [][]byte, off int64) (int64, error) {
	var total int64
	for _, b := range bufs {
		n, err := f.f.WriteAt(b, off+total)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (f *osFile) reserve(old, size int64) error { return f.extend(old, size) }

// Sync flushes the drive's cache too (F_FULLFSYNC on macOS).
func (f *osFile) Sync() error { return f.f.Sync() }

// directFile is unknown here: every access goes through the page cache.
type directFile struct{}

func openDirect(string, int) (*directFile, error) { return nil, nil }

func (*directFile) readAt(p []byte, off int64, buffered func([]byte, int64) (int, error)) (int, error) {
	return buffered(p, off)
}

func (*directFile) writeAt(p []byte, off int64, buffered func([]byte, int64) (int, error)) (int, error) {
	return buffered(p, off)
}

func (*directFile) close() error { return nil }
