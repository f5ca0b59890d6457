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
	Txn       int    `json:",omitempty"` // its transaction, as History.Txn counts them; 0: none
	Of        *Value `json:",omitempty"` // the record that it is a copy of
	Key       string `json:",omitempty"` // for CheckLife: its key
	Size      int64  `json:",omitempty"` // for CheckLife: what it takes in a log at most, bytes
	Tombstone bool   `json:",omitempty"` // for CheckLife: it has no value but what names it, and may go in time
}

// Deletion is a request that all of a partition before an offset be deleted.
type Deletion struct {
	Span
	Partition Partition
	Offset    int64
	Outcome   Outcome
}

// Txn is one transaction: the records whose Send names it, and the offsets that were committed in it.
type Txn struct {
	Span           // from before its first record on; Completed is when its end was answered, or given up
	ID     string  // transactional id
	Commit Outcome // what came of asking for its commit; Fail if nobody did
	// Asked is when its commit or abort was asked for, 0 if it never was.
	Asked time.Duration
	// Fenced is when another producer asked for the transactional id while the transaction
	// was open, and when that was answered; zero if none did.
	Fenced Span
	// Timeout is after what time from its beginning the coordinator may abort it.
	Timeout time.Duration
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
	Committed  bool `json:",omitempty"` // the consumer asked for what is committed only
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
	Span             // for CheckLife
	Name      string // which of the reads it is; those of one name are one pass over all partitions
	Partition Partition
	Start     int64    // log start offset before the read
	EndStart  int64    `json:",omitempty"` // for CheckLife: log start offset after the read, which may miss what is before it
	End       int64    // high watermark before the read; for CheckLife it may be the last stable offset
	Records   []Record // in the order read
	Control   []int64  // offsets that hold control records
	Compacted bool     // offsets may be missing
	Drained   bool     // it reached End and the highest acknowledged offset
	Committed bool     `json:",omitempty"` // it asked for what is committed only
	Stable    int64    `json:",omitempty"` // if Committed: the last stable offset when it ended
	Error     string   `json:",omitempty"` // why it was not drained
}

// Copy says how far a group that copies from one partition to another had come, when the
// reads of that name were made.
type Copy struct {
	Name     string // of the reads
	Group    string
	From, To Partition
	Offset   int64 // that the group has committed, -1: none
}

// History is all that happened.
type History struct {
	Txns    []Txn
	Sends   []Send
	Polls   []Poll
	Commits []Commit
	Reads   []Read
	// Groups that have polled to the end, each the names of its consumers: what was
	// acknowledged must have come to one of them.
	Groups map[string][]string
	// Isolated are those of the groups that were to be given what is committed only.
	Isolated []string
	Copies   []Copy
	// Deletions are for CheckLife.
	Deletions []Deletion
}

// Txn returns a transaction by its number, which counts from 1.
func (h *History) Txn(number int) *Txn { return &h.Txns[number-1] }
