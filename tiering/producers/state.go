package producers

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/forebaylog/forebay/infra/id"
)

// An encoded State; numbers are varints, zigzag where they may be negative. Sequences
// and offsets of a batch are told by their distance from the batch before it.
//
//	producer | epoch | coordinator epoch | last timestamp | last seen - last timestamp |
//	txn start + 1 | count (0 to 5) | count batches
//
//	batch: first sequence - last one's last | offsets (last - first) | base - last one's next |
//	       sequences (last - first, modulo 2^31) - offsets | timestamp - last one's

// AppendTo appends the encoded state to b.
func (s State) AppendTo(b []byte) []byte {
	b = binary.AppendVarint(b, int64(s.Producer))
	b = binary.AppendVarint(b, int64(s.Epoch))
	b = binary.AppendVarint(b, int64(s.CoordinatorEpoch))
	b = binary.AppendVarint(b, s.LastTimestamp)
	b = binary.AppendVarint(b, s.LastSeen-s.LastTimestamp)
	b = binary.AppendUvarint(b, uint64(s.TxnStart+1))
	b = binary.AppendUvarint(b, uint64(len(s.Batches)))
	prev := Batch{Last: none, LastSequence: none, Timestamp: s.LastTimestamp}
	for _, x := range s.Batches {
		b = binary.AppendVarint(b, int64(x.FirstSequence)-int64(prev.LastSequence))
		b = binary.AppendUvarint(b, uint64(x.Last-x.Base))
		b = binary.AppendVarint(b, int64(x.Base-prev.Last-1))
		b = binary.AppendVarint(b, x.sequences()-int64(x.Last-x.Base))
		b = binary.AppendVarint(b, x.Timestamp-prev.Timestamp)
		prev = x
	}
	return b
}

// sequences is how many steps, with wrap-around, lead from the first to the last sequence.
func (b Batch) sequences() int64 { return int64((b.LastSequence - b.FirstSequence) & math.MaxInt32) }

// DecodeState reads a state that AppendTo wrote and returns what follows it; the error is an ErrCorrupt.
func DecodeState(b []byte) (s State, rest []byte, err error) {
	d := decoder{b: b}
	s.Producer = id.Producer(d.varint())
	s.Epoch = int16(d.within(d.varint(), math.MinInt16, math.MaxInt16))
	s.CoordinatorEpoch = int32(d.within(d.varint(), math.MinInt32, math.MaxInt32))
	s.LastTimestamp = d.varint()
	s.LastSeen = s.LastTimestamp + d.varint()
	s.TxnStart = id.Offset(d.within(int64(d.uvarint()), 0, math.MaxInt64)) - 1
	count := d.within(int64(d.uvarint()), 0, Window)
	if d.failed {
		return State{}, b, fmt.Errorf("decode producer state: %w", ErrCorrupt)
	}
	if count > 0 {
		s.Batches = make([]Batch, 0, count)
	}
	prev := Batch{Last: none, LastSequence: none, Timestamp: s.LastTimestamp}
	for range count {
		prev = d.batch(prev)
		s.Batches = append(s.Batches, prev)
	}
	if d.failed {
		return State{}, b, fmt.Errorf("decode producer state of %d: a batch of it: %w", s.Producer, ErrCorrupt)
	}
	return s, d.b, nil
}

// decoder reads numbers until one of them fails; then all are 0.
type decoder struct {
	b      []byte
	failed bool
}

func (d *decoder) batch(prev Batch) (b Batch) {
	first := d.within(int64(prev.LastSequence)+d.varint(), 0, math.MaxInt32)
	offsets := d.within(int64(d.uvarint()), 0, math.MaxInt32)
	base := d.within(int64(prev.Last)+1+d.varint(), 0, math.MaxInt64-offsets-1)
	sequences := d.within(offsets+d.varint(), 0, math.MaxInt32)
	b.FirstSequence, b.LastSequence = int32(first), (int32(first)+int32(sequences))&math.MaxInt32
	b.Base, b.Last = id.Offset(base), id.Offset(base+offsets)
	b.Timestamp = prev.Timestamp + d.varint()
	return b
}

func (d *decoder) varint() int64 {
	n, size := binary.Varint(d.b)
	return d.took(n, size)
}

func (d *decoder) uvarint() uint64 {
	n, size := binary.Uvarint(d.b)
	return uint64(d.took(int64(n), size))
}

func (d *decoder) took(n int64, size int) int64 {
	if size <= 0 || d.failed {
		d.failed, d.b = true, nil
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) within(n, low, high int64) int64 {
	if n < low || n > high {
		d.failed = true
		return 0
	}
	return n
}
