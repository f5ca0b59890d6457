package batch

import (
	"encoding/binary"
	"fmt"

	"github.com/forebaylog/forebay/infra/id"
)

// Marker is the content of a control batch: the end of a producer's transaction.
type Marker struct {
	Commit           bool // else abort
	CoordinatorEpoch int32
}

// A marker is one record.
//
//	key:   0 version int16 | 2 type int16 (0 abort, 1 commit)
//	value: 0 version int16 | 2 coordinator epoch int32
const (
	markerKeySize   = 4
	markerValueSize = 6
	markerAbort     = 0
	markerCommit    = 1
)

// NewMarker makes the control batch that ends a producer's transaction, to be
// stamped and appended; ms is its time in milliseconds since 1970.
func NewMarker(m Marker, p id.Producer, epoch int16, ms int64) View {
	var key [markerKeySize]byte
	if m.Commit {
		binary.BigEndian.PutUint16(key[2:], markerCommit)
	}
	var value [markerValueSize]byte
	binary.BigEndian.PutUint32(value[2:], uint32(m.CoordinatorEpoch))
	return New(None).Producer(p, epoch, -1).Transactional().attribute(attrControl).
		Add(Record{Timestamp: ms, Key: key[:], Value: value[:]}).Build()
}

// ParseMarker reads a control batch. ok is false for one of another type, which
// ends no transaction; an error is an ErrCorrupt.
func ParseMarker(v View) (m Marker, ok bool, err error) {
	c := cursor{b: v[HeaderSize:]}
	f, good := c.next()
	key, value := f.key.of(c.b), f.value.of(c.b)
	if !v.IsControl() || v.Codec() != None || !good || len(key) < markerKeySize {
		return m, false, fmt.Errorf("parse control batch at offset %d: its record is not a marker: %w", v.BaseOffset(), ErrCorrupt)
	}
	typ := binary.BigEndian.Uint16(key[2:])
	if typ != markerAbort && typ != markerCommit {
		return m, false, nil
	}
	if len(value) < markerValueSize {
		return m, false, fmt.Errorf("parse control batch at offset %d: a value of %d bytes: %w", v.BaseOffset(), len(value), ErrCorrupt)
	}
	return Marker{Commit: typ == markerCommit, CoordinatorEpoch: int32(binary.BigEndian.Uint32(value[2:]))}, true, nil
}
