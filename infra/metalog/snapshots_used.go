package metalog

import (
	"context"

	"github.com/forebaylog/forebay/infra/kv"
)

// SnapshotPrefix begins the names of snapshots in the object store.
const SnapshotPrefix = objectPrefix

// Snapshots tells which snapshots are in use, as of a moment.
type Snapshots struct{ pointer pointer }

// ReadSnapshots reads which snapshots are in use: none before the first. It fails with
// ErrCorrupt or ErrNewer.
func ReadSnapshots(ctx context.Context, store kv.Store) (Snapshots, error) {
	s := snapshots{store: store}
	p, _, err := s.find(ctx)
	return Snapshots{p}, err
}

// Objects returns the names of the snapshots in use: that which counts and the one before, as far as
// there are any.
func (s Snapshots) Objects() []string {
	var names []string
	for _, ref := range []snapshotRef{s.pointer.Current, s.pointer.Previous} {
		if ref.Object != "" {
			names = append(names, ref.Object)
		}
	}
	return names
}

// Superfluous reports whether nobody uses the snapshot and nobody ever will: what is newer
// than the current one may be about to become it.
func (s Snapshots) Superfluous(object string) bool {
	version, ok := objectVersion(object)
	return ok && version <= s.pointer.Current.Version && object != s.pointer.Current.Object && object != s.pointer.Previous.Object
}

// IsSnapshot reports whether it is the name of a snapshot.
func IsSnapshot(object string) bool {
	_, ok := objectVersion(object)
	return ok
}
