// Package id has a type for every number that names a place in the log, so that
// the compiler refuses an offset where an epoch is meant. It imports nothing of
// Forebay and holds no state; all values are safe to copy and to share.
package id

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strconv"
)

// Topic is the UUID of a topic (KIP-516). A topic that is deleted and created
// again under the same name has another Topic. The zero value names no topic.
type Topic [16]byte

// NewTopic returns a random version 4 UUID whose text does not start with "-",
// as Kafka's Uuid.randomUuid does.
func NewTopic() Topic {
	for {
		var t Topic
		_, _ = rand.Read(t[:]) // never fails since Go 1.24
		t[6] = t[6]&0x0f | 0x40
		t[8] = t[8]&0x3f | 0x80
		if t.String()[0] != '-' {
			return t
		}
	}
}

// ParseTopic reads the form that String writes.
func ParseTopic(s string) (Topic, error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(raw) != len(Topic{}) || Topic(raw).String() != s { // it skips line ends and spare bits
		return Topic{}, fmt.Errorf("parse topic id %q: want 22 characters of URL-safe base64", s)
	}
	return Topic(raw), nil
}

// String returns the URL-safe base64 form without padding that Kafka's tools print.
func (t Topic) String() string { return base64.RawURLEncoding.EncodeToString(t[:]) }

// IsZero reports whether t names no topic.
func (t Topic) IsZero() bool { return t == Topic{} }

// Partition names one partition of one topic.
type Partition struct {
	Topic Topic
	Index int32 // from 0
}

// String returns "topic-index" with the topic's id in Kafka's form.
func (p Partition) String() string { return p.Topic.String() + "-" + strconv.Itoa(int(p.Index)) }

// Compare orders by topic id, then by index.
func (p Partition) Compare(q Partition) int {
	if c := bytes.Compare(p.Topic[:], q.Topic[:]); c != 0 {
		return c
	}
	return int(p.Index) - int(q.Index)
}

// Offset is the position of a record in its partition, from 0.
type Offset int64

// String returns the offset in decimal.
func (o Offset) String() string { return strconv.FormatInt(int64(o), 10) }

// Epoch is the leader epoch of a partition (KIP-101). It rises by one with each new leadership.
type Epoch int32

// String returns the epoch in decimal.
func (e Epoch) String() string { return strconv.Itoa(int(e)) }

// Broker is Kafka's node id.
type Broker int32

// String returns the node id in decimal.
func (b Broker) String() string { return strconv.Itoa(int(b)) }

// Session names one run of a broker, from the registration on, and the WAL stream of
// that run. It is 22 characters of URL-safe base64, so that it may stand in a key or a
// path. The zero value names none.
type Session string

// NewSession returns a random Session that does not start with "-".
func NewSession() Session { return Session(NewTopic().String()) }

// String returns the text that the session is.
func (s Session) String() string { return string(s) }

// Segment is the number of a hot segment within one data directory, from 1, rising.
type Segment uint64

// String returns the number as 16 hexadecimal digits, as it stands in file names.
func (s Segment) String() string { return fmt.Sprintf("%016x", uint64(s)) }

// Producer is the id that InitProducerId hands out; NoProducer marks a batch without one.
type Producer int64

// NoProducer is the producer id of a batch that is neither idempotent nor transactional.
const NoProducer Producer = -1
