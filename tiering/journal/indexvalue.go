package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/forebaylog/forebay/infra/id"
)

// The index holds, in Badger, for each run of up to maxRun consecutive batches of
// one partition in one segment:
//
//	key   0x01 | topic 16 | partition 4 | base offset of the first 8
//	value segment uvarint | count uvarint |
//	      for each: gap to the previous next offset uvarint (the first: 0) |
//	        offsets-1 uvarint | position, from the end of the previous frame uvarint |
//	        length uvarint | max timestamp, from the previous varint | epoch, from the previous varint |
//	      crc 4, CRC32C of key and value
//
// and for each segment that it holds completely:
//
//	key   0x02 | segment 8         value fold 8 | entries 8
//
// and, once, 0x00 with the cluster id.
const (
	keyCluster = 0x00
	keyRun     = 0x01
	keySegment = 0x02

	prefixSize = 1 + 16 + 4
	runKeySize = prefixSize + 8

	maxRun       = 64
	minRunEntry  = 6
	markerLength = 16
)

var errIndex = errors.New("index is damaged")

func appendPrefix(b []byte, p id.Partition) []byte {
	b = append(append(b, keyRun), p.Topic[:]...)
	return binary.BigEndian.AppendUint32(b, uint32(p.Index))
}

func appendRunKey(b []byte, p id.Partition, base id.Offset) []byte {
	return binary.BigEndian.AppendUint64(appendPrefix(b, p), uint64(base))
}

func decodeRunKey(k []byte) (id.Partition, id.Offset, error) {
	if len(k) != runKeySize || k[0] != keyRun {
		return id.Partition{}, 0, fmt.Errorf("decode index key %x: %w", k, errIndex)
	}
	p := id.Partition{Topic: id.Topic(k[1:17]), Index: int32(binary.BigEndian.Uint32(k[17:]))}
	return p, id.Offset(binary.BigEndian.Uint64(k[prefixSize:])), nil
}

func segmentKey(s id.Segment) []byte {
	return binary.BigEndian.AppendUint64([]byte{keySegment}, uint64(s))
}

// appendRun appends the value of a run under key. entries is not empty, in order
// and of one segment.
func appendRun(b, key []byte, entries []Entry) []byte {
	start := len(b)
	b = binary.AppendUvarint(b, uint64(entries[0].Segment))
	b = binary.AppendUvarint(b, uint64(len(entries)))
	prev := Entry{Next: entries[0].Base, Pos: -FrameHeaderSize}
	for _, e := range entries {
		b = binary.AppendUvarint(b, uint64(e.Base-prev.Next))
		b = binary.AppendUvarint(b, uint64(e.Next-e.Base-1))
		b = binary.AppendUvarint(b, uint64(e.Pos-prev.Pos-FrameHeaderSize-int64(prev.Length)))
		b = binary.AppendUvarint(b, uint64(e.Length))
		b = binary.AppendVarint(b, e.MaxTimestamp-prev.MaxTimestamp)
		b = binary.AppendVarint(b, int64(e.Epoch)-int64(prev.Epoch))
		prev = e
	}
	return binary.BigEndian.AppendUint32(b, runCRC(key, b[start:]))
}

func runCRC(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// decodeRun appends the entries of a run to dst. Errors match errIndex.
func decodeRun(dst []Entry, key, value []byte) ([]Entry, error) {
	_, base, err := decodeRunKey(key)
	if err != nil {
		return dst, err
	}
	if len(value) < 4 || base < 0 {
		return dst, fmt.Errorf("decode index value of %d bytes at offset %d: %w", len(value), base, errIndex)
	}
	body := value[:len(value)-4]
	if runCRC(key, body) != binary.BigEndian.Uint32(value[len(body):]) {
		return dst, fmt.Errorf("decode index value at offset %d: CRC32C does not match: %w", base, errIndex)
	}
	r := varReader{b: body}
	seg := id.Segment(r.uvarint())
	n := r.uvarint()
	if n == 0 || n > maxRun || n > uint64(len(r.b)/minRunEntry) {
		return dst, fmt.Errorf("decode index value at offset %d: %d batches: %w", base, n, errIndex)
	}
	prev := Entry{Next: base, Pos: -FrameHeaderSize}
	for i := range n {
		prev = decodeRunEntry(&r, prev)
		prev.Segment = seg
		r.bad = r.bad || i == 0 && prev.Base != base // the key is where a run starts
		dst = append(dst, prev)
	}
	if r.bad || len(r.b) > 0 {
		return dst[:len(dst)-int(n)], fmt.Errorf("decode index value at offset %d: malformed: %w", base, errIndex)
	}
	return dst, nil
}

func decodeRunEntry(r *varReader, prev Entry) Entry {
	var e Entry
	e.Base = prev.Next + id.Offset(r.bounded(math.MaxInt64-uint64(prev.Next)))
	e.Next = e.Base + id.Offset(r.bounded(math.MaxInt32)) + 1
	end := prev.Pos + FrameHeaderSize + int64(prev.Length)
	e.Pos = end + int64(r.bounded(uint64(math.MaxUint32-min(end, math.MaxUint32))))
	e.Length = int32(r.bounded(math.MaxInt32))
	e.MaxTimestamp = prev.MaxTimestamp + r.varint()
	epoch := int64(prev.Epoch) + r.varint()
	e.Epoch = id.Epoch(epoch)
	r.bad = r.bad || e.Base < 0 || e.Next < e.Base || int64(e.Epoch) != epoch
	return e
}
