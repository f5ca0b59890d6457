package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
)

// A footer is the payload of the last frame of a rolled segment, which ends there.
//
//	partitions (uvarint), then for each, in order of topic and index:
//	  topic 16 | index uvarint | first uvarint | next-first uvarint |
//	  max timestamp varint | batches uvarint | bytes uvarint
//	then, fixed, at the end of the file:
//	-32    -24       -16        -8      -4    0
//	| fold | entries | position | magic | crc |
//
// position is that of the footer's frame, by which it is found from the end of the
// file; crc is CRC32C, started with the salt, of all of the payload before it.
const (
	footerTrailer = 32
	footerMagic   = 0x46424645 // "FBFE"
	// maxExtentSize bounds what one partition adds to a footer.
	maxExtentSize = 16 + 5 + 5*binary.MaxVarintLen64
	minExtentSize = 16 + 6
)

// footerBound is an upper limit of the size of the footer frame of n partitions.
func footerBound(n int) int64 {
	return int64(FrameHeaderSize + binary.MaxVarintLen64 + n*maxExtentSize + footerTrailer)
}

// extent is an Extent with its partition.
type extent struct {
	p id.Partition
	Extent
}

// summary is what is known of a segment's frames: what the footer says, or what a scan found.
type summary struct {
	extents []extent // in order of partition once the segment is rolled
	fold    uint64   // XOR of the hashes of all entries
	entries uint64
}

// add counts an entry in; at is the extent of its partition, which has been appended.
func (s *summary) add(at int, p id.Partition, e Entry) {
	x := &s.extents[at]
	x.Next = e.Next
	x.MaxTimestamp = max(x.MaxTimestamp, e.MaxTimestamp)
	x.Batches++
	x.Bytes += int64(e.Length)
	s.fold ^= e.Hash(p)
	s.entries++
}

// all yields the extents.
func (s summary) all() iter.Seq2[id.Partition, Extent] {
	return func(yield func(id.Partition, Extent) bool) {
		for _, x := range s.extents {
			if !yield(x.p, x.Extent) {
				return
			}
		}
	}
}

// sort puts the extents in the order that a footer has.
func (s *summary) sort() {
	slices.SortFunc(s.extents, func(a, b extent) int { return a.p.Compare(b.p) })
}

// newExtent is the extent of a partition before its first entry e is added.
func newExtent(p id.Partition, e Entry) extent {
	return extent{p: p, Extent: Extent{First: e.Base, Next: e.Base, MaxTimestamp: e.MaxTimestamp}}
}

// appendFooter appends the payload of the footer frame that stands at pos.
func appendFooter(b []byte, s summary, salt uint32, pos int64) []byte {
	start := len(b)
	b = binary.AppendUvarint(b, uint64(len(s.extents)))
	for _, x := range s.extents {
		b = append(b, x.p.Topic[:]...)
		b = binary.AppendUvarint(b, uint64(x.p.Index))
		b = binary.AppendUvarint(b, uint64(x.First))
		b = binary.AppendUvarint(b, uint64(x.Next-x.First))
		b = binary.AppendVarint(b, x.MaxTimestamp)
		b = binary.AppendUvarint(b, uint64(x.Batches))
		b = binary.AppendUvarint(b, uint64(x.Bytes))
	}
	b = binary.BigEndian.AppendUint64(b, s.fold)
	b = binary.BigEndian.AppendUint64(b, s.entries)
	b = binary.BigEndian.AppendUint64(b, uint64(pos))
	b = binary.BigEndian.AppendUint32(b, footerMagic)
	return binary.BigEndian.AppendUint32(b, crc32.Update(salt, castagnoli, b[start:]))
}

// footerPosition reads, from the last bytes of a file of size bytes, where its
// footer frame stands. ok is false if the file does not end in a footer.
func footerPosition(tail []byte, size int64) (pos int64, ok bool) {
	if len(tail) < footerTrailer {
		return 0, false
	}
	tail = tail[len(tail)-footerTrailer:]
	pos = int64(binary.BigEndian.Uint64(tail[16:]))
	magic := binary.BigEndian.Uint32(tail[24:])
	return pos, magic == footerMagic && pos >= headerSize && pos <= size-FrameHeaderSize-footerTrailer
}

// decodeFooter checks and decodes the payload of the footer frame that stands at pos.
func decodeFooter(b []byte, salt uint32, pos int64) (summary, error) {
	if len(b) < 1+footerTrailer {
		return summary{}, fmt.Errorf("decode segment footer: %d bytes, want at least %d", len(b), 1+footerTrailer)
	}
	tail := b[len(b)-footerTrailer:]
	if m := binary.BigEndian.Uint32(tail[24:]); m != footerMagic {
		return summary{}, fmt.Errorf("decode segment footer: magic is %08x, want %08x", m, footerMagic)
	}
	if got, want := crc32.Update(salt, castagnoli, b[:len(b)-4]), binary.BigEndian.Uint32(tail[28:]); got != want {
		return summary{}, fmt.Errorf("decode segment footer: CRC32C is %08x, the footer says %08x", got, want)
	}
	if at := int64(binary.BigEndian.Uint64(tail[16:])); at != pos {
		return summary{}, fmt.Errorf("decode segment footer: it says that it stands at %d, not %d", at, pos)
	}
	s := summary{fold: binary.BigEndian.Uint64(tail), entries: binary.BigEndian.Uint64(tail[8:])}
	r := varReader{b: b[:len(b)-footerTrailer]}
	n := r.uvarint()
	if n > uint64(len(r.b)/minExtentSize) {
		return summary{}, fmt.Errorf("decode segment footer: %d partitions in %d bytes", n, len(r.b))
	}
	s.extents = make([]extent, n)
	for i := range s.extents {
		s.extents[i] = decodeExtent(&r)
		if i > 0 && s.extents[i-1].p.Compare(s.extents[i].p) >= 0 {
			return summary{}, errors.New("decode segment footer: partitions are out of order")
		}
	}
	if r.bad || len(r.b) > 0 {
		return summary{}, errors.New("decode segment footer: the list of partitions is malformed")
	}
	return s, nil
}

func decodeExtent(r *varReader) extent {
	var x extent
	copy(x.p.Topic[:], r.bytes(16))
	x.p.Index = int32(r.bounded(1<<31 - 1))
	x.First = id.Offset(r.bounded(1<<63 - 1))
	x.Next = x.First + id.Offset(r.bounded(1<<63-1-uint64(x.First)))
	x.MaxTimestamp = r.varint()
	x.Batches = int64(r.bounded(1<<63 - 1))
	x.Bytes = int64(r.bounded(1<<63 - 1))
	return x
}

// varReader takes numbers off the front of b; bad is set, for good, by the first that is malformed.
type varReader struct {
	b   []byte
	bad bool
}

func (r *varReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// bounded reads a number that may not exceed limit.
func (r *varReader) bounded(limit uint64) uint64 {
	v := r.uvarint()
	if v > limit {
		r.bad, v = true, 0
	}
	return v
}

func (r *varReader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *varReader) bytes(n int) []byte {
	if len(r.b) < n {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}
