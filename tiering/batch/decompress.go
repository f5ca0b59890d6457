package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

const (
	firstBuffer = 64 << 10 // what a decompression starts with
	keptBuffer  = 8 << 20  // buffers above this are not pooled

	// maxSnappyRatio is above what the snappy format can reach (64 bytes from a copy
	// of 3), so a declared length beyond it is a lie and nothing is allocated for it.
	maxSnappyRatio = 32

	// maxZstdWindow is the largest window that any zstd level asks for. It is
	// not memory: the output itself serves as the window.
	maxZstdWindow = 128 << 20
)

// Java's snappy streams: this magic, two version numbers, then blocks with a length in front of each.
var xerialMagic = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHeaderSize = 16

// decompressor holds an output buffer and the decoders that need state; it is pooled.
type decompressor struct {
	out  []byte
	src  bytes.Reader
	gzip *gzip.Reader
	lz4  *lz4.Reader
	zstd *zstd.Decoder
}

var decompressors sync.Pool

func getDecompressor() *decompressor {
	if d, ok := decompressors.Get().(*decompressor); ok {
		return d
	}
	return new(decompressor)
}

func (d *decompressor) release() {
	if cap(d.out) > keptBuffer {
		d.out = nil
	}
	d.src.Reset(nil)
	decompressors.Put(d)
}

// decompress returns src in plain, valid until release. While it works, it holds the
// output, at most limit bytes, once or while growing twice, and the codec's working
// set of at most 8 MiB. Errors: ErrTooLarge, ErrUnsupportedCodec, ErrCorrupt.
func (d *decompressor) decompress(c Codec, src []byte, limit int64) ([]byte, error) {
	if limit < 1 {
		limit = DefaultDecodeLimit
	}
	var err error
	d.out = d.out[:0]
	switch c {
	case Gzip:
		err = d.gunzip(src, limit)
	case Snappy:
		err = d.unsnappy(src, limit)
	case LZ4:
		err = d.unlz4(src, limit)
	case Zstd:
		err = d.unzstd(src, limit)
	default:
		err = ErrUnsupportedCodec
	}
	switch {
	case err == nil:
		return d.out, nil
	case errors.Is(err, ErrTooLarge):
		return nil, fmt.Errorf("decompress %d bytes of %s: more than %d bytes: %w", len(src), c, limit, ErrTooLarge)
	case errors.Is(err, ErrUnsupportedCodec):
		return nil, fmt.Errorf("decompress %s: %w", c, err)
	default:
		return nil, fmt.Errorf("decompress %d bytes of %s: %w: %w", len(src), c, ErrCorrupt, err)
	}
}

func (d *decompressor) gunzip(src []byte, limit int64) error {
	d.src.Reset(src)
	if d.gzip == nil {
		d.gzip = new(gzip.Reader)
	}
	if err := d.gzip.Reset(&d.src); err != nil {
		return err
	}
	return d.readAll(d.gzip, limit)
}

func (d *decompressor) unlz4(src []byte, limit int64) error {
	d.src.Reset(src)
	if d.lz4 == nil {
		d.lz4 = lz4.NewReader(nil)
	}
	d.lz4.Reset(&d.src)
	defer d.lz4.Reset(nil) // gives its block buffers back
	return d.readAll(d.lz4, limit)
}

// readAll reads r to its end into out, and one byte above limit at most.
func (d *decompressor) readAll(r io.Reader, limit int64) error {
	for {
		if len(d.out) == cap(d.out) && !d.grow(limit+1) {
			return ErrTooLarge
		}
		n, err := r.Read(d.out[len(d.out):cap(d.out)])
		d.out = d.out[:len(d.out)+n]
		switch {
		case int64(len(d.out)) > limit:
			return ErrTooLarge
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// grow doubles out up to most bytes; false means that it is that large already.
func (d *decompressor) grow(most int64) bool {
	if int64(cap(d.out)) >= most {
		return false
	}
	size := min(max(int64(cap(d.out))*2, firstBuffer), most)
	d.out = append(make([]byte, 0, size), d.out...)
	return true
}

func (d *decompressor) unsnappy(src []byte, limit int64) error {
	if !bytes.HasPrefix(src, xerialMagic) {
		return d.snappyBlock(src, limit)
	}
	for len(src) > 0 {
		if bytes.HasPrefix(src, xerialMagic) { // streams may be concatenated
			if len(src) < xerialHeaderSize {
				return io.ErrUnexpectedEOF
			}
			src = src[xerialHeaderSize:]
			continue
		}
		if len(src) < 4 {
			return io.ErrUnexpectedEOF
		}
		n := binary.BigEndian.Uint32(src)
		if src = src[4:]; uint64(n) > uint64(len(src)) {
			return io.ErrUnexpectedEOF
		}
		if err := d.snappyBlock(src[:n], limit); err != nil {
			return err
		}
		src = src[n:]
	}
	return nil
}

// snappyBlock appends one plain block to out.
func (d *decompressor) snappyBlock(src []byte, limit int64) error {
	n, err := s2.DecodedLen(src)
	switch have := len(d.out); {
	case err != nil:
		return err
	case int64(n) > limit-int64(have):
		return ErrTooLarge
	case int64(n) > maxSnappyRatio*int64(len(src)):
		return fmt.Errorf("%d bytes claim to hold %d", len(src), n)
	case n > cap(d.out)-have:
		size := min(max(int64(have+n), 2*int64(cap(d.out)), firstBuffer), limit)
		d.out = append(make([]byte, 0, size), d.out...)
	}
	have := len(d.out)
	if _, err := s2.Decode(d.out[have:have+n], src); err != nil {
		return err
	}
	d.out = d.out[:have+n]
	return nil
}

// unzstd decodes into a buffer of fixed capacity, and again into a larger one if
// that was too small, because only so the decoder's output has a bound.
func (d *decompressor) unzstd(src []byte, limit int64) error {
	if d.zstd == nil {
		var err error
		if d.zstd, err = newZstdDecoder(); err != nil {
			return err
		}
	}
	for {
		if cap(d.out) == 0 {
			d.grow(limit)
		}
		room := d.out[:0:min(int64(cap(d.out)), limit)]
		out, err := d.zstd.DecodeAll(src, room)
		if err == nil && cap(out) != cap(room) {
			err = zstd.ErrDecoderSizeExceeded
		}
		if err == nil {
			d.out = out
			return nil
		}
		if !errors.Is(err, zstd.ErrDecoderSizeExceeded) {
			return err
		}
		if int64(cap(room)) == limit {
			return ErrTooLarge
		}
		size := min(int64(cap(room))*4, limit)
		d.out = nil // so that the old and the new buffer need not be held at once
		d.out = make([]byte, 0, size)
	}
}

func newZstdDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxZstdWindow),
		zstd.WithDecodeAllCapLimit(true))
}
