package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
)

// What lies in a data directory, beside the broker's hot segments and index.
const (
	markerFile  = "FOREBAY" // makes a directory ours and names the layout's version
	markerTemp  = "FOREBAY.tmp"
	lockFile    = "LOCK"       // held by the process that uses the directory
	controlFile = "control.db" // bbolt: metadata log and chains
	offsetsFile = "offsets.db" // bbolt: group offsets
	objectsDir  = "objects"    // packs and snapshots
)

// markerText is the content of markerFile in this version of the layout.
const markerText = "Forebay data directory, layout 1\n"

// markerForm is what the marker of any layout looks like.
var markerForm = regexp.MustCompile(`^Forebay data directory, layout [0-9]+\n$`)

// dataDir is an opened data directory, or memory that stands for one.
type dataDir struct {
	path    string // "" for memory
	fs      vfs.FS
	control kv.Store
	offsets kv.Store
	objects objstore.Store
	lock    io.Closer
}

// openMemory returns a data directory that is gone with the process.
func openMemory() *dataDir {
	return &dataDir{fs: vfs.NewMem(), control: kv.NewMem(), offsets: kv.NewMem(), objects: objstore.NewMem()}
}

// openDataDir opens the directory of a node alone for this process, and makes it if it does not exist.
func openDataDir(path string) (*dataDir, error) {
	return openDir(path, func(d *dataDir) error {
		if err := d.openTables(); err != nil {
			return err
		}
		var err error
		d.objects, err = objstore.OpenFile(d.fs, filepath.Join(path, objectsDir))
		return err
	})
}

// openCacheDir opens the directory of a broker of a cluster, which is a cache.
func openCacheDir(path string) (*dataDir, error) {
	return openDir(path, func(*dataDir) error { return nil })
}

// openTablesDir opens a directory that holds the tables of a cluster of one broker.
func openTablesDir(path string) (*dataDir, error) {
	return openDir(path, (*dataDir).openTables)
}

// openDir opens a directory for this process alone, and then what is in it.
func openDir(path string, open func(*dataDir) error) (_ *dataDir, err error) {
	d := &dataDir{path: path, fs: vfs.OS()}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open data directory %s: %w", path, errors.Join(err, d.close()))
		}
	}()
	if err := claim(d.fs, path); err != nil {
		return nil, err
	}
	if d.lock, err = lockDir(d.fs, path); err != nil {
		return nil, err
	}
	return d, open(d)
}

func (d *dataDir) openTables() (err error) {
	if d.control, err = kv.OpenBolt(filepath.Join(d.path, controlFile), kv.BoltOptions{}); err != nil {
		return err
	}
	d.offsets, err = kv.OpenBolt(filepath.Join(d.path, offsetsFile), kv.BoltOptions{})
	return err
}

// claim makes sure that the directory is ours: new, empty, or marked by us.
func claim(fsys vfs.FS, path string) error {
	if err := fsys.MkdirAll(path, 0o755); err != nil {
		return err
	}
	err := checkMarker(path)
	if !errors.Is(err, errUnmarked) {
		return err
	}
	entries, err := fsys.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != lockFile && e.Name() != markerTemp {
			return fmt.Errorf("%w, for it holds %q and no file %s; choose another --dir", errUnmarked, e.Name(), markerFile)
		}
	}
	return writeMarker(fsys, path)
}

// lockDir makes this process the only one in the directory.
func lockDir(fsys vfs.FS, path string) (io.Closer, error) {
	lock, err := fsys.Lock(filepath.Join(path, lockFile))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w: another forebay uses it; stop that one or choose another --dir", err)
	}
	return lock, err
}

// errUnmarked: the directory has no marker.
var errUnmarked = errors.New("it is not a Forebay data directory")

// checkMarker reads the marker of a data directory.
func checkMarker(path string) error {
	text, err := os.ReadFile(filepath.Join(path, markerFile))
	switch {
	case err == nil && string(text) == markerText:
		return nil
	case err == nil && markerForm.Match(text):
		return fmt.Errorf("it has another layout (%q); use the version of forebay that wrote it", strings.TrimSpace(string(text)))
	case err == nil:
		return fmt.Errorf("the file %s in it is damaged: it should read %q", markerFile, markerText)
	case errors.Is(err, fs.ErrNotExist):
		return errUnmarked
	}
	return err
}

// writeMarker makes the directory ours. Commit point: the rename. A crash before
// leaves a directory that counts as empty, a crash after a marked one.
func writeMarker(fsys vfs.FS, path string) error {
	temp := filepath.Join(path, markerTemp)
	f, err := fsys.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(markerText), 0)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(temp, filepath.Join(path, markerFile)); err != nil {
		return err
	}
	return fsys.SyncDir(path)
}

// close releases everything. It may be called on a directory that did not open fully.
func (d *dataDir) close() error {
	var errs []error
	for _, c := range []io.Closer{d.objects, d.offsets, d.control, d.lock} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
