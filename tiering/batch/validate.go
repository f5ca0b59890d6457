package batch

import (
	"fmt"
	"time"
)

// DefaultDecodeLimit is the number of bytes that one batch may decompress to unless told otherwise.
const DefaultDecodeLimit = 64 << 20

// TimestampType tells whose clock the times of a topic's records are from.
type TimestampType int8

// The values of Kafka's message.timestamp.type.
const (
	CreateTime TimestampType = iota
	LogAppendTime
)

// Rules are the parts of a topic's configuration that its producers' batches must meet.
// The zero value limits neither size nor time.
type Rules struct {
	Compacted     bool          // every record needs a key
	Deep          bool          // walk the records of compressed batches too
	MaxBytes      int           // of the whole batch as sent; below 1: no limit
	DecodeLimit   int64         // bytes that a batch may decompress to; below 1: DefaultDecodeLimit
	TimestampType TimestampType // with LogAppendTime records' own times are not checked
	BeforeMaxMs   int64         // how far a record's time may lie before Now; below 1: no limit
	AfterMaxMs    int64         // how far it may lie after Now; below 1: no limit
	Now           time.Time     // the broker's clock, needed only with BeforeMaxMs or AfterMaxMs
}

// RecordError says what is wrong with one record.
type RecordError struct {
	Index   int32 // of the record in its batch, from 0
	Message string
}

// RecordErrors lists records that break a rule, at most MaxRecordErrors of them. It
// unwraps to ErrInvalidRecord or ErrInvalidTimestamp.
type RecordErrors struct {
	Err     error
	Records []RecordError
}

// MaxRecordErrors bounds RecordErrors, and with it the response to one bad batch.
const MaxRecordErrors = 100

// Error names the first record and how many more there are.
func (e *RecordErrors) Error() string {
	return fmt.Sprintf("%v: record %d: %s (and %d more)", e.Err, e.Records[0].Index, e.Records[0].Message, len(e.Records)-1)
}

// Unwrap returns Err.
func (e *RecordErrors) Unwrap() error { return e.Err }

// ValidateProduce checks a producer's batch against everything that a broker
// demands. It corrects a wrong max timestamp in place, checksum included, as Kafka does.
func ValidateProduce(v View, rules Rules) error { panic("next commit") }
