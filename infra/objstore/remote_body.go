package objstore

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns a CRC32C as headers have it.
func checksum(crc uint32) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc))
}

// payload is the body of a request, which every attempt reads anew.
type payload struct {
	data io.ReaderAt
	off  int64
	size int64 // bytes
	crc  uint32
}

// send calls f with the payload. What f leaves behind cannot read it any more when
// send returns: a transport may still be at it, and the memory is the caller's again.
// A failure to read is permanent.
func (p payload) send(f func(upload) error) error {
	body := &attemptBody{section: io.NewSectionReader(p.data, p.off, p.size)}
	err := f(upload{body: body, size: p.size, crc: checksum(p.crc)})
	if failed := body.end(); failed != nil {
		return permanent{fmt.Errorf("read body: %w", failed)}
	}
	return err
}

// errAttemptOver is what is read of an attemptBody when its attempt has ended.
var errAttemptOver = errors.New("the attempt is over")

// attemptBody is an io.ReadSeeker that can be taken away from its reader.
type attemptBody struct {
	mu      sync.Mutex
	section *io.SectionReader // nil when the attempt is over
	failed  error             // of a read
}

func (b *attemptBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.section == nil {
		return 0, errAttemptOver
	}
	n, err := b.section.Read(p)
	if err != nil && err != io.EOF {
		b.failed = err
	}
	return n, err
}

func (b *attemptBody) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.section == nil {
		return 0, errAttemptOver
	}
	return b.section.Seek(offset, whence)
}

// end returns the error of a read that failed.
func (b *attemptBody) end() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.section = nil
	return b.failed
}

// source cuts a body into payloads.
type source interface {
	// next returns the next payload and whether it is the last. It is valid until
	// release is called, and always when there was an error.
	next(ctx context.Context) (p payload, release func(), last bool, err error)
}

// known is a body that can be read anywhere, as often as needed.
type known struct {
	data      io.ReaderAt
	off, left int64
	piece     int64 // bytes of a payload
}

// knownSource returns false for a body that must be read in one pass.
func knownSource(body io.Reader, piece int64) (*known, bool) {
	r, ok := body.(interface {
		io.ReaderAt
		io.Seeker
	})
	if !ok {
		return nil, false
	}
	start, err := r.Seek(0, io.SeekCurrent)
	if err != nil { // such as a pipe, which has the methods only
		return nil, false
	}
	end, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, false
	}
	if _, err := r.Seek(start, io.SeekStart); err != nil {
		return nil, false
	}
	k := &known{data: r, off: start, left: max(0, end-start), piece: piece}
	if k.left <= maxSingle {
		k.piece = maxSingle
	}
	return k, true
}

func (k *known) next(ctx context.Context) (payload, func(), bool, error) {
	p := payload{data: k.data, off: k.off, size: min(k.left, k.piece)}
	crc := crc32.New(castagnoli)
	section := contextReader{ctx, io.NewSectionReader(p.data, p.off, p.size)}
	n, err := io.Copy(crc, section)
	switch {
	case err != nil:
		return payload{}, nil, false, err
	case n < p.size:
		return payload{}, nil, false, fmt.Errorf("it shrank by %d bytes: %w", p.size-n, io.ErrUnexpectedEOF)
	}
	p.crc = crc.Sum32()
	k.off += p.size
	k.left -= p.size
	return p, func() {}, k.left == 0, nil
}

// stream is a body read in one pass through buffers of the store.
type stream struct {
	s    *remote
	body io.Reader
}

func (r *stream) next(ctx context.Context) (payload, func(), bool, error) {
	buf, _ := r.s.buffers.Get().(*[]byte) // the pool holds nothing else
	release := func() { r.s.buffers.Put(buf) }
	n, err := fill(contextReader{ctx, r.body}, *buf)
	if err != nil && err != io.EOF { //nolint:errorlint // a wrapped EOF is a failure
		release()
		return payload{}, nil, false, err
	}
	filled := (*buf)[:n]
	p := payload{data: memory(filled), size: int64(n), crc: crc32.Checksum(filled, castagnoli)}
	return p, release, err != nil, nil
}

// memory is bytes as an io.ReaderAt.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, m[min(off, int64(len(m))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
