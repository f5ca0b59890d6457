package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// defaultLockTimeout is long enough for a process that is just ending to let go of the file.
const defaultLockTimeout = 100 * time.Millisecond

// BoltOptions are the settings of a bbolt table.
type BoltOptions struct {
	NoSync   bool          // do not make writes durable: for tests only
	ReadOnly bool          // every write fails; the file must exist
	Timeout  time.Duration // how long to wait for the lock of the file; default 100 ms

	maxSize int // bytes at which the file counts as full; for tests
}

// Bolt is a Store in one file of bbolt, held by one process at a time. Commit
// point of a write: the meta page of the transaction that it is part of. A crash
// before leaves nothing of the write, a crash after leaves all of it.
//
// Each item carries a CRC32C of its key, nonce and value, so a read returns the bytes that were
// written or ErrCorrupt. After a failed commit whose outcome is in doubt the Store
// fails every later write: only opening the file again shows what is in it. A full
// disk is no such failure: the write was not applied and others may follow.
type Bolt struct {
	path  string
	db    *bolt.DB
	group *group
}

// Buckets and keys within the file.
var (
	bucketMeta  = []byte("forebay")
	bucketItems = []byte("items")
	keyFormat   = []byte("format")
	formatV1    = []byte("kv 1")
)

// OpenBolt opens the table in a file of bbolt, and makes it if there is none. It
// fails with ErrLocked, ErrForeign or ErrCorrupt, which name the file and what to do. The
// Store is a *Bolt.
func OpenBolt(path string, opts BoltOptions) (Store, error) {
	if opts.Timeout == 0 {
		opts.Timeout = defaultLockTimeout
	}
	s, err := openBolt(path, opts)
	if err != nil {
		return nil, fmt.Errorf("open table %s: %w", path, err)
	}
	s.group = newGroup(s.commit)
	return s, nil
}

func openBolt(path string, opts BoltOptions) (*Bolt, error) {
	size, err := inspectFile(path, false)
	if err != nil {
		return nil, err
	}
	if size == 0 && opts.ReadOnly {
		return nil, fmt.Errorf("%w: there is no table", fs.ErrNotExist)
	}
	var db *bolt.DB
	err = guard(func() (err error) {
		db, err = bolt.Open(path, 0o600, &bolt.Options{
			NoSync: opts.NoSync, ReadOnly: opts.ReadOnly, Timeout: opts.Timeout, MaxSize: opts.maxSize,
			FreelistType: bolt.FreelistMapType, NoStatistics: true,
		})
		return err
	})
	if err != nil {
		return nil, explainOpen(err)
	}
	s := &Bolt{path: path, db: db}
	if err := s.prepare(size == 0, opts.ReadOnly); err != nil {
		_ = db.Close() // the cause matters more
		return nil, err
	}
	return s, nil
}

func explainOpen(err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%w: stop the other Forebay that uses this directory, or use another one", ErrLocked)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("%w (%w): move the file away, or use another directory", ErrForeign, err)
	default:
		return err
	}
}

// prepare lays out a new file, and refuses one that is not a table of this format.
func (s *Bolt) prepare(fresh, readOnly bool) error {
	if _, err := inspectFile(s.path, true); err != nil {
		return err
	}
	var format []byte
	err := s.view(func(tx *bolt.Tx) error {
		if b := tx.Bucket(bucketMeta); b != nil {
			format = bytes.Clone(b.Get(keyFormat))
			return nil
		}
		if name, _ := tx.Cursor().First(); name != nil {
			return fmt.Errorf("%w: it is a bbolt file of another program: move it away, or use another directory", ErrForeign)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case bytes.Equal(format, formatV1):
		return nil
	case format != nil:
		return fmt.Errorf("%w: its format is %q: a newer Forebay wrote it, use that one", ErrForeign, format)
	case readOnly:
		return fmt.Errorf("%w: it was never laid out", ErrForeign)
	}
	if err := guard(func() error { return s.db.Update(layOut) }); err != nil {
		return fmt.Errorf("lay out: %w", err)
	}
	if fresh {
		return syncDir(filepath.Dir(s.path))
	}
	return nil
}

func layOut(tx *bolt.Tx) error {
	if _, err := tx.CreateBucket(bucketItems); err != nil {
		return err
	}
	meta, err := tx.CreateBucket(bucketMeta)
	if err != nil {
		return err
	}
	return meta.Put(keyFormat, formatV1)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Get implements Store.
func (s *Bolt) Get(ctx context.Context, key Key) (Item, error) {
	if err := checkRead(ctx, key); err != nil {
		return Item{}, err
	}
	var item Item
	err := s.view(func(tx *bolt.Tx) error {
		k := appendBoltKey(nil, key)
		stored := tx.Bucket(bucketItems).Get(k)
		if stored == nil {
			return ErrNotFound
		}
		var err error
		item, err = decodeItem(key, k, stored)
		return err
	})
	if err != nil {
		return Item{}, fmt.Errorf("get %v: %w", key, err)
	}
	return item, nil
}

// Query implements Store.
func (s *Bolt) Query(ctx context.Context, part string, r Range) ([]Item, error) {
	if err := checkQuery(ctx, part); err != nil {
		return nil, err
	}
	var items []Item
	err := s.view(func(tx *bolt.Tx) error {
		c := newBoltCursor(tx.Bucket(bucketItems).Cursor(), part, r)
		for k, v := c.first(); k != nil; k, v = c.next() {
			item, err := decodeItem(Key{Part: part, Sort: string(k[len(part)+1:])}, k, v)
			if err != nil {
				return fmt.Errorf("item %q: %w", item.Key.Sort, err)
			}
			if items = append(items, item); len(items) == r.Limit {
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("query %q: %w", part, err)
	}
	return items, nil
}

// Write implements Store. All writes of a call, and those of calls that came
// while an earlier transaction was under way, share one transaction.
func (s *Bolt) Write(ctx context.Context, writes ...Write) []Result {
	return s.group.write(ctx, writes)
}

// commit makes the writes of all requests durable in one transaction and sets
// their results. The error it returns ends the group: nothing is committed after it.
func (s *Bolt) commit(requests []*request) error {
	err := guard(func() error {
		return s.db.Update(func(tx *bolt.Tx) error {
			items := tx.Bucket(bucketItems)
			changed := false
			for _, r := range requests {
				for i := range r.writes {
					r.results[i] = applyBolt(items, r.writes[i])
					changed = changed || r.results[i].Err == nil
				}
			}
			if !changed {
				return errNoChange // saves the fsync
			}
			return nil
		})
	})
	switch {
	case err == nil, errors.Is(err, errNoChange):
		return nil
	case isFull(err):
		failAll(requests, fmt.Errorf("table %s is full: %w: free some space", s.path, err))
		return nil
	case errors.Is(err, berrors.ErrDatabaseReadOnly):
		failAll(requests, fmt.Errorf("table %s: %w", s.path, err))
		return nil
	default:
		failAll(requests, fmt.Errorf("%w: table %s: %w", ErrUnknown, s.path, err))
		return fmt.Errorf("table %s: an earlier commit failed, open it again: %w", s.path, err)
	}
}

var errNoChange = errors.New("no write applied")

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, berrors.ErrMaxSizeReached)
}

func failAll(requests []*request, err error) {
	for _, r := range requests {
		for i := range r.results {
			r.results[i].Err = fmt.Errorf("write %v: %w", r.writes[i].Key, err)
		}
	}
}

func applyBolt(items *bolt.Bucket, w Write) Result {
	nonce, version := w.drawNonce()
	key := appendBoltKey(nil, w.Key)
	stored := items.Get(key)
	var now Version
	if stored != nil && !w.Any {
		item, err := decodeItem(w.Key, key, stored)
		if err != nil {
			return Result{Version: version, Err: fmt.Errorf("write %v: %w", w.Key, err)}
		}
		now = item.Version
	}
	var err error
	switch {
	case !w.holds(stored != nil, now):
		err = ErrConflict
	case w.Delete:
		err = items.Delete(key)
	default:
		err = items.Put(key, encodeItem(key, nonce, w.Value))
	}
	if err != nil {
		err = fmt.Errorf("write %v: %w", w.Key, err)
	}
	return Result{Version: version, Err: err}
}

// Close waits for the writes under way and closes the file.
func (s *Bolt) Close() error {
	failed := s.group.close()
	if errors.Is(failed, ErrCorrupt) {
		return nil // bbolt gave up in the middle of a transaction and would wait for its end
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close table %s: %w", s.path, err)
	}
	return nil
}

func (s *Bolt) view(f func(tx *bolt.Tx) error) error {
	err := guard(func() error { return s.db.View(f) })
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return fmt.Errorf("table %s: %w", s.path, ErrClosed)
	}
	return err
}

// guard turns what bbolt does on a damaged page, a panic or a memory fault, into ErrCorrupt.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()
	return f()
}
