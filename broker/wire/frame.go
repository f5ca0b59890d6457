package wire

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// sizePrefix is the size in bytes of the length in front of a frame.
const sizePrefix = 4

// proof is the part of a frame, in bytes, that must have arrived before memory is
// allocated for all of it. It is what fits in a reader's buffer.
const proof = readBuffer - sizePrefix

// readBuffer is the buffer of one connection's reader in bytes; larger reads go past it.
const readBuffer = 8 << 10

// FrameReader reads the frames of one connection.
type FrameReader struct {
	r *bufio.Reader
}

// NewFrameReader returns a reader of the frames in r.
func NewFrameReader(r io.Reader) *FrameReader {
	return &FrameReader{r: bufio.NewReaderSize(r, readBuffer)}
}

// Wait blocks until the first byte of the next frame is there, and takes nothing.
// An error leaves the reader usable if it was a timeout.
func (f *FrameReader) Wait() error {
	_, err := f.r.Peek(1)
	return err
}

// Size reads the size of the next frame in bytes, without its prefix. It fails with
// ErrMalformed if it is negative and with ErrTooLarge if it exceeds limit.
func (f *FrameReader) Size(limit int32) (int, error) {
	p, err := f.r.Peek(sizePrefix)
	if err != nil {
		return 0, cut(err)
	}
	size := int32(binary.BigEndian.Uint32(p))
	_, _ = f.r.Discard(sizePrefix)
	switch {
	case size < prefixSize:
		return 0, fmt.Errorf("read frame of %d bytes: %w", size, ErrMalformed)
	case size > limit:
		return 0, fmt.Errorf("read frame of %d bytes, limit %d: %w", size, limit, ErrTooLarge)
	}
	return int(size), nil
}

// Body reads the size bytes of a frame into memory of their own, which it allocates
// once and only after the frame has begun to arrive. The caller may keep it.
func (f *FrameReader) Body(size int) ([]byte, error) {
	if _, err := f.r.Peek(min(size, proof)); err != nil {
		return nil, cut(err)
	}
	frame := make([]byte, size)
	if _, err := io.ReadFull(f.r, frame); err != nil {
		return nil, cut(err)
	}
	return frame, nil
}

// cut makes the end of the stream within a frame an unexpected one.
func cut(err error) error {
	if err == io.EOF { //nolint:errorlint // bufio returns it bare
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read frame: %w", err)
}
