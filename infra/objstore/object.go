package objstore

import "context"

// Object is one object of a store, to be read from.
type Object struct {
	Store Store
	Key   string
}

// ReadAt is Store.ReadAt of the object.
func (o Object) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	return o.Store.ReadAt(ctx, o.Key, p, off)
}
