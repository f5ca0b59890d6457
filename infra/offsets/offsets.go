// Package offsets keeps the committed offsets of consumer groups, one item for each
// group and partition, in a kv.Store; and beside them one item with each group's state, whose
// content it does not know, and what transactions have pending. It owns no clock and expires nothing: the group
// coordinator does. Table and Committer are safe for concurrent use.
//
// # Coordinators that replace each other
//
// A group has one coordinator at a time, each with an epoch above the one before. An
// Authority knows who it is. A coordinator may be replaced without knowing, with
// writes under way that arrive at any later time. Three rules make that harmless:
//
//   - After a write, and before it is acknowledged, the Authority is asked whether the
//     epoch is still the newest. A successor reads a group's items after it was
//     appointed: it finds the write, or the question comes after the appointment and the
//     write is not acknowledged. So what a coordinator has loaded, with what it has
//     written since, is all that was ever acknowledged, and it answers from memory.
//   - An item carries the epoch of its writer, and every write is conditional on the
//     version that the writer knows. Who finds the condition failed asks the Authority,
//     reads again, and writes over what is of no higher epoch than its own. So a lower epoch
//     never overwrites a higher one, and the rightful coordinator always gets through.
//   - A removal is first announced in the item, which keeps its offset; then the Authority
//     is asked; then the item is removed, if it is still the announcement. A successor
//     writes over the announcements that it finds. So a removal takes effect before the
//     successor has read the item, or not at all.
//
// What is left is a commit of a replaced coordinator that arrives late on an item
// which its successor has not written yet. Nobody was told that it succeeded; the
// successor does not see it and overwrites it; and if it comes to light, it is an offset
// that a member of the group has reached. Likewise a removed offset can come back, when a write
// that was under way before finds that there is no item, as there was none when it was sent.
//
// # Pending offsets
//
// What transactions have pending is kept for each shard of the groups, one item for each
// producer and group, and a head. Such an item must not outlive its transaction, or its
// partitions would be unstable for ever; and it must not be counted to the producer's next one.
// Besides the three rules it follows these:
//
//   - Who takes a shard over writes every item anew under its epoch, and then the head. Who
//     finds an item of an epoch below the head's removes it. What a predecessor acknowledged
//     was there to be written anew, by the first rule; so what is removed is a write that
//     arrived after the shard had been taken over, and that nobody was told of.
//   - A shard without a head is taken over by reading alone. So before its first item a
//     coordinator writes the head and asks the Authority: if the head arrived after the shard
//     was read by a successor, it hears of that and writes no item.
//   - A coordinator's own write of unknown outcome could arrive after it has removed the
//     item. So the removal is then an item that says the transaction has ended; it goes, at
//     the earliest, when the shard is taken over and the head says so, and what arrives after
//     that is removed by the rule above.
//
// A coordinator ends a transaction after the writes of it that it began. So the items that a
// successor keeps are those of transactions whose end no coordinator has acknowledged; that
// end is still to come, and to be carried out again: the same offsets under the same commit times.
//
// Rejected: asking the transaction's coordinator about each item that is found. Before transaction
// version 2 the next transaction of a producer has the same epoch, so the answer would not do.
//
// Rejected: rewriting every item of a group when it is loaded. That makes the end of
// one broker as expensive as all offsets of its groups, and guards no partition that has no
// offset yet. Answering fetches from the table each time: it does not keep a replaced
// coordinator from acknowledging what its successor's members never heard of. A fence item
// for each coordinator here: the Authority's own log is one, and costs the same single read.
package offsets

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// Errors of this package.
var (
	// ErrFenced: the group has another coordinator now. What it has written is as it was.
	ErrFenced = errors.New("group has another coordinator")
	// ErrInvalidGroup: the name of the group is too long.
	ErrInvalidGroup = errors.New("invalid group name")
)

// Authority knows which coordinator is the newest. Its methods are called concurrently.
type Authority interface {
	// Refresh makes Holds know of every coordinator appointed before the call.
	Refresh(ctx context.Context) error
	// Holds reports whether this process coordinates the group under this epoch and may
	// answer for it, as far as it knows. It does no I/O.
	Holds(group string, epoch id.Epoch) bool
}

// Sole is the Authority of a store with a single coordinator for ever.
var Sole Authority = sole{}

type sole struct{}

func (sole) Refresh(context.Context) error { return nil }
func (sole) Holds(string, id.Epoch) bool   { return true }

// Entry is a committed offset.
type Entry struct {
	Topic       id.Topic
	TopicName   string
	Partition   int32
	Offset      id.Offset
	LeaderEpoch id.Epoch // -1: none
	Metadata    string
	CommitTime  time.Time // kept in milliseconds
	ExpireTime  time.Time // kept in milliseconds; zero: none
}

func (e Entry) partition() id.Partition { return id.Partition{Topic: e.Topic, Index: e.Partition} }

// Batch is what one group commits at once.
type Batch struct {
	Group   string
	Epoch   id.Epoch // of the coordinator
	Entries []Entry
}

// indexPart has one item for each group that may have offsets.
const indexPart = "offset-groups"

// attempts is how often a write is tried that meets the late writes of other coordinators.
const attempts = 5

// Table is all groups' offsets, as one process knows them.
type Table struct {
	store     kv.Store
	authority Authority

	mu      sync.Mutex
	groups  map[string]*group // by escaped name
	pending map[int32]*pendingShard
}

// group is what the Table knows of one group's items. Who locks several does so in
// order of their names.
type group struct {
	name    string
	escaped string

	// Guarded by Table.mu.
	users  int      // who have locked it or are about to
	forget id.Epoch // what is known up to this epoch is of no more use

	mu       sync.Mutex // guards the rest, which is still while there are no users
	loaded   bool
	epoch    id.Epoch                    // under which it was loaded
	index    kv.Version                  // of the index item as we read or wrote it last; "": there was none
	listed   bool                        // we wrote the index item
	versions map[id.Partition]kv.Version // of all its items but
	state    kv.Version                  // that with its state; "": there was none
}

func (g *group) part() string              { return "offsets/" + g.escaped }
func (g *group) key(p id.Partition) kv.Key { return kv.Key{Part: g.part(), Sort: sortKey(p)} }
func (g *group) indexKey() kv.Key          { return kv.Key{Part: indexPart, Sort: g.escaped} }
func (g *group) fail(verb string, err error) error {
	return fmt.Errorf("%s offsets of group %q: %w", verb, g.escaped, err)
}

// contested is the error after the last attempt.
func contested(err error) error {
	return fmt.Errorf("changed by others %d times in a row: %w", attempts, err)
}

// Open returns the table; it does no I/O.
func Open(store kv.Store, authority Authority) *Table {
	return &Table{store: store, authority: authority, groups: map[string]*group{}, pending: map[int32]*pendingShard{}}
}

// lock returns the group of that name, locked.
func (t *Table) lock(name string) (*group, error) {
	escaped, err := escapeGroup(name)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	g, ok := t.groups[escaped]
	if !ok {
		g = &group{name: name, escaped: escaped, forget: -1}
		t.groups[escaped] = g
	}
	g.users++
	t.mu.Unlock()
	g.mu.Lock()
	return g, nil
}

// unlock gives a group back. The last one drops a group that is not loaded, or to be forgotten.
func (t *Table) unlock(g *group) {
	g.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	g.users--
	t.drop(g)
}

// drop is called with t.mu held.
func (t *Table) drop(g *group) {
	if g.users == 0 && (!g.loaded || g.epoch <= g.forget) {
		delete(t.groups, g.escaped)
	}
}

// Forget drops what the Table knows of a group up to that epoch, as soon as nobody uses
// it; it does not wait. A coordinator that was replaced, or answered for a group that does
// not exist, calls it to free memory.
func (t *Table) Forget(group string, epoch id.Epoch) {
	escaped, err := escapeGroup(group)
	if err != nil {
		return // there is no such group
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if g, ok := t.groups[escaped]; ok {
		g.forget = max(g.forget, epoch)
		t.drop(g)
	}
}

// Len returns how many groups the Table knows something of.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.groups)
}

// held fails with ErrFenced if the epoch is known not to be the newest.
func (t *Table) held(g *group, epoch id.Epoch) error {
	if g.loaded && epoch < g.epoch || !t.authority.Holds(g.name, epoch) {
		return fmt.Errorf("%w: epoch %d is over", ErrFenced, epoch)
	}
	return nil
}

// confirm asks the Authority; see the package's first rule.
func (t *Table) confirm(ctx context.Context, g *group, epoch id.Epoch) error {
	if err := t.authority.Refresh(ctx); err != nil {
		return fmt.Errorf("ask who the coordinator is: %w", err)
	}
	return t.held(g, epoch)
}

// Groups lists the groups that have offsets, in order of name as it is escaped. A
// group whose offsets were deleted one by one is listed until DeleteGroup.
func (t *Table) Groups(ctx context.Context) ([]string, error) {
	items, err := t.store.Query(ctx, indexPart, kv.Range{})
	if err != nil {
		return nil, fmt.Errorf("list groups with offsets: %w", err)
	}
	groups := make([]string, len(items))
	for i, item := range items {
		if groups[i], err = unescapeGroup(item.Key.Sort); err != nil {
			return nil, fmt.Errorf("list groups with offsets: %w", err)
		}
	}
	return groups, nil
}
