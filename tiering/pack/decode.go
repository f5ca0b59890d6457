package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/producers"
)

// The fewest bytes that an element of the footer takes, to hold its count against what is left.
const (
	minRunSize      = 16
	minEpochSize    = 1
	minIndexSize    = 3
	minAbortedSize  = 4
	minProducerSize = 7
	topicSize       = 16
)

var errNumber = errors.New("a number in it is cut short or too large")

// decodeFooter reads an encoded footer whose checksum was right. Still no number in
// it is believed. The second result is the position where the runs end.
func decodeFooter(b []byte) (*Footer, int64, error) {
	d := decoder{b: b}
	raw := d.take(d.count(1))
	if d.err != nil {
		return nil, 0, d.err
	}
	h, size, err := DecodeHeader(raw)
	if err != nil {
		return nil, 0, fmt.Errorf("its copy of the header: %w", err)
	}
	if size != len(raw) {
		return nil, 0, errors.New("its copy of the header is too long")
	}
	f := &Footer{Header: h, Version: raw[versionAt]}
	d.version = f.Version
	d.topics = d.take(d.count(topicSize) * topicSize)
	d.created, d.pos = h.Created.UnixMilli(), int64(size)
	f.Runs = make([]Run, d.count(minRunSize))
	for i := range f.Runs {
		d.run(&f.Runs[i])
		if d.err != nil {
			return nil, 0, fmt.Errorf("its run %d: %w", i, d.err)
		}
	}
	if d.err == nil && len(d.b) > 0 {
		d.err = fmt.Errorf("%d bytes are left over", len(d.b))
	}
	if d.err == nil {
		d.err = f.index()
	}
	return f, d.pos, d.err
}

// decoder reads the footer's fields until one of them fails.
type decoder struct {
	b       []byte
	err     error
	version byte
	topics  []byte
	created int64
	pos     int64 // of the next run

	epochs  slab[EpochStart]
	entries slab[IndexEntry]
	heads   slab[uint32]
}

func (d *decoder) run(r *Run) {
	topic := d.within(d.uvarint(), 0, int64(len(d.topics)/topicSize)-1)
	index := d.within(d.uvarint(), 0, math.MaxInt32)
	r.Base = id.Offset(d.uvarint())
	r.Next = r.Base + id.Offset(d.within(d.uvarint(), 1, math.MaxInt64-int64(r.Base)))
	r.Length = d.within(d.uvarint(), 1, math.MaxInt64-d.pos)
	r.Records = d.within(d.uvarint(), 0, int64(r.Next-r.Base))
	r.MaxTimestamp = d.created + d.varint()
	if crc := d.take(crcSize); d.err == nil {
		r.CRC = binary.LittleEndian.Uint32(crc)
		r.Partition = id.Partition{Topic: id.Topic(d.topics[topic*topicSize:]), Index: int32(index)}
	}
	if d.version >= versionSparse {
		r.Sparse = d.within(d.uvarint(), kindDense, kindSparse) == kindSparse
	}
	r.Pos = d.pos
	d.runEpochs(r)
	d.runIndex(r)
	d.runAborted(r)
	d.runProducers(r)
	d.pos += r.Length
}

func (d *decoder) runEpochs(r *Run) {
	n := d.within(int64(d.count(minEpochSize)), 1, math.MaxInt32)
	if d.err != nil {
		return
	}
	r.Epochs = d.epochs.take(int(n))
	epoch, start := int64(0), r.Base
	for i := range r.Epochs {
		step := d.varint()
		switch {
		case i > 0:
			d.within(step, 1, math.MaxInt32)
			start += id.Offset(d.within(d.uvarint(), 1, int64(r.Next-start)-1))
		case r.Sparse:
			start += id.Offset(d.within(d.uvarint(), 0, int64(r.Next-start)-1))
		}
		epoch = d.within(epoch+step, math.MinInt32, math.MaxInt32)
		r.Epochs[i] = EpochStart{Epoch: id.Epoch(epoch), Start: start}
	}
	r.FirstEpoch = r.Epochs[0].Epoch
}

func (d *decoder) runIndex(r *Run) {
	n := d.count(minIndexSize)
	if d.err != nil {
		return
	}
	r.Index = d.entries.take(n + 1)
	r.Index[0] = IndexEntry{Offset: r.Base, Pos: r.Pos}
	if r.Sparse {
		r.Index[0].Offset += id.Offset(d.within(d.uvarint(), 0, int64(r.Next-r.Base)-1))
	}
	for i := range n {
		at := r.Index[i]
		at.Offset += id.Offset(d.within(d.uvarint(), 1, int64(r.Next-at.Offset)-1))
		at.Pos += d.within(d.uvarint(), 1, r.Pos+r.Length-at.Pos-1)
		r.Index[i+1] = at
	}
	ts := r.MaxTimestamp
	r.Index[n].MaxTimestamp = ts
	for i := n - 1; i >= 0; i-- {
		before := ts - int64(d.uvarint64()) // wraps, as it did when it was told
		if before > ts {
			d.fail(errors.New("a timestamp is out of range"))
		}
		ts = before
		r.Index[i].MaxTimestamp = ts
	}
	if !r.Sparse {
		return
	}
	raw := d.take((n + 1) * crcSize)
	if d.err != nil {
		return
	}
	r.Heads = d.heads.take(n + 1)
	for i := range r.Heads {
		r.Heads[i] = binary.LittleEndian.Uint32(raw[i*crcSize:])
	}
}

func (d *decoder) runAborted(r *Run) {
	n := d.count(minAbortedSize)
	if n == 0 {
		return
	}
	r.Aborted = make([]AbortedTxn, n)
	for i := range r.Aborted {
		a := &r.Aborted[i]
		a.Producer = id.Producer(d.varint())
		a.Last = r.Base + id.Offset(d.within(d.uvarint(), 0, int64(r.Next-r.Base)-1))
		a.First = a.Last - id.Offset(d.within(d.varint(), 0, int64(a.Last)))
		a.Stable = a.First + id.Offset(d.within(d.varint(), -int64(a.First), math.MaxInt64-int64(a.First)))
	}
}

func (d *decoder) runProducers(r *Run) {
	n := d.count(minProducerSize)
	if n == 0 {
		return
	}
	r.Producers = make([]producers.State, n)
	for i := range r.Producers {
		if d.err != nil {
			return
		}
		s, rest, err := producers.DecodeState(d.b)
		d.fail(err)
		r.Producers[i], d.b = s, rest
	}
}

func (d *decoder) fail(err error) {
	if d.err == nil && err != nil {
		d.err, d.b = err, nil
	}
}

// count reads the number of elements that follow, of size bytes or more each.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > int64(len(d.b)/size) {
		d.fail(fmt.Errorf("it counts %d elements in %d bytes", n, len(d.b)))
		return 0
	}
	return int(n)
}

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.fail(errShort)
	}
	if d.err != nil {
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) uvarint() int64 {
	n := d.uvarint64()
	if n > math.MaxInt64 {
		d.fail(errNumber)
		return 0
	}
	return int64(n)
}

func (d *decoder) uvarint64() uint64 {
	n, size := binary.Uvarint(d.b)
	if size <= 0 {
		d.fail(errNumber)
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) varint() int64 {
	n, size := binary.Varint(d.b)
	if size <= 0 {
		d.fail(errNumber)
		return 0
	}
	d.b = d.b[size:]
	return n
}

// within returns n, or after a failure low.
func (d *decoder) within(n, low, high int64) int64 {
	if d.err != nil {
		return low
	}
	if n < low || n > high {
		d.fail(fmt.Errorf("%d is not within [%d, %d]", n, low, high))
		return low
	}
	return n
}

// slab cuts many small slices out of few allocations.
type slab[T any] struct{ free []T }

const slabSize = 1024

func (s *slab[T]) take(n int) []T {
	if n > len(s.free) {
		s.free = make([]T, max(n, slabSize))
	}
	out := s.free[:n:n]
	s.free = s.free[n:]
	return out
}
