package pack

import (
	"bufio"
	"errors"
	"fmt"
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

// Writer streams one object: for each run BeginRun, Append…, EndRun, or BeginSparse,
// Append…, EndSparse, then Close.
// It holds the footer so far and a small buffer, never the batches. After an error
// every further call returns it. Nothing of an object is valid before Close has returned nil.
type Writer struct {
	out    *bufio.Writer
	pos    int64
	err    error
	footer Footer
	seen   map[id.Partition]struct{}
	open   bool  // between the begin of a run and its end
	run    tally // while open
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
func (w *Writer) BeginRun(p id.Partition) error { return w.begin(p, false, 0, 0) }

// BeginSparse starts the run of a partition that has the offsets [base, next) and whose batches
// may leave out any of them.
func (w *Writer) BeginSparse(p id.Partition, base, next id.Offset) error {
	if w.err == nil && (base < 0 || next <= base) {
		return w.fail(fmt.Errorf("begin run of %s: offsets %d to %d", p, base, next))
	}
	return w.begin(p, true, base, next)
}

func (w *Writer) begin(p id.Partition, sparse bool, base, next id.Offset) error {
	_, twice := w.seen[p]
	switch {
	case w.err != nil:
		return w.err
	case w.open:
		return w.fail(fmt.Errorf("begin run of %s: the run of %s is not ended", p, w.run.run.Partition))
	case twice:
		return w.fail(fmt.Errorf("begin run of %s: it has one already", p))
	case p.Index < 0:
		return w.fail(fmt.Errorf("begin run of %s: a negative partition", p))
	}
	w.start()
	w.seen[p] = struct{}{}
	w.open, w.run = true, begin(p, w.pos, sparse, base, next)
	return w.err
}

// start writes the header once.
func (w *Writer) start() {
	if w.pos == 0 {
		w.write(w.footer.Header.AppendTo(nil))
	}
}

// Append adds a batch that must begin where the last one of the run ended, of a sparse run there
// or above, with the same leader epoch or a later one. Its checksum is verified; nothing of v is kept.
func (w *Writer) Append(v batch.View) error {
	if w.err != nil {
		return w.err
	}
	if !w.open {
		return w.fail(fmt.Errorf("append batch at offset %d: no run has begun", v.BaseOffset()))
	}
	if err := w.run.add(v); err != nil {
		return w.fail(fmt.Errorf("append batch to run of %s: %w", w.run.run.Partition, err))
	}
	w.write(v)
	return w.err
}

// EndRun ends a run of at least one batch with the partition's producers as of its
// end and the transactions whose abort markers are in it. Nothing of the slices is kept.
func (w *Writer) EndRun(states []producers.State, aborted []AbortedTxn) error {
	if w.err == nil && w.run.run.Sparse {
		return w.fail(fmt.Errorf("end run of %s: it is a sparse one", w.run.run.Partition))
	}
	return w.end(states, aborted)
}

// EndSparse ends a sparse run of at least one batch as EndRun does, with all leader epochs of its
// offsets, also those no batch of which is left.
func (w *Writer) EndSparse(epochs []EpochStart, states []producers.State, aborted []AbortedTxn) error {
	if w.err != nil {
		return w.err
	}
	if !w.run.run.Sparse {
		return w.fail(errors.New("end sparse run: none has begun"))
	}
	if err := w.run.epochs(epochs); err != nil {
		return w.fail(fmt.Errorf("end run of %s: %w", w.run.run.Partition, err))
	}
	return w.end(states, aborted)
}

func (w *Writer) end(states []producers.State, aborted []AbortedTxn) error {
	if w.err != nil {
		return w.err
	}
	if !w.open || w.run.run.Length == 0 {
		return w.fail(errors.New("end run: no batch was appended"))
	}
	r := w.run.run
	for _, a := range aborted {
		if a.Last < r.Base || a.Last >= r.Next || a.First < 0 || a.First > a.Last || a.Stable < 0 {
			return w.fail(fmt.Errorf("end run of %s: its offsets [%d, %d) do not hold the end of the aborted transaction %+v", r.Partition, r.Base, r.Next, a))
		}
	}
	r.Aborted, r.Producers = slices.Clone(aborted), slices.Clone(states)
	r.Epochs, r.Index, r.Heads = slices.Clip(r.Epochs), slices.Clip(r.Index), slices.Clip(r.Heads)
	w.footer.Runs = append(w.footer.Runs, r)
	w.open, w.run = false, tally{}
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
		return nil, w.fail(fmt.Errorf("close pack: the run of %s is not ended", w.run.run.Partition))
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
