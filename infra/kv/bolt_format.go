package kv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"
)

// The bucket "items" maps
//
//	key     Part, 0x00, Sort
//	value   offset 0   16 bytes  nonce of the write
//	        offset 16   4 bytes  CRC32C of key, nonce and value, little endian
//	        offset 20            the value
//
// and the bucket "forebay" names this layout under "format". A change of layout
// takes a new name; a reader takes its own and the one before.
const itemHeader = nonceSize + crc32.Size

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendBoltKey(to []byte, key Key) []byte {
	to = append(to, key.Part...)
	to = append(to, 0)
	return append(to, key.Sort...)
}

func encodeItem(key []byte, nonce [nonceSize]byte, value []byte) []byte {
	b := make([]byte, 0, itemHeader+len(value))
	b = append(b, nonce[:]...)
	b = binary.LittleEndian.AppendUint32(b, itemCRC(key, nonce[:], value))
	return append(b, value...)
}

func itemCRC(key, nonce, value []byte) uint32 {
	crc := crc32.Update(0, castagnoli, key)
	crc = crc32.Update(crc, castagnoli, nonce)
	return crc32.Update(crc, castagnoli, value)
}

// decodeItem returns a copy of a stored item. It sets Key also with an error.
func decodeItem(key Key, boltKey, stored []byte) (Item, error) {
	if len(stored) < itemHeader {
		return Item{Key: key}, fmt.Errorf("%w: item of %d bytes, want at least %d", ErrCorrupt, len(stored), itemHeader)
	}
	nonce, value := stored[:nonceSize], stored[itemHeader:]
	want := binary.LittleEndian.Uint32(stored[nonceSize:])
	if got := itemCRC(boltKey, nonce, value); got != want {
		return Item{Key: key}, fmt.Errorf("%w: checksum %08x, want %08x", ErrCorrupt, got, want)
	}
	return Item{Key: key, Value: append([]byte{}, value...), Version: encodeNonce([nonceSize]byte(nonce))}, nil
}

// boltCursor walks the items of one part within a range.
type boltCursor struct {
	c       *bolt.Cursor
	from    []byte // inclusive
	to      []byte // exclusive
	reverse bool
}

func newBoltCursor(c *bolt.Cursor, part string, r Range) *boltCursor {
	from := appendBoltKey(nil, Key{Part: part, Sort: r.From})
	to := appendBoltKey(nil, Key{Part: part, Sort: r.To})
	if r.To == "" {
		to[len(part)] = 1 // behind every key of the part
	}
	return &boltCursor{c: c, from: from, to: to, reverse: r.Reverse}
}

func (b *boltCursor) first() (key, stored []byte) {
	if !b.reverse {
		return b.within(b.c.Seek(b.from))
	}
	if key, _ := b.c.Seek(b.to); key == nil {
		return b.within(b.c.Last())
	}
	return b.within(b.c.Prev())
}

func (b *boltCursor) next() (key, stored []byte) {
	if b.reverse {
		return b.within(b.c.Prev())
	}
	return b.within(b.c.Next())
}

func (b *boltCursor) within(key, stored []byte) ([]byte, []byte) {
	if key == nil || bytes.Compare(key, b.from) < 0 || bytes.Compare(key, b.to) >= 0 {
		return nil, nil
	}
	return key, stored
}
