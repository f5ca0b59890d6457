package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Mem is a Store in memory, for tests and for `forebay dev --memory`.
type Mem struct {
	mu      sync.RWMutex
	objects map[string]memObject // nil once closed
	puts    map[string]*memPut   // under way, by id
	ids     int
}

// memPut is a Put under way.
type memPut struct {
	Upload
	aborted bool
}

// memObject is immutable.
type memObject struct {
	data     []byte
	modified time.Time
}

// NewMem returns an empty store.
func NewMem() *Mem { return &Mem{objects: make(map[string]memObject), puts: make(map[string]*memPut)} }

// Put holds the object in memory twice for a moment, once read and once trimmed.
func (m *Mem) Put(ctx context.Context, key string, body io.Reader) error {
	if err := checkCall(ctx, "put", key); err != nil {
		return err
	}
	under := m.begin(key)
	defer m.end(under)
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(contextReader{ctx, body}); err != nil {
		return fmt.Errorf("put object %q: %w", key, err)
	}
	data := slices.Clip(bytes.Clone(buf.Bytes()))
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.objects == nil {
		return fmt.Errorf("put object %q: %w", key, fs.ErrClosed)
	}
	if under.aborted {
		return fmt.Errorf("put object %q: %w", key, errAborted)
	}
	if _, taken := m.objects[key]; taken {
		return fmt.Errorf("put object %q: %w", key, ErrExists)
	}
	m.objects[key] = memObject{data: data, modified: time.Now()}
	return nil
}

// errAborted: somebody has ended the upload.
var errAborted = errors.New("the upload was aborted")

func (m *Mem) begin(key string) *memPut {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ids++
	p := &memPut{Upload: Upload{Key: key, ID: strconv.Itoa(m.ids), Begun: time.Now()}}
	m.puts[p.ID] = p
	return p
}

func (m *Mem) end(p *memPut) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.puts, p.ID)
}

// Unfinished implements Uploads: it yields the Puts under way.
func (m *Mem) Unfinished(ctx context.Context) iter.Seq2[Upload, error] {
	return func(yield func(Upload, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(Upload{}, fmt.Errorf("list unfinished uploads: %w", err))
			return
		}
		m.mu.RLock()
		var all []Upload
		for _, p := range m.puts {
			if !p.aborted {
				all = append(all, p.Upload)
			}
		}
		m.mu.RUnlock()
		for _, u := range all {
			if !yield(u, nil) {
				return
			}
		}
	}
}

// Abort implements Uploads.
func (m *Mem) Abort(_ context.Context, u Upload) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p, ok := m.puts[u.ID]; ok {
		p.aborted = true
	}
	return nil
}

// ReadAt copies.
func (m *Mem) ReadAt(ctx context.Context, key string, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, negativeOffset(key, off)
	}
	obj, err := m.get(ctx, "read", key)
	if err != nil {
		return 0, err
	}
	n := copy(p, obj.data[min(off, int64(len(obj.data))):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Stat describes the object.
func (m *Mem) Stat(ctx context.Context, key string) (Info, error) {
	obj, err := m.get(ctx, "stat", key)
	if err != nil {
		return Info{}, err
	}
	return obj.info(key), nil
}

// List yields the objects that there were when it began and still are when it comes to them.
func (m *Mem) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		keys, err := m.keys(prefix, after)
		if err != nil {
			yield(Info{}, err)
			return
		}
		for _, key := range keys {
			if err := ctx.Err(); err != nil {
				yield(Info{}, fmt.Errorf("list objects %q: %w", prefix, err))
				return
			}
			m.mu.RLock()
			obj, ok := m.objects[key]
			m.mu.RUnlock()
			if ok && !yield(obj.info(key), nil) {
				return
			}
		}
	}
}

func (m *Mem) keys(prefix, after string) ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.objects == nil {
		return nil, fmt.Errorf("list objects %q: %w", prefix, fs.ErrClosed)
	}
	var keys []string
	for key := range m.objects {
		if strings.HasPrefix(key, prefix) && key > after {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// Delete removes the object; reads under way end as if it were there.
func (m *Mem) Delete(ctx context.Context, key string) error {
	if err := checkCall(ctx, "delete", key); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.objects == nil {
		return fmt.Errorf("delete object %q: %w", key, fs.ErrClosed)
	}
	delete(m.objects, key)
	return nil
}

// Close drops all objects; calls after it fail with fs.ErrClosed.
func (m *Mem) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects = nil
	return nil
}

func (m *Mem) get(ctx context.Context, op, key string) (memObject, error) {
	if err := checkCall(ctx, op, key); err != nil {
		return memObject{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.objects == nil {
		return memObject{}, fmt.Errorf("%s object %q: %w", op, key, fs.ErrClosed)
	}
	obj, ok := m.objects[key]
	if !ok {
		return memObject{}, fmt.Errorf("%s object %q: %w", op, key, ErrNotFound)
	}
	return obj, nil
}

func (o memObject) info(key string) Info {
	return Info{Key: key, Size: int64(len(o.data)), Modified: o.modified}
}
