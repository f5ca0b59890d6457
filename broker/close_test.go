package broker

import (
	"context"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/forebaylog/forebay/infra/objstore"
)

// deafStore is an object store that lets whoever lists wait, whatever the context.
type deafStore struct {
	objstore.Store
	once    sync.Once
	listing chan struct{} // closed when somebody waits
	release chan struct{}
}

func (d *deafStore) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		d.once.Do(func() { close(d.listing) })
		<-d.release
		d.Store.List(ctx, prefix, after)(yield)
	}
}

// A close ends when its time is up though a loop does not, and says so.
func TestCloseLeavesBehindWhatDoesNotEnd(t *testing.T) {
	deaf := &deafStore{Store: objstore.NewMem(), listing: make(chan struct{}), release: make(chan struct{})}
	cfg := testConfig()
	cfg.Objects = deaf
	cfg.Lifecycle.CollectInterval = time.Millisecond
	b, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	<-deaf.listing

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	err = b.Close(ctx)
	require.ErrorIs(t, err, ErrNotClosed)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), 10*time.Second)

	close(deaf.release)
	if err := b.Close(t.Context()); err != nil { // what the first call began ends now
		require.NotErrorIs(t, err, ErrNotClosed)
	}
}
