package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/forebaylog/forebay/infra/id"
)

// index is the derived map of where batches are. Its methods may be called
// concurrently; a panic of Badger comes back as an error that matches errIndex.
type index struct {
	dir     string // "" keeps it in memory
	cluster string
	log     *slog.Logger

	mu sync.RWMutex // held for writing while db is replaced
	db *badger.DB   // nil after close
}

// openIndex opens the index in dir if it was closed cleanly and is byte for byte as
// it was then. Else the error matches errIndex and the index is there to be reset.
func openIndex(dir, cluster string, log *slog.Logger) (*index, error) {
	x := &index{dir: dir, cluster: cluster, log: log}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("make index directory: %w", err)
		}
		if err := takeSeal(dir); err != nil {
			return x, err
		}
	}
	return x, x.open()
}

// badgerOptions make Badger small: keys and values are some ten bytes a batch.
func badgerOptions(dir string) badger.Options {
	return badger.DefaultOptions(dir).
		WithInMemory(dir == "").
		WithLogger(nil).
		WithMemTableSize(2 << 20).
		WithNumMemtables(2).
		WithBaseTableSize(2 << 20).
		WithBaseLevelSize(8 << 20).
		WithValueLogFileSize(1 << 20).
		WithValueThreshold(64 << 10).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithCompression(options.None).
		WithNumCompactors(2).
		WithNumGoroutines(1).
		WithNumVersionsToKeep(1).
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithChecksumVerificationMode(options.OnTableAndBlockRead)
}

func (x *index) open() error {
	return guard(func() error {
		db, err := badger.Open(badgerOptions(x.dir))
		if err != nil {
			return fmt.Errorf("open index: %w: %w", errIndex, err)
		}
		x.db = db
		return x.checkCluster()
	})
}

// guard turns a panic of Badger into an error.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: panic: %v", errIndex, r)
		}
	}()
	return f()
}

// checkCluster writes the cluster id into a new index and compares it in an old one.
func (x *index) checkCluster() error {
	return x.db.Update(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte{keyCluster})
		if errors.Is(err, badger.ErrKeyNotFound) {
			return txn.Set([]byte{keyCluster}, []byte(x.cluster))
		}
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			if string(v) != x.cluster {
				return fmt.Errorf("index of cluster %q: %w", v, errIndex)
			}
			return nil
		})
	})
}

// reset closes Badger, removes the directory and starts with an empty index.
func (x *index) reset() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.closeLocked(); err != nil {
		x.log.Warn("closing the damaged index failed", "dir", x.dir, "error", err)
	}
	if x.dir != "" {
		if err := os.RemoveAll(x.dir); err != nil {
			return fmt.Errorf("remove damaged index: %w", err)
		}
		if err := os.MkdirAll(x.dir, 0o755); err != nil {
			return fmt.Errorf("make index directory: %w", err)
		}
	}
	return x.open()
}

// close closes Badger and seals the directory. A crash before the seal has the index rebuilt.
func (x *index) close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.db == nil {
		return nil
	}
	if err := x.closeLocked(); err != nil || x.dir == "" {
		return err
	}
	return putSeal(x.dir)
}

func (x *index) closeLocked() error {
	if x.db == nil {
		return nil
	}
	db := x.db
	x.db = nil
	if err := guard(db.Close); err != nil {
		return fmt.Errorf("close index: %w", err)
	}
	return nil
}

// view runs f in a read transaction.
func (x *index) view(f func(txn *badger.Txn) error) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.db == nil {
		return ErrClosed
	}
	return guard(func() error { return x.db.View(f) })
}

// update runs f with a batch of writes and commits it in as few transactions as fit.
func (x *index) update(f func(w *badger.WriteBatch) error) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.db == nil {
		return ErrClosed
	}
	return guard(func() error {
		w := x.db.NewWriteBatch()
		defer w.Cancel()
		if err := f(w); err != nil {
			return err
		}
		return w.Flush()
	})
}

// putRuns writes entries of one partition and one segment, in order, and returns the number of keys.
func putRuns(w *badger.WriteBatch, p id.Partition, entries []Entry) (int, error) {
	keys := 0
	for len(entries) > 0 {
		run := entries[:min(maxRun, len(entries))]
		entries = entries[len(run):]
		key := appendRunKey(make([]byte, 0, runKeySize), p, run[0].Base)
		if err := w.Set(key, appendRun(nil, key, run)); err != nil {
			return keys, fmt.Errorf("write index: %w", err)
		}
		keys++
	}
	return keys, nil
}

// putMarker says that the index holds a segment completely.
func (x *index) putMarker(s id.Segment, sum tally) error {
	return x.update(func(w *badger.WriteBatch) error {
		v := binary.BigEndian.AppendUint64(nil, sum.fold)
		return w.Set(segmentKey(s), binary.BigEndian.AppendUint64(v, sum.entries))
	})
}

// lookup appends to dst up to limit entries of p, in order, from the one that contains
// from, or else the first after it, and stops before offset until.
func (x *index) lookup(dst []Entry, p id.Partition, from, until id.Offset, limit int) ([]Entry, error) {
	err := x.view(func(txn *badger.Txn) error {
		prefix := appendPrefix(nil, p)
		key, err := floorKey(txn, prefix, from)
		if err != nil {
			return err
		}
		opts := badger.IteratorOptions{Prefix: prefix}
		it := txn.NewIterator(opts)
		defer it.Close()
		for it.Seek(key); it.ValidForPrefix(prefix) && len(dst) < limit; it.Next() {
			done, err := appendItem(&dst, it.Item(), from, until, limit)
			if err != nil || done {
				return err
			}
		}
		return nil
	})
	return dst, err
}

// floorKey finds the key of the run that may contain from: the last at or below it.
func floorKey(txn *badger.Txn, prefix []byte, from id.Offset) ([]byte, error) {
	want := binary.BigEndian.AppendUint64(bytes.Clone(prefix), uint64(from))
	it := txn.NewIterator(badger.IteratorOptions{Reverse: true, Prefix: prefix})
	defer it.Close()
	if it.Seek(want); it.ValidForPrefix(prefix) {
		return it.Item().KeyCopy(nil), nil
	}
	return want, nil
}

func appendItem(dst *[]Entry, item *badger.Item, from, until id.Offset, limit int) (done bool, err error) {
	err = item.Value(func(v []byte) error {
		var run [maxRun]Entry
		entries, err := decodeRun(run[:0], item.Key(), v)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Base >= until || len(*dst) >= limit {
				done = true
				break
			}
			if e.Next > from {
				*dst = append(*dst, e)
			}
		}
		return nil
	})
	return done, err
}

// tally is the fold and the number of a set of entries.
type tally struct{ fold, entries uint64 }

// tallies reads the whole index: what it holds of each segment, and what its markers say.
func (x *index) tallies() (held, marked map[id.Segment]tally, err error) {
	held, marked = map[id.Segment]tally{}, map[id.Segment]tally{}
	err = x.each(func(p id.Partition, e Entry) error {
		t := held[e.Segment]
		held[e.Segment] = tally{t.fold ^ e.Hash(p), t.entries + 1}
		return nil
	}, func(s id.Segment, t tally) error {
		marked[s] = t
		return nil
	})
	return held, marked, err
}

// each visits every entry and every marker.
func (x *index) each(entry func(id.Partition, Entry) error, marker func(id.Segment, tally) error) error {
	return x.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		var run [maxRun]Entry
		for it.Rewind(); it.Valid(); it.Next() {
			item := it.Item()
			err := item.Value(func(v []byte) error { return visitItem(run[:0], item.Key(), v, entry, marker) })
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func visitItem(run []Entry, key, value []byte, entry func(id.Partition, Entry) error, marker func(id.Segment, tally) error) error {
	switch {
	case len(key) == 1 && key[0] == keyCluster:
		return nil
	case len(key) == 9 && key[0] == keySegment && len(value) == markerLength:
		t := tally{binary.BigEndian.Uint64(value), binary.BigEndian.Uint64(value[8:])}
		return marker(id.Segment(binary.BigEndian.Uint64(key[1:])), t)
	}
	p, _, err := decodeRunKey(key)
	if err != nil {
		return err
	}
	run, err = decodeRun(run, key, value)
	if err != nil {
		return err
	}
	for _, e := range run {
		if err := entry(p, e); err != nil {
			return err
		}
	}
	return nil
}

// forget deletes the runs and markers of the segments that drop names, whatever they are.
func (x *index) forget(drop func(id.Segment) bool) error {
	var keys [][]byte
	err := x.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			s, ok, err := segmentOf(it.Item())
			if err != nil {
				return err
			}
			if ok && drop(s) {
				keys = append(keys, it.Item().KeyCopy(nil))
			}
		}
		return nil
	})
	if err != nil || len(keys) == 0 {
		return err
	}
	return x.remove(keys)
}

func segmentOf(item *badger.Item) (s id.Segment, ok bool, err error) {
	key := item.Key()
	switch {
	case len(key) == 9 && key[0] == keySegment:
		return id.Segment(binary.BigEndian.Uint64(key[1:])), true, nil
	case len(key) == 0 || key[0] != keyRun:
		return 0, false, nil
	}
	err = item.Value(func(v []byte) error {
		n, size := binary.Uvarint(v)
		if size <= 0 {
			return errIndex
		}
		s, ok = id.Segment(n), true
		return nil
	})
	return s, ok, err
}

// drop deletes what the index holds of one segment, whose extents are known.
func (x *index) drop(s id.Segment, extents []extent) error {
	keys := [][]byte{segmentKey(s)}
	err := x.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for _, e := range extents {
			prefix := appendPrefix(nil, e.p)
			first := appendRunKey(nil, e.p, e.First)
			last := appendRunKey(nil, e.p, e.Next)
			for it.Seek(first); it.ValidForPrefix(prefix) && bytes.Compare(it.Item().Key(), last) < 0; it.Next() {
				of, ok, err := segmentOf(it.Item())
				if err != nil {
					return err
				}
				if ok && of == s {
					keys = append(keys, it.Item().KeyCopy(nil))
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return x.remove(keys)
}

func (x *index) remove(keys [][]byte) error {
	return x.update(func(w *badger.WriteBatch) error {
		for _, k := range keys {
			if err := w.Delete(k); err != nil {
				return fmt.Errorf("delete from index: %w", err)
			}
		}
		return nil
	})
}
