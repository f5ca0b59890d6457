package objstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// Upload is an upload that has begun and not ended: its Put is under way somewhere, or has
// died and left what it takes up.
type Upload struct {
	Key   string // "" if the store does not know it yet
	ID    string // of the upload, in words of the driver
	Begun time.Time
}

// Uploads is what a Store may offer beside: to find and to end unfinished uploads. All drivers
// of this package do.
type Uploads interface {
	// Unfinished yields the unfinished uploads, in no order. It stops after an error.
	Unfinished(ctx context.Context) iter.Seq2[Upload, error]
	// Abort ends an upload and frees what it takes up; one that has ended is no error. If its Put
	// is still under way, that fails, or has succeeded before: the object is whole or absent.
	Abort(ctx context.Context, u Upload) error
}

// ErrUnsupported says that the store cannot do that.
var ErrUnsupported = errors.New("not supported by this object store")

// Unfinished yields the unfinished uploads of a store, none if it cannot tell.
func Unfinished(ctx context.Context, s Store) iter.Seq2[Upload, error] {
	if u, ok := s.(Uploads); ok {
		return u.Unfinished(ctx)
	}
	return func(func(Upload, error) bool) {}
}

// Abort ends an unfinished upload of a store. It fails with ErrUnsupported where Unfinished yields none.
func Abort(ctx context.Context, s Store, u Upload) error {
	if a, ok := s.(Uploads); ok {
		return a.Abort(ctx, u)
	}
	return fmt.Errorf("abort upload %s: %w", u.ID, ErrUnsupported)
}
