package collect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/tiering/chain"
	"github.com/forebaylog/forebay/tiering/wal"
)

// uploads ends the unfinished uploads that have begun a grace before this look. An upload that is
// still under way then fails and is begun anew: its object is not there before it has ended. There is
// no bound as for removals: one that is old enough stays so. Those of others, who share the bucket, are
// left alone as their objects are.
func (r *run) uploads(ctx context.Context) error {
	for _, p := range r.places() {
		for u, err := range objstore.Unfinished(ctx, p.store) {
			if err != nil {
				return fmt.Errorf("list unfinished uploads: %w", err)
			}
			if !ours(u.Key) {
				continue
			}
			if r.cfg.Grace >= 0 && u.Begun.Add(r.cfg.Grace).After(r.began) {
				r.report.Uploads.Kept++
				continue
			}
			r.report.Uploads.Superfluous++
			if r.cfg.DryRun {
				continue
			}
			if err := objstore.Abort(ctx, p.store, u); err != nil {
				return fmt.Errorf("end an unfinished upload: %w", err)
			}
			r.report.Uploads.Removed++
		}
	}
	return nil
}

// ours reports whether an upload may be one of Forebay's: the store may not tell what it is of.
func ours(key string) bool {
	return key == "" || slices.ContainsFunc([]string{chain.ObjectPrefix, wal.ObjectPrefix, metalog.SnapshotPrefix, ObjectPrefix},
		func(prefix string) bool { return strings.HasPrefix(key, prefix) })
}
