package batch

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/forebaylog/forebay/infra/id"
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

// add notes a record that breaks a rule.
func (e *RecordErrors) add(err error, index int32, message string) *RecordErrors {
	if e == nil {
		e = &RecordErrors{Err: err}
	}
	if len(e.Records) < MaxRecordErrors {
		e.Records = append(e.Records, RecordError{Index: index, Message: message})
	}
	return e
}

// ValidateProduce checks a producer's batch against all that a broker demands of
// it. Every record of an uncompressed batch is looked at; those of a compressed one
// only if the rules are Deep or Compacted. Where it looks, it corrects a wrong max
// timestamp in place, checksum included, as Kafka does.
//
// Errors: ErrTooLarge, ErrCorrupt if the checksum is wrong and so the batch is not what was sent,
// ErrUnsupportedCodec, ErrInvalidRecord and ErrInvalidTimestamp, the last two as *RecordErrors if single
// records are to blame.
func ValidateProduce(v View, rules Rules) error {
	if rules.MaxBytes > 0 && v.Length() > rules.MaxBytes {
		return fmt.Errorf("validate record batch: %d bytes, the topic allows %d: %w", v.Length(), rules.MaxBytes, ErrTooLarge)
	}
	if err := v.Verify(); err != nil {
		return err
	}
	if err := validateHeader(v); err != nil {
		return err
	}
	if v.Codec() == None {
		return validateRecords(v, v[HeaderSize:], rules)
	}
	if !rules.Deep && !rules.Compacted {
		return validateHeaderTimes(v, rules)
	}
	d := getDecompressor()
	defer d.release()
	body, err := d.decompress(v.Codec(), v[HeaderSize:], rules.DecodeLimit)
	switch {
	case errors.Is(err, ErrCorrupt): // as the checksum tells, the producer sent it so
		return invalid("%v", err)
	case err != nil:
		return fmt.Errorf("validate record batch: %w", err)
	}
	return validateRecords(v, body, rules)
}

// validateHeader checks what needs neither the records nor the topic's rules.
func validateHeader(v View) error {
	switch count, delta := v.Records(), v.LastOffsetDelta(); {
	case !v.Codec().known():
		return fmt.Errorf("validate record batch: %s: %w", v.Codec(), ErrUnsupportedCodec)
	case v.BaseOffset() != 0:
		return invalid("base offset is %d, a producer must send 0", v.BaseOffset())
	case count < 1 || delta != count-1:
		return invalid("%d records, but the last offset delta is %d", count, delta)
	case v.IsControl():
		return invalid("a producer may not send a control batch")
	case v.LogAppendTime():
		return fmt.Errorf("validate record batch: a producer may not set the type LogAppendTime: %w", ErrInvalidTimestamp)
	}
	return validateProducer(v)
}

// validateProducer checks the producer's fields. Epoch and sequence mean nothing
// without an id: some clients leave 0 in them, others -1.
func validateProducer(v View) error {
	switch p := v.ProducerID(); {
	case p < id.NoProducer:
		return invalid("producer id is %d", p)
	case p == id.NoProducer && v.IsTransactional():
		return invalid("a transactional batch needs a producer id")
	case p == id.NoProducer:
		return nil
	case v.ProducerEpoch() < 0 || v.BaseSequence() < 0:
		return invalid("producer %d sends epoch %d and sequence %d", p, v.ProducerEpoch(), v.BaseSequence())
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("validate record batch: %s: %w", fmt.Sprintf(format, args...), ErrInvalidRecord)
}

// validateRecords walks the records of a plain body.
func validateRecords(v View, body []byte, rules Rules) error {
	var bad *RecordErrors
	low, high := rules.timeRange()
	base, newest := v.BaseTimestamp(), int64(noTimestamp)
	c := cursor{b: body}
	for i := range v.Records() {
		f, ok := c.next()
		if !ok {
			return invalid("record %d: %s", i, c.problem)
		}
		if f.offsetDelta != i {
			return invalid("record %d has the offset delta %d", i, f.offsetDelta)
		}
		ts := base + f.timestampDelta
		newest = max(newest, ts)
		if rules.Compacted && f.key.null() {
			bad = bad.add(ErrInvalidRecord, i, "a compacted topic needs a key in every record")
		}
		if ts != noTimestamp && (ts < low || ts > high) {
			bad = bad.add(ErrInvalidTimestamp, i, fmt.Sprintf("timestamp %d is not within [%d, %d]", ts, low, high))
		}
	}
	if c.at != len(body) {
		return invalid("%d bytes after the last record", len(body)-c.at)
	}
	if bad != nil {
		return bad
	}
	if newest != v.MaxTimestamp() {
		v.setMaxTimestamp(newest)
	}
	return nil
}

const noTimestamp = -1

// validateHeaderTimes checks the times of records that are not looked at, as far as the header tells them.
func validateHeaderTimes(v View, rules Rules) error {
	low, high := rules.timeRange()
	if ts := v.BaseTimestamp(); ts != noTimestamp && ts < low {
		return fmt.Errorf("validate record batch: timestamp %d is before %d: %w", ts, low, ErrInvalidTimestamp)
	}
	if ts := v.MaxTimestamp(); ts > high {
		return fmt.Errorf("validate record batch: timestamp %d is after %d: %w", ts, high, ErrInvalidTimestamp)
	}
	return nil
}

// timeRange returns the times that records may have, in milliseconds since 1970.
func (r Rules) timeRange() (low, high int64) {
	low, high = math.MinInt64, math.MaxInt64
	if r.TimestampType == LogAppendTime {
		return low, high
	}
	now := r.Now.UnixMilli()
	if r.BeforeMaxMs > 0 && r.BeforeMaxMs < now {
		low = now - r.BeforeMaxMs
	}
	if r.AfterMaxMs > 0 && r.AfterMaxMs < math.MaxInt64-now {
		high = now + r.AfterMaxMs
	}
	return low, high
}
