package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/forebaylog/forebay/tiering/pack"
)

// indexed is one object of a stream, as an index tells of it.
type indexed struct {
	seq  uint64 // of its slot
	ref  ObjectRef
	tail []byte // its footer and trailer
}

// The index object; see FORMAT.md. All numbers are little endian.
//
//	0       8   9   12      16
//	| magic | v | 0 | count | entries… | crc |
//
//	0     8      16       18     18+N          22+N
//	| seq | size | N      | name | tail length | tail |
const (
	indexMagic   = "FBAYWIDX"
	indexVersion = 1
	indexHead    = 16
	entryHead    = 18
	tailHead     = 4
	indexCRC     = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendIndex appends the encoded index to b.
func appendIndex(b []byte, entries []indexed) []byte {
	start := len(b)
	b = append(b, indexMagic...)
	b = append(b, indexVersion, 0, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(entries)))
	for _, e := range entries {
		b = binary.LittleEndian.AppendUint64(b, e.seq)
		b = binary.LittleEndian.AppendUint64(b, uint64(e.ref.Size))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(e.ref.Name)))
		b = append(b, e.ref.Name...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(e.tail)))
		b = append(b, e.tail...)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// decodeIndex reads what appendIndex wrote; the tails share b's bytes. It fails with
// ErrCorrupt or ErrVersion.
func decodeIndex(b []byte) ([]indexed, error) {
	corrupt := func(what string) error { return fmt.Errorf("decode stream index: %w: %s", ErrCorrupt, what) }
	switch {
	case len(b) < indexHead+indexCRC:
		return nil, corrupt("it is cut short")
	case string(b[:8]) != indexMagic:
		return nil, corrupt("another magic")
	case b[8] > indexVersion:
		return nil, fmt.Errorf("decode stream index: %w: version %d, this one knows %d", ErrVersion, b[8], indexVersion)
	case b[8] != indexVersion || b[9]|b[10]|b[11] != 0:
		return nil, corrupt("its header")
	}
	body := b[:len(b)-indexCRC]
	if binary.LittleEndian.Uint32(b[len(body):]) != crc32.Checksum(body, castagnoli) {
		return nil, corrupt("its CRC32C is wrong")
	}
	count, rest := binary.LittleEndian.Uint32(body[12:]), body[indexHead:]
	if int64(count) > int64(len(rest)/(entryHead+tailHead)) {
		return nil, corrupt("its count")
	}
	entries := make([]indexed, count)
	for i := range entries {
		e := &entries[i]
		if len(rest) < entryHead {
			return nil, corrupt("an entry is cut short")
		}
		e.seq = binary.LittleEndian.Uint64(rest)
		e.ref.Size = int64(binary.LittleEndian.Uint64(rest[8:]))
		name := int(binary.LittleEndian.Uint16(rest[16:]))
		if rest = rest[entryHead:]; len(rest) < name+tailHead {
			return nil, corrupt("a name is cut short")
		}
		e.ref.Name = string(rest[:name])
		tail := int64(binary.LittleEndian.Uint32(rest[name:]))
		if rest = rest[name+tailHead:]; int64(len(rest)) < tail {
			return nil, corrupt("a footer is cut short")
		}
		e.tail, rest = rest[:tail:tail], rest[tail:]
	}
	if len(rest) > 0 {
		return nil, corrupt("bytes are left over")
	}
	return entries, nil
}

// footer decodes what is in the object.
func (e indexed) footer() (*pack.Footer, error) {
	f, err := pack.DecodeFooter(e.tail)
	if err != nil {
		return nil, fmt.Errorf("footer of object %s: %w", e.ref.Name, err)
	}
	return f, nil
}
