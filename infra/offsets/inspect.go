package offsets

import (
	"context"
	"math"
)

// ReadState returns the state of a group, nil if none is stored, for tools: it asks nobody and changes nothing.
func (t *Table) ReadState(ctx context.Context, name string) ([]byte, error) {
	escaped, err := escapeGroup(name)
	if err != nil {
		return nil, err
	}
	g := &group{escaped: escaped}
	_, stored, err := t.query(ctx, g)
	if err != nil {
		return nil, g.fail("read", err)
	}
	state, err := stateOf(stored, math.MaxInt32)
	if err != nil {
		return nil, g.fail("read", err)
	}
	return state, nil
}

// ReadPending returns what transactions have pending in a shard, for tools: it asks nobody,
// changes nothing, and leaves out what the shard's next coordinator would remove.
func (t *Table) ReadPending(ctx context.Context, shard int32) ([]Pending, error) {
	head, items, err := t.queryPending(ctx, shard)
	if err != nil {
		return nil, failPending("read", shard, err)
	}
	var found []Pending
	for _, it := range items {
		if !it.ended && it.epoch >= head.epoch {
			found = append(found, it.Pending)
		}
	}
	return found, nil
}
