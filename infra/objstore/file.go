package objstore

import (
	"errors"

	"github.com/forebaylog/forebay/infra/vfs"
)

// OpenFile opens the store that keeps each object in a file below dir.
func OpenFile(fsys vfs.FS, dir string) (Store, error) { return nil, errors.ErrUnsupported }
