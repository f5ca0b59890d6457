package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

// A frame is this header and its payload, without padding. All numbers are big-endian.
//
//	0      3      4        8           12       28         36       44    48
//	| magic| type | length | partition | topic  | position | synced | crc | payload…
//	| FBF  |      |        |           |        |          |        |     |
//
// position is the frame's own place in the file; synced is how much of the file
// was known to be durable when the frame was written; crc is CRC32C, started with
// the segment's salt, of the 44 bytes before it and of the first 21 of the payload.
// These are what the CRC of a record batch leaves out, so together the two cover
// every byte once.
const (
	// FrameHeaderSize is how many bytes stand before each batch: a batch begins that
	// far behind its entry's Pos.
	FrameHeaderSize = 48
	framePrefix     = 21

	posFrameType   = 3
	posFrameLength = 4
	posPartition   = 8
	posTopic       = 12
	posPosition    = 28
	posSynced      = 36
	posFrameCRC    = 44
)

type frameType uint8

const (
	frameBatch  frameType = 1
	frameFooter frameType = 2
)

var frameMagic = [3]byte{'F', 'B', 'F'}

var errFrame = errors.New("not a frame")

// frameHeader is the decoded form; its length, position and synced are in bytes.
type frameHeader struct {
	kind      frameType
	partition id.Partition // zero in a footer
	length    uint32
	position  int64
	synced    int64
}

// end is the position after the frame.
func (h frameHeader) end() int64 { return h.position + FrameHeaderSize + int64(h.length) }

// put writes the header into dst, which has FrameHeaderSize bytes.
func (h frameHeader) put(dst []byte, salt uint32, payload []byte) {
	_ = dst[FrameHeaderSize-1]
	copy(dst, frameMagic[:])
	dst[posFrameType] = byte(h.kind)
	binary.BigEndian.PutUint32(dst[posFrameLength:], h.length)
	binary.BigEndian.PutUint32(dst[posPartition:], uint32(h.partition.Index))
	copy(dst[posTopic:], h.partition.Topic[:])
	binary.BigEndian.PutUint64(dst[posPosition:], uint64(h.position))
	binary.BigEndian.PutUint64(dst[posSynced:], uint64(h.synced))
	binary.BigEndian.PutUint32(dst[posFrameCRC:], frameCRC(salt, dst, payload))
}

func frameCRC(salt uint32, hdr, payload []byte) uint32 {
	crc := crc32.Update(salt, castagnoli, hdr[:posFrameCRC])
	return crc32.Update(crc, castagnoli, payload[:min(framePrefix, len(payload))])
}

// decodeFrameHeader checks and decodes the header at the start of b, which holds
// at least the first framePrefix bytes of the payload too, and which stands at
// position pos of a segment of size bytes. The error is errFrame without detail,
// as it is the common answer while scanning for a frame.
func decodeFrameHeader(b []byte, salt uint32, pos, size int64) (frameHeader, error) {
	if len(b) < FrameHeaderSize || [3]byte(b) != frameMagic {
		return frameHeader{}, errFrame
	}
	h := frameHeader{
		kind:      frameType(b[posFrameType]),
		length:    binary.BigEndian.Uint32(b[posFrameLength:]),
		partition: id.Partition{Topic: id.Topic(b[posTopic:posPosition]), Index: int32(binary.BigEndian.Uint32(b[posPartition:]))},
		position:  int64(binary.BigEndian.Uint64(b[posPosition:])),
		synced:    int64(binary.BigEndian.Uint64(b[posSynced:])),
	}
	payload := b[FrameHeaderSize:]
	switch {
	case h.position != pos, h.synced < 0, h.synced > pos, h.length > math.MaxInt32, h.end() > size,
		len(payload) < min(framePrefix, int(h.length)):
		return frameHeader{}, errFrame
	}
	payload = payload[:min(len(payload), int(h.length))]
	if frameCRC(salt, b, payload) != binary.BigEndian.Uint32(b[posFrameCRC:]) {
		return frameHeader{}, errFrame
	}
	return h, nil
}

// checkBatch returns the frame's payload as a batch if every byte of it is good.
func checkBatch(payload []byte) (batch.View, error) {
	v, rest, err := batch.Parse(payload)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("batch at offset %d has %d bytes, its frame %d", v.BaseOffset(), len(v), len(payload))
	}
	return v, v.Verify()
}

// entryOf is the index entry of a batch in a frame of segment s at pos.
func entryOf(s id.Segment, pos int64, v batch.View) Entry {
	return Entry{
		Base: v.BaseOffset(), Next: v.NextOffset(), MaxTimestamp: v.MaxTimestamp(), Epoch: v.LeaderEpoch(),
		Segment: s, Pos: pos, Length: int32(len(v)),
	}
}
