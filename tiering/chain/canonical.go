package chain

import (
	"cmp"
	"context"
	"fmt"
	"sort"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// Item is a segment as the table has it.
type Item struct {
	Segment
	Version kv.Version // of the item, for a condition
}

// Items returns all items of a chain in order of base offset, those that count and those that
// do not any more: see Canonical.
func (s *Store) Items(ctx context.Context, p id.Partition) ([]Item, error) {
	raw, err := s.kv.Query(ctx, partKey(p), kv.Range{})
	if err != nil {
		return nil, fmt.Errorf("read the chain of %s: %w", p, err)
	}
	items := make([]Item, len(raw))
	for i, r := range raw {
		if items[i].Segment, err = decodeItem(p, r); err != nil {
			return nil, err
		}
		items[i].Version = r.Version
	}
	return items, nil
}

// Canonical tells which of a chain's items, in order, count when its log starts at start: the
// one that holds start and those that follow it, each beginning where the one before has ended. The
// others are spare: they lie below the log start, or were replaced by one that covers
// them (Replace). The last item always counts.
//
// A spare item does no harm to those who find it: its object has the records that it names,
// as they were before they were rewritten. It goes when no one can find it any more.
//
// What holds start is the first item that was rewritten and holds it, or else the last that
// begins at or below it. Of overlapping ones it is the first behind which there is no gap: what
// began where one ends may be gone, covered by another since before the start moved into both.
// A chain with a gap behind each is damaged: the error wraps ErrGap, all items count, and
// nothing may be removed of it.
func Canonical(items []Item, start id.Offset) (canonical, spare []Item, err error) {
	if len(items) == 0 {
		return nil, nil, nil
	}
	last := sort.Search(len(items), func(i int) bool { return items[i].Base > start }) - 1 // that begins at or below start
	for i := range max(last, 0) {
		if items[i].Rewritten && items[i].Next > start {
			if canonical, spare, err = follow(items, i); err == nil {
				return canonical, spare, nil
			}
		}
	}
	if last < 0 || items[last].Next <= start && last < len(items)-1 {
		err = cmp.Or(err, fmt.Errorf("%w: nothing holds the log start %d", ErrGap, start))
		return items, nil, err
	}
	return follow(items, last)
}

// follow tells the items that count, if the one at first is the first of them.
func follow(items []Item, first int) (canonical, spare []Item, err error) {
	spare = append(spare, items[:first]...)
	end := items[first].Base
	for _, item := range items[first:] {
		switch {
		case item.Base < end:
			spare = append(spare, item)
			continue
		case item.Base > end:
			return items, nil, fmt.Errorf("%w: offset %d is followed by %d", ErrGap, end, item.Base)
		}
		canonical, end = append(canonical, item), item.Next
	}
	return canonical, spare, nil
}
