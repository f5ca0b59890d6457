// Package partition is one partition's log as its leader keeps it: a fenced append,
// the high watermark, and reads that find a record in whichever tier holds it (the
// memory tail, the hot segments, the packs). It knows nothing of the Kafka protocol's
// frames and never does I/O of its own: bytes go through tiering/wal and come back
// through tiering/journal and tiering/cold.
//
// A Log has one writer at a time, by its mutex. Everything exported is safe for
// concurrent use.
package partition

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/tiering/batch"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/journal"
	"github.com/forebaylog/forebay/tiering/pack"
	"github.com/forebaylog/forebay/tiering/producers"
	"github.com/forebaylog/forebay/tiering/wal"
)

// Errors of this package.
var (
	// ErrOutOfRange: the offset lies below the log start or above the high watermark.
	ErrOutOfRange = errors.New("offset out of range")
	// ErrFenced: the caller's leader epoch is older than the log's (KIP-320).
	ErrFenced = errors.New("leader epoch is older than the current one")
	// ErrUnknownEpoch: the caller's leader epoch is newer than the log's.
	ErrUnknownEpoch = errors.New("leader epoch is newer than the current one")
	// ErrClosed: the topic was deleted, the leadership has moved, or the broker stops.
	ErrClosed = errors.New("partition closed")
	// ErrMoving: the leadership is about to move to another broker.
	ErrMoving = errors.New("partition is moving to another broker")
	// ErrGap: committed records of the partition are neither sealed nor in the WAL.
	ErrGap = errors.New("committed records are missing")
	// ErrTransaction: the batch belongs to a transaction that is not open here, and was not
	// verified with its coordinator, or not since the producer's last marker.
	ErrTransaction = errors.New("batch of a transaction that is not open and not verified")
)

// Hot is the part of journal.Journal that a partition reads.
type Hot interface {
	Read(p id.Partition, from, limit id.Offset, maxBytes int) ([][]byte, error)
	Entries(p id.Partition, from id.Offset) iter.Seq2[journal.Entry, error]
	Batch(p id.Partition, e journal.Entry) (batch.View, error)
	HotStart(p id.Partition) (id.Offset, bool)
}

// Cold is the part of cold.Reader that a partition reads.
type Cold interface {
	Footer(ctx context.Context, object string, size int64) (*pack.Footer, error)
	Read(ctx context.Context, p id.Partition, seg chain.Segment, from, limit id.Offset, maxBytes int) ([][]byte, error)
	Batches(ctx context.Context, p id.Partition, seg chain.Segment, from id.Offset) iter.Seq2[batch.View, error]
}

// Tiers are the places that a log writes to and reads from.
type Tiers struct {
	WAL   *wal.Group
	Hot   Hot
	Chain *chain.Store
	Cold  Cold
}

// Log is one partition.
type Log struct {
	id      id.Partition
	tiers   *Tiers
	found   segments
	cleaned cleaned

	mu          sync.Mutex
	closed      bool
	epoch       id.Epoch  // current leader epoch, from the metadata log
	start       id.Offset // log start offset
	next        id.Offset // log end offset: the next record's
	committed   id.Offset // high watermark
	bytes       int64     // committed since the log was opened, for waits
	epochs      []pack.EpochStart
	whole       bool // epochs has those of the packs too
	producers   producers.Table
	pending     []pendingDuplicate
	verifying   map[id.Producer]*verification
	ending      []ended // in the order of their markers
	aborted     abortedTxns
	unstable    unstable
	waits       waits           // of fetches up to the high watermark
	stableWaits waits           // of fetches up to the last stable offset
	adopted     []chain.Segment // runs of WAL objects of earlier leaders that its chain does not have yet, in order
	frozen      bool            // the leadership is about to move: no appends
	drained     chan struct{}   // of a frozen log: closed once all that was appended is committed
}

// pendingDuplicate is a retried batch whose original is appended but not yet committed.
type pendingDuplicate struct {
	next id.Offset
	done func(error)
}

// ID names the partition.
func (l *Log) ID() id.Partition { return l.id }

// Watermarks is a consistent view of a log's bounds.
type Watermarks struct {
	Start id.Offset // first offset there is
	High  id.Offset // high watermark: consumers see what lies below
	// Stable is the last stable offset: the first offset of the oldest transaction that is
	// open, or whose marker is not committed yet, if that is below High, else High.
	Stable id.Offset
	End    id.Offset // log end, committed or not
	Epoch  id.Epoch  // current leader epoch
}

// Watermarks returns the bounds as they are now.
func (l *Log) Watermarks() Watermarks {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.watermarks()
}

func (l *Log) watermarks() Watermarks {
	return Watermarks{Start: l.start, High: l.committed, Stable: l.stable(), End: l.next, Epoch: l.epoch}
}

// CheckEpoch compares the epoch that a client believes in (-1: none) with the
// current one. It fails with ErrFenced, ErrUnknownEpoch or ErrClosed.
func (l *Log) CheckEpoch(have id.Epoch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return ErrClosed
	case have == -1 || have == l.epoch:
		return nil
	case have < l.epoch:
		return fmt.Errorf("%w: client has %d, %s is at %d", ErrFenced, have, l.id, l.epoch)
	default:
		return fmt.Errorf("%w: client has %d, %s is at %d", ErrUnknownEpoch, have, l.id, l.epoch)
	}
}

// setEpoch raises the leader epoch; a lower one is ignored.
func (l *Log) setEpoch(epoch id.Epoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch = max(l.epoch, epoch)
}

// freeze ends appends until thaw and returns a channel that is closed once all that was
// appended is committed, or never if it cannot be.
func (l *Log) freeze() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.frozen {
		l.frozen, l.drained = true, make(chan struct{})
		if l.committed == l.next {
			close(l.drained)
		}
	}
	return l.drained
}

// thaw takes appends again.
func (l *Log) thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen = false
}

// close ends appends and wakes every parked fetch.
func (l *Log) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.wake()
}

// wake completes every parked fetch.
func (l *Log) wake() {
	l.mu.Lock()
	waits := append(l.waits, l.stableWaits...)
	l.waits, l.stableWaits = nil, nil
	l.mu.Unlock()
	for _, w := range waits {
		w.Fire()
	}
}

// ActiveProducers lists the producers that the log remembers (DescribeProducers).
func (l *Log) ActiveProducers() []producers.State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.producers.Active()
}

func (l *Log) expireProducers(now time.Time, after time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.producers.Expire(now, after)
	l.expireVerifications(now, after)
}
