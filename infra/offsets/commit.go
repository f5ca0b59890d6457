package offsets

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// commit is one write for many groups. Commit point of an entry: its item's write. A
// crash before leaves the older offset, a crash after the newer; each entry on its own.
type commit struct {
	table  *Table
	errs   []error                 // of each batch
	groups map[string]*groupCommit // by name
}

// groupCommit is what one group commits, its batches merged.
type groupCommit struct {
	group   *group
	batches []int // their indexes
	entries map[id.Partition]Entry
	failed  error
}

func (c *commit) merge(batches []Batch) {
	for i, b := range batches {
		g, ok := c.groups[b.Group]
		if !ok {
			g = &groupCommit{entries: make(map[id.Partition]Entry, len(b.Entries))}
			c.groups[b.Group] = g
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

// write writes the entries of all groups that have not failed.
func (c *commit) write(ctx context.Context) {
	type target struct {
		*groupCommit
		partition id.Partition
	}
	var writes []kv.Write
	var targets []target
	for _, g := range c.groups {
		if g.group == nil || g.failed != nil {
			continue
		}
		encoded, err := g.writes()
		if err != nil {
			c.fail(g, err)
			continue
		}
		for p, w := range encoded {
			writes, targets = append(writes, w), append(targets, target{g, p})
		}
	}
	failed := map[*groupCommit]error{}
	for i, r := range kv.Settle(ctx, c.table.store, writes...) {
		g := targets[i]
		if r.Err == nil {
			g.group.versions[g.partition] = r.Version
		} else {
			failed[g.groupCommit] = worse(failed[g.groupCommit], r.Err)
		}
	}
	for g, err := range failed {
		c.fail(g, c.table.explain(ctx, g.group, err))
	}
}

// writes returns the write of each entry, all or none.
func (g *groupCommit) writes() (map[id.Partition]kv.Write, error) {
	writes := make(map[id.Partition]kv.Write, len(g.entries))
	for p, e := range g.entries {
		if p.Index < 0 {
			return nil, fmt.Errorf("partition %v: its index is negative", p)
		}
		value, err := appendValue(nil, e)
		if err != nil {
			return nil, err
		}
		writes[p] = kv.Write{Key: g.group.key(p), Value: value, If: g.group.versions[p]}
	}
	return writes, nil
}
