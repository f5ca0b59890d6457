package journal

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/forebaylog/forebay/infra/vfs"
)

// segment is one hot segment. file, header and path never change. Whoever reads the
// file holds a reference; the journal holds one until the segment is dropped. What
// follows summary is guarded by Journal.mu and no longer changes once rolled is set.
type segment struct {
	header
	path string
	file vfs.File
	refs atomic.Int32

	zeroed int64 // zeros were written up to here; guarded by Journal.io

	summary
	size    int64 // end of the last frame that was queued, or of the footer
	alloc   int64 // bytes reserved on disk while not rolled
	opened  int64 // when the first frame was queued, on the journal's own clock, ns
	rolled  bool
	indexed bool     // the index holds all of it
	damage  []Damage // unreadable ranges, in order
}

func newSegment(h header, path string, f vfs.File) *segment {
	s := &segment{header: h, path: path, file: f, size: headerSize}
	s.refs.Store(1)
	return s
}

// acquire takes a reference. It is called with Journal.mu held and the segment listed.
func (s *segment) acquire() { s.refs.Add(1) }

// release gives a reference back and closes the file with the last one.
func (s *segment) release() error {
	if s.refs.Add(-1) > 0 {
		return nil
	}
	if err := s.file.Close(); err != nil {
		return fmt.Errorf("close segment %s: %w", s.path, err)
	}
	return nil
}

func (s *segment) corrupt(pos int64, format string, args ...any) error {
	return &CorruptError{Path: s.path, Position: pos, What: fmt.Sprintf(format, args...)}
}

// readFull reads len(b) bytes at pos.
func readFull(r io.ReaderAt, b []byte, pos int64) error {
	n, err := r.ReadAt(b, pos)
	if n == len(b) {
		return nil
	}
	return shortRead(err)
}

// shortRead is the error of a read that returned too little with err.
func shortRead(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readSpan reads n bytes at pos into memory of their own, past the page cache where that is worth it.
func readSpan(r io.ReaderAt, pos, n int64) ([]byte, error) {
	lo, hi := vfs.Span(pos, n)
	b := make([]byte, hi-lo)
	got, err := r.ReadAt(b, lo)
	if int64(got) >= pos-lo+n {
		return b[pos-lo : pos-lo+n], nil
	}
	return nil, shortRead(err)
}

// readFooter returns the footer of a segment file of size bytes. ok is false if the
// file does not end in a good one.
func readFooter(f io.ReaderAt, h header, size int64) (s summary, ok bool, err error) {
	if size < headerSize+FrameHeaderSize+1+footerTrailer {
		return summary{}, false, nil
	}
	tail := make([]byte, footerTrailer)
	if err := readFull(f, tail, size-footerTrailer); err != nil {
		return summary{}, false, err
	}
	pos, ok := footerPosition(tail, size)
	if !ok {
		return summary{}, false, nil
	}
	frame := make([]byte, size-pos)
	if err := readFull(f, frame, pos); err != nil {
		return summary{}, false, err
	}
	fh, err := decodeFrameHeader(frame, h.salt, pos, size)
	if err != nil || fh.kind != frameFooter || fh.end() != size {
		return summary{}, false, nil
	}
	s, err = decodeFooter(frame[FrameHeaderSize:], h.salt, pos)
	return s, err == nil, nil
}
