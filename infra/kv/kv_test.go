package kv_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/kv"
	"github.com/forebaylog/forebay/infra/kv/kvtest"
)

func TestMem(t *testing.T) {
	kvtest.Run(t, func(*testing.T) kv.Store { return kv.NewMem() })
}

func TestBolt(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.Store {
		return openBolt(t, filepath.Join(t.TempDir(), "kv.db"), kv.BoltOptions{NoSync: true})
	})
}

func TestBoltReopened(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kv.Store {
		path := filepath.Join(t.TempDir(), "kv.db")
		return &reopening{t: t, path: path, Store: openBolt(t, path, kv.BoltOptions{NoSync: true})}
	})
}

func openBolt(t *testing.T, path string, opts kv.BoltOptions) *kv.Bolt {
	t.Helper()
	s, err := kv.OpenBolt(path, opts)
	require.NoError(t, err)
	b, ok := s.(*kv.Bolt)
	require.True(t, ok)
	return b
}

// reopening is a table whose file is closed and opened again every few operations,
// so that what is read comes from the file.
type reopening struct {
	t    *testing.T
	path string

	mu     sync.RWMutex // held for writing while the Store is replaced
	ops    int
	closed bool
	kv.Store
}

func (r *reopening) reopen() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ops++; r.closed || r.ops%8 != 0 {
		return
	}
	if err := r.Store.Close(); err != nil {
		r.t.Errorf("close: %v", err)
	}
	s, err := kv.OpenBolt(r.path, kv.BoltOptions{NoSync: true})
	if err != nil {
		r.t.Errorf("open again: %v", err)
		return // the closed one fails what follows
	}
	r.Store = s
}

func (r *reopening) Get(ctx context.Context, key kv.Key) (kv.Item, error) {
	r.reopen()
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.Store.Get(ctx, key)
}

func (r *reopening) Query(ctx context.Context, part string, rg kv.Range) ([]kv.Item, error) {
	r.reopen()
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.Store.Query(ctx, part, rg)
}

func (r *reopening) Write(ctx context.Context, writes ...kv.Write) []kv.Result {
	r.reopen()
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.Store.Write(ctx, writes...)
}

func (r *reopening) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b, ok := r.Store.(*kv.Bolt); ok && !r.closed { // whatever was done, the file is sound
		if err := b.Verify(context.Background()); err != nil {
			r.t.Errorf("verify: %v", err)
		}
	}
	r.closed = true
	return r.Store.Close()
}
