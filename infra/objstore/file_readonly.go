package objstore

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path"

	"github.com/forebaylog/forebay/infra/vfs"
)

// OpenFileReadOnly opens the directory of OpenFile to look at it, whether or not another
// process has it open. Nothing on the disk is changed or locked: Put and Delete fail with
// fs.ErrPermission, and a directory that does not exist with fs.ErrNotExist.
func OpenFileReadOnly(fsys vfs.FS, dir string) (Store, error) {
	if _, err := fsys.ReadDir(dir); err != nil {
		return nil, fmt.Errorf("open object directory %s to read: %w", dir, err)
	}
	s := &fileStore{fs: fsys, dir: path.Clean(dir), handles: newHandles(fsys, maxHandles)}
	return readOnly{s}, nil
}

// readOnly is a Store that changes nothing.
type readOnly struct{ Store }

func (readOnly) Put(_ context.Context, key string, _ io.Reader) error {
	return fmt.Errorf("put object %q: the store is open to read: %w", key, fs.ErrPermission)
}

func (readOnly) Delete(_ context.Context, key string) error {
	return fmt.Errorf("delete object %q: the store is open to read: %w", key, fs.ErrPermission)
}

func (s readOnly) Unfinished(ctx context.Context) iter.Seq2[Upload, error] {
	return Unfinished(ctx, s.Store)
}

func (readOnly) Abort(_ context.Context, u Upload) error {
	return fmt.Errorf("abort upload %s: the store is open to read: %w", u.ID, fs.ErrPermission)
}
