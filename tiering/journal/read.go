package journal

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"sort"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

// lookupStep is how many entries a read looks up at a time.
const lookupStep = 256

// errMisplaced says that a frame is not what its index entry promised.
var errMisplaced = errors.New("frame is not where the index has it")

// Read returns whole, consecutive batches of p, the first of which contains from: at
// least one if there is one, else up to maxBytes in sum, and none that reaches above
// limit. It returns nothing at the end of p. Batches come from the memory tail,
// without being copied, or from the file, with every byte checked; they must not be
// changed. The error is ErrNotHot where p has no hot batch, and a CorruptError
// where it had one that cannot be read.
func (j *Journal) Read(p id.Partition, from, limit id.Offset, maxBytes int) ([][]byte, error) {
	if out, done, err := j.readTail(p, from, limit, maxBytes); done {
		return out, err
	}
	var buf []Entry
	for attempt := 0; ; attempt++ {
		entries, indexed, err := j.lookup(buf[:0], p, from)
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 || entries[0].Base > from {
			return nil, j.missing(p, from)
		}
		entries = within(entries, limit, maxBytes)
		if len(entries) == 0 {
			return nil, nil
		}
		out, err := j.readEntries(p, entries)
		if err == nil || !errors.Is(err, errMisplaced) {
			return out, err
		}
		if !indexed || attempt > 0 {
			return nil, err
		}
		if err := j.repairIndex(p, from, err); err != nil {
			return nil, err
		}
		buf = entries
	}
}

// within cuts entries to the consecutive ones below limit and within maxBytes, but for the first.
func within(entries []Entry, limit id.Offset, maxBytes int) []Entry {
	bytes := 0
	for i, e := range entries {
		bytes += int(e.Length)
		if e.Next > limit || i > 0 && (bytes > maxBytes || e.Base != entries[i-1].Next) {
			return entries[:i]
		}
	}
	return entries
}

// readTail answers what memory alone can; done is false if the files are needed.
func (j *Journal) readTail(p id.Partition, from, limit id.Offset, maxBytes int) (out [][]byte, done bool, err error) {
	j.mu.RLock()
	defer j.mu.RUnlock()
	t := j.parts[p]
	switch {
	case t == nil || from < t.start:
		return nil, true, fmt.Errorf("read %s at %d: %w", p, from, ErrNotHot)
	case from >= t.next:
		return nil, true, nil
	}
	i := t.find(from)
	if i == len(t.entries) || t.entries[i].base > from || t.entries[i].data == nil {
		return nil, false, nil
	}
	bytes, end := 0, i
	for ; end < len(t.entries); end++ {
		e := &t.entries[end]
		bytes += int(e.length)
		if e.next() > limit || end > i && (bytes > maxBytes || e.base != t.entries[end-1].next()) {
			break
		}
	}
	if end == i {
		return nil, true, nil
	}
	out = make([][]byte, 0, end-i)
	for ; i < end; i++ {
		out = append(out, t.entries[i].data)
	}
	j.stats.readsMemory.Add(int64(len(out)))
	return out, true, nil
}

// lookup appends the next entries of p, from the one that contains from or else the
// first after it, taken either all from memory or all from the index.
func (j *Journal) lookup(dst []Entry, p id.Partition, from id.Offset) (entries []Entry, indexed bool, err error) {
	for attempt := 0; ; attempt++ {
		j.mu.RLock()
		t := j.parts[p]
		if t == nil {
			j.mu.RUnlock()
			return dst, false, nil
		}
		from = max(from, t.start)
		memory := t.memory()
		if from >= memory {
			for i := t.find(from); i < len(t.entries) && len(dst) < lookupStep; i++ {
				dst = append(dst, t.entries[i].entry())
			}
			j.mu.RUnlock()
			return dst, false, nil
		}
		j.mu.RUnlock()
		dst, err = j.lookupIndex(dst, p, from, memory)
		switch {
		case errors.Is(err, errIndex) && attempt == 0:
			if err := j.repairIndex(p, from, err); err != nil {
				return dst, true, err
			}
			dst = dst[:0]
		case err != nil:
			return dst, true, fmt.Errorf("look up %s at %d: %w", p, from, err)
		case len(dst) > 0:
			return dst, true, nil
		default:
			from = memory // a hole up to there
		}
	}
}

func (j *Journal) lookupIndex(dst []Entry, p id.Partition, from, until id.Offset) ([]Entry, error) {
	j.reindexing.RLock()
	defer j.reindexing.RUnlock()
	return j.index.lookup(dst, p, from, until, lookupStep)
}

// repairIndex rebuilds the index, unless another reader did so while this one waited.
func (j *Journal) repairIndex(p id.Partition, from id.Offset, reason error) error {
	before := j.stats.indexRebuilds.Load()
	j.tend.Lock()
	defer j.tend.Unlock()
	if j.stats.indexRebuilds.Load() != before {
		return nil
	}
	if err := j.rebuildIndex(reason); err != nil {
		return fmt.Errorf("read %s at %d: %w", p, from, err)
	}
	return nil
}

// readEntries reads consecutive batches of p from the files, adjacent ones at once.
func (j *Journal) readEntries(p id.Partition, entries []Entry) ([][]byte, error) {
	out := make([][]byte, 0, len(entries))
	for len(entries) > 0 {
		n, size := 1, FrameHeaderSize+int(entries[0].Length)
		for n < len(entries) && entries[n].Segment == entries[0].Segment && entries[n].Pos == entries[0].Pos+int64(size) {
			size += FrameHeaderSize + int(entries[n].Length)
			n++
		}
		var err error
		if out, err = j.readRun(out, size, p, entries[:n]); err != nil {
			return nil, err
		}
		entries = entries[n:]
	}
	j.stats.readsFile.Add(int64(len(out)))
	return out, nil
}

// readRun reads adjacent frames of one segment, size bytes in all, and appends their batches to out.
func (j *Journal) readRun(out [][]byte, size int, p id.Partition, entries []Entry) ([][]byte, error) {
	seg := j.acquire(entries[0].Segment)
	if seg == nil {
		return nil, fmt.Errorf("read %s at %d: segment %s was dropped: %w", p, entries[0].Base, entries[0].Segment, ErrNotHot)
	}
	buf, err := readSpan(seg.file, entries[0].Pos, int64(size))
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = misplaced(seg, entries[0], "the file ends before the frame does")
	}
	for i := 0; err == nil && i < len(entries); i++ {
		var v batch.View
		v, err = checkEntry(seg, buf, p, entries[i])
		buf = buf[FrameHeaderSize+int(entries[i].Length):]
		out = append(out, v)
	}
	if err = errors.Join(err, seg.release()); err != nil {
		return nil, fmt.Errorf("read %s at %d: %w", p, entries[0].Base, err)
	}
	return out, nil
}

// checkEntry returns the batch of the frame at the start of buf if it is the one
// that the entry means and every byte of it is good.
func checkEntry(seg *segment, buf []byte, p id.Partition, e Entry) (batch.View, error) {
	end := e.Pos + FrameHeaderSize + int64(e.Length)
	h, err := decodeFrameHeader(buf, seg.salt, e.Pos, end)
	if err != nil || h.kind != frameBatch || h.partition != p || h.end() != end {
		return nil, misplaced(seg, e, "there is no frame of %s with %d bytes", p, e.Length)
	}
	n := FrameHeaderSize + int(e.Length)
	v, err := checkBatch(buf[FrameHeaderSize:n:n])
	if err != nil {
		return nil, seg.corrupt(e.Pos, "batch of %s at offset %d: %s", p, e.Base, err)
	}
	if entryOf(seg.id, e.Pos, v) != e {
		return nil, misplaced(seg, e, "the frame holds offset %d, not %d", v.BaseOffset(), e.Base)
	}
	return v, nil
}

// misplaced matches both errMisplaced, for the attempt to repair the index, and ErrCorrupt.
func misplaced(seg *segment, e Entry, format string, args ...any) error {
	return fmt.Errorf("%w: %w", errMisplaced, seg.corrupt(e.Pos, format, args...))
}

// acquire returns the segment with a reference taken, or nil if it is not listed.
func (j *Journal) acquire(s id.Segment) *segment {
	j.mu.RLock()
	defer j.mu.RUnlock()
	i := sort.Search(len(j.segments), func(i int) bool { return j.segments[i].id >= s })
	if i == len(j.segments) || j.segments[i].id != s {
		return nil
	}
	j.segments[i].acquire()
	return j.segments[i]
}

// missing says why no entry of p contains from, though it lies in the hot range.
func (j *Journal) missing(p id.Partition, from id.Offset) error {
	notHot := fmt.Errorf("read %s at %d: %w", p, from, ErrNotHot)
	if !j.damaged() {
		return notHot
	}
	var before, after Entry
	for e, err := range j.Entries(p, 0) {
		if err != nil {
			return err
		}
		if e.Base > from {
			after = e
			break
		}
		before = e
	}
	j.mu.RLock()
	defer j.mu.RUnlock()
	for _, s := range j.segments {
		for _, d := range s.damage {
			at := Position{d.Segment, d.Position}
			if at.Compare(Position{before.Segment, before.Pos}) > 0 &&
				(after.Segment == 0 || at.Compare(Position{after.Segment, after.Pos}) < 0) {
				return fmt.Errorf("read %s at %d: %w", p, from, s.corrupt(d.Position, "%s", d.What))
			}
		}
	}
	return notHot
}

func (j *Journal) damaged() bool {
	j.mu.RLock()
	defer j.mu.RUnlock()
	for _, s := range j.segments {
		if len(s.damage) > 0 {
			return true
		}
	}
	return false
}

// Entries lists the hot batches of p in order, from the one that contains from, or
// else the first after it. It sees what is appended while it runs.
func (j *Journal) Entries(p id.Partition, from id.Offset) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var buf []Entry
		for {
			entries, _, err := j.lookup(buf[:0], p, from)
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if len(entries) == 0 {
				return
			}
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
			from = entries[len(entries)-1].Next
			buf = entries
		}
	}
}

// Batch returns the batch of p that e names, from memory or from the file, every byte checked.
// It must not be changed. The error is ErrNotHot if its segment was dropped, else as that of Read.
func (j *Journal) Batch(p id.Partition, e Entry) (batch.View, error) {
	if v := j.tailBatch(p, e); v != nil {
		return v, nil
	}
	out, err := j.readEntries(p, []Entry{e})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

func (j *Journal) tailBatch(p id.Partition, e Entry) batch.View {
	j.mu.RLock()
	defer j.mu.RUnlock()
	t := j.parts[p]
	if t == nil {
		return nil
	}
	i := t.find(e.Base)
	if i == len(t.entries) || t.entries[i].entry() != e {
		return nil
	}
	return t.entries[i].data
}
