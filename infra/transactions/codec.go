package transactions

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/forebaylog/forebay/infra/id"
)

// Errors of what is stored.
var (
	// ErrCorrupt: an item is not what this package writes.
	ErrCorrupt = errors.New("transaction damaged")
	// ErrNewer: a newer Forebay wrote the item. Upgrade this one.
	ErrNewer = errors.New("transaction written by a newer Forebay")
)

// The value of an item, little endian:
//
//	offset  0   1 byte   version: 1
//	offset  1   1 byte   state
//	offset  2   1 byte   transaction version
//	offset  3   4 bytes  epoch of the coordinator that wrote it
//	offset  7   8 bytes  producer id
//	offset 15   8 bytes  previous producer id, -1: none
//	offset 23   8 bytes  next producer id, -1: none
//	offset 31   2 bytes  producer epoch
//	offset 33   2 bytes  last producer epoch, -1: none
//	offset 35   4 bytes  timeout in ms
//	offset 39   8 bytes  start in ms since 1970, -1: none
//	offset 47   8 bytes  last change in ms since 1970
//	offset 55  20 bytes  for each partition, in order: topic id, index
const (
	valueVersion   = 1
	valueFixed     = 55
	partitionBytes = 20
)

// appendValue appends the value of an item.
func appendValue(to []byte, t *Transaction, coordinator id.Epoch) []byte {
	le := binary.LittleEndian
	to = append(to, valueVersion, byte(t.State), byte(t.Version))
	to = le.AppendUint32(to, uint32(coordinator))
	for _, p := range []id.Producer{t.Producer, t.Previous, t.Next} {
		to = le.AppendUint64(to, uint64(p))
	}
	to = le.AppendUint16(to, uint16(t.Epoch))
	to = le.AppendUint16(to, uint16(t.LastEpoch))
	to = le.AppendUint32(to, uint32(t.Timeout.Milliseconds()))
	started := int64(-1)
	if !t.Started.IsZero() {
		started = t.Started.UnixMilli()
	}
	to = le.AppendUint64(to, uint64(started))
	to = le.AppendUint64(to, uint64(t.Updated.UnixMilli()))
	for _, p := range t.Partitions {
		to = append(to, p.Topic[:]...)
		to = le.AppendUint32(to, uint32(p.Index))
	}
	return to
}

// decodeValue reads what appendValue writes. It fails with ErrCorrupt or ErrNewer.
func decodeValue(b []byte) (t Transaction, coordinator id.Epoch, err error) {
	switch {
	case len(b) == 0 || b[0] == 0:
		return t, 0, fmt.Errorf("%w: no version", ErrCorrupt)
	case b[0] > valueVersion:
		return t, 0, fmt.Errorf("%w: version %d, this one knows %d", ErrNewer, b[0], valueVersion)
	case len(b) < valueFixed || (len(b)-valueFixed)%partitionBytes != 0:
		return t, 0, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(b))
	case State(b[1]) == None || State(b[1]) > CompleteAbort:
		return t, 0, fmt.Errorf("%w: state %d", ErrCorrupt, b[1])
	}
	le := binary.LittleEndian
	t = Transaction{
		State: State(b[1]), Version: int8(b[2]),
		Producer: id.Producer(le.Uint64(b[7:])), Previous: id.Producer(le.Uint64(b[15:])), Next: id.Producer(le.Uint64(b[23:])),
		Epoch: int16(le.Uint16(b[31:])), LastEpoch: int16(le.Uint16(b[33:])),
		Timeout: time.Duration(int32(le.Uint32(b[35:]))) * time.Millisecond,
		Updated: time.UnixMilli(int64(le.Uint64(b[47:]))).UTC(),
	}
	if started := int64(le.Uint64(b[39:])); started != -1 {
		t.Started = time.UnixMilli(started).UTC()
	}
	for rest := b[valueFixed:]; len(rest) > 0; rest = rest[partitionBytes:] {
		p := id.Partition{Topic: id.Topic(rest[:16]), Index: int32(le.Uint32(rest[16:]))}
		if n := len(t.Partitions); n > 0 && t.Partitions[n-1].Compare(p) >= 0 {
			return t, 0, fmt.Errorf("%w: partition %v is out of order", ErrCorrupt, p)
		}
		t.Partitions = append(t.Partitions, p)
	}
	t.Partitions = slices.Clip(t.Partitions)
	return t, id.Epoch(le.Uint32(b[3:])), nil
}
