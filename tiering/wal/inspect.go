package wal

import (
	"context"

	"github.com/forebaylog/forebay/infra/objstore"
)

// ReadIndex reads an index that a slot names: the objects that it tells of, with the footers
// that it has of them. It is for tools; ReadStream reads a stream. It fails with ErrCorrupt,
// ErrVersion, a *pack.CorruptError, or what the store returned.
func ReadIndex(ctx context.Context, store objstore.Store, ref ObjectRef) ([]Object, error) {
	entries, err := readIndex(ctx, store, ref)
	if err != nil {
		return nil, err
	}
	list := make([]Object, 0, len(entries))
	for o, err := range objectsOf(entries) {
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, nil
}
