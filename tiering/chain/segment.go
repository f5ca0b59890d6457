package chain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"unicode/utf8"

	"github.com/forebaylog/forebay/infra/id"
)

// Segment is one link of a chain: the offsets [Base, Next) of a partition lie as
// one run of batches in an object. A segment without an object is empty: nothing is left
// of its offsets.
type Segment struct {
	Base, Next            id.Offset
	Object                string // name in the object store; "" of an empty segment
	ObjectSize            int64  // bytes
	Pos, Length           int64  // the run within the object, bytes
	MaxTimestamp          int64  // of the batches, ms since 1970; -1 if no record has one
	Records               int64
	FirstEpoch, LastEpoch id.Epoch // of the first and of the last batch
	CRC                   uint32   // CRC32C of the run
	// Sealed is the time of the object, ms since 1970 by its writer's clock; 0 if the item was
	// written in version 1.
	Sealed int64
	// Rewritten: it has taken the place of other segments of the chain.
	Rewritten bool
	// CleanedTo: compaction has removed from it what has a newer record of the same key below
	// this offset; 0 if it was never compacted.
	CleanedTo id.Offset
}

// Empty reports whether nothing is left of the segment's offsets.
func (s Segment) Empty() bool { return s.Object == "" }

// Cleaned reports whether it has taken the place of others and lacks records that they had, or had before.
func (s Segment) Cleaned() bool { return s.Rewritten && s.Records < int64(s.Next-s.Base) }

// Sizes of the encoding; see FORMAT.md.
const (
	segmentVersion = 2
	fixedV1        = 71
	fixedV2        = fixedV1 + 17
	segmentTrailer = 4
	maxObjectName  = 900

	flagRewritten = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Validate reports what makes s impossible, as an error that wraps ErrInvalid.
func (s Segment) Validate() error {
	switch {
	case s.Base < 0 || s.Next <= s.Base:
		return fmt.Errorf("%w: offsets %d to %d", ErrInvalid, s.Base, s.Next)
	case s.Empty() && (s.ObjectSize != 0 || s.Pos != 0 || s.Length != 0 || s.Records != 0 || s.CRC != 0):
		return fmt.Errorf("%w: records without an object", ErrInvalid)
	case !s.Empty() && (s.Pos < 0 || s.Length <= 0 || s.ObjectSize < s.Length || s.ObjectSize-s.Length < s.Pos):
		return fmt.Errorf("%w: run of %d bytes at %d in an object of %d", ErrInvalid, s.Length, s.Pos, s.ObjectSize)
	case s.Records < 0 || s.Records > int64(s.Next-s.Base):
		return fmt.Errorf("%w: %d records between the offsets %d and %d", ErrInvalid, s.Records, s.Base, s.Next)
	case s.FirstEpoch < 0 || s.LastEpoch < s.FirstEpoch:
		return fmt.Errorf("%w: leader epochs %d to %d", ErrInvalid, s.FirstEpoch, s.LastEpoch)
	case len(s.Object) > maxObjectName || !utf8.ValidString(s.Object):
		return fmt.Errorf("%w: object name %q", ErrInvalid, s.Object)
	case s.Sealed < 0 || s.CleanedTo < 0:
		return fmt.Errorf("%w: sealed at %d, cleaned up to offset %d", ErrInvalid, s.Sealed, s.CleanedTo)
	}
	return nil
}

// AppendTo appends the encoding of s, which must be valid, to b.
//
//	0       1      9      17           25    33       41             49        57           61          65    69       77       85   86      88
//	| ver 2 | base | next | objectSize | pos | length | maxTimestamp | records | firstEpoch | lastEpoch | crc | sealed | cleaned | flags | nameN | name | crc32c |
func (s Segment) AppendTo(b []byte) []byte {
	start, be := len(b), binary.BigEndian
	b = append(b, segmentVersion)
	for _, v := range [...]int64{
		int64(s.Base), int64(s.Next), s.ObjectSize, s.Pos, s.Length, s.MaxTimestamp, s.Records,
	} {
		b = be.AppendUint64(b, uint64(v))
	}
	b = be.AppendUint32(b, uint32(s.FirstEpoch))
	b = be.AppendUint32(b, uint32(s.LastEpoch))
	b = be.AppendUint32(b, s.CRC)
	b = be.AppendUint64(b, uint64(s.Sealed))
	b = be.AppendUint64(b, uint64(s.CleanedTo))
	var flags byte
	if s.Rewritten {
		flags |= flagRewritten
	}
	b = append(b, flags)
	b = be.AppendUint16(b, uint16(len(s.Object)))
	b = append(b, s.Object...)
	return be.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// DecodeSegment reads what AppendTo wrote, in this version or the one before. It fails with
// ErrVersion or ErrCorrupt.
func DecodeSegment(b []byte) (Segment, error) {
	if len(b) == 0 {
		return Segment{}, fmt.Errorf("%w: empty value", ErrCorrupt)
	}
	fixed := fixedV2
	switch b[0] {
	case segmentVersion:
	case segmentVersion - 1:
		fixed = fixedV1
	default:
		return Segment{}, fmt.Errorf("%w: version %d, this program reads %d and %d", ErrVersion, b[0], segmentVersion-1, segmentVersion)
	}
	if len(b) < fixed+segmentTrailer {
		return Segment{}, fmt.Errorf("%w: value of %d bytes", ErrCorrupt, len(b))
	}
	be := binary.BigEndian
	name := int(be.Uint16(b[fixed-2:]))
	if len(b) != fixed+name+segmentTrailer {
		return Segment{}, fmt.Errorf("%w: value of %d bytes with a name of %d", ErrCorrupt, len(b), name)
	}
	body := b[:len(b)-segmentTrailer]
	if got, want := crc32.Checksum(body, castagnoli), be.Uint32(b[len(body):]); got != want {
		return Segment{}, fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, got, want)
	}
	num := func(at int) int64 { return int64(be.Uint64(b[at:])) }
	s := Segment{
		Base: id.Offset(num(1)), Next: id.Offset(num(9)), ObjectSize: num(17), Pos: num(25), Length: num(33),
		MaxTimestamp: num(41), Records: num(49),
		FirstEpoch: id.Epoch(be.Uint32(b[57:])), LastEpoch: id.Epoch(be.Uint32(b[61:])), CRC: be.Uint32(b[65:]),
		Object: string(body[fixed:]),
	}
	if fixed == fixedV2 {
		s.Sealed, s.CleanedTo, s.Rewritten = num(69), id.Offset(num(77)), b[85]&flagRewritten != 0
		if b[85]&^flagRewritten != 0 {
			return Segment{}, fmt.Errorf("%w: flags %02x", ErrCorrupt, b[85])
		}
	}
	if err := s.Validate(); err != nil {
		return Segment{}, errors.Join(ErrCorrupt, err)
	}
	if fixed == fixedV1 && s.Empty() {
		return Segment{}, fmt.Errorf("%w: no object", ErrCorrupt)
	}
	return s, nil
}
