package partition

import (
	"context"
	"log/slog"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
)

// The log start is the first offset that readers may see. What counts is the metadata's
// PartitionState.Start, which metalog.LogStartsMoved raises: a log takes it from there when it is
// recovered and whenever the metadata changes. Records below it are answered with
// ErrOutOfRange from every tier, and their bytes stay where they are; a batch that the start lies
// within is still given whole, as in Kafka, whose consumers leave out what lies below.

// MoveStart raises the log start to what the metadata has; a lower one is ignored. The
// caller has made it durable there, at or below the high watermark.
func (l *Log) MoveStart(start id.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start = max(l.start, start)
}

// reach ends the recovery of a damaged log whose last records are lost: it goes on at its start,
// since what was appended below would never be read.
func (l *Log) reach(log *slog.Logger) {
	if l.next >= l.start {
		return
	}
	log.Error("open a log that has lost the records from its end to its start", "partition", l.id.String(), "from", l.next, "to", l.start)
	l.next = l.start
}

// maxBetween returns the greatest timestamp at or above start of a sealed segment's batches that
// begin below limit.
func (l *Log) maxBetween(ctx context.Context, seg chain.Segment, start, limit id.Offset) (maxTimestamp, error) {
	m := maxTimestamp{base: max(seg.Base, start), ts: -1}
	for v, err := range l.tiers.Cold.Batches(ctx, l.id, seg, start) {
		if err != nil {
			return m, err
		}
		if v.BaseOffset() >= limit {
			break
		}
		ts, err := maxInBatch(v, start)
		if err != nil {
			return m, err
		}
		m.ts = max(m.ts, ts)
	}
	return m, nil
}

// maxInBatch returns the greatest timestamp of a batch at or above start in ms, -1 if there is none.
func maxInBatch(v batch.View, start id.Offset) (int64, error) {
	switch {
	case v.NextOffset() <= start || v.Records() == 0:
		return -1, nil
	case v.BaseOffset() >= start || v.LogAppendTime() && v.Whole():
		return v.MaxTimestamp(), nil
	}
	greatest := int64(-1)
	for r, err := range batch.Decode(v, decodeLimit) {
		if err != nil {
			return -1, err
		}
		if r.Offset >= start {
			greatest = max(greatest, r.Timestamp)
		}
	}
	return greatest, nil
}
