package chain

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// CommitWithin is how long ago whoever changes a chain may have looked at it, or may have begun to
// upload what it names, by its own monotonic clock: else it gives up and begins anew. The
// collector's grace must be longer.
const CommitWithin = 30 * time.Minute

// ErrChanged means that the item is not what it was when the chain was read. Read it again.
var ErrChanged = errors.New("chain item changed")

// Unchanged looks again at items of a chain, in order, that were read before: nil if each is still
// there as it was. It fails with ErrChanged if not.
func (s *Store) Unchanged(ctx context.Context, p id.Partition, items []Item) error {
	if len(items) == 0 {
		return nil
	}
	first, last := items[0].Base, items[len(items)-1].Base
	raw, err := s.kv.Query(ctx, partKey(p), kv.Range{From: sortKey(first), To: sortKey(last) + "\x00"})
	if err != nil {
		return fmt.Errorf("read the chain of %s from %d to %d again: %w", p, first, last, err)
	}
	now := make(map[string]kv.Version, len(raw))
	for _, r := range raw {
		now[r.Key.Sort] = r.Version
	}
	for _, item := range items {
		if now[sortKey(item.Base)] != item.Version {
			return fmt.Errorf("look at the segment from %d of %s again: %w", item.Base, p, ErrChanged)
		}
	}
	return nil
}

// Counts reads a chain again: nil if items, which follow each other, are still there as they were, and still count
// when the log starts at start. It fails with ErrChanged if not: they may be what they were and spare, covered by another.
func (s *Store) Counts(ctx context.Context, p id.Partition, start id.Offset, items []Item) error {
	all, err := s.Items(ctx, p)
	if err != nil || len(items) == 0 {
		return err
	}
	canonical, _, err := Canonical(all, start)
	first := slices.Index(canonical, items[0])
	if err != nil || first < 0 || len(canonical) < first+len(items) || !slices.Equal(canonical[first:first+len(items)], items) {
		return fmt.Errorf("look at the segments from %d of %s again: %w", items[0].Base, p, errors.Join(ErrChanged, err))
	}
	return nil
}

// Replace puts one segment in the place of the items of old, which are canonical, follow each
// other, and were read less than CommitWithin ago: seg has their offsets.
//
// Commit point: the write of the first item of old under the condition that it is what it
// was. A crash before it leaves the object of seg, if it has one, in no chain; after it the
// other items of old are spare. It fails with ErrChanged if another was faster, and
// with kv.ErrUnknown if that cannot be told.
func (s *Store) Replace(ctx context.Context, p id.Partition, old []Item, seg Segment) error {
	if len(old) == 0 {
		return fmt.Errorf("replace segments of %s: %w: there are none", p, ErrInvalid)
	}
	seg.Rewritten = true
	fail := func(err error) error {
		return fmt.Errorf("replace the segments from %d to %d of %s by object %q: %w", old[0].Base, old[len(old)-1].Next, p, seg.Object, err)
	}
	for i := 1; i < len(old); i++ {
		if old[i].Base != old[i-1].Next {
			return fail(fmt.Errorf("%w: %d is followed by %d", ErrInvalid, old[i-1].Next, old[i].Base))
		}
	}
	if seg.Base != old[0].Base || seg.Next != old[len(old)-1].Next {
		return fail(fmt.Errorf("%w: it has the offsets %d to %d", ErrInvalid, seg.Base, seg.Next))
	}
	if err := seg.Validate(); err != nil {
		return fail(err)
	}
	write := kv.Write{Key: segmentKey(p, seg.Base), Value: seg.AppendTo(nil), If: old[0].Version}
	err := s.kv.Write(ctx, write)[0].Err
	if errors.Is(err, kv.ErrUnknown) || errors.Is(err, kv.ErrConflict) { // no two rewrites have the same value, but of empty segments
		item, readErr := s.kv.Get(ctx, write.Key)
		switch {
		case readErr == nil && bytes.Equal(item.Value, write.Value):
			return nil
		case readErr == nil && item.Version != old[0].Version, errors.Is(readErr, kv.ErrNotFound):
			return fail(ErrChanged)
		case readErr != nil:
			err = errors.Join(err, readErr)
		}
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// Remove removes items, spare ones or those of a topic that is gone, each unless it has changed
// since it was read. An item that is gone already is no error.
//
// They go one after the other from the lowest offset on, and an error ends it: what is found at
// an offset, or as the end, is the last item at or below it, and that must not be one whose end is lower
// than that of the item that covers both.
func (s *Store) Remove(ctx context.Context, p id.Partition, items []Item) error {
	items = slices.SortedFunc(slices.Values(items), func(a, b Item) int { return cmp.Compare(a.Base, b.Base) })
	for i, item := range items {
		err := s.kv.Write(ctx, kv.Write{Key: segmentKey(p, item.Base), Delete: true, If: item.Version})[0].Err
		if err != nil && !errors.Is(err, kv.ErrConflict) {
			return fmt.Errorf("remove %d items of the chain of %s, after %d: %w", len(items), p, i, err)
		}
	}
	return nil
}

// Forget removes the index item of a chain all of whose items were removed, of a topic that
// is gone.
func (s *Store) Forget(ctx context.Context, p id.Partition) error {
	if err := s.kv.Write(ctx, kv.Write{Key: indexKey(p), Delete: true, Any: true})[0].Err; err != nil {
		return fmt.Errorf("forget the chain of %s: %w", p, err)
	}
	return nil
}
