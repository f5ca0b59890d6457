package vfs

import (
	"errors"
	"io/fs"
	"path"
)

// MkdirAllSync makes a directory and those above it that are missing, and makes
// their names durable. It syncs the parent of name even if name was there, as a
// crash may have come between its creation and the sync; of a parent that the process
// may not open it then assumes the best.
func MkdirAllSync(fsys FS, name string, perm fs.FileMode) error {
	name = path.Clean(name)
	made := []string{}
	for dir := name; dir != path.Dir(dir); dir = path.Dir(dir) {
		if _, err := fsys.Stat(dir); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		made = append(made, dir)
	}
	if err := fsys.MkdirAll(name, perm); err != nil {
		return err
	}
	for _, dir := range made {
		if err := fsys.SyncDir(path.Dir(dir)); err != nil {
			return err
		}
	}
	if len(made) > 0 {
		return nil
	}
	if err := fsys.SyncDir(path.Dir(name)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
