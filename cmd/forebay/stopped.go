package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/forebaylog/forebay/infra/id"
	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/metalog"
	"github.com/forebaylog/forebay/infra/objstore"
	"github.com/forebaylog/forebay/infra/vfs"
)

// openStopped opens a data directory whose broker is stopped, for reading. Tables
// that cannot be opened are nil and their errors are in the map, by file; the
// caller says what that means. Nothing is changed but for what a crash left of
// unfinished objects, which is removed as the broker would.
func openStopped(path string) (*dataDir, map[string]error, error) {
	d, broken, err := openStoppedTables(path)
	if err != nil {
		return nil, nil, err
	}
	if d.objects, err = objstore.OpenFile(d.fs, filepath.Join(path, objectsDir)); err != nil {
		return nil, nil, fmt.Errorf("open data directory %s: %w", path, errors.Join(err, d.close()))
	}
	return d, broken, nil
}

// openStoppedTables is openStopped for the tables alone.
func openStoppedTables(path string) (_ *dataDir, broken map[string]error, err error) {
	d := &dataDir{path: path, fs: vfs.OS()}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open data directory %s: %w", path, errors.Join(err, d.close()))
		}
	}()
	if err := checkMarker(path); errors.Is(err, errUnmarked) {
		if _, statErr := os.Stat(path); statErr != nil {
			return nil, nil, statErr
		}
		return nil, nil, fmt.Errorf("%w, for it holds no file %s", err, markerFile)
	}
	if d.lock, err = lockDir(d.fs, path); err != nil {
		return nil, nil, err
	}
	broken = make(map[string]error)
	open := func(file string) kv.Store {
		table, err := kv.OpenBolt(filepath.Join(path, file), kv.BoltOptions{ReadOnly: true})
		if err != nil {
			broken[file] = err
			return nil
		}
		return table
	}
	d.control, d.offsets = open(controlFile), open(offsetsFile)
	return d, broken, nil
}

// withControl opens a stopped data directory and its control table for f.
func withControl(cmd *cobra.Command, path string, f func(ctx context.Context, d *dataDir) error) (err error) {
	d, broken, err := openStopped(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := broken[controlFile]; err != nil {
		return damaged(err)
	}
	return f(cmd.Context(), d)
}

// damaged gives errors about damaged data their exit code.
func damaged(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitDamaged, err}
}

// topicNames are the names of the topics in a data directory, for output. They
// are a convenience: without them ids are printed.
type topicNames map[id.Topic]string

func (n topicNames) partition(p id.Partition) string {
	if name, ok := n[p.Topic]; ok {
		return fmt.Sprintf("%s-%d", name, p.Index)
	}
	return p.String()
}

func (n topicNames) topic(t id.Topic) string {
	if name, ok := n[t]; ok {
		return name
	}
	return t.String()
}

func namesOf(image *metalog.Image) topicNames {
	names := make(topicNames)
	for _, t := range image.Topics() {
		names[t.ID] = t.Name
	}
	return names
}

// dirOf finds the data directory that file is in, or "".
func dirOf(file string) string {
	dir, err := filepath.Abs(file)
	if err != nil {
		return ""
	}
	for parent := filepath.Dir(dir); parent != dir; dir, parent = parent, filepath.Dir(parent) {
		if _, err := os.Stat(filepath.Join(parent, markerFile)); !errors.Is(err, fs.ErrNotExist) {
			return parent
		}
	}
	return ""
}

// besideFile runs f on a file that may be in a data directory, which is then held
// so that no broker changes it, and gives it the names of the directory's topics.
func besideFile(cmd *cobra.Command, file string, f func(names topicNames) error) (err error) {
	dir := dirOf(file)
	if dir == "" {
		return f(nil)
	}
	d, broken, err := openStopped(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if broken[controlFile] != nil {
		return f(nil)
	}
	image, err := metalog.Load(cmd.Context(), d.control, d.objects)
	if err != nil {
		return f(nil) //nolint:nilerr // the names are a convenience; verify judges the table
	}
	return f(namesOf(image))
}
