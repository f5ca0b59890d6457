package objstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// walk is one List under way.
type walk struct {
	s             *fileStore
	ctx           context.Context //nolint:containedctx // lives for one List
	prefix, after string
	yield         func(Info, error) bool
}

// listed is an entry of a directory and what it adds to the key.
type listed struct {
	text  string
	kind  nodeKind
	entry fs.DirEntry
}

// dir yields the objects of a directory, whose keys all start with base, and
// reports whether to go on. A directory that is gone is empty.
func (w *walk) dir(name, base string) bool {
	entries, err := w.s.fs.ReadDir(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return w.fail(err)
	}
	for _, e := range inKeyOrder(entries) {
		if err := w.ctx.Err(); err != nil {
			return w.fail(err)
		}
		key := base + e.text
		next := true
		switch {
		case e.kind == nodeObject:
			next = w.object(key, e.entry)
		case w.mayHold(key):
			next = w.dir(path.Join(name, e.entry.Name()), key)
		}
		if !next {
			return false
		}
	}
	return true
}

// inKeyOrder drops what is not of the store and orders the rest by key: "a-b"
// comes before what is in the directory "a", and "a" before both.
func inKeyOrder(entries []fs.DirEntry) []listed {
	list := make([]listed, 0, len(entries))
	for _, e := range entries {
		text, kind := parseName(e.Name())
		if kind != nodeForeign && e.IsDir() == (kind != nodeObject) {
			list = append(list, listed{text, kind, e})
		}
	}
	slices.SortFunc(list, func(a, b listed) int { return cmp.Compare(a.text, b.text) })
	return list
}

// mayHold reports whether keys that start with base can belong to the list.
func (w *walk) mayHold(base string) bool {
	return (strings.HasPrefix(base, w.prefix) || strings.HasPrefix(w.prefix, base)) &&
		(base > w.after || strings.HasPrefix(w.after, base))
}

func (w *walk) object(key string, e fs.DirEntry) bool {
	if !strings.HasPrefix(key, w.prefix) || key <= w.after {
		return true
	}
	info, err := e.Info()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true // deleted meanwhile
	case err != nil:
		return w.fail(err)
	}
	return w.yield(Info{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil)
}

func (w *walk) fail(err error) bool {
	w.yield(Info{}, fmt.Errorf("list objects %q: %w", w.prefix, err))
	return false
}
