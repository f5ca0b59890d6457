package offsets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/forebaylog/forebay/infra/id"
)

// Errors of what is stored.
var (
	// ErrCorrupt: an item is not what this package writes.
	ErrCorrupt = errors.New("offset damaged")
	// ErrNewer: a newer Forebay wrote the item. Upgrade this one.
	ErrNewer = errors.New("offset written by a newer Forebay")
)

// The value of an item:
//
//	offset  0  1 byte   version: 1
//	offset  1  8 bytes  offset, little endian as all that follows
//	offset  9  4 bytes  leader epoch, -1: none
//	offset 13  8 bytes  commit time in ms since 1970
//	offset 21  8 bytes  expire time in ms since 1970; the zero time.Time, -62135596800000: none
//	offset 29  2 bytes  length n of the topic's name
//	offset 31  n bytes  the topic's name
//	offset 31+n         metadata, up to the end
//
// A reader takes the current version and the one before; there is none before 1.
const (
	valueVersion = 1
	valueFixed   = 31
	maxTopicName = 1<<16 - 1
)

// appendValue appends the value of e's item.
func appendValue(to []byte, e Entry) ([]byte, error) {
	if len(e.TopicName) > maxTopicName {
		return nil, fmt.Errorf("encode offset: topic name of %d bytes, at most %d", len(e.TopicName), maxTopicName)
	}
	to = append(to, valueVersion)
	to = binary.LittleEndian.AppendUint64(to, uint64(e.Offset))
	to = binary.LittleEndian.AppendUint32(to, uint32(e.LeaderEpoch))
	to = binary.LittleEndian.AppendUint64(to, uint64(e.CommitTime.UnixMilli()))
	to = binary.LittleEndian.AppendUint64(to, uint64(e.ExpireTime.UnixMilli()))
	to = binary.LittleEndian.AppendUint16(to, uint16(len(e.TopicName)))
	to = append(to, e.TopicName...)
	return append(to, e.Metadata...), nil
}

// decodeValue returns the Entry without its key.
func decodeValue(b []byte) (Entry, error) {
	switch {
	case len(b) == 0:
		return Entry{}, fmt.Errorf("%w: empty", ErrCorrupt)
	case b[0] > valueVersion:
		return Entry{}, fmt.Errorf("%w: version %d, this one knows %d", ErrNewer, b[0], valueVersion)
	case b[0] != valueVersion || len(b) < valueFixed:
		return Entry{}, fmt.Errorf("%w: version %d, %d bytes", ErrCorrupt, b[0], len(b))
	}
	name, rest := int(binary.LittleEndian.Uint16(b[29:])), b[valueFixed:]
	if name > len(rest) {
		return Entry{}, fmt.Errorf("%w: topic name of %d bytes in %d", ErrCorrupt, name, len(rest))
	}
	e := Entry{
		Offset:      id.Offset(binary.LittleEndian.Uint64(b[1:])),
		LeaderEpoch: id.Epoch(binary.LittleEndian.Uint32(b[9:])),
		CommitTime:  time.UnixMilli(int64(binary.LittleEndian.Uint64(b[13:]))).UTC(),
		ExpireTime:  time.UnixMilli(int64(binary.LittleEndian.Uint64(b[21:]))).UTC(),
		TopicName:   string(rest[:name]),
		Metadata:    string(rest[name:]),
	}
	return e, nil
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

// escapeGroup makes any name of a group a valid part of a key: bytes that are not
// UTF-8, zero bytes and "%" become %XX. It fails with ErrInvalidGroup.
func escapeGroup(group string) (string, error) {
	if group == "" {
		return noName, nil
	}
	var b strings.Builder
	for i := 0; i < len(group); {
		r, n := utf8.DecodeRuneInString(group[i:])
		if r == utf8.RuneError && n == 1 || r == 0 || r == '%' {
			fmt.Fprintf(&b, "%%%02X", group[i])
		} else {
			b.WriteString(group[i : i+n])
		}
		i += n
	}
	if b.Len() > maxGroup {
		return "", fmt.Errorf("%w: %d bytes, at most %d", ErrInvalidGroup, b.Len(), maxGroup)
	}
	return b.String(), nil
}

func unescapeGroup(s string) (string, error) {
	if s == noName {
		return "", nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", fmt.Errorf("%w: group %q", ErrCorrupt, s)
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("%w: group %q", ErrCorrupt, s)
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), nil
}
