package metalog

import (
	"context"

	"github.com/forebaylog/forebay/infra/kv"
)

// SnapshotObjects returns the objects of the snapshots in use, for tools: that which counts
// and the one before, none before the first. It fails with ErrCorrupt or ErrNewer.
func SnapshotObjects(ctx context.Context, store kv.Store) ([]string, error) {
	s := snapshots{store: store}
	p, _, err := s.find(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, ref := range []snapshotRef{p.Current, p.Previous} {
		if ref.Object != "" {
			names = append(names, ref.Object)
		}
	}
	return names, nil
}
