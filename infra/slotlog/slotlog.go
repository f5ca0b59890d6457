// Package slotlog is an ordered log of payloads at (stream, sequence) in a kv.Store.
// Whoever puts the item of a sequence first has that slot: so appenders who race are
// ordered, and a writer is fenced by taking its next slot. Slots are never changed.
// The log neither numbers slots nor forbids gaps: an appender takes the slot behind
// the last one it has read.
//
// Commit point of an append: the conditional put of the slot's item. A crash before
// leaves the slot free; a crash after leaves it taken by a payload that its appender
// may not know to be in the log.
//
// A removed slot is absent, and to a conditional put that looks like free. So there is a
// floor, which rises before any slot below it is removed; what lies below the floor is
// not part of the log, and every append and read looks at the floor last.
package slotlog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/pause"
)

// Errors of this package.
var (
	// ErrTaken: another append has the slot. Nothing was written.
	ErrTaken = errors.New("slot taken")
	// ErrTruncated: the slot lies below the floor. For Read: what is asked for is
	// gone. For Append: the appender was overtaken so far that it cannot be told any
	// more whether the payload was part of the log before it was truncated; it is not now.
	ErrTruncated = errors.New("slot truncated")
)

// Slot is one entry of the log.
type Slot struct {
	Seq     uint64
	Payload []byte // at most kv.MaxValue bytes
}

// Log is one stream. It keeps no state, and is safe for concurrent use.
type Log struct {
	store kv.Store
	part  string
}

// Open returns the log of a stream; it does no I/O.
func Open(store kv.Store, stream string) *Log { return &Log{store: store, part: "slot/" + stream} }

// The slots of a stream are the sort keys of 20 digits; the floor sorts behind them all.
const (
	digits    = 20 // of the largest uint64
	floorSort = "~floor"
)

func (l *Log) slotKey(seq uint64) kv.Key { return kv.Key{Part: l.part, Sort: slotSort(seq)} }
func (l *Log) floorKey() kv.Key          { return kv.Key{Part: l.part, Sort: floorSort} }
func slotSort(seq uint64) string         { return fmt.Sprintf("%0*d", digits, seq) }

// Append takes the slot seq with payload. Nil means that the payload is in the log
// once, durably; ErrTaken that it is not in this slot and never will be. It finds out
// itself about writes of unknown outcome for as long as ctx lasts, and wraps kv.ErrUnknown when
// ctx ends first; so give ctx a deadline. Any other error means that nothing was written.
func (l *Log) Append(ctx context.Context, seq uint64, payload []byte) error {
	err := kv.Settle(ctx, l.store, kv.Write{Key: l.slotKey(seq), Value: payload})[0].Err
	switch {
	case errors.Is(err, kv.ErrConflict) && !errors.Is(err, kv.ErrContested):
		return l.appendError(seq, ErrTaken)
	case err != nil && !errors.Is(err, kv.ErrConflict):
		return l.appendError(seq, err)
	}
	floor, floorErr := l.settleFloor(ctx)
	switch {
	case floorErr != nil:
		return l.appendError(seq, floorErr)
	case floor > seq:
		return l.appendError(seq, ErrTruncated)
	case err != nil:
		return l.appendError(seq, ErrTaken)
	default:
		return nil
	}
}

// AppendOwned is Append for the one writer of a stream, who takes each slot only after
// it knows what became of the one before, and whose slots others remove only after they
// have taken its next one. It costs one write. The floor need not be looked at: a slot of
// the writer that is below the floor was taken by the writer, with the same payload, or the
// writer would have been told ErrTaken; and the slot that fences it is the last, which stays.
func (l *Log) AppendOwned(ctx context.Context, seq uint64, payload []byte) error {
	err := kv.Settle(ctx, l.store, kv.Write{Key: l.slotKey(seq), Value: payload})[0].Err
	if errors.Is(err, kv.ErrConflict) {
		err = fmt.Errorf("%w: %w", ErrTaken, err)
	}
	if err != nil {
		return l.appendError(seq, err)
	}
	return nil
}

func (l *Log) appendError(seq uint64, err error) error {
	return fmt.Errorf("append to slot %d of %s: %w", seq, l.part, err)
}

// settleFloor reads the floor, again and again while ctx lasts: without it the outcome is unknown.
func (l *Log) settleFloor(ctx context.Context) (uint64, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		floor, _, err := l.floor(ctx)
		if err == nil || errors.Is(err, kv.ErrCorrupt) {
			return floor, err
		}
		if pause.For(ctx, wait) != nil {
			return 0, fmt.Errorf("%w: %w", kv.ErrUnknown, err)
		}
	}
}

// Read returns up to limit slots (0: all) from the sequence from on, in order. It
// fails with ErrTruncated when from lies below the floor. A slot that is missing
// between others may be one that was taken while Read was under way.
func (l *Log) Read(ctx context.Context, from uint64, limit int) ([]Slot, error) {
	r := kv.Range{From: slotSort(from), Limit: limit}
	if limit > 0 {
		r.Limit++ // the floor, if the end comes first
	}
	items, err := l.store.Query(ctx, l.part, r)
	if err != nil {
		return nil, l.readError(from, err)
	}
	slots, floor, err := l.decode(items)
	if err != nil {
		return nil, l.readError(from, err)
	}
	if len(slots) > 0 { // it may have risen since they were read
		if floor, _, err = l.floor(ctx); err != nil {
			return nil, l.readError(from, err)
		}
	}
	if floor > from {
		return nil, l.readError(from, fmt.Errorf("%w: the log begins at %d", ErrTruncated, floor))
	}
	if limit > 0 && len(slots) > limit {
		slots = slots[:limit]
	}
	return slots, nil
}

func (l *Log) readError(from uint64, err error) error {
	return fmt.Errorf("read %s from slot %d: %w", l.part, from, err)
}

// decode tells slots from the floor, which is 0 if it is not among the items.
func (l *Log) decode(items []kv.Item) (slots []Slot, floor uint64, err error) {
	slots = make([]Slot, 0, len(items))
	for _, item := range items {
		if item.Key.Sort == floorSort {
			floor, err = parseSeq(string(item.Value))
			return slots, floor, err
		}
		seq, err := parseSeq(item.Key.Sort)
		if err != nil {
			return nil, 0, err
		}
		slots = append(slots, Slot{Seq: seq, Payload: item.Value})
	}
	return slots, 0, nil
}

func parseSeq(s string) (uint64, error) {
	seq, err := strconv.ParseUint(s, 10, 64)
	if err != nil || len(s) != digits {
		return 0, fmt.Errorf("%w: sequence %q, want %d digits", kv.ErrCorrupt, s, digits)
	}
	return seq, nil
}

// Last returns the slot of the highest sequence, or false if no slot was ever taken.
func (l *Log) Last(ctx context.Context) (Slot, bool, error) {
	items, err := l.store.Query(ctx, l.part, kv.Range{To: floorSort, Reverse: true, Limit: 1})
	if err != nil {
		return Slot{}, false, fmt.Errorf("read the last slot of %s: %w", l.part, err)
	}
	slots, _, err := l.decode(items)
	if err != nil || len(slots) == 0 {
		return Slot{}, false, err
	}
	return slots[0], true, nil
}

// First returns the floor: the sequence from which on slots can be read. It is 0
// until the log is first truncated.
func (l *Log) First(ctx context.Context) (uint64, error) {
	floor, _, err := l.floor(ctx)
	return floor, err
}

// floor returns the floor and the version of its item, 0 and "" if there is none.
func (l *Log) floor(ctx context.Context) (uint64, kv.Version, error) {
	item, err := l.store.Get(ctx, l.floorKey())
	if errors.Is(err, kv.ErrNotFound) {
		return 0, "", nil
	}
	if err != nil {
		return 0, "", fmt.Errorf("read the floor of %s: %w", l.part, err)
	}
	seq, err := parseSeq(string(item.Value))
	return seq, item.Version, err
}

// truncateBatch is how many slots are removed at a time.
const truncateBatch = 64

// Truncate removes the slots below before; the highest slot always stays, so that a
// writer fenced by it stays fenced. Commit point: the floor. A crash before changes
// nothing; after it the slots are gone for every reader, and the next Truncate removes their items.
func (l *Log) Truncate(ctx context.Context, before uint64) error {
	last, ok, err := l.Last(ctx)
	if err != nil || !ok {
		return err
	}
	floor, err := l.raise(ctx, min(before, last.Seq))
	if err != nil {
		return fmt.Errorf("truncate %s: %w", l.part, err)
	}
	for {
		items, err := l.store.Query(ctx, l.part, kv.Range{To: slotSort(floor), Limit: truncateBatch})
		if err != nil {
			return fmt.Errorf("truncate %s: %w", l.part, err)
		}
		if len(items) == 0 {
			return nil
		}
		if err := l.remove(ctx, items); err != nil {
			return fmt.Errorf("truncate %s: %w", l.part, err)
		}
	}
}

// raise brings the floor to at least to, and returns where it is then.
func (l *Log) raise(ctx context.Context, to uint64) (uint64, error) {
	for {
		floor, version, err := l.floor(ctx)
		if err != nil || floor >= to {
			return floor, err
		}
		put := kv.Write{Key: l.floorKey(), Value: []byte(slotSort(to)), If: version}
		err = kv.Settle(ctx, l.store, put)[0].Err
		if !errors.Is(err, kv.ErrConflict) {
			return to, err
		}
	}
}

func (l *Log) remove(ctx context.Context, items []kv.Item) error {
	writes := make([]kv.Write, len(items))
	for i, item := range items {
		writes[i] = kv.Write{Key: item.Key, Delete: true, Any: true}
	}
	for _, r := range kv.Settle(ctx, l.store, writes...) {
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}
