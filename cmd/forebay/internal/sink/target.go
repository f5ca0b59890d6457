package sink

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Verdict is what came of a request.
type Verdict int

// The verdicts.
const (
	// Delivered: the receiver has taken the batch, but for the records in Result.Items.
	Delivered Verdict = iota
	// Failed: the receiver failed, which may be for the sake of a record. It is tried again, in
	// smaller batches, and Config.MaxAttempts times for each record alone.
	Failed
	// Refused: the receiver will not take this, however often it is asked. Only a record that
	// was alone in its batch is known to be meant.
	Refused
	// Unavailable: the receiver is away, overloaded or not set up. It is tried again for as
	// long as that lasts, and no record is to blame.
	Unavailable
)

// String is the verdict as a label of metrics.
func (v Verdict) String() string {
	return [...]string{"delivered", "failed", "refused", "unavailable"}[v]
}

// Result is what came of a request, for all of its records.
type Result struct {
	Verdict Verdict
	// Items are the indexes of records that the receiver names as failed in a batch that it has
	// taken otherwise.
	Items []int
	// Reason says what happened, for people; Kind is a short name for it, such as "HTTP 422".
	Reason, Kind string
	// RetryAfter is how long the receiver asks to be left alone; 0 if it does not.
	RetryAfter time.Duration
}

// Target delivers records. It is safe for concurrent use, keeps to the context's deadline, and
// tries once.
type Target interface {
	Deliver(ctx context.Context, records []*kgo.Record) Result
}
