package offsets

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// Delete removes the offsets of partitions for the coordinator of that epoch; one that
// has none is no error. It fails with ErrFenced like Commit.
//
// Commit point of a partition: the removal of its item. A crash before leaves the offset,
// announced or not. See the package's third rule.
func (t *Table) Delete(ctx context.Context, group string, epoch id.Epoch, partitions ...id.Partition) error {
	g, err := t.lock(group)
	if err != nil {
		return fmt.Errorf("delete offsets: %w", err)
	}
	defer t.unlock(g)
	wanted := make(map[id.Partition]bool, len(partitions))
	for _, p := range partitions {
		wanted[p] = true
	}
	if err := t.delete(ctx, g, epoch, func(p id.Partition) bool { return wanted[p] }); err != nil {
		return g.fail("delete", err)
	}
	return nil
}

// DeleteGroup removes all offsets of a group, then its name from the index. After a
// crash in between the group is listed and has no offsets. It fails with ErrFenced like Commit.
func (t *Table) DeleteGroup(ctx context.Context, group string, epoch id.Epoch) error {
	g, err := t.lock(group)
	if err != nil {
		return fmt.Errorf("delete group: %w", err)
	}
	defer t.unlock(g)
	if err := t.deleteGroup(ctx, g, epoch); err != nil {
		return g.fail("delete all", err)
	}
	return nil
}

// deleteGroup removes the index item only if it is the one that was there before the
// offsets were read: a coordinator that has committed since has written it anew.
func (t *Table) deleteGroup(ctx context.Context, g *group, epoch id.Epoch) error {
	if err := t.delete(ctx, g, epoch, func(id.Partition) bool { return true }); err != nil {
		return err
	}
	g.loaded = false // whoever commits next reads again
	if err := t.deleteState(ctx, g); err != nil {
		return err
	}
	if g.index == "" {
		return nil
	}
	r := kv.Settle(ctx, t.store, kv.Write{Key: g.indexKey(), Delete: true, If: g.index})[0]
	if errors.Is(r.Err, kv.ErrConflict) {
		return fmt.Errorf("%w: it commits: %w", ErrFenced, r.Err)
	}
	return r.Err
}

// delete removes the offsets of wanted partitions.
func (t *Table) delete(ctx context.Context, g *group, epoch id.Epoch, wanted func(id.Partition) bool) error {
	var failed error
	for range attempts {
		items, _, err := t.load(ctx, g, epoch)
		if err != nil {
			return err
		}
		items = slices.DeleteFunc(items, func(it item) bool { return !wanted(it.partition()) })
		if failed = t.deleteItems(ctx, g, epoch, items); !errors.Is(failed, kv.ErrConflict) {
			return failed
		}
	}
	return contested(failed)
}

// deleteItems announces, asks and removes; and asks again, as after every write.
func (t *Table) deleteItems(ctx context.Context, g *group, epoch id.Epoch, items []item) error {
	for i := range items {
		items[i].epoch, items[i].removing = epoch, true
	}
	if err := t.rewrite(ctx, g, items, g.versions); err != nil {
		return err
	}
	if err := t.confirm(ctx, g, epoch); err != nil {
		return err
	}
	writes := make([]kv.Write, len(items))
	for i, it := range items {
		writes[i] = kv.Write{Key: g.key(it.partition()), Delete: true, If: g.versions[it.partition()]}
	}
	var failed error
	for i, r := range kv.Settle(ctx, t.store, writes...) {
		if r.Err == nil {
			delete(g.versions, items[i].partition())
		} else {
			failed = worse(failed, r.Err)
		}
	}
	if failed != nil {
		return failed
	}
	return t.confirm(ctx, g, epoch)
}
