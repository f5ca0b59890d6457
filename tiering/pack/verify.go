package pack

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

// verifyBuffer is how much Verify reads and holds at once.
const verifyBuffer = 1 << 20

// Verify reads a whole object of size bytes and returns nil, a *CorruptError for
// the first thing that is wrong, or what r returned. It holds 1 MiB and the footer.
func Verify(ctx context.Context, r RangeReader, size int64) error {
	f, end, err := readFooter(ctx, r, size)
	if err != nil {
		return err
	}
	runs := &section{ctx: ctx, r: r, end: end}
	s := scanner{in: bufio.NewReaderSize(runs, int(min(verifyBuffer, end)))}
	if err := s.header(f); err != nil {
		return err
	}
	for i := range f.Runs {
		if err := s.run(&f.Runs[i]); err != nil {
			return err
		}
	}
	return nil
}

// section is an object as an io.Reader. It lives within one call, and so may hold its context.
type section struct {
	ctx      context.Context
	r        RangeReader
	pos, end int64
}

func (s *section) Read(p []byte) (int, error) {
	if s.pos == s.end {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), s.end-s.pos)]
	if err := readFull(s.ctx, s.r, p, s.pos); err != nil {
		return 0, err
	}
	s.pos += int64(len(p))
	return len(p), nil
}

// scanner walks an object from front to back.
type scanner struct {
	in  *bufio.Reader
	crc uint32 // of the run so far
}

// header compares the header with the footer's copy.
func (s *scanner) header(f *Footer) error {
	raw := f.appendVersion(nil, f.Version)
	got, err := s.in.Peek(len(raw))
	switch {
	case errors.Is(err, io.EOF):
		err = errShort
	case err != nil:
		return fmt.Errorf("verify pack header: %w", err)
	case !bytes.Equal(got, raw):
		if _, _, err = DecodeHeader(got); err == nil {
			err = errors.New("it differs from the footer's copy")
		}
	}
	if err != nil {
		return &CorruptError{Part: "header", Err: err}
	}
	_, err = s.in.Discard(len(raw))
	return err
}

// run walks the batches of a run and derives it anew.
func (s *scanner) run(want *Run) error {
	t := begin(want.Partition, want.Pos, want.Sparse, want.Base, want.Next)
	t.end = want.Base
	got := &t.run
	s.crc = 0
	for got.Length < want.Length {
		head, err := s.head(want, t.end, want.Length-got.Length)
		if err == nil {
			err = s.body(head)
		}
		if err == nil {
			t.note(head)
			continue
		}
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, batch.ErrCorrupt) {
			return fmt.Errorf("verify pack run of %s at offset %d: %w", want.Partition, t.end, err)
		}
		return &CorruptError{Part: "run", Partition: want.Partition, Offset: t.end, Pos: want.Pos + got.Length, Err: err}
	}
	if s.crc != want.CRC {
		return &CorruptError{Part: "run", Partition: want.Partition, Offset: -1, Pos: want.Pos, Err: errChecksum}
	}
	if !want.describes(got) {
		return &CorruptError{Part: "footer", Err: fmt.Errorf("it does not describe the run of %s at %d: %w", want.Partition, want.Pos, ErrCorrupt)}
	}
	return nil
}

// describes reports whether got, derived from the batches, is what the footer says.
func (r *Run) describes(got *Run) bool {
	return r.Next == got.Next && r.Records == got.Records && r.MaxTimestamp == got.MaxTimestamp &&
		(r.Sparse || slices.Equal(r.Epochs, got.Epochs)) && // each batch has the epoch that is told: see head
		slices.Equal(r.Index, got.Index) && slices.Equal(r.Heads, got.Heads)
}

// head reads the header of the next batch, at next or in a sparse run above it, and checks it
// against the run.
func (s *scanner) head(r *Run, next id.Offset, left int64) (batch.View, error) {
	raw := make([]byte, batch.HeaderSize)
	if left < int64(len(raw)) {
		return nil, fmt.Errorf("%d bytes where a batch should be: %w", left, ErrCorrupt)
	}
	if _, err := io.ReadFull(s.in, raw); err != nil {
		return nil, err
	}
	h, err := batch.ParseHeader(raw)
	if err != nil {
		return nil, err
	}
	s.crc = crc32.Update(s.crc, castagnoli, raw)
	switch epoch := r.EpochAt(h.BaseOffset()); {
	case h.BaseOffset() < next || h.BaseOffset() > next && !r.Sparse:
		err = fmt.Errorf("a batch at offset %d: %w", h.BaseOffset(), ErrCorrupt)
	case h.NextOffset() > r.Next:
		err = fmt.Errorf("a batch up to offset %d, the run ends at %d: %w", h.NextOffset(), r.Next, ErrCorrupt)
	case int64(h.Length()) > left:
		err = fmt.Errorf("a batch of %d bytes, the run has %d: %w", h.Length(), left, ErrCorrupt)
	case h.LeaderEpoch() != epoch:
		err = fmt.Errorf("a batch of epoch %d, the footer says %d: %w", h.LeaderEpoch(), epoch, ErrCorrupt)
	}
	return h, err
}

// body reads the rest of a batch in pieces and compares its checksum.
func (s *scanner) body(h batch.View) error {
	sum := checksum(h[HeadSize:])
	for left := h.Length() - len(h); left > 0; {
		piece, err := s.in.Peek(min(left, s.in.Size()))
		if err != nil {
			return err
		}
		sum = crc32.Update(sum, castagnoli, piece)
		s.crc = crc32.Update(s.crc, castagnoli, piece)
		left -= len(piece)
		if _, err := s.in.Discard(len(piece)); err != nil {
			return err
		}
	}
	if sum != h.CRC() {
		return fmt.Errorf("the batch's CRC32C is %08x, its header says %08x: %w", sum, h.CRC(), ErrCorrupt)
	}
	return nil
}
