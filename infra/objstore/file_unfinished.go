package objstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
)

// Unfinished implements Uploads: it yields the temporary files, of which the keys are not known.
func (s *fileStore) Unfinished(ctx context.Context) iter.Seq2[Upload, error] {
	return func(yield func(Upload, error) bool) {
		err := ctx.Err()
		if s.closed.Load() {
			err = fs.ErrClosed
		}
		var entries []fs.DirEntry
		if err == nil {
			entries, err = s.fs.ReadDir(path.Join(s.dir, tempDir))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			yield(Upload{}, fmt.Errorf("list unfinished uploads: %w", err))
			return
		}
		for _, e := range entries {
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // it has ended
			}
			if err != nil {
				err = fmt.Errorf("list unfinished uploads: %w", err)
			}
			u := Upload{ID: e.Name()}
			if err == nil {
				u.Begun = info.ModTime() // or when it was written to last, which is later
			}
			if !yield(u, err) || err != nil {
				return
			}
		}
	}
}

// Abort implements Uploads. A Put that is under way fails when it has written all.
func (s *fileStore) Abort(ctx context.Context, u Upload) error {
	err := ctx.Err()
	if s.closed.Load() {
		err = fs.ErrClosed
	}
	if err == nil && u.ID != path.Base(u.ID) {
		err = fmt.Errorf("%w: no name of a file", ErrInvalidKey)
	}
	if err == nil {
		err = s.fs.Remove(path.Join(s.dir, tempDir, u.ID))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("abort upload %s: %w", u.ID, err)
	}
	return nil
}
