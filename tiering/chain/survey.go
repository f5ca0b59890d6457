package chain

import (
	"context"
	"fmt"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
)

// Survey is Items for one who looks for damage: what cannot be read of the chain is left out,
// and told in damaged, an error for each item. err is of the table.
func (s *Store) Survey(ctx context.Context, p id.Partition) (items []Item, damaged []error, err error) {
	raw, err := s.kv.Query(ctx, partKey(p), kv.Range{})
	if err != nil {
		return nil, nil, fmt.Errorf("read the chain of %s: %w", p, err)
	}
	items = make([]Item, 0, len(raw))
	for _, r := range raw {
		seg, err := decodeItem(p, r)
		if err != nil {
			damaged = append(damaged, err)
			continue
		}
		items = append(items, Item{Segment: seg, Version: r.Version})
	}
	return items, damaged, nil
}
