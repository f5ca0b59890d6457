package sink

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// flight is a batch that is being delivered.
type flight struct {
	entries []*entry
	cancel  context.CancelFunc
	ended   time.Time
	result  Result
	fatal   error // that ends the sink
}

// deliver sends a batch once and decides for each of its entries whether it is settled, which a
// dead letter is too, or when it is tried again.
func (s *Sink) deliver(ctx context.Context, f *flight) {
	records := make([]*kgo.Record, len(f.entries))
	for i, e := range f.entries {
		records[i] = e.record
	}
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	f.result = s.cfg.Target.Deliver(limited, records)
	cancel()
	f.ended = time.Now()
	s.metrics.request(f.result.Verdict, f.ended.Sub(began))
	if ctx.Err() != nil && f.result.Verdict != Delivered { // given up by us: nobody's fault
		for _, e := range f.entries {
			e.retryAt = f.ended
		}
		return
	}
	switch f.result.Verdict {
	case Delivered:
		s.delivered(ctx, f)
	case Failed, Refused:
		s.failed(ctx, f)
	case Unavailable:
		s.cfg.Logger.Warn("the receiver is unavailable; trying again", "reason", f.result.Reason, "records", len(f.entries), "retry_after", f.result.RetryAfter)
		for _, e := range f.entries {
			s.again(e, f)
		}
	}
}

// delivered settles a batch but for the items that the receiver names. What comes behind one of
// these in its lane was perhaps taken out of order: it is sent again.
func (s *Sink) delivered(ctx context.Context, f *flight) {
	named := make(map[int]bool, len(f.result.Items))
	for _, i := range f.result.Items {
		named[i] = true
	}
	var stopped *lane
	for i, e := range f.entries {
		switch {
		case e.lane == stopped:
			s.again(e, f)
		case named[i]:
			stopped = e.lane
			s.blame(ctx, e, f)
		default:
			e.settled = true
			s.metrics.delivered(e.record, f.ended)
		}
	}
}

// failed halves a batch that may have failed for the sake of one of its records, and blames a
// record that was alone in it.
func (s *Sink) failed(ctx context.Context, f *flight) {
	if len(f.entries) == 1 {
		s.blame(ctx, f.entries[0], f)
		return
	}
	s.cfg.Logger.Debug("a batch failed and is halved", "reason", f.result.Reason, "records", len(f.entries))
	for _, e := range f.entries {
		e.limit = max(len(f.entries)/2, 1)
		e.failures = 0
		s.again(e, f)
		if f.result.Verdict == Refused { // the receiver has no need of a pause
			e.retryAt = f.ended
		}
	}
}

// blame counts an attempt for a record itself, and makes it a dead letter when there are no more.
func (s *Sink) blame(ctx context.Context, e *entry, f *flight) {
	e.attempts++
	refused := f.result.Verdict == Refused
	if !refused && e.attempts < s.cfg.MaxAttempts {
		s.again(e, f)
		return
	}
	if err := s.deadLetter(ctx, e.record, f.result, e.attempts); err != nil {
		if ctx.Err() == nil {
			f.fatal = err
		}
		e.retryAt = f.ended
		return
	}
	e.settled = true
}

// again has an entry tried later.
func (s *Sink) again(e *entry, f *flight) {
	e.failures++
	e.retryAt = f.ended.Add(max(s.backoff(e.failures), f.result.RetryAfter))
	s.metrics.records.WithLabelValues("retried").Inc()
}

// backoff is the pause after so many failures in a row.
func (s *Sink) backoff(failures int) time.Duration {
	d := s.cfg.MaxBackoff
	if shift := failures - 1; shift < 30 {
		d = min(s.cfg.Backoff<<shift, s.cfg.MaxBackoff)
	}
	return d/2 + rand.N(d/2+1)
}

// errNoDeadLetters says that a record can neither be delivered nor be put aside.
var errNoDeadLetters = errors.New("give a dead-letter topic, mend the receiver, or move the group behind the record with 'forebay group reset'")

// deadLetter writes a record to the dead-letter topic, with headers that say why it is there, under the names
// that Kafka Connect gives them.
func (s *Sink) deadLetter(ctx context.Context, r *kgo.Record, why Result, attempts int) error {
	at := fmt.Sprintf("record at offset %d of partition %d of %s", r.Offset, r.Partition, r.Topic)
	if s.cfg.DeadLetterTopic == "" {
		return fmt.Errorf("%s cannot be delivered after %d attempts: %s: %w", at, attempts, why.Reason, errNoDeadLetters)
	}
	letter := &kgo.Record{Topic: s.cfg.DeadLetterTopic, Key: r.Key, Value: r.Value, Timestamp: r.Timestamp}
	letter.Headers = append(letter.Headers, r.Headers...)
	for _, h := range [][2]string{
		{"topic", r.Topic},
		{"partition", strconv.Itoa(int(r.Partition))},
		{"offset", strconv.FormatInt(r.Offset, 10)},
		{"connector.name", s.cfg.Group},
		{"stage", "TASK_PUT"},
		{"attempts", strconv.Itoa(attempts)},
		{"exception.class.name", why.Kind},
		{"exception.message", why.Reason},
	} {
		letter.Headers = append(letter.Headers, kgo.RecordHeader{Key: "__connect.errors." + h[0], Value: []byte(h[1])})
	}
	if err := s.client.ProduceSync(ctx, letter).FirstErr(); err != nil {
		return fmt.Errorf("write the dead letter of the %s to %s: %w", at, s.cfg.DeadLetterTopic, err)
	}
	s.cfg.Logger.Warn("dead letter", "partition", r.Partition, "offset", r.Offset, "attempts", attempts, "reason", why.Reason)
	s.metrics.records.WithLabelValues("dead_lettered").Inc()
	return nil
}
