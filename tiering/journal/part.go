package journal

import (
	"slices"
	"sort"

	"github.com/forebaylog/forebay/infra/id"
)

// entry is an Entry in memory. data is the batch while the memory tail holds it.
type entry struct {
	base   id.Offset
	maxTS  int64
	seg    *segment
	data   []byte
	pos    uint32
	last   int32 // last offset - base
	epoch  id.Epoch
	length int32
}

func (e *entry) next() id.Offset { return e.base + id.Offset(e.last) + 1 }

func (e *entry) entry() Entry {
	return Entry{
		Base: e.base, Next: e.next(), MaxTimestamp: e.maxTS, Epoch: e.epoch,
		Segment: e.seg.id, Pos: int64(e.pos), Length: e.length,
	}
}

func newEntry(seg *segment, e Entry, data []byte) entry {
	return entry{
		base: e.Base, maxTS: e.MaxTimestamp, seg: seg, data: data,
		pos: uint32(e.Pos), last: int32(e.Next - e.Base - 1), epoch: e.Epoch, length: e.Length,
	}
}

// part is what the journal keeps in memory of one partition: its range and the
// entries that the index does not hold yet or whose batches are in the tail. There
// may be ten thousand, so it is small, and its fields in the order that packs them. Guarded by Journal.mu.
type part struct {
	p       id.Partition
	evicted int32     // of entries: the first so many hold no data
	start   id.Offset // nothing below is hot
	next    id.Offset // after the last batch
	entries []entry
	indexed int32 // of entries: the first so many are in the index
	extent  int32 // of the segment of, the place of this partition among its extents
	of      id.Segment
}

// trim forgets the entries that are both out of the tail and in the index.
func (t *part) trim() {
	n := min(t.evicted, t.indexed)
	if n == 0 {
		return
	}
	t.evicted -= n
	t.indexed -= n
	rest := t.entries[n:]
	switch {
	case len(rest) == 0:
		t.entries = nil
	case len(rest) < int(n):
		t.entries = slices.Clone(rest) // lets go of the larger array
	default:
		t.entries = rest
	}
}

// find returns the place among the entries of the first that ends after from.
func (t *part) find(from id.Offset) int {
	return sort.Search(len(t.entries), func(i int) bool { return t.entries[i].next() > from })
}

// memory reports the first offset from which on the entries in memory are complete.
func (t *part) memory() id.Offset {
	if len(t.entries) == 0 {
		return t.next
	}
	return t.entries[0].base
}

// fifo is a queue of the partitions of the batches in the tail, oldest first.
type fifo struct {
	q    []*part
	head int
}

func (f *fifo) push(t *part) { f.q = append(f.q, t) }

func (f *fifo) empty() bool { return f.head == len(f.q) }

func (f *fifo) front() *part { return f.q[f.head] }

func (f *fifo) pop() {
	f.q[f.head] = nil
	f.head++
	switch {
	case f.head == len(f.q):
		f.q, f.head = f.q[:0], 0
	case f.head >= 1024 && f.head*2 >= len(f.q):
		n := copy(f.q, f.q[f.head:])
		clear(f.q[n:])
		f.q, f.head = f.q[:n], 0
	}
}
