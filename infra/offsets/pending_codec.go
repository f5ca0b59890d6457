package offsets

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// pendingItem is a Pending as it is stored, or the head of a shard: without entries.
type pendingItem struct {
	Pending
	epoch   id.Epoch // of the coordinator that wrote it
	ended   bool     // it is only there so that a write under way does not arrive
	key     kv.Key
	version kv.Version
}

// The value of an item:
//
//	offset  0  1 byte   version: 1
//	offset  1  1 byte   1: the transaction has ended; else 0
//	offset  2  4 bytes  epoch of the coordinator that wrote it, little endian as all that follows
//	offset  6  2 bytes  epoch of the producer
//	offset  8           entries: topic id, 16 bytes; index, 4 bytes; length n, 4 bytes; n bytes as an offset is stored
const (
	pendingVersion = 1
	pendingFixed   = 8
	pendingPrefix  = 24 // of an entry
)

// pendingHead is the sort key of the item that says which coordinator has the shard's items.
const pendingHead = "head"

func pendingPart(shard int32) string { return fmt.Sprintf("pending-offsets/%d", shard) }

// producerDigits is the length of a producer id in a key.
const producerDigits = 20

func pendingKey(producer id.Producer, group string) (string, error) {
	escaped, err := escapeGroup(group)
	if err != nil {
		return "", err
	}
	if producer < 0 {
		return "", fmt.Errorf("producer id %d is negative", producer)
	}
	return fmt.Sprintf("%0*d/%s", producerDigits, producer, escaped), nil
}

func parsePendingKey(sort string) (producer id.Producer, group string, err error) {
	digits, escaped, ok := strings.Cut(sort, "/")
	if !ok || len(digits) != producerDigits {
		return 0, "", fmt.Errorf("%w: key %q", ErrCorrupt, sort)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return 0, "", fmt.Errorf("%w: key %q", ErrCorrupt, sort)
	}
	group, err = unescapeGroup(escaped)
	return id.Producer(n), group, err
}

func appendPending(to []byte, it pendingItem) ([]byte, error) {
	ended := byte(0)
	if it.ended {
		ended = 1
	}
	to = append(to, pendingVersion, ended)
	to = binary.LittleEndian.AppendUint32(to, uint32(it.epoch))
	to = binary.LittleEndian.AppendUint16(to, uint16(it.Epoch))
	for _, e := range it.Entries {
		value, err := appendValue(nil, item{Entry: e, epoch: it.epoch})
		if err != nil {
			return nil, err
		}
		to = append(to, e.Topic[:]...)
		to = binary.LittleEndian.AppendUint32(to, uint32(e.Partition))
		to = binary.LittleEndian.AppendUint32(to, uint32(len(value)))
		to = append(to, value...)
	}
	return to, nil
}

// decodePending returns the item without its key and version.
func decodePending(sort string, b []byte) (it pendingItem, err error) {
	switch {
	case len(b) < pendingFixed:
		return it, fmt.Errorf("%w: pending offsets of %d bytes", ErrCorrupt, len(b))
	case b[0] > pendingVersion:
		return it, fmt.Errorf("%w: version %d, this one knows %d", ErrNewer, b[0], pendingVersion)
	case b[0] == 0 || b[1] > 1:
		return it, fmt.Errorf("%w: pending offsets begin with %d, %d", ErrCorrupt, b[0], b[1])
	}
	if sort != pendingHead {
		if it.Producer, it.Group, err = parsePendingKey(sort); err != nil {
			return it, err
		}
	}
	it.ended = b[1] == 1
	it.epoch, it.Epoch = id.Epoch(binary.LittleEndian.Uint32(b[2:])), int16(binary.LittleEndian.Uint16(b[6:]))
	for b = b[pendingFixed:]; len(b) > 0; {
		if len(b) < pendingPrefix {
			return it, fmt.Errorf("%w: pending offset of %d bytes", ErrCorrupt, len(b))
		}
		n := int64(binary.LittleEndian.Uint32(b[20:]))
		if n > int64(len(b)-pendingPrefix) {
			return it, fmt.Errorf("%w: pending offset of %d bytes in %d", ErrCorrupt, n, len(b))
		}
		value, err := decodeValue(b[pendingPrefix : pendingPrefix+n])
		if err != nil {
			return it, err
		}
		value.Topic, value.Partition = id.Topic(b[:16]), int32(binary.LittleEndian.Uint32(b[16:]))
		it.Entries = append(it.Entries, value.Entry)
		b = b[pendingPrefix+n:]
	}
	return it, nil
}
