// Package offsets keeps the committed offsets of consumer groups, one item for each
// group and partition, in a kv.Store. It owns no clock and expires nothing: the group
// coordinator does. A coordinator is fenced by the items' versions: a write is conditional
// on the version that this Table read or wrote last, so a coordinator that has been
// replaced without knowing cannot take an offset back. Table and Committer are safe
// for concurrent use.
package offsets

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// Errors of this package.
var (
	// ErrFenced: another coordinator has written some of the offsets. Those were left as
	// they are, and read again: committing once more overwrites them, which only the
	// rightful coordinator may do.
	ErrFenced = errors.New("offsets written by another coordinator")
	// ErrInvalidGroup: the name of the group is too long.
	ErrInvalidGroup = errors.New("invalid group name")
)

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
	Entries []Entry
}

// indexPart has one item for each group that may have offsets.
const indexPart = "offset-groups"

// Table is all groups' offsets, as one coordinator knows them.
type Table struct {
	store kv.Store

	mu     sync.Mutex
	groups map[string]*group // by escaped name
}

// group is what the Table knows of one group's items. Who locks several does so in
// order of their names.
type group struct {
	name string // escaped

	mu       sync.Mutex
	dropped  bool // the Table has forgotten it
	loaded   bool
	index    kv.Version                  // of the index item as we read or wrote it last; "": there was none
	listed   bool                        // we wrote the index item
	versions map[id.Partition]kv.Version // of all its items
}

func (g *group) part() string              { return "offsets/" + g.name }
func (g *group) key(p id.Partition) kv.Key { return kv.Key{Part: g.part(), Sort: sortKey(p)} }
func (g *group) indexKey() kv.Key          { return kv.Key{Part: indexPart, Sort: g.name} }
func (g *group) fail(verb string, err error) error {
	return fmt.Errorf("%s offsets of group %q: %w", verb, g.name, err)
}

// Open returns the table; it does no I/O.
func Open(store kv.Store) *Table { return &Table{store: store, groups: map[string]*group{}} }

// lock returns the group of that name, locked.
func (t *Table) lock(name string) (*group, error) {
	escaped, err := escapeGroup(name)
	if err != nil {
		return nil, err
	}
	for {
		t.mu.Lock()
		g, ok := t.groups[escaped]
		if !ok {
			g = &group{name: escaped}
			t.groups[escaped] = g
		}
		t.mu.Unlock()
		g.mu.Lock()
		if !g.dropped {
			return g, nil
		}
		g.mu.Unlock()
	}
}

// unlock gives a group back, and forgets one that was never loaded.
func (t *Table) unlock(g *group) {
	if !g.loaded {
		t.drop(g)
	}
	g.mu.Unlock()
}

// drop is called by the one who has locked g.
func (t *Table) drop(g *group) {
	g.dropped = true
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.groups, g.name)
}

// Forget drops what the Table knows of a group, as does DeleteGroup. A coordinator that
// hands a group over, or answered for one that does not exist, calls it to free memory; what
// it commits afterwards without Load is not fenced.
func (t *Table) Forget(group string) {
	g, err := t.lock(group)
	if err != nil {
		return // there is no such group
	}
	defer t.unlock(g)
	g.loaded = false
}

// Commit stores the entries; of two for one partition the later one. They are durable
// when Commit returns nil. With an error each may or may not be stored: those
// that another coordinator wrote are not (ErrFenced).
func (t *Table) Commit(ctx context.Context, group string, entries []Entry) error {
	return t.CommitAll(ctx, []Batch{{Group: group, Entries: entries}})[0]
}

// CommitAll commits for many groups with one write, and returns an error for each
// batch. A later batch counts as later also within the same group.
func (t *Table) CommitAll(ctx context.Context, batches []Batch) []error {
	c := commit{table: t, errs: make([]error, len(batches)), groups: map[string]*groupCommit{}}
	c.merge(batches)
	defer c.unlock()
	for _, g := range c.lock() {
		if err := t.prepare(ctx, g.group); err != nil {
			c.fail(g, err)
		}
	}
	c.write(ctx)
	return c.errs
}

// prepare makes a group ready to commit: its versions known, its name in the index.
// The index item is written before the first offset, so that no offset is without
// it; and by each coordinator anew, so that one it has replaced cannot remove it.
func (t *Table) prepare(ctx context.Context, g *group) error {
	if !g.loaded {
		if _, err := t.load(ctx, g); err != nil {
			return err
		}
	}
	if g.listed {
		return nil
	}
	r := kv.Settle(ctx, t.store, kv.Write{Key: g.indexKey(), Any: true})[0]
	if r.Err != nil {
		return r.Err
	}
	g.index, g.listed = r.Version, true
	return nil
}

// Load reads all offsets of a group, in order of topic id and partition. From then on
// the Table writes over what it has read; so a coordinator loads when it takes over.
func (t *Table) Load(ctx context.Context, group string) ([]Entry, error) {
	g, err := t.lock(group)
	if err != nil {
		return nil, fmt.Errorf("load offsets: %w", err)
	}
	defer t.unlock(g)
	entries, err := t.load(ctx, g)
	if err != nil {
		return nil, g.fail("load", err)
	}
	return entries, nil
}

func (t *Table) load(ctx context.Context, g *group) ([]Entry, error) {
	index, err := t.store.Get(ctx, g.indexKey()) // before the offsets: see deleteGroup
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return nil, err
	}
	items, err := t.store.Query(ctx, g.part(), kv.Range{})
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(items))
	versions := make(map[id.Partition]kv.Version, len(items))
	for i, item := range items {
		p, err := parseSortKey(item.Key.Sort)
		if err != nil {
			return nil, err
		}
		if entries[i], err = decodeValue(item.Value); err != nil {
			return nil, fmt.Errorf("partition %v: %w", p, err)
		}
		entries[i].Topic, entries[i].Partition = p.Topic, p.Index
		versions[p] = item.Version
	}
	g.loaded, g.versions = true, versions
	g.index, g.listed = index.Version, false
	return entries, nil
}

// Delete removes the offsets of partitions; one that has none is no error. It fails
// with ErrFenced like Commit.
func (t *Table) Delete(ctx context.Context, group string, partitions ...id.Partition) error {
	g, err := t.lock(group)
	if err != nil {
		return fmt.Errorf("delete offsets: %w", err)
	}
	defer t.unlock(g)
	if !g.loaded {
		if _, err := t.load(ctx, g); err != nil {
			return g.fail("delete", err)
		}
	}
	if err := t.delete(ctx, g, partitions); err != nil {
		return g.fail("delete", err)
	}
	return nil
}

func (t *Table) delete(ctx context.Context, g *group, partitions []id.Partition) error {
	var writes []kv.Write
	var of []id.Partition
	for _, p := range slices.Compact(slices.SortedFunc(slices.Values(partitions), id.Partition.Compare)) {
		if version, ok := g.versions[p]; ok {
			writes = append(writes, kv.Write{Key: g.key(p), Delete: true, If: version})
			of = append(of, p)
		}
	}
	var failed error
	for i, r := range kv.Settle(ctx, t.store, writes...) {
		if r.Err == nil {
			delete(g.versions, of[i])
		} else {
			failed = worse(failed, r.Err)
		}
	}
	return t.explain(ctx, g, failed)
}

// worse returns the error to tell of two.
func worse(a, b error) error {
	if a == nil || errors.Is(b, kv.ErrConflict) {
		return b
	}
	return a
}

// explain turns a failed condition into ErrFenced and reads the group again. After any
// other failure the known versions stay: if the write was applied after all, the next
// is told ErrFenced, which is safe, while reading again now might hide another coordinator.
func (t *Table) explain(ctx context.Context, g *group, failed error) error {
	if !errors.Is(failed, kv.ErrConflict) {
		return failed
	}
	failed = fmt.Errorf("%w: %w", ErrFenced, failed)
	if _, err := t.load(ctx, g); err != nil {
		g.loaded = false // the next one reads
		failed = errors.Join(failed, err)
	}
	return failed
}

// DeleteGroup removes all offsets of a group, then its name from the index. After a
// crash in between the group is listed and has no offsets. It fails with ErrFenced like Commit.
func (t *Table) DeleteGroup(ctx context.Context, group string) error {
	g, err := t.lock(group)
	if err != nil {
		return fmt.Errorf("delete group: %w", err)
	}
	defer t.unlock(g)
	if err := t.deleteGroup(ctx, g); err != nil {
		return g.fail("delete all", err)
	}
	return nil
}

// deleteGroup removes the index item only if it is the one that was there before the
// offsets were read: a coordinator that has committed since has written it anew.
func (t *Table) deleteGroup(ctx context.Context, g *group) error {
	if !g.loaded {
		if _, err := t.load(ctx, g); err != nil {
			return err
		}
	}
	if err := t.delete(ctx, g, slices.Collect(maps.Keys(g.versions))); err != nil {
		return err
	}
	g.loaded = false // whoever commits next reads again
	if g.index == "" {
		return nil
	}
	r := kv.Settle(ctx, t.store, kv.Write{Key: g.indexKey(), Delete: true, If: g.index})[0]
	if errors.Is(r.Err, kv.ErrConflict) {
		return fmt.Errorf("%w: %w", ErrFenced, r.Err)
	}
	return r.Err
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
