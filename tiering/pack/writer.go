package pack

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/producers"
)

const (
	writeBuffer = 64 << 10
	footerLimit = math.MaxUint32 // what the trailer can tell
)

// Writer streams one object: for each run BeginRun, Append…, EndRun, then Close.
// It holds the footer so far and a small buffer, never the batches. After an error
// every further call returns it. Nothing of an object is valid before Close has returned nil.
type Writer struct {
	out    *bufio.Writer
	pos    int64
	err    error
	footer Footer
	seen   map[id.Partition]struct{}
	open   bool // between BeginRun and EndRun
	run    Run  // while open
}

// NewWriter starts an object; its bytes go to w in order, the header with the first run.
func NewWriter(w io.Writer, h Header) *Writer {
	return &Writer{
		out:    bufio.NewWriterSize(w, writeBuffer),
		footer: Footer{Header: h},
		seen:   make(map[id.Partition]struct{}),
		err:    h.Validate(),
	}
}

// BeginRun starts the run of a partition, of which there is one in an object.
func (w *Writer) BeginRun(p id.Partition) error {
	_, twice := w.seen[p]
	switch {
	case w.err != nil:
		return w.err
	case w.open:
		return w.fail(fmt.Errorf("begin run of %s: the run of %s is not ended", p, w.run.Partition))
	case twice:
		return w.fail(fmt.Errorf("begin run of %s: it has one already", p))
	case p.Index < 0:
		return w.fail(fmt.Errorf("begin run of %s: a negative partition", p))
	}
	w.start()
	w.seen[p] = struct{}{}
	w.open, w.run = true, Run{Partition: p, Pos: w.pos}
	return w.err
}

// start writes the header once.
func (w *Writer) start() {
	if w.pos == 0 {
		w.write(w.footer.Header.AppendTo(nil))
	}
}

// Append adds a batch that must begin where the last one of the run ended, with the
// same leader epoch or a later one. Its checksum is verified; nothing of v is kept.
func (w *Writer) Append(v batch.View) error {
	if w.err != nil {
		return w.err
	}
	if !w.open {
		return w.fail(fmt.Errorf("append batch at offset %d: no run has begun", v.BaseOffset()))
	}
	if err := w.run.add(v); err != nil {
		return w.fail(fmt.Errorf("append batch to run of %s: %w", w.run.Partition, err))
	}
	w.write(v)
	return w.err
}

// add accounts for a batch at the end of the run.
func (r *Run) add(v batch.View) error {
	if err := v.Verify(); err != nil {
		return err
	}
	if r.Length > 0 && v.BaseOffset() != r.Next {
		return fmt.Errorf("batch at offset %d, the run ends at %d", v.BaseOffset(), r.Next)
	}
	if n := len(r.Epochs); n > 0 && v.LeaderEpoch() < r.Epochs[n-1].Epoch {
		return fmt.Errorf("batch at offset %d has epoch %d, the one before it %d", v.BaseOffset(), v.LeaderEpoch(), r.Epochs[n-1].Epoch)
	}
	r.note(v)
	r.CRC = crc32.Update(r.CRC, castagnoli, v)
	return nil
}

// note derives all but CRC from the header of the run's next batch.
func (r *Run) note(v batch.View) {
	base, epoch, pos := v.BaseOffset(), v.LeaderEpoch(), r.Pos+r.Length
	first := r.Length == 0
	if first {
		r.Base, r.FirstEpoch, r.MaxTimestamp = base, epoch, math.MinInt64
	}
	if first || epoch != r.Epochs[len(r.Epochs)-1].Epoch {
		r.Epochs = append(r.Epochs, EpochStart{Epoch: epoch, Start: base})
	}
	if first || pos-r.Index[len(r.Index)-1].Pos >= IndexInterval {
		r.Index = append(r.Index, IndexEntry{Offset: base, Pos: pos})
	}
	r.MaxTimestamp = max(r.MaxTimestamp, v.MaxTimestamp())
	r.Index[len(r.Index)-1].MaxTimestamp = r.MaxTimestamp
	r.Next = v.NextOffset()
	r.Length += int64(v.Length())
	r.Records += int64(v.Records())
}

// EndRun ends a run of at least one batch with the partition's producers as of its
// end and the transactions whose abort markers are in it. Nothing of the slices is kept.
func (w *Writer) EndRun(states []producers.State, aborted []AbortedTxn) error {
	if w.err != nil {
		return w.err
	}
	if !w.open || w.run.Length == 0 {
		return w.fail(errors.New("end run: no batch was appended"))
	}
	r := w.run
	for _, a := range aborted {
		if a.Last < r.Base || a.Last >= r.Next || a.First < 0 || a.First > a.Last || a.Stable < 0 {
			return w.fail(fmt.Errorf("end run of %s: its offsets [%d, %d) do not hold the end of the aborted transaction %+v", r.Partition, r.Base, r.Next, a))
		}
	}
	r.Aborted, r.Producers = slices.Clone(aborted), slices.Clone(states)
	r.Epochs, r.Index = slices.Clip(r.Epochs), slices.Clip(r.Index)
	w.footer.Runs = append(w.footer.Runs, r)
	w.open, w.run = false, Run{}
	return nil
}

// Size is the number of bytes written so far; after Close it is the object's size.
func (w *Writer) Size() int64 { return w.pos }

// Close writes the footer and returns it. The underlying writer stays open.
func (w *Writer) Close() (*Footer, error) {
	if w.err != nil {
		return nil, w.err
	}
	if w.open {
		return nil, w.fail(fmt.Errorf("close pack: the run of %s is not ended", w.run.Partition))
	}
	w.start()
	raw := w.footer.appendTo(nil)
	if len(raw) > footerLimit {
		return nil, w.fail(fmt.Errorf("close pack: a footer of %d bytes", len(raw)))
	}
	w.write(appendTrailer(raw, raw))
	if err := w.out.Flush(); err != nil && w.err == nil {
		return nil, w.fail(fmt.Errorf("close pack: %w", err))
	}
	if w.err != nil {
		return nil, w.err
	}
	w.err = errors.New("write pack: it is closed")
	// A footer that is written and one that is read are the same, down to the millisecond.
	f, _, err := decodeFooter(raw)
	return f, err
}

func (w *Writer) write(b []byte) {
	if w.err != nil {
		return
	}
	n, err := w.out.Write(b)
	w.pos += int64(n)
	if err != nil {
		w.err = fmt.Errorf("write pack at position %d: %w", w.pos, err)
	}
}

func (w *Writer) fail(err error) error {
	w.err = err
	return err
}
