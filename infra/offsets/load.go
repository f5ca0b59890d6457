package offsets

import (
	"context"
	"errors"
	"fmt"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// Load reads all offsets of a group, in order of topic id and partition, for the
// coordinator of that epoch. It fails with ErrFenced if that has been replaced. An epoch
// must not be used before the Authority has appointed it.
func (t *Table) Load(ctx context.Context, group string, epoch id.Epoch) ([]Entry, error) {
	entries, _, err := t.LoadAll(ctx, group, epoch)
	return entries, err
}

// LoadAll is Load that returns also the state of the group, nil if none is stored.
func (t *Table) LoadAll(ctx context.Context, group string, epoch id.Epoch) (entries []Entry, state []byte, err error) {
	g, err := t.lock(group)
	if err != nil {
		return nil, nil, fmt.Errorf("load offsets: %w", err)
	}
	defer t.unlock(g)
	items, state, err := t.load(ctx, g, epoch)
	if err != nil {
		return nil, nil, g.fail("load", err)
	}
	return entriesOf(items), state, nil
}

// Read is Load for tools: it asks nobody, changes nothing and is no ground for a commit.
func (t *Table) Read(ctx context.Context, name string) ([]Entry, error) {
	escaped, err := escapeGroup(name)
	if err != nil {
		return nil, fmt.Errorf("read offsets: %w", err)
	}
	g := &group{escaped: escaped}
	items, _, err := t.query(ctx, g)
	if err != nil {
		return nil, g.fail("read", err)
	}
	return entriesOf(items), nil
}

// load makes g known under the epoch.
func (t *Table) load(ctx context.Context, g *group, epoch id.Epoch) ([]item, []byte, error) {
	if err := t.held(g, epoch); err != nil {
		return nil, nil, err
	}
	var failed error
	for range attempts {
		index, err := t.store.Get(ctx, g.indexKey()) // before the offsets: see deleteGroup
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return nil, nil, err
		}
		items, stored, err := t.query(ctx, g)
		if err != nil {
			return nil, nil, err
		}
		state, err := stateOf(stored, epoch)
		if err != nil {
			return nil, nil, err
		}
		versions := make(map[id.Partition]kv.Version, len(items))
		for i := range items {
			if items[i].epoch > epoch {
				return nil, nil, fmt.Errorf("%w: it has epoch %d, we have %d", ErrFenced, items[i].epoch, epoch)
			}
			versions[items[i].partition()] = items[i].version
		}
		switch failed = t.withdraw(ctx, g, epoch, items, versions); {
		case failed == nil:
			g.loaded, g.epoch, g.versions = true, epoch, versions
			g.index, g.listed, g.state = index.Version, false, stored.Version
			return items, state, nil
		case !errors.Is(failed, kv.ErrConflict):
			return nil, nil, failed
		}
	}
	return nil, nil, contested(failed)
}

// stateOf returns what the item holds that a coordinator of that epoch finds, nil if there is none.
func stateOf(stored kv.Item, epoch id.Epoch) ([]byte, error) {
	if stored.Version == "" {
		return nil, nil
	}
	by, state, err := decodeState(stored.Value)
	if err == nil && by > epoch {
		err = fmt.Errorf("%w: its state has epoch %d, we have %d", ErrFenced, by, epoch)
	}
	return state, err
}

// withdraw writes over the removals that are announced and have not happened.
func (t *Table) withdraw(ctx context.Context, g *group, epoch id.Epoch, items []item, versions map[id.Partition]kv.Version) error {
	var announced []item
	for _, it := range items {
		if it.removing {
			it.epoch, it.removing = epoch, false
			announced = append(announced, it)
		}
	}
	if len(announced) == 0 {
		return nil
	}
	return t.rewrite(ctx, g, announced, versions)
}

// rewrite writes items over those of the known versions, and notes the new versions.
func (t *Table) rewrite(ctx context.Context, g *group, items []item, versions map[id.Partition]kv.Version) error {
	writes := make([]kv.Write, len(items))
	for i, it := range items {
		value, err := appendValue(nil, it)
		if err != nil {
			return err
		}
		writes[i] = kv.Write{Key: g.key(it.partition()), Value: value, If: versions[it.partition()]}
	}
	var failed error
	for i, r := range kv.Settle(ctx, t.store, writes...) {
		if r.Err == nil {
			versions[items[i].partition()] = r.Version
		} else {
			failed = worse(failed, r.Err)
		}
	}
	return failed
}

// worse returns the error to tell of two: one that is no conflict, which nothing is done about.
func worse(a, b error) error {
	if a == nil || errors.Is(a, kv.ErrConflict) {
		return b
	}
	return a
}

// query reads the items of a group, and that with its state, without a version if there is none.
func (t *Table) query(ctx context.Context, g *group) (items []item, state kv.Item, err error) {
	stored, err := t.store.Query(ctx, g.part(), kv.Range{})
	if err != nil {
		return nil, state, err
	}
	items = make([]item, 0, len(stored))
	for _, s := range stored {
		if s.Key.Sort == stateKey {
			state = s
			continue
		}
		p, err := parseSortKey(s.Key.Sort)
		if err != nil {
			return nil, state, err
		}
		it, err := decodeValue(s.Value)
		if err != nil {
			return nil, state, fmt.Errorf("partition %v: %w", p, err)
		}
		it.Topic, it.Partition, it.version = p.Topic, p.Index, s.Version
		items = append(items, it)
	}
	return items, state, nil
}

func entriesOf(items []item) []Entry {
	entries := make([]Entry, len(items))
	for i := range items {
		entries[i] = items[i].Entry
	}
	return entries
}
