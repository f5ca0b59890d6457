package vfs

import (
	"io/fs"
	"os"
	"syscall"
)

// knownFlags are the flags that OpenFile takes; all drivers give them one meaning.
const knownFlags = os.O_RDWR | os.O_WRONLY | os.O_CREATE | os.O_EXCL | os.O_TRUNC | Direct

// checkFlags refuses what FS does not promise, O_APPEND above all.
func checkFlags(name string, flag int) error {
	if flag&^knownFlags != 0 {
		return pathError("open", name, syscall.EINVAL)
	}
	return nil
}

// pathError is the error form that FS promises; nil stays nil.
func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// changesOnOpen reports whether opening with flag may change the file system.
func changesOnOpen(flag int) bool { return flag&(os.O_CREATE|os.O_TRUNC) != 0 }
