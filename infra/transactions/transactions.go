// Package transactions keeps the state of transactional ids, one item for each id in a
// kv.Store, by the shard of their coordinator. It owns no clock and decides nothing:
// broker/txn does. Table and Writer are safe for concurrent use.
//
// # Coordinators that replace each other
//
// A shard has one coordinator at a time, each with an epoch above the one before, as the
// groups have in package offsets; an Authority knows who it is. A coordinator may be replaced
// without knowing, with writes under way that arrive at any later time. Three rules:
//
//   - Every write is conditional on the version that the writer knows and carries its epoch.
//   - After a write, and before anything follows from it (an answer, a marker), the
//     Authority is asked whether the epoch is still the newest. A successor reads the shard after
//     it was appointed: it finds the write, or nothing has followed from it.
//   - Who finds the condition failed reads the item again and takes it as the truth, unless it
//     carries a higher epoch: then it is the reader that was replaced.
//
// So a write of a replaced coordinator that arrives late is as if its request arrived now:
// nobody was told of it, the successor meets it at its next write of that item, and goes on from
// there. It cannot undo what the successor has written, whose version it does not know.
package transactions

import (
	"context"
	"errors"
	"fmt"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// Errors of this package.
var (
	// ErrFenced: the shard has another coordinator now. What it has written is as it was.
	ErrFenced = errors.New("transactional id has another coordinator")
	// ErrConflict: the item is not as the writer knew it; see Result.Found.
	ErrConflict = errors.New("transaction was changed by an earlier coordinator")
	// ErrInvalidID: the transactional id is empty or too long.
	ErrInvalidID = errors.New("invalid transactional id")
)

// Authority knows which coordinator is the newest. Its methods are called concurrently.
type Authority interface {
	// Refresh makes Holds know of every coordinator appointed before the call.
	Refresh(ctx context.Context) error
	// Holds reports whether this process coordinates the transactional id under this epoch and may
	// answer for it, as far as it knows. It does no I/O.
	Holds(transactionalID string, epoch id.Epoch) bool
}

// Item is a stored Transaction. One without a Version is not stored.
type Item struct {
	ID string // transactional id
	Transaction
	Version kv.Version
}

// Table is all transactional ids.
type Table struct {
	store     kv.Store
	authority Authority
}

// Open returns the table; it does no I/O.
func Open(store kv.Store, authority Authority) *Table {
	return &Table{store: store, authority: authority}
}

// maxID is the longest transactional id, as it is escaped, in bytes.
const maxID = 900

// CheckID fails with ErrInvalidID unless the id can be stored.
func CheckID(transactionalID string) error {
	if n := len(kv.Escape(transactionalID)); n == 0 || n > maxID {
		return fmt.Errorf("%w: %d bytes, must be from 1 to %d", ErrInvalidID, n, maxID)
	}
	return nil
}

func part(shard int32) string { return fmt.Sprintf("transactions/%d", shard) }

func key(shard int32, transactionalID string) kv.Key {
	return kv.Key{Part: part(shard), Sort: kv.Escape(transactionalID)}
}

// Load reads every transactional id of a shard with one query, for the coordinator of that
// epoch, which the Authority has appointed before. It fails with ErrFenced if that has been replaced.
func (t *Table) Load(ctx context.Context, shard int32, epoch id.Epoch) ([]Item, error) {
	stored, err := t.store.Query(ctx, part(shard), kv.Range{})
	if err != nil {
		return nil, fmt.Errorf("load transactions of shard %d: %w", shard, err)
	}
	items := make([]Item, 0, len(stored))
	for _, s := range stored {
		it, err := itemOf(s, epoch)
		if err != nil {
			return nil, fmt.Errorf("load transactions of shard %d: %w", shard, err)
		}
		items = append(items, it)
	}
	return items, nil
}

// itemOf decodes an item for the coordinator of that epoch.
func itemOf(s kv.Item, epoch id.Epoch) (Item, error) {
	name, err := kv.Unescape(s.Key.Sort)
	if err != nil {
		return Item{}, err
	}
	t, writer, err := decodeValue(s.Value)
	switch {
	case err != nil:
		return Item{}, fmt.Errorf("transactional id %q: %w", name, err)
	case writer > epoch:
		return Item{}, fmt.Errorf("transactional id %q: %w: it has epoch %d, we have %d", name, ErrFenced, writer, epoch)
	}
	return Item{ID: name, Transaction: t, Version: s.Version}, nil
}

// Write is one change of an item.
type Write struct {
	Shard       int32
	ID          string
	Epoch       id.Epoch   // of the coordinator
	If          kv.Version // that the item has now; "": there is none
	Transaction Transaction
	Delete      bool
}

// Result is the outcome of a Write. Err is nil when it is durable and no other coordinator has
// missed it. With ErrConflict Found is the item as it is now, whose Version is "" if there is
// none. With any other error the write may or may not be applied.
type Result struct {
	Version kv.Version
	Found   Item
	Err     error
}

// WriteAll makes writes of different items, and asks the Authority once for all of them.
//
// Commit point of each: its item's write. A crash before leaves the state of before, a
// crash after the new one, which the next coordinator takes up.
func (t *Table) WriteAll(ctx context.Context, writes []Write) []Result {
	results := make([]Result, len(writes))
	encoded := make([]kv.Write, len(writes))
	for i := range writes {
		w := &writes[i]
		encoded[i] = kv.Write{Key: key(w.Shard, w.ID), Delete: w.Delete, If: w.If}
		if !w.Delete {
			encoded[i].Value = appendValue(nil, &w.Transaction, w.Epoch)
		}
	}
	for i, r := range kv.Settle(ctx, t.store, encoded...) {
		results[i] = Result{Version: r.Version, Err: r.Err}
		if errors.Is(r.Err, kv.ErrConflict) {
			results[i].Found, results[i].Err = t.reread(ctx, &writes[i])
		}
	}
	refreshed := t.authority.Refresh(ctx)
	for i := range writes {
		switch w := &writes[i]; {
		case refreshed != nil:
			results[i].Err = fmt.Errorf("write transaction of %q: ask who the coordinator is: %w", w.ID, refreshed)
		case !t.authority.Holds(w.ID, w.Epoch):
			results[i].Err = fmt.Errorf("write transaction of %q: %w: epoch %d is over", w.ID, ErrFenced, w.Epoch)
		case results[i].Err != nil:
			results[i].Err = fmt.Errorf("write transaction of %q: %w", w.ID, results[i].Err)
		}
	}
	return results
}

// reread reads the item that a write has not found as it expected. It fails with ErrConflict, if with nothing worse.
func (t *Table) reread(ctx context.Context, w *Write) (Item, error) {
	s, err := t.store.Get(ctx, key(w.Shard, w.ID))
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return Item{ID: w.ID}, ErrConflict
	case err != nil:
		return Item{}, err
	}
	it, err := itemOf(s, w.Epoch)
	if err != nil {
		return Item{}, err
	}
	return it, ErrConflict
}
