// Package oracle decides whether what clients saw of a log was allowed. A History holds what
// they did and what came of it, Check finds the anomalies in it. The model is Jepsen's
// Kafka workload.
//
// Every value is sent once, so that a value names its send. Times are those of one
// monotonic clock, from the start of the history. The package does no I/O and keeps no
// clock. A History is filled by one goroutine at a time; Check may run beside other readers.
package oracle

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// Value is what a record holds: the producer's number, from 1, and its sequence.
type Value struct {
	Producer int
	Sequence int64
}

// String returns the text that the record carries.
func (v Value) String() string { return fmt.Sprintf("p%d-%d", v.Producer, v.Sequence) }

// ParseValue reads the text that String writes.
func ParseValue(text string) (Value, error) {
	var v Value
	if _, err := fmt.Sscanf(text, "p%d-%d", &v.Producer, &v.Sequence); err != nil || v.String() != text {
		return Value{}, fmt.Errorf("parse value %q: want p<producer>-<sequence>", text)
	}
	return v, nil
}

// MarshalText is String.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText is ParseValue.
func (v *Value) UnmarshalText(text []byte) (err error) {
	*v, err = ParseValue(string(text))
	return err
}

// Partition names a partition.
type Partition struct {
	Topic string
	Index int32
}

// String returns "topic-index".
func (p Partition) String() string { return fmt.Sprintf("%s-%d", p.Topic, p.Index) }

// MarshalText is String.
func (p Partition) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the text that String writes.
func (p *Partition) UnmarshalText(text []byte) error {
	dash := bytes.LastIndexByte(text, '-')
	n, err := strconv.ParseInt(string(text[dash+1:]), 10, 32)
	if err != nil || dash < 0 {
		return fmt.Errorf("parse partition %q: want topic-index", text)
	}
	*p = Partition{string(text[:dash]), int32(n)}
	return nil
}

// Outcome is what came of an operation.
type Outcome string

// The outcomes. An operation that nobody has heard of again is Info: it may have happened.
const (
	OK   Outcome = "ok"
	Fail Outcome = "fail" // it certainly did not happen and never will
	Info Outcome = "info"
)

// Span is when an operation was invoked and when its outcome came.
type Span struct{ Invoked, Completed time.Duration }

// Send is one record sent.
type Send struct {
	Span
	Value     Value
	Partition Partition
	Outcome   Outcome
	Offset    int64  // if OK
	Error     string `json:",omitempty"` // if not OK
}

// Record is one record that was read.
type Record struct {
	Offset int64
	Value  Value
	Bad    string `json:",omitempty"` // the text of a value that is none; Value is zero then
	Sum    uint64 // of all that the record holds, to compare two reads
}

// Poll is what a consumer was given of one partition at once, in the order given.
type Poll struct {
	Span
	Consumer   string
	Assignment int // rises each time that the partition is assigned anew to the consumer
	Partition  Partition
	Records    []Record
}

// Commit is an offset committed by, or fetched for, a group.
type Commit struct {
	Span
	Group     string
	Consumer  string
	Partition Partition
	Offset    int64 // -1: fetched, and there was none
	Fetched   bool
	Outcome   Outcome // of a fetch always OK
}

// Read is a whole partition, as a fresh client read it after the faults were healed.
type Read struct {
	Name      string // which of the reads it is; those of one name are one pass over all partitions
	Partition Partition
	Start     int64    // log start offset
	End       int64    // high watermark before the read
	Records   []Record // in the order read
	Control   []int64  // offsets that hold control records
	Compacted bool     // offsets may be missing
	Drained   bool     // it reached End and the highest acknowledged offset
	Error     string   `json:",omitempty"` // why it was not drained
}

// History is all that happened.
type History struct {
	Sends   []Send
	Polls   []Poll
	Commits []Commit
	Reads   []Read
	// Groups that have polled to the end, each the names of its consumers: what was
	// acknowledged must have come to one of them.
	Groups map[string][]string
}
