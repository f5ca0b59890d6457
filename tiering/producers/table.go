package producers

import (
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
)

// Table is the state of one partition's producers. The zero value is an empty table and holds no memory.
type Table struct {
	producers map[id.Producer]*state
	open      []openTxn // in the order of first
	clock     int64     // the latest now of Check or Expire, in milliseconds since 1970
}

type openTxn struct {
	first    id.Offset
	producer id.Producer
}

type state struct{}

// Check tells what is to be done with a batch that passed batch.ValidateProduce:
// append it, or, if Duplicate, answer with the first append's result. It changes
// nothing but the table's clock. Errors: ErrOutOfOrder, ErrFenced, ErrInvalidState.
func (t *Table) Check(v batch.View, now time.Time) (Verdict, error) { panic("next commit") }

// Apply takes note of a stamped batch that was appended; it must be given each batch
// once, in order, markers included. ok tells that v is an abort marker that ended
// a transaction.
func (t *Table) Apply(v batch.View) (aborted AbortedTxn, ok bool) { panic("next commit") }

// Expire forgets producers whose last append is longer ago than after, but none with an open transaction.
func (t *Table) Expire(now time.Time, after time.Duration) { panic("next commit") }

// FirstOpen returns the first offset of the oldest open transaction. The last
// stable offset is the lower of it and the high watermark.
func (t *Table) FirstOpen() (id.Offset, bool) { panic("next commit") }

// Snapshot returns all states, ordered by producer. They share nothing with the table.
func (t *Table) Snapshot() []State { panic("next commit") }

// Restore replaces the table's content by a snapshot.
func (t *Table) Restore(states []State) { panic("next commit") }

// Active returns what DescribeProducers tells: all states, each with its latest batch only.
func (t *Table) Active() []State { panic("next commit") }

// Len is the number of producers known.
func (t *Table) Len() int { return len(t.producers) }
