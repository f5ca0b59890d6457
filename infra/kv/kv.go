// Package kv is the one authority of a Forebay cluster: a table of small items
// with consistent reads and conditional writes of one item, which is all that
// DynamoDB, bbolt and a map have in common and all that Forebay relies on. It has
// no transactions, no streams and no expiry. Every Store is safe for concurrent use.
package kv

import (
	"context"
	"errors"
)

// MaxValue is the largest value in bytes that every driver takes (a DynamoDB item
// ends at 400 KB with its key and attributes).
const MaxValue = 350 << 10

// Errors of this package; drivers wrap them with the key and the cause.
var (
	// ErrNotFound: there is no item under the key.
	ErrNotFound = errors.New("item not found")
	// ErrConflict: the condition of a write did not hold. A writer that repeats a
	// write of unknown outcome may meet its own success; see Resolve.
	ErrConflict = errors.New("write condition failed")
	// ErrUnknown: the write may or may not have been applied. See Resolve.
	ErrUnknown = errors.New("write outcome unknown")
	// ErrUnavailable: the table cannot be asked now; nothing was written. The same may succeed later, of
	// some causes (ErrAccessDenied, ErrNoTable) once somebody has mended what the error says.
	ErrUnavailable = errors.New("table unavailable")
	// ErrTooLarge: the value exceeds MaxValue. Nothing was written.
	ErrTooLarge = errors.New("value too large")
	// ErrInvalidKey: a key is empty, too long, not UTF-8, or holds a zero byte.
	ErrInvalidKey = errors.New("invalid key")
	// ErrClosed: the Store has been closed.
	ErrClosed = errors.New("table closed")
	// ErrLocked: another process has the table open.
	ErrLocked = errors.New("table locked by another process")
	// ErrForeign: it is not a table of Forebay, or one of a newer Forebay.
	ErrForeign = errors.New("not a Forebay table")
	// ErrCorrupt: the stored bytes are damaged.
	ErrCorrupt = errors.New("table damaged")
)

// Key names an item: a partition key, within which items are ordered by a sort
// key (bytewise). Both are non-empty UTF-8 without zero bytes, together below 1 KiB.
type Key struct {
	Part string
	Sort string
}

// Version identifies one write of an item. It is a nonce drawn by the driver for each
// write, so that a writer can find out whether an item is its own doing.
type Version string

// Item is a stored value.
type Item struct {
	Key     Key
	Value   []byte // the caller owns it
	Version Version
}

// Write is one conditional write.
type Write struct {
	Key    Key
	Value  []byte  // ignored for a delete
	Delete bool    // remove the item instead
	If     Version // the version the item must have now; "" means the item must be absent, unless Any
	Any    bool    // no condition

	nonce *[nonceSize]byte // set by wrappers of this package that must know it before the driver does
}

// Result is the outcome of one Write. Version is the nonce of the write; it is
// set also with ErrUnknown and ErrConflict, for Resolve.
type Result struct {
	Version Version
	Err     error // nil, or wraps ErrConflict, ErrUnknown, ErrUnavailable, ErrTooLarge or the driver's error (not applied)
}

// Range selects items of one partition key.
type Range struct {
	From    string // inclusive; "" is the start
	To      string // exclusive; "" is the end
	Limit   int    // at most so many items; 0 means all
	Reverse bool   // from the end of the range down
}

// Store is a table.
type Store interface {
	// Get reads one item, consistently: it sees every write that returned before.
	// It fails with ErrNotFound.
	Get(ctx context.Context, key Key) (Item, error)
	// Write applies each write on its own: each is one commit point, durable when
	// Write returns, and they are neither ordered nor atomic together. The results
	// are in the order of the writes. Drivers share the cost of durability among them.
	Write(ctx context.Context, writes ...Write) []Result
	// Query reads the items of one partition key in a range, in order, consistently item by item.
	Query(ctx context.Context, part string, r Range) ([]Item, error)
	// Close releases the driver. Calls after it fail.
	Close() error
}
