package journal

import (
	"context"
	"errors"
	"iter"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

var errTODO = errors.New("journal: not built yet")

// Journal is an open directory of hot segments.
type Journal struct{ cfg Config }

// Open recovers the directory and returns a journal that takes appends.
func Open(ctx context.Context, cfg Config) (*Journal, Recovery, error) {
	return nil, Recovery{}, errTODO
}

// Append queues a stamped batch without input or output and without copying.
func (j *Journal) Append(p id.Partition, v batch.View) (Position, error) { return Position{}, errTODO }

// Flush writes all that is queued and returns the position up to which the journal is written.
func (j *Journal) Flush() (Position, error) { return Position{}, errTODO }

// Sync makes what was flushed durable and returns the position up to which it is.
func (j *Journal) Sync() (Position, error) { return Position{}, errTODO }

// Read returns whole batches of p, the first of which contains from.
func (j *Journal) Read(p id.Partition, from, limit id.Offset, maxBytes int) ([][]byte, error) {
	return nil, errTODO
}

// Entries lists the hot batches of p from the one that contains from.
func (j *Journal) Entries(p id.Partition, from id.Offset) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) { yield(Entry{}, errTODO) }
}

// Batch returns one batch, checked.
func (j *Journal) Batch(p id.Partition, e Entry) (batch.View, error) { return nil, errTODO }

// HotStart returns the offset below which nothing of p is hot.
func (j *Journal) HotStart(p id.Partition) (id.Offset, bool) { return 0, false }

// HotEnd returns the offset after the last hot batch of p.
func (j *Journal) HotEnd(p id.Partition) (id.Offset, bool) { return 0, false }

// Segments lists the segments, oldest first.
func (j *Journal) Segments() []SegmentInfo { return nil }

// Roll finishes the active segment, unless it is empty.
func (j *Journal) Roll() error { return errTODO }

// Drop removes a rolled segment.
func (j *Journal) Drop(seg id.Segment) error { return errTODO }

// Replay visits the batches at or above from(p) in journal order.
func (j *Journal) Replay(ctx context.Context, from func(id.Partition) id.Offset, visit func(id.Partition, Entry, batch.View) error) error {
	return errTODO
}

// Stats returns counters and sizes.
func (j *Journal) Stats() Stats { return Stats{} }

// Close writes and syncs what is queued, rolls the active segment and waits for the goroutines.
func (j *Journal) Close(ctx context.Context) error { return errTODO }
