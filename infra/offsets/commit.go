package offsets

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// Commit stores the entries for the coordinator of that epoch; of two for one partition
// the later one. They are durable, and no other coordinator has missed them, when Commit
// returns nil. With an error each may or may not be stored. ErrFenced says that the
// coordinator has been replaced.
func (t *Table) Commit(ctx context.Context, group string, epoch id.Epoch, entries []Entry) error {
	return t.CommitAll(ctx, []Batch{{Group: group, Epoch: epoch, Entries: entries}})[0]
}

// CommitAll commits for many groups with one write and one question to the Authority, and returns
// an error for each batch. A later batch counts as later also within the same group.
func (t *Table) CommitAll(ctx context.Context, batches []Batch) []error {
	c := commit{table: t, errs: make([]error, len(batches)), groups: map[string]*groupCommit{}}
	c.merge(batches)
	defer c.unlock()
	open := c.lock()
	for attempt := 1; len(open) > 0; attempt++ {
		for _, g := range open {
			if err := t.prepare(ctx, g.group, g.epoch); err != nil {
				c.fail(g, err)
			}
		}
		c.write(ctx, open)
		c.confirm(ctx, open)
		open = slices.DeleteFunc(open, func(g *groupCommit) bool { return g.failed != nil || g.contested == nil })
		if attempt == attempts {
			for _, g := range open {
				c.fail(g, contested(g.contested))
			}
			break
		}
	}
	return c.errs
}

// prepare makes a group ready to commit: its versions known, its name in the index.
// The index item is written before the first offset, so that no offset is without
// it; and by each coordinator anew, so that one it has replaced cannot remove it.
func (t *Table) prepare(ctx context.Context, g *group, epoch id.Epoch) error {
	if err := t.held(g, epoch); err != nil {
		return err
	}
	if !g.loaded || g.epoch != epoch {
		if _, _, err := t.load(ctx, g, epoch); err != nil {
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

// commit is one write for many groups. Commit point of an entry: its item's write. A
// crash before leaves the older offset, a crash after the newer; each entry on its own.
type commit struct {
	table  *Table
	errs   []error                 // of each batch
	groups map[string]*groupCommit // by name
}

// groupCommit is what one group commits, its batches merged.
type groupCommit struct {
	group     *group
	epoch     id.Epoch
	batches   []int // their indexes
	entries   map[id.Partition]Entry
	contested error // of the last attempt: the conflict it met
	failed    error
}

// merge joins the batches of each group. Those of an epoch that another batch has
// overtaken fail.
func (c *commit) merge(batches []Batch) {
	for i, b := range batches {
		g, ok := c.groups[b.Group]
		if !ok || b.Epoch > g.epoch {
			if ok {
				c.tell(g, fmt.Errorf("commit offsets: %w: epoch %d is over", ErrFenced, g.epoch))
			}
			g = &groupCommit{epoch: b.Epoch, entries: make(map[id.Partition]Entry, len(b.Entries))}
			c.groups[b.Group] = g
		}
		if b.Epoch < g.epoch {
			c.errs[i] = fmt.Errorf("commit offsets: %w: epoch %d is over", ErrFenced, b.Epoch)
			continue
		}
		g.batches = append(g.batches, i)
		for _, e := range b.Entries {
			g.entries[e.partition()] = e
		}
	}
}

// lock locks the groups, in order of name so that two commits cannot wait for each
// other, and returns those that have something to write.
func (c *commit) lock() []*groupCommit {
	var locked []*groupCommit
	for _, name := range slices.Sorted(maps.Keys(c.groups)) {
		g := c.groups[name]
		if len(g.entries) == 0 {
			continue
		}
		group, err := c.table.lock(name)
		if err != nil {
			c.tell(g, fmt.Errorf("commit offsets: %w", err))
			continue
		}
		g.group = group
		locked = append(locked, g)
	}
	return locked
}

func (c *commit) unlock() {
	for _, g := range c.groups {
		if g.group != nil {
			c.table.unlock(g.group)
		}
	}
}

func (c *commit) fail(g *groupCommit, err error) { c.tell(g, g.group.fail("commit", err)) }

func (c *commit) tell(g *groupCommit, err error) {
	g.failed = err
	for _, i := range g.batches {
		c.errs[i] = err
	}
}

// write writes the entries, not written yet, of the groups that have not failed.
func (c *commit) write(ctx context.Context, open []*groupCommit) {
	type target struct {
		*groupCommit
		partition id.Partition
	}
	var writes []kv.Write
	var targets []target
	for _, g := range open {
		if g.failed != nil {
			continue
		}
		g.contested = nil
		encoded, err := g.writes()
		if err != nil {
			c.fail(g, err)
			continue
		}
		for p, w := range encoded {
			writes, targets = append(writes, w), append(targets, target{g, p})
		}
	}
	for i, r := range kv.Settle(ctx, c.table.store, writes...) {
		g := targets[i]
		switch {
		case r.Err == nil:
			g.group.versions[g.partition] = r.Version
			delete(g.entries, g.partition)
		case errors.Is(r.Err, kv.ErrConflict):
			g.contested, g.group.loaded = r.Err, false
		case g.failed == nil:
			c.fail(g.groupCommit, r.Err)
		}
	}
}

// confirm asks the Authority, once for all.
func (c *commit) confirm(ctx context.Context, open []*groupCommit) {
	open = slices.DeleteFunc(slices.Clone(open), func(g *groupCommit) bool { return g.failed != nil })
	if len(open) == 0 {
		return
	}
	err := c.table.authority.Refresh(ctx)
	for _, g := range open {
		if err != nil {
			c.fail(g, fmt.Errorf("ask who the coordinator is: %w", err))
		} else if err := c.table.held(g.group, g.epoch); err != nil {
			c.fail(g, err)
		}
	}
}

// writes returns the write of each entry, all or none.
func (g *groupCommit) writes() (map[id.Partition]kv.Write, error) {
	writes := make(map[id.Partition]kv.Write, len(g.entries))
	for p, e := range g.entries {
		if p.Index < 0 {
			return nil, fmt.Errorf("partition %v: its index is negative", p)
		}
		value, err := appendValue(nil, item{Entry: e, epoch: g.epoch})
		if err != nil {
			return nil, err
		}
		writes[p] = kv.Write{Key: g.group.key(p), Value: value, If: g.group.versions[p]}
	}
	return writes, nil
}
