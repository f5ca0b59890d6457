package objstore

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"net/http"
	"strings"
)

// uploadsAfter is where a list of uploads goes on; the zero value is its start.
type uploadsAfter struct{ name, id string }

// uploadsPage is a page of such a list. Key is the object's name.
type uploadsPage struct {
	uploads []Upload
	more    bool
	next    uploadsAfter
}

// Unfinished implements Uploads. MinIO knows no prefixes here, but for a whole name or none,
// so all uploads of the bucket are asked for. What lies elsewhere in the bucket is passed over.
func (s *remote) Unfinished(ctx context.Context) iter.Seq2[Upload, error] {
	return func(yield func(Upload, error) bool) {
		if err := s.unfinished(ctx, func(u Upload) bool { return yield(u, nil) }); err != nil {
			yield(Upload{}, fmt.Errorf("list unfinished uploads: %w", err))
		}
	}
}

func (s *remote) unfinished(ctx context.Context, yield func(Upload) bool) error {
	if s.closed.Load() {
		return fs.ErrClosed
	}
	for after, more := (uploadsAfter{}), true; more; {
		var page uploadsPage
		err := s.try(ctx, 0, func(ctx context.Context) (err error) {
			page, err = s.bucket.unfinished(ctx, after)
			return err
		})
		if err != nil {
			return err
		}
		for _, u := range page.uploads {
			name, ours := strings.CutPrefix(u.Key, s.base)
			key, valid := keyOf(name)
			if u.Key = key; ours && valid && !yield(u) {
				return nil
			}
		}
		after, more = page.next, page.more
	}
	return nil
}

// Abort implements Uploads.
func (s *remote) Abort(ctx context.Context, u Upload) error {
	if err := s.check(ctx, "abort the upload of", u.Key); err != nil {
		return err
	}
	if err := s.abort(ctx, s.name(u.Key), u.ID); err != nil {
		return fmt.Errorf("abort upload %s of object %q: %w", u.ID, u.Key, err)
	}
	return nil
}

// abort ends a multipart upload, which may have ended.
func (s *remote) abort(ctx context.Context, name, id string) error {
	return s.try(ctx, 0, func(ctx context.Context) error {
		err := s.bucket.abort(ctx, name, id)
		if hasStatus(err, http.StatusNotFound) {
			return nil
		}
		return err
	})
}
