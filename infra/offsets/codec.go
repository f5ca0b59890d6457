package offsets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// Errors of what is stored.
var (
	// ErrCorrupt: an item is not what this package writes.
	ErrCorrupt = errors.New("offset damaged")
	// ErrNewer: a newer Forebay wrote the item. Upgrade this one.
	ErrNewer = errors.New("offset written by a newer Forebay")
)

// item is an Entry as it is stored.
type item struct {
	Entry
	epoch    id.Epoch // of the coordinator that wrote it; -1: written by version 1
	removing bool     // its removal is announced
	version  kv.Version
}

// The value of an item:
//
//	offset  0  1 byte   version: 2
//	offset  1  8 bytes  offset, little endian as all that follows
//	offset  9  4 bytes  leader epoch, -1: none
//	offset 13  8 bytes  commit time in ms since 1970
//	offset 21  8 bytes  expire time in ms since 1970; the zero time.Time, -62135596800000: none
//	offset 29  4 bytes  epoch of the coordinator that wrote it
//	offset 33  1 byte   1: its removal is announced; else 0
//	offset 34  2 bytes  length n of the topic's name
//	offset 36  n bytes  the topic's name
//	offset 36+n         metadata, up to the end
//
// A reader takes the current version and the one before: 1 has no bytes 29 to 33.
const (
	valueVersion = 2
	posEpoch     = 29
	epochBytes   = 5
	valueFixed   = 36
	maxTopicName = 1<<16 - 1
)

// appendValue appends the value of an item.
func appendValue(to []byte, it item) ([]byte, error) {
	if len(it.TopicName) > maxTopicName {
		return nil, fmt.Errorf("encode offset: topic name of %d bytes, at most %d", len(it.TopicName), maxTopicName)
	}
	removing := byte(0)
	if it.removing {
		removing = 1
	}
	to = append(to, valueVersion)
	to = binary.LittleEndian.AppendUint64(to, uint64(it.Offset))
	to = binary.LittleEndian.AppendUint32(to, uint32(it.LeaderEpoch))
	to = binary.LittleEndian.AppendUint64(to, uint64(it.CommitTime.UnixMilli()))
	to = binary.LittleEndian.AppendUint64(to, uint64(it.ExpireTime.UnixMilli()))
	to = binary.LittleEndian.AppendUint32(to, uint32(it.epoch))
	to = append(to, removing)
	to = binary.LittleEndian.AppendUint16(to, uint16(len(it.TopicName)))
	to = append(to, it.TopicName...)
	return append(to, it.Metadata...), nil
}

// decodeValue returns the item without its key and version.
func decodeValue(b []byte) (item, error) {
	if len(b) == 0 {
		return item{}, fmt.Errorf("%w: empty", ErrCorrupt)
	}
	fixed := valueFixed
	switch {
	case b[0] > valueVersion:
		return item{}, fmt.Errorf("%w: version %d, this one knows %d", ErrNewer, b[0], valueVersion)
	case b[0] == valueVersion-1:
		fixed -= epochBytes
	case b[0] == 0:
		return item{}, fmt.Errorf("%w: version 0", ErrCorrupt)
	}
	if len(b) < fixed {
		return item{}, fmt.Errorf("%w: version %d, %d bytes", ErrCorrupt, b[0], len(b))
	}
	it := item{epoch: -1}
	if b[0] == valueVersion {
		it.epoch, it.removing = id.Epoch(binary.LittleEndian.Uint32(b[posEpoch:])), b[posEpoch+4] == 1
		if b[posEpoch+4] > 1 {
			return item{}, fmt.Errorf("%w: byte %d is %d", ErrCorrupt, posEpoch+4, b[posEpoch+4])
		}
	}
	name, rest := int(binary.LittleEndian.Uint16(b[fixed-2:])), b[fixed:]
	if name > len(rest) {
		return item{}, fmt.Errorf("%w: topic name of %d bytes in %d", ErrCorrupt, name, len(rest))
	}
	it.Entry = Entry{
		Offset:      id.Offset(binary.LittleEndian.Uint64(b[1:])),
		LeaderEpoch: id.Epoch(binary.LittleEndian.Uint32(b[9:])),
		CommitTime:  time.UnixMilli(int64(binary.LittleEndian.Uint64(b[13:]))).UTC(),
		ExpireTime:  time.UnixMilli(int64(binary.LittleEndian.Uint64(b[21:]))).UTC(),
		TopicName:   string(rest[:name]),
		Metadata:    string(rest[name:]),
	}
	return it, nil
}

// The sort key of an item is the topic's id, "/" and the index in 10 digits.
const indexDigits = 10

func sortKey(p id.Partition) string {
	return fmt.Sprintf("%s/%0*d", p.Topic, indexDigits, p.Index)
}

func parseSortKey(s string) (id.Partition, error) {
	topic, digits, ok := strings.Cut(s, "/")
	if !ok || len(digits) != indexDigits {
		return id.Partition{}, fmt.Errorf("%w: key %q", ErrCorrupt, s)
	}
	t, err := id.ParseTopic(topic)
	if err != nil {
		return id.Partition{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	index, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return id.Partition{}, fmt.Errorf("%w: key %q", ErrCorrupt, s)
	}
	return id.Partition{Topic: t, Index: int32(index)}, nil
}

// maxGroup is the longest name of a group, as it is escaped, in bytes.
const maxGroup = 900

// noName stands for the empty group, in which Kafka lets simple consumers commit.
const noName = "%"

// escapeGroup makes any name of a group a valid part of a key. It fails with ErrInvalidGroup.
func escapeGroup(group string) (string, error) {
	if group == "" {
		return noName, nil
	}
	escaped := kv.Escape(group)
	if len(escaped) > maxGroup {
		return "", fmt.Errorf("%w: %d bytes, at most %d", ErrInvalidGroup, len(escaped), maxGroup)
	}
	return escaped, nil
}

// unescapeGroup is the inverse of escapeGroup. It fails with ErrCorrupt.
func unescapeGroup(s string) (string, error) {
	if s == noName {
		return "", nil
	}
	group, err := kv.Unescape(s)
	if err != nil {
		return "", fmt.Errorf("%w: group: %w", ErrCorrupt, err)
	}
	return group, nil
}
