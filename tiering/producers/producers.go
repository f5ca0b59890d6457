// Package producers holds what a partition knows of its idempotent producers: the
// last batches of each, to answer a retry with the first append's result and to
// refuse gaps, and the transactions that are open.
//
// All of it is derived from the partition's batches and can be rebuilt by applying
// them in order. The package keeps no clock, does no I/O and starts nothing.
// A Table is owned by its partition's single writer: no method may run beside another.
package producers

import (
	"errors"

	"github.com/forebaylog/forebay/infra/id"
)

// Errors that callers test with errors.Is.
var (
	// ErrOutOfOrder means that the batch does not follow the producer's last one.
	ErrOutOfOrder = errors.New("out of order sequence number")
	// ErrFenced means that the batch has an epoch below the producer's current one.
	ErrFenced = errors.New("fenced producer epoch")
	// ErrCoordinatorFenced means that a marker is of a coordinator that was replaced.
	ErrCoordinatorFenced = errors.New("fenced transaction coordinator")
	// ErrInvalidState means that the batch does not fit the producer's transaction.
	ErrInvalidState = errors.New("invalid transaction state")
	// ErrCorrupt means that an encoded State cannot be read.
	ErrCorrupt = errors.New("corrupt producer state")
)

// Window is how many batches of a producer are remembered, as in Kafka.
const Window = 5

// Verdict is the answer to a batch that may be appended or was already.
type Verdict struct {
	Duplicate bool
	Base      id.Offset // of a duplicate: the first append's base offset
	Timestamp int64     // of a duplicate: the first append's max timestamp, in milliseconds since 1970
}

// Batch is what is remembered of an appended batch.
type Batch struct {
	FirstSequence, LastSequence int32
	Base, Last                  id.Offset
	Timestamp                   int64 // its max timestamp, in milliseconds since 1970
}

// State is all that is known of one producer id.
type State struct {
	Producer         id.Producer
	Epoch            int16
	CoordinatorEpoch int32     // of the last marker, -1 if there was none
	LastTimestamp    int64     // max timestamp of its last batch or marker, in milliseconds since 1970
	LastSeen         int64     // the broker's clock at its last append, in milliseconds since 1970; 0: not known yet
	TxnStart         id.Offset // first offset of the open transaction, -1 if there is none
	Batches          []Batch   // the last ones of Epoch, oldest first, at most Window
}

// AbortedTxn is a transaction that ended with an abort marker.
type AbortedTxn struct {
	Producer    id.Producer
	First, Last id.Offset // of its first record, and of its marker
	Stable      id.Offset // below it all is decided once the marker is: no later AbortedTxn begins below it
}
