package objstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"sync"
	"sync/atomic"

	"github.com/forebaylog/forebay/infra/vfs"
)

const (
	// tempDir holds the files of Puts under way; lockName guards their removal.
	// No key has these names: see filePath.
	tempDir  = "%tmp"
	lockName = "%lock"
	// copyBuffer is what a Put holds in memory, in bytes.
	copyBuffer = 512 << 10
	// maxHandles is the number of files kept open for reading.
	maxHandles = 64
	// maxDurable bounds what is remembered of directories that need no fsync again.
	maxDurable = 16384
	// maxIdleReads ends a Put whose body returns neither bytes nor an error.
	maxIdleReads = 100
)

var copyBuffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

// fileStore keeps each object in a file. An object is written and synced under a
// temporary name and then linked to its own, which never replaces anything.
//
// The commit point of Put is the fsync of the directory after the link. A crash
// before it leaves nothing, or the whole object and perhaps its temporary name
// too; a crash after it leaves the whole object.
type fileStore struct {
	fs      vfs.FS
	dir     string
	lock    io.Closer // nil if another process holds it
	handles *handles
	closed  atomic.Bool

	mu      sync.Mutex
	durable map[string]struct{} // directories whose names are known to be durable
}

// OpenFile opens the store that keeps each object in a file below dir, which it
// makes if need be, with the directories above it. It removes what a crash left of unfinished Puts,
// unless another process has the store open. Several processes may share a
// directory; a Put of one may then fail while another opens it.
//
// The file system must have hard links. Directories stay when their last object is deleted.
func OpenFile(fsys vfs.FS, dir string) (Store, error) {
	s := &fileStore{
		fs: fsys, dir: path.Clean(dir),
		handles: newHandles(fsys, maxHandles),
		durable: make(map[string]struct{}),
	}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("open object directory %s: %w", dir, err)
	}
	return s, nil
}

func (s *fileStore) open() error {
	if err := vfs.MkdirAllSync(s.fs, s.dir, 0o755); err != nil {
		return err
	}
	temp := path.Join(s.dir, tempDir)
	if err := s.makeDurable(temp); err != nil {
		return err
	}
	lock, err := s.fs.Lock(path.Join(s.dir, lockName))
	if errors.Is(err, vfs.ErrLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	s.lock = lock
	if err := s.removeTemps(temp); err != nil {
		return errors.Join(err, lock.Close())
	}
	return nil
}

// removeTemps needs no fsync: what comes back after a crash is removed again.
func (s *fileStore) removeTemps(temp string) error {
	entries, err := s.fs.ReadDir(temp)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.fs.Remove(path.Join(temp, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// Put holds copyBuffer bytes of the object in memory.
func (s *fileStore) Put(ctx context.Context, key string, body io.Reader) error {
	if err := s.check(ctx, "put", key); err != nil {
		return err
	}
	if err := s.put(ctx, s.path(key), body); err != nil {
		return fmt.Errorf("put object %q: %w", key, err)
	}
	return nil
}

func (s *fileStore) put(ctx context.Context, name string, body io.Reader) error {
	dir := path.Dir(name)
	if err := s.makeDurable(dir); err != nil {
		return err
	}
	if _, err := s.fs.Stat(name); err == nil {
		return s.exists(dir)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	temp := path.Join(s.dir, tempDir, rand.Text())
	if err := s.writeTemp(ctx, temp, body); err != nil {
		_ = s.fs.Remove(temp) // else OpenFile does
		return err
	}
	err := s.fs.Link(temp, name)
	if rerr := s.fs.Remove(temp); err == nil {
		err = rerr
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return s.exists(dir)
	case err != nil:
		return err
	}
	return s.fs.SyncDir(dir)
}

// exists returns ErrExists once the object in the way is sure to stay, whose own
// Put may still be at work or have failed at the very end.
func (s *fileStore) exists(dir string) error {
	if err := s.fs.SyncDir(dir); err != nil {
		return err
	}
	return ErrExists
}

// writeTemp makes a synced file of the whole body.
func (s *fileStore) writeTemp(ctx context.Context, name string, body io.Reader) (err error) {
	f, err := s.fs.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|vfs.Direct, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	if err := copyTo(f, contextReader{ctx, body}); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return ctx.Err()
}

// copyTo writes body to f in full buffers, however small its reads are.
func copyTo(f vfs.File, body io.Reader) error {
	buf, _ := copyBuffers.Get().(*[copyBuffer]byte) // the pool holds nothing else
	defer copyBuffers.Put(buf)
	for off := int64(0); ; {
		n, err := fill(body, buf[:])
		if err != nil && err != io.EOF { //nolint:errorlint // a wrapped EOF is a failure
			return err
		}
		if _, werr := f.WriteAt(buf[:n], off); werr != nil {
			return werr
		}
		if err != nil {
			return nil
		}
		off += int64(n)
	}
}

// fill reads until p is full. Unlike io.ReadFull it returns the body's own
// error, so that io.ErrUnexpectedEOF of a body that broke off is not taken for its end.
func fill(body io.Reader, p []byte) (int, error) {
	n := 0
	for idle := 0; n < len(p); {
		m, err := body.Read(p[n:])
		n += m
		if err != nil {
			return n, err
		}
		if m > 0 {
			idle = 0
		} else if idle++; idle == maxIdleReads {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}

// makeDurable makes a directory below the store's and syncs the parents of all on
// the way that this store has not seen durable yet. That another Put or process
// has made a directory does not mean that its name would survive a crash.
func (s *fileStore) makeDurable(dir string) error {
	if s.isDurable(dir) {
		return nil
	}
	if err := s.fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var seen []string
	for child := dir; child != s.dir && !s.isDurable(child); child = path.Dir(child) {
		if err := s.fs.SyncDir(path.Dir(child)); err != nil {
			return err
		}
		seen = append(seen, child)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.durable) >= maxDurable {
		clear(s.durable)
	}
	for _, child := range seen {
		s.durable[child] = struct{}{}
	}
	return nil
}

func (s *fileStore) isDurable(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.durable[dir]
	return ok
}

// ReadAt reads through a file that stays open for the next reads of the object.
func (s *fileStore) ReadAt(ctx context.Context, key string, p []byte, off int64) (int, error) {
	if err := s.check(ctx, "read", key); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, negativeOffset(key, off)
	}
	h, err := s.handles.acquire(s.path(key))
	if err != nil {
		return 0, fmt.Errorf("read object %q: %w", key, notFound(err))
	}
	defer s.handles.release(h)
	n, err := h.file.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("read object %q: %w", key, err)
	}
	return n, err
}

// Stat describes the object.
func (s *fileStore) Stat(ctx context.Context, key string) (Info, error) {
	if err := s.check(ctx, "stat", key); err != nil {
		return Info{}, err
	}
	info, err := s.fs.Stat(s.path(key))
	if err != nil {
		return Info{}, fmt.Errorf("stat object %q: %w", key, notFound(err))
	}
	return Info{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil
}

// Delete is durable when it returns. Reads under way end as if the object were there.
func (s *fileStore) Delete(ctx context.Context, key string) error {
	if err := s.check(ctx, "delete", key); err != nil {
		return err
	}
	name := s.path(key)
	err := s.fs.Remove(name)
	s.handles.forget(name)
	if err == nil {
		err = s.fs.SyncDir(path.Dir(name))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete object %q: %w", key, err)
	}
	return nil
}

// Close closes the files kept open; calls after it fail with fs.ErrClosed. Puts must have ended.
func (s *fileStore) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.handles.close()
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

func (s *fileStore) check(ctx context.Context, op, key string) error {
	if s.closed.Load() {
		return fmt.Errorf("%s object %q: %w", op, key, fs.ErrClosed)
	}
	return checkCall(ctx, op, key)
}

func (s *fileStore) path(key string) string { return path.Join(s.dir, filePath(key)) }

// List walks the directories in the order of the keys, one level in memory at a time.
func (s *fileStore) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		if s.closed.Load() {
			yield(Info{}, fmt.Errorf("list objects %q: %w", prefix, fs.ErrClosed))
			return
		}
		w := &walk{s: s, ctx: ctx, prefix: prefix, after: after, yield: yield}
		w.dir(s.dir, "")
	}
}

// notFound marks the error of a file that is not there.
func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}
