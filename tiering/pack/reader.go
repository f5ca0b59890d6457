package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// tailRead is what ReadFooter reads first: the whole footer of most objects.
const tailRead = 64 << 10

// ReadFooter reads the footer of an object of size bytes with one read, or two if
// it is large. An error is a *CorruptError or what r returned.
func ReadFooter(ctx context.Context, r RangeReader, size int64) (*Footer, error) {
	f, _, err := readFooter(ctx, r, size)
	return f, err
}

// readFooter also returns the position of the footer.
func readFooter(ctx context.Context, r RangeReader, size int64) (*Footer, int64, error) {
	if size < trailerSize {
		return nil, 0, &CorruptError{Part: "trailer", Pos: 0, Err: errShort}
	}
	tail := make([]byte, min(size, tailRead))
	if err := readFull(ctx, r, tail, size-int64(len(tail))); err != nil {
		return nil, 0, fmt.Errorf("read pack footer: %w", err)
	}
	t, whole, err := checkTrailer(tail, size)
	if err != nil {
		return nil, 0, err
	}
	if missing := whole - int64(len(tail)); missing > 0 {
		tail = append(make([]byte, missing, whole), tail...)
		if err := readFull(ctx, r, tail[:missing], size-whole); err != nil {
			return nil, 0, fmt.Errorf("read pack footer: %w", err)
		}
	}
	at := size - whole
	f, end, err := decodeTail(tail, t)
	if err == nil && end != at {
		err = fmt.Errorf("its runs end at %d, it begins at %d", end, at)
	}
	if err != nil {
		return nil, 0, &CorruptError{Part: "footer", Pos: at, Err: err}
	}
	return f, at, nil
}

// checkTrailer decodes the trailer at the end of an object of size bytes, and returns how many bytes it takes with the footer.
func checkTrailer(tail []byte, size int64) (t trailer, whole int64, err error) {
	t, err = decodeTrailer(tail)
	whole = t.footerLength + trailerSize
	if err == nil && whole > size {
		err = fmt.Errorf("a footer of %d bytes in an object of %d", t.footerLength, size)
	}
	if err != nil {
		return t, 0, &CorruptError{Part: "trailer", Pos: size - trailerSize, Err: err}
	}
	return t, whole, nil
}

// TailSize reads how many bytes of an object of size bytes are footer and trailer. An error is a *CorruptError or
// what r returned.
func TailSize(ctx context.Context, r RangeReader, size int64) (int64, error) {
	if size < trailerSize {
		return 0, &CorruptError{Part: "trailer", Pos: 0, Err: errShort}
	}
	var b [trailerSize]byte
	if err := readFull(ctx, r, b[:], size-trailerSize); err != nil {
		return 0, fmt.Errorf("read pack trailer: %w", err)
	}
	_, whole, err := checkTrailer(b[:], size)
	return whole, err
}

// Tail returns the end of an object that DecodeFooter decodes: footer and trailer. It
// shares the bytes of b and fails with a *CorruptError.
func Tail(b []byte) ([]byte, error) {
	t, err := decodeTrailer(b)
	if err == nil && t.footerLength+trailerSize > int64(len(b)) {
		err = errShort
	}
	if err != nil {
		return nil, &CorruptError{Part: "trailer", Pos: int64(max(0, len(b)-trailerSize)), Err: err}
	}
	return b[int64(len(b))-trailerSize-t.footerLength:], nil
}

// DecodeFooter decodes the end of an object: footer and trailer, with any bytes
// before them. An error is a *CorruptError whose position counts from the start of b.
func DecodeFooter(b []byte) (*Footer, error) {
	t, err := decodeTrailer(b)
	if err != nil {
		return nil, &CorruptError{Part: "trailer", Pos: int64(max(0, len(b)-trailerSize)), Err: err}
	}
	f, _, err := decodeTail(b, t)
	if err != nil {
		return nil, &CorruptError{Part: "footer", Pos: max(0, int64(len(b)-trailerSize)-t.footerLength), Err: err}
	}
	return f, nil
}

// decodeTail checks and decodes the footer in front of the trailer at the end of b.
func decodeTail(b []byte, t trailer) (*Footer, int64, error) {
	body := b[:len(b)-trailerSize]
	if t.footerLength > int64(len(body)) {
		return nil, 0, errShort
	}
	body = body[int64(len(body))-t.footerLength:]
	if checksum(body) != t.footerCRC {
		return nil, 0, errChecksum
	}
	f, end, err := decodeFooter(body)
	if err == nil && f.Version != t.version {
		err = fmt.Errorf("version %d in the header, %d in the trailer", f.Version, t.version)
	}
	return f, end, err
}

// readFull fills p; an object that ends before is an error.
func readFull(ctx context.Context, r RangeReader, p []byte, off int64) error {
	n, err := r.ReadAt(ctx, p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%d bytes at %d: %w", len(p), off, err)
}
