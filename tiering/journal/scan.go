package journal

import (
	"bytes"
	"fmt"
	"io"

	"github.com/forebaylog/forebay/tiering/batch"
)

const scanChunk = 1 << 20

// window reads a file forwards through one buffer that grows to the largest piece asked for.
type window struct {
	r    io.ReaderAt
	size int64
	buf  []byte
	off  int64 // of buf[0] in the file
}

// at returns n bytes at pos, fewer at the end of the file; they are valid until the next call.
func (w *window) at(pos int64, n int) ([]byte, error) {
	n = int(min(int64(n), w.size-pos))
	if n <= 0 {
		return nil, nil
	}
	if from := pos - w.off; from >= 0 && from+int64(n) <= int64(len(w.buf)) {
		return w.buf[from : from+int64(n)], nil
	}
	want := int(min(int64(max(n, scanChunk)), w.size-pos))
	if cap(w.buf) < want {
		w.buf = make([]byte, want)
	}
	w.buf, w.off = w.buf[:want], pos
	if err := readFull(w.r, w.buf, pos); err != nil {
		w.buf = w.buf[:0]
		return nil, err
	}
	return w.buf[:n], nil
}

// gap is a range of a segment in which no good frame stands.
type gap struct {
	from, to int64
	what     string
	zero     bool  // nothing but zeros, as preallocated space has
	known    bool  // a frame header at from was good, so frame says what is lost
	frame    Entry // of known: what could be read; not to be trusted beyond naming it
	header   frameHeader
}

// frame is a good frame. batch is set in one of type frameBatch and valid until the next step.
type frame struct {
	frameHeader
	batch   batch.View
	summary summary // of a footer
}

// scanner walks the frames of a segment, checking every byte. Where the next
// frame should be and is not, it looks for the next good one at any position.
type scanner struct {
	w    window
	salt uint32
	pos  int64
}

func newScanner(r io.ReaderAt, h header, size int64) *scanner {
	return &scanner{w: window{r: r, size: size}, salt: h.salt, pos: headerSize}
}

// next returns either a frame or a gap, never both; neither at the end of the file.
func (s *scanner) next() (*frame, *gap, error) {
	if s.pos >= s.w.size {
		return nil, nil, nil
	}
	f, bad, err := s.frameAt(s.pos)
	if err != nil {
		return nil, nil, err
	}
	if f != nil {
		s.pos = f.end()
		return f, nil, nil
	}
	if bad.known {
		s.pos = bad.to
		return nil, bad, nil
	}
	if err := s.resync(bad); err != nil {
		return nil, nil, err
	}
	s.pos = bad.to
	return nil, bad, nil
}

// frameAt returns the frame at pos, or a gap that says why there is none.
func (s *scanner) frameAt(pos int64) (*frame, *gap, error) {
	b, err := s.w.at(pos, FrameHeaderSize+framePrefix)
	if err != nil {
		return nil, nil, err
	}
	h, err := decodeFrameHeader(b, s.salt, pos, s.w.size)
	if err != nil {
		return nil, &gap{from: pos, to: pos, what: "no frame where one should start"}, nil
	}
	b, err = s.w.at(pos, FrameHeaderSize+int(h.length))
	if err != nil {
		return nil, nil, err
	}
	f, err := decodePayload(h, b[FrameHeaderSize:], s.salt)
	if err != nil {
		return nil, &gap{from: pos, to: h.end(), what: err.Error(), known: true, header: h, frame: entryHint(b[FrameHeaderSize:])}, nil
	}
	return f, nil, nil
}

// entryHint reads a base offset, which the frame's own CRC covers, for a message.
func entryHint(payload []byte) Entry {
	if len(payload) < batch.HeaderSize {
		return Entry{}
	}
	return Entry{Base: batch.View(payload).BaseOffset()}
}

func decodePayload(h frameHeader, payload []byte, salt uint32) (*frame, error) {
	f := &frame{frameHeader: h}
	var err error
	switch h.kind {
	case frameBatch:
		f.batch, err = checkBatch(payload)
	case frameFooter:
		f.summary, err = decodeFooter(payload, salt, h.position)
	default:
		err = fmt.Errorf("frame of type %d, which this build does not know", h.kind)
	}
	return f, err
}

// resync extends the gap to the next place where a frame header is good, or to the
// end of the file, and finds out whether it holds only zeros.
func (s *scanner) resync(g *gap) error {
	g.zero = true
	for pos := g.from; pos < s.w.size; {
		b, err := s.w.at(pos, scanChunk)
		if err != nil {
			return err
		}
		at := indexNonZero(b)
		if at < 0 {
			pos += int64(len(b))
			continue
		}
		next, found, err := s.candidate(pos+int64(at), g.from)
		if err != nil {
			return err
		}
		if next > pos+int64(at) || !found {
			g.zero = false
		}
		if found {
			g.to = next
			return nil
		}
		pos = next
	}
	g.to = s.w.size
	return nil
}

// candidate looks for a good frame header from pos to the end of the chunk there.
// If it is not found, next is where to go on.
func (s *scanner) candidate(pos, not int64) (next int64, found bool, err error) {
	b, err := s.w.at(pos, scanChunk)
	if err != nil {
		return 0, false, err
	}
	whole := int64(len(b)) == s.w.size-pos
	for i := 0; ; i++ {
		at := bytes.Index(b[i:], frameMagic[:])
		if at < 0 {
			break
		}
		i += at
		if !whole && len(b)-i < FrameHeaderSize+framePrefix {
			return pos + int64(i), false, nil
		}
		if _, err := decodeFrameHeader(b[i:], s.salt, pos+int64(i), s.w.size); err == nil && pos+int64(i) > not {
			return pos + int64(i), true, nil
		}
	}
	if whole {
		return s.w.size, false, nil
	}
	return pos + int64(len(b)-len(frameMagic)+1), false, nil
}

var zeros [4096]byte

// indexNonZero returns the index of the first byte that is not zero, or -1.
func indexNonZero(b []byte) int {
	for i := 0; i < len(b); i += len(zeros) {
		part := b[i:min(i+len(zeros), len(b))]
		if bytes.Equal(part, zeros[:len(part)]) {
			continue
		}
		for k, c := range part {
			if c != 0 {
				return i + k
			}
		}
	}
	return -1
}
