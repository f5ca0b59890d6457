package collect

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// Errors of marks.
var (
	// ErrCorrupt: the marks are damaged.
	ErrCorrupt = errors.New("marks of the collector damaged")
	// ErrVersion: a newer Forebay wrote them.
	ErrVersion = errors.New("marks of a newer Forebay")
)

// The marks object; see FORMAT.md. All numbers are little endian.
//
//	0       8   9   12              end-12  end-4
//	| magic | v | 0 | gzip(entries…) | count | crc |
//
// An entry, in which sizes and times are unsigned varints:
//
//	| shared | rest | the rest of the key | since | size |
const (
	marksMagic   = "FBAYMARK"
	marksVersion = 1
	marksHead    = 12
	marksTail    = 12
	maxMarkKey   = 1024
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mark is one superfluous thing.
type mark struct {
	key string // a kind, and what names it within the kind
	// since is the time of the first of the looks in a row that found it superfluous, ms since
	// 1970 by the object store; 0 if this look was the first.
	since int64
	size  int64 // bytes, of an object
}

// marksWriter encodes marks as they come, in order of key, up to a size. The zero value but
// for max is ready.
type marksWriter struct {
	max    int // bytes
	buf    bytes.Buffer
	zip    *gzip.Writer
	entry  []byte
	last   string
	count  uint64
	closed []byte
}

// errFull: no more marks have a place.
var errFull = errors.New("too many marks")

func (w *marksWriter) add(m mark) error {
	if w.zip == nil {
		w.buf.WriteString(marksMagic)
		w.buf.Write([]byte{marksVersion, 0, 0, 0})
		w.zip = gzip.NewWriter(&w.buf)
	}
	if w.buf.Len() >= w.max {
		return errFull
	}
	if w.count > 0 && m.key <= w.last || len(m.key) == 0 || len(m.key) > maxMarkKey {
		return fmt.Errorf("mark %q after %q: out of order or too long", m.key, w.last)
	}
	shared := sharedPrefix(w.last, m.key)
	b := binary.AppendUvarint(w.entry[:0], uint64(shared))
	b = binary.AppendUvarint(b, uint64(len(m.key)-shared))
	b = append(b, m.key[shared:]...)
	b = binary.AppendUvarint(b, uint64(m.since))
	b = binary.AppendUvarint(b, uint64(m.size))
	w.entry, w.last = b, m.key
	w.count++
	_, err := w.zip.Write(b)
	return err
}

// finish returns the encoded marks, nil if there are none. Nothing may be added then.
func (w *marksWriter) finish() ([]byte, error) {
	if w.closed != nil || w.count == 0 {
		return w.closed, nil
	}
	if err := w.zip.Close(); err != nil {
		return nil, fmt.Errorf("encode marks: %w", err)
	}
	b := binary.LittleEndian.AppendUint64(w.buf.Bytes(), w.count)
	w.closed = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return w.closed, nil
}

func sharedPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// marksReader decodes marks one by one.
type marksReader struct {
	buf  io.ByteScanner // decompressed
	key  []byte
	left uint64 // entries
	some bool   // an entry was read
}

// openMarks checks the marks as a whole. It fails with ErrCorrupt or ErrVersion.
func openMarks(b []byte) (*marksReader, error) {
	corrupt := func(what string) error { return fmt.Errorf("decode marks: %w: %s", ErrCorrupt, what) }
	switch {
	case len(b) < marksHead+marksTail:
		return nil, corrupt("they are cut short")
	case string(b[:8]) != marksMagic:
		return nil, corrupt("another magic")
	case b[8] > marksVersion:
		return nil, fmt.Errorf("decode marks: %w: version %d, this one knows %d", ErrVersion, b[8], marksVersion)
	case b[8] != marksVersion || b[9]|b[10]|b[11] != 0:
		return nil, corrupt("their header")
	}
	body, tail := b[:len(b)-marksTail], b[len(b)-marksTail:]
	if binary.LittleEndian.Uint32(tail[8:]) != crc32.Checksum(b[:len(b)-4], castagnoli) {
		return nil, corrupt("their CRC32C is wrong")
	}
	zip, err := gzip.NewReader(bytes.NewReader(body[marksHead:]))
	if err != nil {
		return nil, corrupt(err.Error())
	}
	return &marksReader{buf: bufio.NewReaderSize(zip, 4096), left: binary.LittleEndian.Uint64(tail)}, nil
}

// next returns the next mark, or io.EOF behind the last. It fails with ErrCorrupt.
func (r *marksReader) next() (mark, error) {
	if r.left == 0 {
		if _, err := r.buf.ReadByte(); err != io.EOF { //nolint:errorlint // ReadByte returns it bare
			return mark{}, fmt.Errorf("decode marks: %w: bytes are left over", ErrCorrupt)
		}
		return mark{}, io.EOF
	}
	m, err := r.decode()
	if err != nil {
		return mark{}, fmt.Errorf("decode marks: %w: %w", ErrCorrupt, err)
	}
	r.left--
	return m, nil
}

func (r *marksReader) decode() (mark, error) {
	shared, err := r.number(uint64(len(r.key)))
	if err != nil {
		return mark{}, err
	}
	rest, err := r.number(maxMarkKey - shared)
	if err != nil {
		return mark{}, err
	}
	before := string(r.key)
	r.key = r.key[:shared]
	for range rest {
		c, err := r.buf.ReadByte()
		if err != nil {
			return mark{}, unexpected(err)
		}
		r.key = append(r.key, c)
	}
	m := mark{key: string(r.key)}
	if m.key == "" || r.some && m.key <= before {
		return mark{}, fmt.Errorf("key %q after %q", m.key, before)
	}
	r.some = true
	for _, field := range []*int64{&m.since, &m.size} {
		n, err := r.number(1<<63 - 1)
		if err != nil {
			return mark{}, err
		}
		*field = int64(n)
	}
	return m, nil
}

// number reads one that is at most most.
func (r *marksReader) number(most uint64) (uint64, error) {
	n, err := binary.ReadUvarint(r.buf)
	if err != nil {
		return 0, unexpected(err)
	}
	if n > most {
		return 0, fmt.Errorf("number %d, at most %d is possible", n, most)
	}
	return n, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// previous is the marks of the look before, gone through beside those of this one.
type previous struct {
	r    *marksReader // nil at the end, or if there are none
	time time.Time    // of the marks
	at   mark
}

func newPrevious(encoded []byte, modified time.Time) (previous, error) {
	// They were checked as a whole; that all of it decodes is made sure of before any of it counts.
	r, err := openMarks(encoded)
	for err == nil {
		_, err = r.next()
	}
	if err != io.EOF { //nolint:errorlint // next returns it bare
		return previous{}, err
	}
	if r, err = openMarks(encoded); err != nil {
		return previous{}, err
	}
	p := previous{r: r, time: modified}
	p.step()
	return p, nil
}

func (p *previous) step() {
	var err error
	if p.at, err = p.r.next(); err != nil {
		p.r = nil
	}
}

// since tells since when, up to the look before, key was superfluous: 0 if it was not. Keys
// must come in order.
func (p *previous) since(key string) int64 {
	for p.r != nil && p.at.key < key {
		p.step()
	}
	switch {
	case p.r == nil || p.at.key != key:
		return 0
	case p.at.since != 0:
		return p.at.since
	}
	return p.time.Add(time.Millisecond - 1).UnixMilli() // never earlier than it was
}
