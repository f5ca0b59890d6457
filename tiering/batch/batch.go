// Package batch reads and checks Kafka's record batches (message format v2) where
// they lie, without decoding them into other structures.
//
// It owns the byte layout of a batch, its checksum, its compression and the
// rules a broker holds a producer's batch to. It never copies a batch, never
// changes one but in [View.Stamp], [View.SetLogAppendTime] and the max timestamp
// that [ValidateProduce] corrects, and knows nothing of partitions, producers'
// history or storage.
//
// The hot path (ParseSent, the accessors, Verify, Stamp, ValidateProduce of a valid
// uncompressed batch) allocates nothing. Functions may be called concurrently; a
// View may be read by many goroutines while none changes it.
package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/seeded"
)

// Errors that callers test with errors.Is.
var (
	// ErrCorrupt means that the bytes are not a whole, unharmed batch.
	ErrCorrupt = errors.New("corrupt record batch")
	// ErrTruncated is an ErrCorrupt of a batch whose end is missing: with more bytes it may be good.
	ErrTruncated = fmt.Errorf("%w: it is cut short", ErrCorrupt)
	// ErrInvalidRecord means that the batch is unharmed but breaks a rule that a producer must keep.
	ErrInvalidRecord = errors.New("invalid record")
	// ErrTooLarge means that a batch, or what it decompresses to, is above its limit.
	ErrTooLarge = errors.New("record batch too large")
	// ErrInvalidTimestamp means that a record's time is out of the topic's range or of a type that a producer may not set.
	ErrInvalidTimestamp = errors.New("invalid timestamp")
	// ErrUnsupportedCodec means that the attributes name a compression that does not exist.
	ErrUnsupportedCodec = errors.New("unsupported compression codec")
)

// HeaderSize is the size in bytes of a batch before its records.
const HeaderSize = 61

// Magic is the only message format that Forebay stores.
const Magic = 2

// The ruler. All numbers are big-endian.
//
//	0      8      12    16    17    21     23       27      35      43     51      53      57      61
//	| base | len- | ep- | ma- | crc | attr | last   | base  | max   | pro- | prod. | base  | re-   | records…
//	| offs | gth  | och | gic |     |      | o.delta| time  | time  | ducer| epoch | seq.  | cords |
//
// length counts the bytes from 12 on; crc is CRC32C of the bytes from 21 on.
const (
	posBaseOffset    = 0
	posLength        = 8
	posLeaderEpoch   = 12
	posMagic         = 16
	posCRC           = 17
	posAttributes    = 21
	posLastDelta     = 23
	posBaseTimestamp = 27
	posMaxTimestamp  = 35
	posProducerID    = 43
	posProducerEpoch = 51
	posBaseSequence  = 53
	posRecords       = 57
)

const (
	logOverhead   = posLeaderEpoch // what length does not count
	minRecordSize = 7              // length, attributes, two deltas, null key, null value, no headers

	attrCodec         = 0x07
	attrLogAppendTime = 0x08
	attrTransactional = 0x10
	attrControl       = 0x20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// View is one whole record batch, or only its header if [ParseHeader] made it.
// Only Parse, ParseSent, ParseHeader and Builder make views; the accessors trust their length.
type View []byte

// Parse cuts the first batch off b. The view and the rest share b's bytes. It
// checks lengths, magic and counts, but not the checksum: see [View.Verify]. The
// error is [ErrTruncated] if b ends before the batch, else another [ErrCorrupt].
func Parse(b []byte) (v View, rest []byte, err error) {
	h, err := ParseHeader(b)
	if err != nil {
		return nil, b, err
	}
	return cut(h, b)
}

// ParseSent is Parse for what a producer sent, which may be wrong and yet unharmed: of offsets
// and counts it believes the header, so that only [ValidateProduce] may look at the view before it has found them sound.
func ParseSent(b []byte) (v View, rest []byte, err error) {
	h, err := frame(b)
	if err != nil {
		return nil, b, err
	}
	return cut(h, b)
}

// cut cuts the batch of a header off b, which begins with it.
func cut(h View, b []byte) (v View, rest []byte, err error) {
	n := h.Length()
	if n > len(b) {
		return nil, b, fmt.Errorf("parse record batch at offset %d: %d bytes of %d: %w", h.BaseOffset(), len(b), n, ErrTruncated)
	}
	return View(b[:n:n]), b[n:], nil
}

// ParseHeader views the header alone at the start of b, for readers that do not
// hold the whole batch yet. Of the result only the accessors and Stamp may be used;
// Length tells how many bytes the whole batch has. The errors are those of Parse.
func ParseHeader(b []byte) (View, error) {
	v, err := frame(b)
	if err != nil {
		return nil, err
	}
	return v, v.checkCounts()
}

// frame views the header at the start of b and checks what tells where the batch ends.
func frame(b []byte) (View, error) {
	if len(b) < HeaderSize {
		return nil, fmt.Errorf("parse record batch: %d bytes, want a header of %d: %w", len(b), HeaderSize, ErrTruncated)
	}
	v := View(b[:HeaderSize:HeaderSize])
	if m := v.Magic(); m != Magic {
		return nil, fmt.Errorf("parse record batch: magic %d, want %d: %w", m, Magic, ErrCorrupt)
	}
	if n := int32(v.u32(posLength)); n < HeaderSize-logOverhead || n > math.MaxInt32-logOverhead {
		return nil, fmt.Errorf("parse record batch: length field is %d: %w", n, ErrCorrupt)
	}
	return v, nil
}

// checkCounts refuses offsets and counts that contradict each other or the length.
func (v View) checkCounts() error {
	base, delta, count := v.BaseOffset(), v.LastOffsetDelta(), v.Records()
	switch {
	case base < 0 || delta < 0 || int64(base) > math.MaxInt64-int64(delta)-1:
		return fmt.Errorf("parse record batch: base offset %d and last delta %d: %w", base, delta, ErrCorrupt)
	case count < 0 || int64(count) > int64(delta)+1:
		return fmt.Errorf("parse record batch at offset %d: %d records in %d offsets: %w", base, count, int64(delta)+1, ErrCorrupt)
	case v.Codec() == None && int64(count)*minRecordSize > int64(v.Length()-HeaderSize):
		return fmt.Errorf("parse record batch at offset %d: %d records in %d bytes: %w", base, count, v.Length()-HeaderSize, ErrCorrupt)
	}
	return nil
}

func (v View) u16(at int) uint16 { return binary.BigEndian.Uint16(v[at:]) }
func (v View) u32(at int) uint32 { return binary.BigEndian.Uint32(v[at:]) }
func (v View) u64(at int) uint64 { return binary.BigEndian.Uint64(v[at:]) }

// BaseOffset is the offset of the first record that the batch was written with.
func (v View) BaseOffset() id.Offset { return id.Offset(v.u64(posBaseOffset)) }

// LastOffset is the last offset that the batch occupies, even if compaction removed its record.
func (v View) LastOffset() id.Offset { return v.BaseOffset() + id.Offset(v.LastOffsetDelta()) }

// NextOffset is the offset after the batch.
func (v View) NextOffset() id.Offset { return v.LastOffset() + 1 }

// Length is the size of the whole batch in bytes, its header included.
func (v View) Length() int { return logOverhead + int(int32(v.u32(posLength))) }

// LeaderEpoch is the epoch of the leader that stamped the batch.
func (v View) LeaderEpoch() id.Epoch { return id.Epoch(v.u32(posLeaderEpoch)) }

// Magic is the message format, always 2 in a parsed view.
func (v View) Magic() int8 { return int8(v[posMagic]) }

// CRC is the stored CRC32C of everything from the attributes on.
func (v View) CRC() uint32 { return v.u32(posCRC) }

// Attributes is the bit field of codec, timestamp type, transactional, control and delete horizon.
func (v View) Attributes() int16 { return int16(v.u16(posAttributes)) }

// Codec is the compression of the records; it may be one that does not exist.
func (v View) Codec() Codec { return Codec(v.u16(posAttributes) & attrCodec) }

// LogAppendTime reports whether MaxTimestamp, set by the broker, is the time of all records.
func (v View) LogAppendTime() bool { return v.u16(posAttributes)&attrLogAppendTime != 0 }

// IsTransactional reports whether the batch belongs to a transaction.
func (v View) IsTransactional() bool { return v.u16(posAttributes)&attrTransactional != 0 }

// IsControl reports whether the batch holds a marker and no records for consumers.
func (v View) IsControl() bool { return v.u16(posAttributes)&attrControl != 0 }

// BaseTimestamp is what the records' time deltas count from, in milliseconds since 1970.
func (v View) BaseTimestamp() int64 { return int64(v.u64(posBaseTimestamp)) }

// DeleteHorizon is when the tombstones of a batch that compaction has gone over, or its marker, may
// go, in milliseconds since 1970: then it is the BaseTimestamp; ok is false if it has none (KIP-534).
func (v View) DeleteHorizon() (ms int64, ok bool) {
	if v.u16(posAttributes)&attrDeleteHorizon == 0 {
		return 0, false
	}
	return v.BaseTimestamp(), true
}

// MaxTimestamp is the largest time of the records, in milliseconds since 1970, or -1.
func (v View) MaxTimestamp() int64 { return int64(v.u64(posMaxTimestamp)) }

// ProducerID is the id of an idempotent producer, or id.NoProducer.
func (v View) ProducerID() id.Producer { return id.Producer(v.u64(posProducerID)) }

// ProducerEpoch is the epoch of the producer id; it means nothing without one.
func (v View) ProducerEpoch() int16 { return int16(v.u16(posProducerEpoch)) }

// BaseSequence is the sequence number of the first record; it means nothing without a producer id.
func (v View) BaseSequence() int32 { return int32(v.u32(posBaseSequence)) }

// LastSequence is the sequence number of the last record: after 2^31-1 comes 0. It
// is -1 if BaseSequence is negative, as in markers.
func (v View) LastSequence() int32 {
	base := v.BaseSequence()
	if base < 0 {
		return -1
	}
	return (base + v.LastOffsetDelta()) & math.MaxInt32
}

// LastOffsetDelta is LastOffset - BaseOffset.
func (v View) LastOffsetDelta() int32 { return int32(v.u32(posLastDelta)) }

// Records is the number of records, below LastOffsetDelta+1 only after compaction.
func (v View) Records() int32 { return int32(v.u32(posRecords)) }

// Verify compares the stored checksum with the bytes; the error is an ErrCorrupt.
func (v View) Verify() error {
	if seeded.Enabled(seeded.CRC) {
		return nil
	}
	if got, want := crc32.Checksum(v[posAttributes:], castagnoli), v.CRC(); got != want {
		return fmt.Errorf("verify record batch at offset %d: CRC32C is %08x, the header says %08x: %w", v.BaseOffset(), got, want, ErrCorrupt)
	}
	return nil
}

// Stamp sets the base offset and the leader epoch in place. Neither is covered by the checksum.
func (v View) Stamp(base id.Offset, epoch id.Epoch) {
	binary.BigEndian.PutUint64(v[posBaseOffset:], uint64(base))
	binary.BigEndian.PutUint32(v[posLeaderEpoch:], uint32(epoch))
}

// SetLogAppendTime makes ms, in milliseconds since 1970, the time of all records, and renews the checksum.
func (v View) SetLogAppendTime(ms int64) {
	binary.BigEndian.PutUint16(v[posAttributes:], v.u16(posAttributes)|attrLogAppendTime)
	v.setMaxTimestamp(ms)
}

func (v View) setMaxTimestamp(ms int64) {
	binary.BigEndian.PutUint64(v[posMaxTimestamp:], uint64(ms))
	v.seal()
}

// seal computes the checksum anew.
func (v View) seal() {
	binary.BigEndian.PutUint32(v[posCRC:], crc32.Checksum(v[posAttributes:], castagnoli))
}
